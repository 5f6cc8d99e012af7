/*
 * store_file.c - a file on the worker's own machine, for applications that read one.
 *
 * Options: "path", absolute; "format": "json" (default) or "pgpass"; "mode": "0600" (default) or "0640" with "group", a
 * group that may read the file (json only: libpq ignores a password file that others can read); for pgpass also "host",
 * "port" and "dbname", the fields of the line, where they are not those of the target; a target with several hosts or ports,
 * or with a socket, needs them. Folders and permissions are
 * looked at as atomic_file.h says.
 *
 * json: one object with a key for each secret (the store's key); what else is in the file is kept.
 *
 *     {"app/db": {"current":  {"version_id":…, "username":…, "password":…, "engine":…, "host":…, "port":…, "dbname":…},
 *                 "pending":  {…},		not proved yet: applications read current
 *                 "previous": {…}}}
 *
 * pgpass: the file has a line with the current password; the object above is in the same folder, in PATH.rotor. What
 * the line says is what applications use, so the line decides: a pending version whose password is in the line is the
 * current one (a promotion that was cut short between the two files), and a line with a password that is not in the object is
 * somebody else's.
 *
 * Each change is read, compared and written under the file's lock, so several workers of one machine may share it; the
 * file is replaced as a whole. What an earlier attempt may have written is written again, so that it is certain to last.
 */
#include "store.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "secret_file.h"
#include "secret_json.h"

static Outcome
ok(void)
{
	return outcome_make(OUTCOME_OK, NULL, NULL);
}

static Outcome
no_memory(void)
{
	return outcome_make(OUTCOME_TRANSIENT, "ENOMEM", "out of memory");
}

/* A copy of what is current, with the job's value in it. */
static cJSON *
make_version(const SecretFile *file, const Job *job)
{
	const cJSON *current = secret_file_version(file, "current");
	const cJSON *pending = secret_file_version(file, "pending");
	cJSON *version;
	JobValue value = {.username = job->version.username};
	bool done;

	if (current == NULL)
		current = pending;
	version = current != NULL ? cJSON_Duplicate(current, true) : cJSON_CreateObject();
	memcpy(value.id, job->version.id, sizeof(value.id));
	done = version != NULL && secret_json_fill(version, job, &value, ID_NAME) &&
		   secret_json_set(version, "password",
						   job->version.password.len > 0 ? job->version.password.data
														 : job_string(pending, "password"));
	if (done)
		return version;
	cJSON_Delete(version);
	return NULL;
}

/* An earlier attempt may have written what is there, and nobody knows whether it lasts. */
static bool
is_repeated(const Job *job)
{
	return job->look || job->attempt > 0;
}

/* It stands so already, so a failure does not say that nothing was changed. */
static Outcome
write_again(SecretFile *file, Outcome (*write)(SecretFile *file))
{
	Outcome outcome = write(file);

	if (outcome.class != OUTCOME_OK)
		outcome.class = OUTCOME_UNKNOWN;
	return outcome;
}

/* May current be moved away from what it is? Asked before the target is changed, and when it has been. */
static bool
gives_way(const SecretFile *file, const Job *job)
{
	return secret_json_gives_way(job, secret_file_id(file, "current"),
								 secret_file_version(file, "current"));
}

static Outcome
superseded(void)
{
	return outcome_make(OUTCOME_SUPERSEDED, NULL, "the file's current version is another one");
}

static Outcome
publish_into(SecretFile *file, const Job *job)
{
	bool is_current = strcmp(secret_file_id(file, "current"), job->version.id) == 0;
	cJSON *version;
	Outcome outcome = secret_file_check_fields(file, job);

	if (outcome.class != OUTCOME_OK)
		return outcome;
	if (!is_current && !gives_way(file, job))
		return superseded();
	if (is_current || strcmp(secret_file_id(file, "pending"), job->version.id) == 0)
	{
		if (!secret_json_holds(secret_file_version(file, is_current ? "current" : "pending"),
							   &job->version))
			return outcome_make(OUTCOME_SUPERSEDED, NULL,
								"the file has another value for this version");
		return is_repeated(job) ? write_again(file, secret_file_write) : ok();
	}
	if (file->is_pgpass)
	{
		outcome = secret_file_check_line(file, &job->version);
		if (outcome.class != OUTCOME_OK)
			return outcome;
	}
	version = make_version(file, job);
	if (version == NULL || !secret_file_set(file, "pending", version))
		return no_memory();
	file->made = &job->version;
	return secret_file_write(file);
}

static Outcome
promote_into(SecretFile *file, const Job *job)
{
	const char *pending = secret_file_id(file, "pending");
	cJSON *version;

	if (strcmp(secret_file_id(file, "current"), job->version.id) == 0)
	{
		if (strcmp(pending, job->version.id) == 0 && !secret_file_set(file, "pending", NULL))
			return no_memory();
		if (!is_repeated(job))
			return ok();
		return write_again(file, secret_file_write_promotion);
	}
	if (!gives_way(file, job))
		return superseded();
	if (pending[0] != '\0' && strcmp(pending, job->version.id) != 0)
		return outcome_make(OUTCOME_SUPERSEDED, NULL, "the file's pending version is another one");
	if (pending[0] == '\0' && job->version.password.len == 0)
		return outcome_make(OUTCOME_SUPERSEDED, NULL, "the file has no pending version any more");
	version = make_version(file, job);
	if (version == NULL || !secret_file_move(file, version))
		return no_memory();
	file->made = &job->version;
	return secret_file_write_promotion(file);
}

/* ------------------------------------------------------------------------------------------------
 * StoreClass
 */

static Outcome
change(const Job *job, Deadline deadline, Outcome (*act)(SecretFile *file, const Job *job))
{
	SecretFile file = SECRET_FILE_CLOSED;
	Outcome outcome = secret_file_open_locked(job, &file, deadline);

	if (outcome.class == OUTCOME_OK)
		outcome = act(&file, job);
	secret_file_close(&file);
	return outcome;
}

static Outcome
store_file_publish(const Job *job, Deadline deadline)
{
	return change(job, deadline, publish_into);
}

static Outcome
store_file_promote(const Job *job, Deadline deadline)
{
	return change(job, deadline, promote_into);
}

static Outcome
store_file_look(const Job *job, StoreLabels *labels, Deadline deadline)
{
	SecretFile file = SECRET_FILE_CLOSED;
	Outcome outcome = secret_file_open_locked(job, &file, deadline);

	memset(labels, 0, sizeof(*labels));
	if (outcome.class == OUTCOME_OK)
	{
		labels->exists = file.secret->child != NULL;
		(void) snprintf(labels->pending, UUID_SIZE, "%s", secret_file_id(&file, "pending"));
		(void) snprintf(labels->current, UUID_SIZE, "%s", secret_file_id(&file, "current"));
		(void) snprintf(labels->previous, UUID_SIZE, "%s", secret_file_id(&file, "previous"));
	}
	secret_file_close(&file);
	return outcome;
}

static Outcome
store_file_read(const Job *job, SecretBuf *username, SecretBuf *password, Deadline deadline)
{
	SecretFile file = SECRET_FILE_CLOSED;
	Outcome outcome = secret_file_open_locked(job, &file, deadline);
	const cJSON *current;
	RotorError err;

	current = outcome.class == OUTCOME_OK ? secret_file_version(&file, "current") : NULL;
	if (outcome.class == OUTCOME_OK && current == NULL)
		outcome = outcome_make(OUTCOME_PERMANENT, "ENOENT", "the file has no such secret");
	else if (current != NULL && (!secret_json_copy(current, "username", username, &err) ||
								 !secret_json_copy(current, "password", password, &err)))
		outcome = outcome_of_error(OUTCOME_PERMANENT, &err);
	secret_file_close(&file);
	return outcome;
}

static Outcome
store_file_check(const Job *job, Deadline deadline __attribute__((unused)))
{
	SecretFile file = SECRET_FILE_CLOSED;
	Outcome outcome = secret_file_open(job, &file);
	struct statvfs vfs;

	if (outcome.class == OUTCOME_OK)
		outcome = secret_file_check_fields(&file, job);
	if (outcome.class == OUTCOME_OK)
		outcome = secret_file_load(&file, job);
	if (outcome.class == OUTCOME_OK && fstatvfs(file.main.folder, &vfs) == 0 &&
		(vfs.f_flag & ST_RDONLY) != 0)
		outcome = outcome_make(OUTCOME_TRANSIENT, "EROFS", "the file system is read-only");
	if (outcome.class == OUTCOME_OK &&
		faccessat(file.main.folder, ".", W_OK | X_OK, AT_EACCESS) != 0)
		outcome = outcome_make(OUTCOME_PERMANENT, "EACCES",
							   "the user rotor runs as cannot write in the file's folder");
	secret_file_close(&file);
	return outcome;
}

const StoreClass store_file = {
	.type = "file",
	.publish = store_file_publish,
	.promote = store_file_promote,
	.look = store_file_look,
	.read = store_file_read,
	.check = store_file_check,
};

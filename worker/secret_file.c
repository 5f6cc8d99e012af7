/*
 * secret_file.c - the file of the file store, and what is in it; see secret_file.h.
 */
#include "secret_file.h"

#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "secret_json.h"

#define SIDECAR_SUFFIX ".rotor"

static const cJSON *
options_of(const Job *job)
{
	return cJSON_GetObjectItemCaseSensitive(job->store, "options");
}

static Outcome
ok(void)
{
	return outcome_make(OUTCOME_OK, NULL, NULL);
}

static Outcome
bad_option(const char *name, const char *allowed)
{
	return outcome_make(OUTCOME_PERMANENT, NULL, "option \"%s\" of the file store must be %s", name,
						allowed);
}

static Outcome
no_memory(void)
{
	return outcome_make(OUTCOME_TRANSIENT, "ENOMEM", "out of memory");
}

/* What a call of atomic_file.h means, if nothing was changed before it. */
static Outcome
of_result(FileResult result, const char *code, const RotorError *err)
{
	static const OutcomeClass classes[] = {
		[FILE_DONE] = OUTCOME_OK,
		[FILE_FAILED] = OUTCOME_TRANSIENT,
		[FILE_REFUSED] = OUTCOME_PERMANENT,
		[FILE_UNSURE] = OUTCOME_UNKNOWN,
	};
	Outcome outcome;

	if (result == FILE_DONE)
		return ok();
	outcome = outcome_of_error(classes[result], err);
	(void) snprintf(outcome.code, sizeof(outcome.code), "%s", code);
	return outcome;
}

/* ------------------------------------------------------------------------------------------------
 * Options
 */

static Outcome
read_group(const char *name, gid_t *group)
{
	char space[4096];
	struct group entry;
	struct group *found = NULL;

	if (name == NULL)
		return bad_option("group", "given with mode 0640");
	if (getgrnam_r(name, &entry, space, sizeof(space), &found) != 0 || found == NULL)
		return outcome_make(OUTCOME_PERMANENT, NULL, "there is no group \"%s\" on this machine",
							name);
	*group = entry.gr_gid;
	return ok();
}

static Outcome
read_mode(const cJSON *options, SecretFile *file)
{
	const char *mode = job_string(options, "mode");

	file->access = (FileAccess){.mode = 0600, .group = (gid_t) -1};
	if (cJSON_GetObjectItemCaseSensitive(options, "mode") == NULL ||
		(mode != NULL && strcmp(mode, "0600") == 0))
		return ok();
	if (mode == NULL || strcmp(mode, "0640") != 0)
		return bad_option("mode", "\"0600\" or \"0640\"");
	if (file->is_pgpass)
		return bad_option("mode", "\"0600\" for pgpass: libpq ignores others");
	file->access.mode = 0640;
	return read_group(job_string(options, "group"), &file->access.group);
}

/* Of the store's options, else of the target: a string, or the number as text; else what is given. */
static const char *
line_field(const Job *job, const char *name, char *number, const char *otherwise)
{
	const cJSON *const places[] = {options_of(job), job->target};

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
	{
		const char *text = job_string(places[i], name);
		double value = job_number(places[i], name, 0);

		if (text != NULL && text[0] != '\0')
			return text;
		if (number != NULL && value >= 1 && value <= 65535)
		{
			(void) snprintf(number, 16, "%d", (int) value);
			return number;
		}
	}
	return otherwise;
}

Outcome
secret_file_open(const Job *job, SecretFile *file)
{
	const cJSON *options = options_of(job);
	const char *path = job_string(options, "path");
	const char *format = job_string(options, "format");
	char sidecar[PATH_MAX + sizeof(SIDECAR_SUFFIX)];
	const char *code;
	RotorError err;
	FileResult result;
	Outcome outcome;

	if (path == NULL)
		return bad_option("path", "the absolute path of a file");
	if (format != NULL && strcmp(format, "json") != 0 && strcmp(format, "pgpass") != 0)
		return bad_option("format", "\"json\" or \"pgpass\"");
	if (job->store_key == NULL || job->store_key[0] == '\0')
		return outcome_make(OUTCOME_PERMANENT, NULL, "the secret has no key at the file store");
	file->is_pgpass = format != NULL && strcmp(format, "pgpass") == 0;
	outcome = read_mode(options, file);
	if (outcome.class != OUTCOME_OK)
		return outcome;
	file->line.host = line_field(job, "host", NULL, "localhost");
	file->line.dbname = line_field(job, "dbname", NULL, "*");
	file->line.port = line_field(job, "port", file->number, "*");

	result = atomic_file_open(&file->main, path, &code, &err);
	if (result == FILE_DONE && file->is_pgpass)
	{
		(void) snprintf(sidecar, sizeof(sidecar), "%s%s", path, SIDECAR_SUFFIX);
		result = atomic_file_open(&file->sidecar, sidecar, &code, &err);
	}
	return of_result(result, code, &err);
}

void
secret_file_close(SecretFile *file)
{
	atomic_file_close(&file->sidecar);
	atomic_file_close(&file->main);
	file_content_free(&file->lines);
	cJSON_Delete(file->tree);
}

/* ------------------------------------------------------------------------------------------------
 * What is there
 */

cJSON *
secret_file_version(const SecretFile *file, const char *label)
{
	cJSON *version = cJSON_GetObjectItemCaseSensitive(file->secret, label);

	return cJSON_IsObject(version) ? version : NULL;
}

const char *
secret_file_id(const SecretFile *file, const char *label)
{
	const char *id = job_string(secret_file_version(file, label), ID_NAME);

	return id != NULL && strlen(id) == UUID_SIZE - 1 ? id : "";
}

bool
secret_file_set(SecretFile *file, const char *label, cJSON *version)
{
	cJSON_DeleteItemFromObjectCaseSensitive(file->secret, label);
	if (version == NULL || cJSON_AddItemToObject(file->secret, label, version))
		return true;
	cJSON_Delete(version);
	return false;
}

bool
secret_file_move(SecretFile *file, cJSON *version)
{
	cJSON *former = cJSON_DetachItemFromObjectCaseSensitive(file->secret, "current");

	if (former != NULL && !secret_file_set(file, "previous", former))
	{
		cJSON_Delete(version);
		return false;
	}
	return secret_file_set(file, "current", version) && secret_file_set(file, "pending", NULL);
}

/* Does libpq use this version's password for its user? */
static bool
is_in_lines(const SecretFile *file, const cJSON *version)
{
	const char *password = job_string(version, "password");
	PgpassKey key = file->line;
	SecretBuf found = {0};
	bool same;

	key.username = job_string(version, "username");
	same = password != NULL && key.username != NULL &&
		   pgpass_find(file->lines.data, file->lines.len, &key, &found) &&
		   strcmp(found.data, password) == 0;
	secret_buf_wipe(&found);
	return same;
}

/* Somebody else's line for the job's user, as the version that is current; NULL: there is none. */
static bool
adopt_line(SecretFile *file, const Job *job)
{
	PgpassKey key = file->line;
	SecretBuf found = {0};
	cJSON *version = NULL;
	bool done = true;

	key.username = job->username;
	if (file->lines.data != NULL && pgpass_find(file->lines.data, file->lines.len, &key, &found))
	{
		version = cJSON_CreateObject();
		done = version != NULL && secret_json_set(version, "username", key.username) &&
			   secret_json_set(version, "password", found.data);
	}
	secret_buf_wipe(&found);
	if (done)
		return secret_file_set(file, "current", version);
	cJSON_Delete(version);
	return false;
}

/* Lets the object say what the lines say. */
static bool
follow_lines(SecretFile *file, const Job *job)
{
	cJSON *pending = secret_file_version(file, "pending");

	if (pending != NULL && is_in_lines(file, pending))
	{
		pending = cJSON_DetachItemFromObjectCaseSensitive(file->secret, "pending");
		return secret_file_move(file, pending);
	}
	if (secret_file_version(file, "current") != NULL &&
		is_in_lines(file, secret_file_version(file, "current")))
		return true;
	return adopt_line(file, job);
}

static Outcome
parse_tree(SecretFile *file, const FileContent *content, const char *key)
{
	RotorError err;

	/* An empty file is one that somebody made for us. */
	file->tree = content->len == 0 ? cJSON_CreateObject()
								   : secret_json_parse(content->data, content->len, &err);
	if (file->tree == NULL && (content->len == 0 || err.code == ROTOR_ERROR_SPACE))
		return no_memory();
	if (file->tree == NULL)
		return outcome_of_error(OUTCOME_PERMANENT, &err);
	file->secret = cJSON_GetObjectItemCaseSensitive(file->tree, key);
	if (file->secret != NULL && !cJSON_IsObject(file->secret))
		return outcome_make(OUTCOME_PERMANENT, NULL, "\"%s\" in the file is no JSON object", key);
	if (file->secret == NULL)
		file->secret = cJSON_AddObjectToObject(file->tree, key);
	return file->secret != NULL ? ok() : no_memory();
}

Outcome
secret_file_load(SecretFile *file, const Job *job)
{
	const AtomicFile *holder = file->is_pgpass ? &file->sidecar : &file->main;
	FileContent content;
	const char *code;
	RotorError err;
	FileResult result;
	Outcome outcome;

	if (file->is_pgpass)
	{
		result = atomic_file_read(&file->main, &file->access, &file->lines, &code, &err);
		if (result != FILE_DONE)
			return of_result(result, code, &err);
	}
	result = atomic_file_read(holder, &file->access, &content, &code, &err);
	if (result != FILE_DONE)
		return of_result(result, code, &err);
	outcome = parse_tree(file, &content, job->store_key);
	file_content_free(&content);
	if (outcome.class == OUTCOME_OK && file->is_pgpass && !follow_lines(file, job))
		outcome = no_memory();
	return outcome;
}

Outcome
secret_file_open_locked(const Job *job, SecretFile *file, Deadline deadline)
{
	Outcome outcome = secret_file_open(job, file);
	FileResult result;
	const char *code;
	RotorError err;

	if (outcome.class != OUTCOME_OK)
		return outcome;
	result = atomic_file_lock(&file->main, deadline_sooner(deadline, job->lease_end), &code, &err);
	outcome = of_result(result, code, &err);
	return outcome.class == OUTCOME_OK ? secret_file_load(file, job) : outcome;
}

/* ------------------------------------------------------------------------------------------------
 * What is written
 */

/* Does the text hold what was made, where it was put? */
static bool
holds_what_was_made(const SecretFile *file, const char *text)
{
	bool is_current = strcmp(secret_file_id(file, "current"), file->made->id) == 0;
	const char *const path[] = {file->secret->string, is_current ? "current" : "pending", NULL};

	return secret_json_prove(text, path, file->made);
}

Outcome
secret_file_write(SecretFile *file)
{
	char *text = secret_json_print(file->tree, true);
	size_t len = text != NULL ? strlen(text) : 0;
	const char *code;
	RotorError err;
	FileResult result;
	Outcome outcome;

	if (text == NULL || (file->made != NULL && !holds_what_was_made(file, text)))
	{
		cJSON_free(text);
		return no_memory();
	}
	/* The place of the NUL, which a file does not need. */
	text[len] = '\n';
	result = atomic_file_replace(file->is_pgpass ? &file->sidecar : &file->main, &file->access,
								 text, len + 1, &code, &err);
	outcome = of_result(result, code, &err);
	text[len] = '\0';
	cJSON_free(text);
	return outcome;
}

Outcome
secret_file_check_fields(const SecretFile *file, const Job *job)
{
	const char *given = job_text(options_of(job), "host", NULL);

	if (!file->is_pgpass)
		return ok();
	if (strchr(file->line.host, ',') != NULL || strchr(file->line.port, ',') != NULL)
		return outcome_make(OUTCOME_PERMANENT, NULL,
							"libpq never looks for a line of several hosts or ports: give the "
							"store's options \"host\" and \"port\" as one each, or as \"*\"");
	if (given == NULL && (file->line.host[0] == '/' || file->line.host[0] == '@'))
		return outcome_make(OUTCOME_PERMANENT, NULL,
							"the target's host is a socket, which libpq may look for under another "
							"name: give the store's option \"host\", \"localhost\" for libpq's own "
							"default folder");
	return ok();
}

Outcome
secret_file_check_line(const SecretFile *file, const JobValue *value)
{
	PgpassKey key = file->line;
	size_t len = 0;
	RotorError err;
	char *line;

	key.username = value->username;
	line = pgpass_put("", 0, &key, &value->password, &len, &err);
	if (line == NULL && err.code == ROTOR_ERROR_SPACE)
		return no_memory();
	if (line == NULL)
		return outcome_of_error(OUTCOME_PERMANENT, &err);
	secret_wipe(line, len);
	free(line);
	return ok();
}

/* Puts the current version into the line. */
static Outcome
write_line(SecretFile *file)
{
	const cJSON *current = secret_file_version(file, "current");
	SecretBuf password = {0};
	PgpassKey key = file->line;
	const char *code = "";
	char *text = NULL;
	size_t len = 0;
	RotorError err;
	FileResult result;
	Outcome outcome;

	if (file->made != NULL && file->made->password.len > 0 &&
		!secret_json_holds(current, file->made))
		return no_memory();
	key.username = job_string(current, "username");
	(void) error_set(&err, ROTOR_ERROR_FORMAT, "the current version has no user name");
	if (key.username != NULL && secret_json_copy(current, "password", &password, &err))
		text = pgpass_put(file->lines.data != NULL ? file->lines.data : "", file->lines.len, &key,
						  &password, &len, &err);
	secret_buf_wipe(&password);
	if (text == NULL)
		return outcome_of_error(
			err.code == ROTOR_ERROR_SPACE ? OUTCOME_TRANSIENT : OUTCOME_PERMANENT, &err);
	result = atomic_file_replace(&file->main, &file->access, text, len, &code, &err);
	outcome = of_result(result, code, &err);
	secret_wipe(text, len);
	free(text);
	return outcome;
}

Outcome
secret_file_write_promotion(SecretFile *file)
{
	Outcome outcome;

	if (!file->is_pgpass)
		return secret_file_write(file);
	/* From here on the new version is current, whatever becomes of the object. */
	outcome = write_line(file);
	if (outcome.class != OUTCOME_OK)
		return outcome;
	outcome = secret_file_write(file);
	if (outcome.class != OUTCOME_OK)
		outcome.class = OUTCOME_UNKNOWN;
	return outcome;
}

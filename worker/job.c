/*
 * job.c - reads a job; see job.h.
 *
 * Also where cJSON is told to wipe whatever it frees, before anything else of the program runs.
 */
#include "job.h"

#include <stdlib.h>
#include <string.h>

#include "wipe_heap.h"

static const char *const step_names[STEP_COUNT] = {
	[STEP_PUBLISH] = "publish", [STEP_SET] = "set",	  [STEP_TEST] = "test",
	[STEP_FINISH] = "finish",	[STEP_UNDO] = "undo", [STEP_RETIRE] = "retire",
};

/* What is asked of a job that does not say it. */
#define LEASE_SECONDS_MAX 86400

/* A tree holds passwords, and so do the texts that are read into it and printed from it. */
__attribute__((constructor)) static void
wipe_what_cjson_frees(void)
{
	cJSON_Hooks hooks = {.malloc_fn = malloc, .free_fn = wipe_free};

	cJSON_InitHooks(&hooks);
}

const char *
job_step_name(JobStep step)
{
	return (unsigned) step < STEP_COUNT ? step_names[step] : "unknown";
}

const char *
job_string(const cJSON *object, const char *name)
{
	return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
}

const char *
job_text(const cJSON *object, const char *name, const char *otherwise)
{
	const char *text = job_string(object, name);

	return text != NULL && text[0] != '\0' ? text : otherwise;
}

const char *
job_username(const Job *job, const JobValue *value)
{
	return value->username != NULL && value->username[0] != '\0' ? value->username : job->username;
}

bool
job_takes_turn(const Job *job)
{
	return job->pair != NULL && job_flag(job->pair, "resting", true);
}

bool
job_has_two_passwords(const Job *job)
{
	return strcmp(job_text(job->policy, "strategy", "staged"), "dual_write") == 0;
}

double
job_number(const cJSON *object, const char *name, double otherwise)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

	return cJSON_IsNumber(item) ? item->valuedouble : otherwise;
}

int
job_integer(const cJSON *object, const char *name, int otherwise)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

	return cJSON_IsNumber(item) ? item->valueint : otherwise;
}

bool
job_flag(const cJSON *object, const char *name, bool otherwise)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

	return cJSON_IsBool(item) ? cJSON_IsTrue(item) : otherwise;
}

/* The errors name what is missing, and never show what is there. */
static bool
bad(RotorError *err, const char *what)
{
	(void) error_set(err, ROTOR_ERROR_FORMAT, "the job has no valid %s", what);
	return error_hint(err, "The extension and this program must have the same version.");
}

static bool
read_uuid(const cJSON *object, const char *name, char uuid[UUID_SIZE])
{
	const char *text = job_string(object, name);

	if (text == NULL || strlen(text) != UUID_SIZE - 1)
		return false;
	memcpy(uuid, text, UUID_SIZE);
	return true;
}

/* Moves the password out of the tree, so that this buffer alone has it. */
static bool
take_password(cJSON *object, SecretBuf *password, RotorError *err)
{
	char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, "password"));
	bool taken;

	if (text == NULL)
		return true;
	taken = secret_buf_set(password, text, strlen(text), err);
	secret_wipe(text, strlen(text));
	return taken;
}

/* A value that may be absent or null. */
static bool
read_value(cJSON *tree, const char *name, JobValue *value, RotorError *err)
{
	cJSON *object = cJSON_GetObjectItemCaseSensitive(tree, name);

	if (object == NULL || cJSON_IsNull(object))
		return true;
	value->username = job_string(object, "username");
	if (!read_uuid(object, "id", value->id) || value->username == NULL ||
		value->username[0] == '\0')
		return bad(err, name);
	return take_password(object, &value->password, err);
}

static bool
read_step(const cJSON *tree, JobStep *step, RotorError *err)
{
	const char *name = job_string(tree, "step");

	for (int i = 0; name != NULL && i < STEP_COUNT; i++)
	{
		if (strcmp(name, step_names[i]) == 0)
		{
			*step = (JobStep) i;
			return true;
		}
	}
	return bad(err, "step");
}

static bool
read_peers(Job *job, RotorError *err)
{
	const cJSON *account = cJSON_GetObjectItemCaseSensitive(job->tree, "account");

	job->account = cJSON_GetObjectItemCaseSensitive(account, "options");
	job->username = job_string(account, "username");
	if (job->username == NULL || job->username[0] == '\0')
		return bad(err, "account");

	job->target = cJSON_GetObjectItemCaseSensitive(job->tree, "target");
	job->target_name = job_string(job->target, "name");
	job->target_type = job_string(job->target, "type");
	if (job->target_name == NULL || job->target_type == NULL)
		return bad(err, "target");

	job->store = cJSON_GetObjectItemCaseSensitive(job->tree, "store");
	job->store_name = job_string(job->store, "name");
	job->store_type = job_string(job->store, "type");
	job->store_key = job_string(job->store, "key");
	if (job->store_name == NULL || job->store_type == NULL)
		return bad(err, "store");

	job->policy = cJSON_GetObjectItemCaseSensitive(job->tree, "policy");
	job->pair = cJSON_GetObjectItemCaseSensitive(job->tree, "pair");
	if (job->pair != NULL && !cJSON_IsObject(job->pair))
		job->pair = NULL;
	if (job->pair != NULL && job_string(job->pair, "owner") == NULL)
		return bad(err, "pair");
	return true;
}

static bool
read_values(Job *job, RotorError *err)
{
	if (!read_value(job->tree, "version", &job->version, err) ||
		!read_value(job->tree, "former", &job->former, err) ||
		!read_value(job->tree, "previous", &job->previous, err) ||
		!read_value(job->tree, "admin", &job->admin, err))
		return false;
	/* An account is locked by its name, labels are moved by uuids alone; all else needs the value. */
	if (job->step == STEP_RETIRE)
		return true;
	if (job->version.id[0] == '\0' || (job->step != STEP_FINISH && job->version.password.len == 0))
		return bad(err, "version");
	return true;
}

static bool
read_job(Job *job, int64_t asked_at, RotorError *err)
{
	double seconds = job_number(job->tree, "lease_seconds", -1);
	double attempt = job_number(job->tree, "attempt", 0);

	if (!read_uuid(job->tree, "rotation", job->rotation))
		return bad(err, "rotation");
	if (!read_uuid(job->tree, "lease", job->lease))
		return bad(err, "lease");
	if (!(seconds > 0 && seconds <= LEASE_SECONDS_MAX))
		return bad(err, "lease_seconds");
	if (!(attempt >= 0 && attempt <= 1000000))
		return bad(err, "attempt");
	job->lease_end = asked_at + (int64_t) (seconds * 1000);
	job->attempt = (int) attempt;
	job->look = job_flag(job->tree, "look", false);
	job->emergency = job_flag(job->tree, "emergency", false);
	job->secret = job_string(job->tree, "secret");
	job->trigger = job_string(job->tree, "trigger");
	if (job->secret == NULL)
		return bad(err, "secret");
	return read_step(job->tree, &job->step, err) && read_peers(job, err) && read_values(job, err);
}

Job *
job_parse(const char *json, int64_t asked_at, RotorError *err)
{
	Job *job = calloc(1, sizeof(*job));

	if (job == NULL)
	{
		(void) error_set(err, ROTOR_ERROR_SPACE, "out of memory");
		return NULL;
	}
	job->tree = cJSON_Parse(json);
	if (!cJSON_IsObject(job->tree))
		(void) error_set(err, ROTOR_ERROR_FORMAT, "the job is no JSON object");
	else if (read_job(job, asked_at, err))
		return job;
	job_free(job);
	return NULL;
}

void
job_forget_passwords(Job *job)
{
	secret_buf_wipe(&job->version.password);
	secret_buf_wipe(&job->former.password);
	secret_buf_wipe(&job->previous.password);
	secret_buf_wipe(&job->admin.password);
}

void
job_free(Job *job)
{
	if (job == NULL)
		return;
	job_forget_passwords(job);
	cJSON_Delete(job->tree);
	free(job);
}

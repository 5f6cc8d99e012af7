/*
 * fuzz_job.c
 *		Jobs: the input is what claim() gave.
 *
 * Whatever it is, it is a job of which all that others rely on is there, or an error that shows nothing of it; and
 * a password lies in the job's own buffers, no longer in the tree that came with it.
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "job.h"

#define ASKED_AT 1000

static void
must_be_value(const Job *job, const char *name, const JobValue *value)
{
	const char *left = job_string(cJSON_GetObjectItemCaseSensitive(job->tree, name), "password");

	MUST(value->password.len <= SECRET_BUF_CAPACITY);
	MUST(left == NULL || left[0] == '\0');
	if (value->id[0] == '\0')
	{
		MUST(value->password.len == 0);
		return;
	}
	MUST(strlen(value->id) == UUID_SIZE - 1);
	MUST(value->username != NULL && value->username[0] != '\0');
}

static void
must_be_job(const Job *job)
{
	MUST(strlen(job->rotation) == UUID_SIZE - 1);
	MUST(strlen(job->lease) == UUID_SIZE - 1);
	MUST(job->lease_end >= ASKED_AT && job->lease_end <= ASKED_AT + 86400000);
	MUST(job->attempt >= 0);
	MUST((unsigned) job->step < STEP_COUNT);
	MUST(strcmp(job_step_name(job->step), "unknown") != 0);
	MUST(job->secret != NULL);
	MUST(job->username != NULL && job->username[0] != '\0');
	MUST(job->target_name != NULL && job->target_type != NULL);
	MUST(job->store_name != NULL && job->store_type != NULL);
	MUST(job->version.id[0] != '\0');
	MUST(job->step == STEP_FINISH || job->step == STEP_RETIRE || job->version.password.len > 0);
	must_be_value(job, "version", &job->version);
	must_be_value(job, "former", &job->former);
	must_be_value(job, "previous", &job->previous);
	must_be_value(job, "admin", &job->admin);
}

/* Only what is asked for is named, never what is there. */
static void
must_be_blind(const RotorError *err)
{
	static const char *const known[] = {
		"rotation", "lease", "lease_seconds", "attempt", "secret",	 "step", "account",
		"target",	"store", "version",		  "former",	 "previous", "admin"};
	static const char prefix[] = "the job has no valid ";
	bool found = strcmp(err->message, "the job is no JSON object") == 0;

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		found = found || (strncmp(err->message, prefix, sizeof(prefix) - 1) == 0 &&
						  strcmp(err->message + sizeof(prefix) - 1, known[i]) == 0);
	/* Of a password that is too long, as secret_buf says it. */
	MUST(found || err->code == ROTOR_ERROR_SPACE);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	RotorError err;
	Job *job;

	MUST(text != NULL);
	memcpy(text, data, size);
	text[size] = '\0';
	job = job_parse(text, ASKED_AT, &err);
	free(text);
	if (job != NULL)
		must_be_job(job);
	else
	{
		must_be_error(&err, ROTOR_ERROR_FORMAT, ROTOR_ERROR_SPACE);
		must_be_blind(&err);
	}
	job_free(job);
	return 0;
}

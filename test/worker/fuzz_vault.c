/*
 * fuzz_vault.c
 *		A Vault server that answers whatever it likes: the input is its answers, one after another.
 *
 * Of a call that writes, success is never believed without an answer that says so; what is read fits its
 * buffers; the store's words are printable.
 */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http_client.h"
#include "job_of.h"
#include "store.h"
#include "vault_session.h"

#define PASSWORD  "the new one"
#define MAX_CALLS 64

static Input answers;
static int calls;
static bool written; /* a write was answered by 200 */
static bool shown;	 /* an answer had the job's uuid in it */

/* ---- instead of http_client.c */

bool
http_client_init(RotorError *err __attribute__((unused)))
{
	return true;
}

static void
fill(HttpAnswer *answer, long status)
{
	Input body = take_bytes(&answers);

	answer->status = status;
	answer->retry_after_ms = take_byte(&answers);
	answer->body = malloc(body.len + 1);
	MUST(answer->body != NULL);
	memcpy(answer->body, body.data, body.len);
	answer->body[body.len] = '\0';
	answer->body_len = body.len;
}

/* A good answer to a reading, of which the input says what is in it; bytes alone would seldom be one. */
static void
fill_entry(HttpAnswer *answer)
{
	static const char *const data[] = {
		"null",
		"{}",
		"{\"username\":\"app\",\"password\":\"" PASSWORD
		"\",\"rotor_version\":\"00000000-0000-4000-8000-000000000001\"}",
		"{\"rotor_version\":\"00000000-0000-4000-8000-000000000001\"}",
		"{\"username\":\"app\",\"password\":\"old\",\"x\":"
		"12345678901234567890,\"rotor_version\":"
		"\"00000000-0000-4000-8000-000000000002\"}",
		"{\"password\":5}",
		"[]"};
	size_t which = take_byte(&answers) % (sizeof(data) / sizeof(data[0]));
	char text[512];

	(void) snprintf(text, sizeof(text), "{\"data\":{\"data\":%s,\"metadata\":{\"version\":%d}}}",
					data[which], (int) (int8_t) take_byte(&answers));
	answer->status = 200;
	answer->body = strdup(text);
	MUST(answer->body != NULL);
	answer->body_len = strlen(text);
}

HttpResult
http_send(const HttpRequest *request, HttpAnswer *answer, RotorError *err)
{
	static const long statuses[] = {200, 204, 400, 403, 404, 412, 429, 472, 473, 500, 502, 503};
	uint8_t kind = take_byte(&answers);
	bool login = strstr(request->url, "/auth/") != NULL;
	bool writes = strcmp(request->method, "POST") == 0 && strstr(request->url, "/data/") != NULL;

	MUST(++calls <= MAX_CALLS);
	MUST(strstr(request->url, PASSWORD) == NULL);
	memset(answer, 0, sizeof(*answer));
	/* Nothing is left to say. */
	if (answers.len == 0 || kind == 255)
	{
		(void) error_set(err, ROTOR_ERROR_SPACE, "no answer");
		return kind & 1 ? HTTP_NOT_SENT : HTTP_NO_ANSWER;
	}
	if (!login && !writes && kind >= 128)
		fill_entry(answer);
	else
		fill(answer, statuses[kind % (sizeof(statuses) / sizeof(statuses[0]))]);
	written = written || (writes && answer->status == 200);
	shown = shown || (!writes &&
					  memmem(answer->body, answer->body_len, uuid('1'), strlen(uuid('1'))) != NULL);
	return HTTP_ANSWERED;
}

void
http_answer_free(HttpAnswer *answer)
{
	free(answer->body);
	memset(answer, 0, sizeof(*answer));
}

/* ---- */

static void
must_be_outcome(const Outcome *outcome)
{
	MUST((unsigned) outcome->class < OUTCOME_COUNT);
	MUST(strnlen(outcome->code, sizeof(outcome->code)) < sizeof(outcome->code));
	MUST(strnlen(outcome->message, sizeof(outcome->message)) < sizeof(outcome->message));
	for (const char *at = outcome->message; *at != '\0'; at++)
		MUST((unsigned char) *at >= ' ' && *at != 0x7f);
	MUST(outcome->class == OUTCOME_OK || outcome->message[0] != '\0');
}

static void
drive(const Job *job, uint8_t what)
{
	StoreLabels labels;
	SecretBuf username = {0};
	SecretBuf password = {0};
	Outcome outcome;

	switch (what % 4)
	{
		case 0:
			outcome = store_vault.publish(job, job->lease_end);
			break;
		case 1:
			outcome = store_vault.promote(job, job->lease_end);
			break;
		case 2:
			outcome = store_vault.look(job, &labels, job->lease_end);
			MUST(strnlen(labels.current, UUID_SIZE) < UUID_SIZE);
			MUST(strnlen(labels.previous, UUID_SIZE) < UUID_SIZE);
			MUST(strnlen(labels.pending, UUID_SIZE) < UUID_SIZE);
			MUST(outcome.class != OUTCOME_UNKNOWN);
			break;
		default:
			outcome = store_vault.read(job, &username, &password, job->lease_end);
			MUST(outcome.class != OUTCOME_UNKNOWN);
			secret_buf_wipe(&username);
			secret_buf_wipe(&password);
	}
	must_be_outcome(&outcome);
	if (what % 4 < 2)
		MUST(outcome.class == OUTCOME_OK ? written || shown : !written);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char options[] = "{\"address\":\"http://127.0.0.1:1\"}";
	uint8_t what;
	Job *job;
	TestJob test = {.version = {uuid('1'), "app", PASSWORD},
					.former = {uuid('2'), "app", "old"},
					.store_options = options};

	answers = (Input){data, size};
	calls = 0;
	written = shown = false;
	what = take_byte(&answers);
	if (what & 64)
		test.former = (TestValue){0};
	job = job_of(&test);
	MUST(setenv("VAULT_TOKEN", "a token", 1) == 0);
	vault_forget_tokens();
	drive(job, what);
	job_free(job);
	return 0;
}

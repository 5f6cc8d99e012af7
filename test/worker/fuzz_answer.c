/*
 * fuzz_answer.c
 *		Answers of AWS Secrets Manager, their errors, and what is left of a password in them.
 *
 * What is certain of an answer is said again here from the rules, not from the code: only 200 with an object is
 * success; of a call that writes, an answer that does not say that nothing was done is never taken as if it did.
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "aws_api.h"

static void
must_be_text(const char *text, size_t size)
{
	MUST(strnlen(text, size) < size);
	for (; *text != '\0'; text++)
		MUST((unsigned char) *text >= ' ' && *text != 0x7f);
}

static void
must_fit(const Outcome *outcome, const HttpAnswer *answer, bool writes, const cJSON *reply)
{
	MUST((outcome->class == OUTCOME_OK) == (reply != NULL));
	if (reply != NULL)
	{
		MUST(answer->status == 200 && cJSON_IsObject(reply));
		return;
	}
	must_be_text(outcome->code, sizeof(outcome->code));
	must_be_text(outcome->message, sizeof(outcome->message));
	MUST(outcome->code[0] != '\0' && outcome->message[0] != '\0');
	MUST(outcome->class == OUTCOME_TRANSIENT || outcome->class == OUTCOME_PERMANENT ||
		 outcome->class == OUTCOME_UNKNOWN);
	if (answer->status == 200)
		MUST(outcome->class == (writes ? OUTCOME_UNKNOWN : OUTCOME_TRANSIENT));
	if (!writes)
		MUST(outcome->class != OUTCOME_UNKNOWN);
	MUST(answer->status < 500 || outcome->class != OUTCOME_PERMANENT);
	if (answer->status == 500 && writes)
		MUST(outcome->class == OUTCOME_UNKNOWN || aws_is_throttling(outcome->code));
	if (answer->status == 429 || answer->status == 503)
		MUST(outcome->class == OUTCOME_TRANSIENT);
}

/* No password is left as it is.  One with a star in it could be made anew by the stars in its place. */
static void
must_be_scrubbed(Outcome *outcome, const Input *password)
{
	SecretBuf value;
	RotorError err;

	memset(&value, 0, sizeof(value));
	if (password->len == 0 || memchr(password->data, '*', password->len) != NULL ||
		memchr(password->data, '\0', password->len) != NULL)
		return;
	MUST(secret_buf_set(&value, (const char *) password->data, password->len, &err));
	outcome_scrub(outcome, &value);
	MUST(strstr(outcome->message, value.data) == NULL);
	MUST(strstr(outcome->code, value.data) == NULL);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const long statuses[] = {200, 400, 403, 404, 429, 500, 502, 503, 504, 100, 999, 301};
	Input input = {data, size};
	HttpAnswer answer = {0};
	cJSON *reply = (cJSON *) &answer;
	uint8_t flags = take_byte(&input);
	Input password = take_bytes(&input);
	Input type = take_bytes(&input);
	Outcome outcome;

	answer.status = statuses[(flags >> 1) % (sizeof(statuses) / sizeof(statuses[0]))];
	if (type.len >= sizeof(answer.error_type))
		type.len = sizeof(answer.error_type) - 1;
	memcpy(answer.error_type, type.data, type.len);
	answer.body = malloc(input.len + 1);
	MUST(answer.body != NULL);
	memcpy(answer.body, input.data, input.len);
	answer.body[input.len] = '\0';
	answer.body_len = input.len;
	outcome = aws_judge_answer(&answer, flags & 1, &reply);
	must_fit(&outcome, &answer, flags & 1, reply);
	must_be_scrubbed(&outcome, &password);
	cJSON_Delete(reply);
	free(answer.body);
	return 0;
}

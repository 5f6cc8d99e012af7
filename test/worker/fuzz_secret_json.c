/*
 * fuzz_secret_json.c
 *		The object that a secret is at a store, read, filled and written: the input is the text.
 *
 * What was written reads as itself, long numbers keep their digits, what is not rotor's stays; what is no object is
 * refused without showing it.
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "job_of.h"
#include "secret_json.h"

#define LONG_NUMBER "12345678901234567890.00012345678901234567890"

static char *
print(const cJSON *tree)
{
	char *text = secret_json_print(tree, false);

	MUST(text != NULL);
	return text;
}

static cJSON *
read_again(const char *text)
{
	RotorError err;
	cJSON *tree = secret_json_parse(text, strlen(text), &err);

	MUST(tree != NULL);
	return tree;
}

/* Written once, it does not change any more. */
static void
must_read_as_itself(const cJSON *tree)
{
	char *once = print(tree);
	cJSON *again = read_again(once);
	char *twice = print(again);

	MUST(strcmp(once, twice) == 0);
	cJSON_free(twice);
	cJSON_Delete(again);
	cJSON_free(once);
}

static const char *
text_of(const cJSON *tree, const char *name)
{
	const char *text = job_string(tree, name);

	return text != NULL ? text : "";
}

/* The value is there, and nothing else is gone or another; before is what was written before. */
static void
must_be_filled(cJSON *tree, const Job *job)
{
	char *before_text = print(tree);
	cJSON *before = read_again(before_text);
	const cJSON *member;
	SecretBuf copy = {0};
	RotorError err;

	MUST(secret_json_fill(tree, job, &job->version, "rotor_version"));
	MUST(secret_json_holds(tree, &job->version));
	MUST(strcmp(text_of(tree, "rotor_version"), job->version.id) == 0);
	MUST(secret_json_copy(tree, "password", &copy, &err));
	MUST(strcmp(copy.data, job->version.password.data) == 0);
	secret_buf_wipe(&copy);
	cJSON_ArrayForEach(member, before)
	{
		const cJSON *after = cJSON_GetObjectItemCaseSensitive(tree, member->string);

		MUST(after != NULL);
		if (strcmp(member->string, "username") == 0 || strcmp(member->string, "password") == 0 ||
			strcmp(member->string, "rotor_version") == 0)
			continue;
		/* Of members whose names repeat the first one counts. */
		if (cJSON_GetObjectItemCaseSensitive(before, member->string) == member)
		{
			char *was = print(member);
			char *is = print(after);

			MUST(strcmp(was, is) == 0);
			cJSON_free(was);
			cJSON_free(is);
		}
	}
	cJSON_Delete(before);
	cJSON_free(before_text);
}

/* The input's object with a number in front that no double holds. */
static void
must_keep_digits(const char *text, size_t size)
{
	static const char front[] = "{\"n\":" LONG_NUMBER ",";
	const char *body = memchr(text, '{', size);
	char *longer = malloc(size + sizeof(front));
	RotorError err;
	cJSON *tree;

	MUST(longer != NULL && body != NULL);
	memcpy(longer, front, sizeof(front) - 1);
	memcpy(longer + sizeof(front) - 1, body + 1, size - (size_t) (body + 1 - text));
	size += sizeof(front) - 1 - (size_t) (body + 1 - text);
	tree = secret_json_parse(longer, size, &err);
	/* Of an empty object the comma is too much. */
	if (tree != NULL)
	{
		char *printed = print(tree);

		MUST(strstr(printed, "{\"n\":" LONG_NUMBER) == printed);
		cJSON_free(printed);
	}
	cJSON_Delete(tree);
	free(longer);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const TestJob value = {.version = {uuid('1'), "app", "p\"\\\001\xc3\xa9"}};
	RotorError err;
	cJSON *tree = secret_json_parse((const char *) data, size, &err);
	Job *job;

	if (tree == NULL)
	{
		must_be_error(&err, ROTOR_ERROR_FORMAT, ROTOR_ERROR_SPACE);
		return 0;
	}
	job = job_of(&value);
	MUST(cJSON_IsObject(tree));
	must_read_as_itself(tree);
	must_keep_digits((const char *) data, size);
	must_be_filled(tree, job);
	must_read_as_itself(tree);
	job_free(job);
	cJSON_Delete(tree);
	return 0;
}

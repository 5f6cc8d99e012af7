/*
 * fuzz_splice.c
 *		A secret's JSON at a store, of which some members are changed: the input is the text.
 *
 * What was to be set is set, and only that; all else reads as before; what is no object is refused.
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "json_splice.h"

static bool
is_among(const cJSON *object, const cJSON *member)
{
	return cJSON_GetObjectItemCaseSensitive(object, member->string) != NULL;
}

/* The same text is the same value; cJSON_Compare() takes an object whose names repeat for another than itself. */
static bool
is_same(const cJSON *a, const cJSON *b)
{
	char *a_text = cJSON_PrintUnformatted(a);
	char *b_text = cJSON_PrintUnformatted(b);
	bool same;

	MUST(a_text != NULL && b_text != NULL);
	same = strcmp(a_text, b_text) == 0;
	cJSON_free(a_text);
	cJSON_free(b_text);
	return same;
}

static void
check(const char *text, const cJSON *set, const cJSON *fill)
{
	RotorError err;
	cJSON *before = cJSON_Parse(text);
	char *spliced = json_splice(text, set, fill, &err);
	cJSON *after;
	const cJSON *member;

	if (spliced == NULL)
	{
		must_be_error(&err, ROTOR_ERROR_FORMAT, ROTOR_ERROR_SPACE);
		cJSON_Delete(before);
		return;
	}
	after = cJSON_Parse(spliced);
	MUST(cJSON_IsObject(before) && cJSON_IsObject(after));
	cJSON_ArrayForEach(member, set)
	{
		MUST(is_same(cJSON_GetObjectItemCaseSensitive(after, member->string), member));
	}
	cJSON_ArrayForEach(member, fill)
	{
		MUST(is_among(after, member));
		if (!is_among(before, member) && !is_among(set, member))
			MUST(is_same(cJSON_GetObjectItemCaseSensitive(after, member->string), member));
	}
	cJSON_ArrayForEach(member, before)
	{
		const cJSON *first = cJSON_GetObjectItemCaseSensitive(before, member->string);

		if (!is_among(set, member))
			MUST(is_same(cJSON_GetObjectItemCaseSensitive(after, member->string), first));
	}
	cJSON_ArrayForEach(member, after)
	{
		MUST(is_among(before, member) || is_among(set, member) || is_among(fill, member));
	}
	cJSON_Delete(after);
	cJSON_Delete(before);
	cJSON_free(spliced);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cJSON *set = cJSON_Parse("{\"username\":\"app\",\"password\":\"p\\\"\\\\\\u00e9\\n\"}");
	cJSON *fill = cJSON_Parse("{\"host\":\"db\",\"port\":5432}");
	char *text = malloc(size + 1);

	MUST(text != NULL && set != NULL && fill != NULL);
	memcpy(text, data, size);
	text[size] = '\0';
	check(text, set, NULL);
	check(text, set, fill);
	free(text);
	cJSON_Delete(set);
	cJSON_Delete(fill);
	return 0;
}

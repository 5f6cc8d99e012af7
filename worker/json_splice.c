/*
 * json_splice.c - changes members of a JSON object's text; see json_splice.h.
 *
 * cJSON says first that the text is an object. What is left for the scanner is to find where its members
 * begin and end; it gives up on whatever it does not expect, and never reads past the NUL.
 */
#include "json_splice.h"

#include <stdbool.h>
#include <string.h>

#include "secret_json.h"

#define BYTE_ORDER_MARK "\xef\xbb\xbf"

/* One member: text[name .. name_end) with its quotes, text[value .. value_end). */
typedef struct Member
{
	const char *name, *name_end;
	const char *value, *value_end;
} Member;

/* The text that comes out. */
typedef struct Output
{
	char *text; /* large enough from the beginning */
	size_t len;
	bool no_memory;
} Output;

/* cJSON's idea of white space. */
static const char *
skip_space(const char *c)
{
	while (*c != '\0' && (unsigned char) *c <= ' ')
		c++;
	return c;
}

/* Behind the string that begins at c; NULL if none does or it does not end. */
static const char *
skip_string(const char *c)
{
	if (*c++ != '"')
		return NULL;
	while (*c != '"')
	{
		if (*c == '\0' || (*c == '\\' && *++c == '\0'))
			return NULL;
		c++;
	}
	return c + 1;
}

/* Behind the value that begins at c; NULL if it does not end. */
static const char *
skip_value(const char *c)
{
	size_t depth = 0;

	do
	{
		if (*c == '"')
			c = skip_string(c);
		else if (*c == '{' || *c == '[')
		{
			depth++;
			c++;
		}
		else if (*c == '}' || *c == ']')
		{
			if (depth == 0)
				return c;
			depth--;
			c++;
		}
		else if (depth > 0 && *c != '\0')
			c++;
		else
			return c + strcspn(c, ",}] \t\r\n");
		if (c == NULL || (depth > 0 && *c == '\0'))
			return NULL;
	} while (depth > 0);
	return c;
}

/* Reads the member that begins at c; false if there is none. */
static bool
read_member(const char *c, Member *member)
{
	member->name = c;
	member->name_end = skip_string(c);
	if (member->name_end == NULL)
		return false;
	c = skip_space(member->name_end);
	if (*c != ':')
		return false;
	member->value = skip_space(c + 1);
	member->value_end = skip_value(member->value);
	return member->value_end != NULL && member->value_end > member->value;
}

static void
put(Output *output, const char *from, size_t len)
{
	memcpy(output->text + output->len, from, len);
	output->len += len;
	output->text[output->len] = '\0';
}

/* *found is the member of the object that has this name, which may hold escapes; NULL: there is none. */
static bool
find(Output *output, const cJSON *object, const Member *member, const cJSON **found)
{
	cJSON *name = cJSON_ParseWithLength(member->name, (size_t) (member->name_end - member->name));
	bool is_string = name != NULL && cJSON_IsString(name);

	/* The whole text was read before, so a name that is not is one for which there is no memory. */
	output->no_memory = name == NULL;
	*found = is_string ? cJSON_GetObjectItemCaseSensitive(object, name->valuestring) : NULL;
	cJSON_Delete(name);
	return is_string;
}

static bool
put_value(Output *output, const cJSON *value)
{
	char *printed = value != NULL ? cJSON_PrintUnformatted(value) : NULL;

	output->no_memory = printed == NULL;
	if (printed != NULL)
		put(output, printed, strlen(printed));
	cJSON_free(printed);
	return printed != NULL;
}

/* Adds the members of the object that tree, the text as it was, does not have. */
static bool
put_missing(Output *output, const cJSON *tree, const cJSON *object, bool *first)
{
	const cJSON *item;

	cJSON_ArrayForEach(item, object)
	{
		cJSON *name;
		bool ok;

		if (cJSON_GetObjectItemCaseSensitive(tree, item->string) != NULL)
			continue;
		if (!*first)
			put(output, ",", 1);
		*first = false;
		name = cJSON_CreateString(item->string);
		ok = put_value(output, name);
		cJSON_Delete(name);
		if (!ok)
			return false;
		put(output, ":", 1);
		if (!put_value(output, item))
			return false;
	}
	return true;
}

/*
 * More than the result can have: each value may stand for each member of a text that repeats its names. 0: out of
 * memory.
 */
static size_t
room(const char *text, const cJSON *tree, const cJSON *set, const cJSON *fill)
{
	char *set_text = cJSON_PrintUnformatted(set);
	char *fill_text = fill != NULL ? cJSON_PrintUnformatted(fill) : NULL;
	size_t set_len = set_text != NULL ? strlen(set_text) : 0;
	size_t fill_len = fill_text != NULL ? strlen(fill_text) : 0;
	size_t members = (size_t) cJSON_GetArraySize(tree);
	bool known = set_text != NULL && (fill == NULL || fill_text != NULL);

	cJSON_free(set_text);
	cJSON_free(fill_text);
	if (!known)
		return 0;
	return strlen(text) + (members + 1) * (set_len + 1) + fill_len + 2;
}

static bool
splice(const char *text, const cJSON *tree, const cJSON *set, const cJSON *fill, Output *output)
{
	const char *copied = text; /* up to here it is in the output */
	const char *c = text;
	bool first = true;
	Member member;

	if (strncmp(c, BYTE_ORDER_MARK, strlen(BYTE_ORDER_MARK)) == 0)
		c += strlen(BYTE_ORDER_MARK);
	c = skip_space(c);
	if (*c != '{')
		return false;
	c = skip_space(c + 1);
	while (*c != '}')
	{
		const cJSON *value;

		if (!read_member(c, &member))
			return false;
		first = false;
		if (!find(output, set, &member, &value))
			return false;
		if (value != NULL)
		{
			put(output, copied, (size_t) (member.value - copied));
			if (!put_value(output, value))
				return false;
			copied = member.value_end;
		}
		c = skip_space(member.value_end);
		if (*c == ',')
			c = skip_space(c + 1);
		else if (*c != '}')
			return false;
	}
	put(output, copied, (size_t) (c - copied));
	if (!put_missing(output, tree, set, &first) || !put_missing(output, tree, fill, &first))
		return false;
	put(output, c, strlen(c));
	return true;
}

char *
json_splice(const char *text, const cJSON *set, const cJSON *fill, RotorError *err)
{
	cJSON *tree = secret_json_read(text, strlen(text), true, err);
	Output output = {0};
	size_t size;

	if (tree == NULL && err->code == ROTOR_ERROR_SPACE)
		return NULL;
	if (!cJSON_IsObject(tree))
		error_set(err, ROTOR_ERROR_FORMAT, "not a JSON object");
	else if ((size = room(text, tree, set, fill)) == 0 ||
			 (output.text = cJSON_malloc(size)) == NULL)
		error_set(err, ROTOR_ERROR_SPACE, "out of memory");
	else if (!splice(text, tree, set, fill, &output))
	{
		cJSON_free(output.text);
		output.text = NULL;
		if (output.no_memory)
			error_set(err, ROTOR_ERROR_SPACE, "out of memory");
		else
			error_set(err, ROTOR_ERROR_FORMAT, "not a JSON object of a form that is known");
	}
	cJSON_Delete(tree);
	return output.text;
}

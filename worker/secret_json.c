/*
 * secret_json.c - the JSON object in which a store keeps a secret; see secret_json.h.
 *
 * cJSON keeps numbers as doubles. Those with more digits than a double has are therefore read as strings that begin
 * with a mark, and are turned into raw text in the tree.
 */
#include "secret_json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Digits that any double gives back. */
#define DIGITS_KEPT 15

/* As it is written in JSON, and as it is read. */
#define MARK_TEXT "\\u0001rotor-number:"
#define MARK	  "\001rotor-number:"

/* The end of a string that begins at the quotation mark at; *has_nul: it holds a NUL character. */
static const char *
string_end(const char *at, const char *end, bool *has_nul)
{
	for (at++; at < end && *at != '"'; at++)
	{
		if (*at != '\\' || at + 1 >= end)
			continue;
		if (end - at >= 6 && memcmp(at, "\\u0000", 6) == 0)
			*has_nul = true;
		at++;
	}
	return at < end ? at + 1 : end;
}

static bool
is_of_number(char c)
{
	return (c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E';
}

/* A byte that JSON has neither in strings nor between them, but that cJSON takes? */
static bool
has_control(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
	{
		if ((unsigned char) text[i] < ' ' && strchr("\t\n\r", text[i]) == NULL)
			return true;
	}
	return memchr(text, '\0', len) != NULL;
}

/* Copies text to out, where it fits, with long numbers made strings; returns the length. */
static size_t
mark_numbers(const char *text, size_t len, char *out, bool *has_nul)
{
	const char *at = text;
	const char *end = text + len;
	size_t used = 0;

	while (at < end)
	{
		const char *stop = at + 1;

		if (*at == '"')
			stop = string_end(at, end, has_nul);
		else if (is_of_number(*at))
		{
			while (stop < end && is_of_number(*stop))
				stop++;
			if (stop - at > DIGITS_KEPT)
			{
				out[used++] = '"';
				memcpy(out + used, MARK_TEXT, strlen(MARK_TEXT));
				used += strlen(MARK_TEXT);
				memcpy(out + used, at, (size_t) (stop - at));
				used += (size_t) (stop - at);
				out[used++] = '"';
				at = stop;
				continue;
			}
		}
		memcpy(out + used, at, (size_t) (stop - at));
		used += (size_t) (stop - at);
		at = stop;
	}
	out[used] = '\0';
	return used;
}

/* A token of number characters that JSON has as a number? */
static bool
is_number(const char *text)
{
	char *end;

	if (text[0] != '-' && (text[0] < '0' || text[0] > '9'))
		return false;
	(void) strtod(text, &end);
	return *end == '\0' && end[-1] != '.';
}

static bool
is_marked(const char *text)
{
	return text != NULL && strncmp(text, MARK, strlen(MARK)) == 0;
}

/* Turns the marked strings below item into raw numbers; false: one is no number, or is a name. */
static bool
unmark_numbers(cJSON *item) /* NOLINT(misc-no-recursion): cJSON limits the depth. */
{
	for (; item != NULL; item = item->next)
	{
		if (is_marked(item->string))
			return false;
		if (cJSON_IsString(item) && is_marked(item->valuestring))
		{
			char *digits = item->valuestring + strlen(MARK);

			if (!is_number(digits))
				return false;
			memmove(item->valuestring, digits, strlen(digits) + 1);
			item->type = cJSON_Raw | (item->type & ~0xff);
		}
		if (!unmark_numbers(item->child))
			return false;
	}
	return true;
}

cJSON *
secret_json_read(const char *text, size_t len, bool whole, RotorError *err)
{
	cJSON *tree;

	/* cJSON does not say why it gives up, but an allocation that fails does. */
	errno = 0;
	tree = cJSON_ParseWithLengthOpts(text, len + 1, NULL, whole);
	if (tree == NULL && errno == ENOMEM)
		(void) error_set(err, ROTOR_ERROR_SPACE, "out of memory");
	else if (tree == NULL)
		(void) error_set(err, ROTOR_ERROR_FORMAT, "not JSON");
	return tree;
}

cJSON *
secret_json_parse(const char *text, size_t len, RotorError *err)
{
	/* Each marked number has more than DIGITS_KEPT bytes of its own. */
	size_t capacity = len + (len / DIGITS_KEPT + 1) * (strlen(MARK_TEXT) + 2) + 1;
	char *marked = cJSON_malloc(capacity);
	bool has_nul = false;
	cJSON *tree = NULL;
	size_t used;

	if (marked == NULL)
	{
		(void) error_set(err, ROTOR_ERROR_SPACE, "out of memory");
		return NULL;
	}
	used = mark_numbers(text, len, marked, &has_nul);
	if (has_nul || has_control(text, len) ||
		memmem(text, len, MARK_TEXT, strlen(MARK_TEXT)) != NULL)
	{
		(void) error_set(err, ROTOR_ERROR_FORMAT, "a string has a character that is not supported");
		(void) error_hint(err,
						  "Remove control characters, such as those written \\u0000 or \\u0001.");
		goto cleanup;
	}
	tree = secret_json_read(marked, used, true, err);
	if (tree == NULL && err->code == ROTOR_ERROR_SPACE)
		goto cleanup;
	if (!cJSON_IsObject(tree) || !unmark_numbers(tree))
	{
		cJSON_Delete(tree);
		tree = NULL;
		(void) error_set(err, ROTOR_ERROR_FORMAT, "what is there is no JSON object");
		(void) error_hint(err, "Correct it, or move it away.");
	}
cleanup:
	cJSON_free(marked);
	return tree;
}

char *
secret_json_print(const cJSON *tree, bool pretty)
{
	return pretty ? cJSON_Print(tree) : cJSON_PrintUnformatted(tree);
}

/* libcjson up to 1.7.15 does not look whether there was memory for the name, and puts the item there without one. */
static bool
replace(cJSON *object, cJSON *member, const char *name, cJSON *replacement)
{
	size_t size = strlen(name) + 1;

	replacement->string = cJSON_malloc(size);
	if (replacement->string == NULL)
		return false;
	memcpy(replacement->string, name, size);
	return cJSON_ReplaceItemViaPointer(object, member, replacement);
}

/* Takes the item over, also if it fails. */
static bool
put(cJSON *object, const char *name, cJSON *item)
{
	cJSON *old = cJSON_GetObjectItemCaseSensitive(object, name);
	bool done;

	if (item == NULL)
		return false;
	done =
		old != NULL ? replace(object, old, name, item) : cJSON_AddItemToObject(object, name, item);
	if (!done)
		cJSON_Delete(item);
	return done;
}

bool
secret_json_set(cJSON *object, const char *name, const char *text)
{
	return put(object, name, cJSON_CreateString(text));
}

static const char *
engine_of(const Job *job)
{
	if (job->target_type == NULL)
		return NULL;
	if (strcmp(job->target_type, "postgresql") == 0 || strcmp(job->target_type, "self") == 0)
		return "postgres";
	return strcmp(job->target_type, "mysql") == 0 ? "mysql" : NULL;
}

static bool
set_where_missing(cJSON *object, const char *name, const char *text)
{
	return text == NULL || cJSON_GetObjectItemCaseSensitive(object, name) != NULL ||
		   secret_json_set(object, name, text);
}

bool
secret_json_fill(cJSON *object, const Job *job, const JobValue *value, const char *id_name)
{
	double port = job_number(job->target, "port", 0);

	if (port > 0 && cJSON_GetObjectItemCaseSensitive(object, "port") == NULL &&
		cJSON_AddNumberToObject(object, "port", port) == NULL)
		return false;
	return secret_json_set(object, "username", value->username) &&
		   (value->password.len == 0 ||
			secret_json_set(object, "password", value->password.data)) &&
		   secret_json_set(object, id_name, value->id) &&
		   set_where_missing(object, "engine", engine_of(job)) &&
		   set_where_missing(object, "host", job_string(job->target, "host")) &&
		   set_where_missing(object, "dbname", job_string(job->target, "dbname"));
}

static bool
equals(const char *text, const char *data, size_t len)
{
	return text != NULL && strlen(text) == len && memcmp(text, data, len) == 0;
}

bool
secret_json_holds(const cJSON *object, const JobValue *value)
{
	return value->username != NULL &&
		   equals(job_string(object, "username"), value->username, strlen(value->username)) &&
		   equals(job_string(object, "password"), value->password.data, value->password.len);
}

/* As secret_json_holds(); a value whose password is not known here has one, whichever. */
static bool
holds_some(const cJSON *object, const JobValue *value)
{
	if (value->password.len > 0)
		return secret_json_holds(object, value);
	return job_text(object, "password", NULL) != NULL && value->username != NULL &&
		   equals(job_string(object, "username"), value->username, strlen(value->username));
}

bool
secret_json_prove(const char *text, const char *const path[], const JobValue *value)
{
	cJSON *tree = cJSON_Parse(text);
	const cJSON *object = tree;
	bool holds;

	for (; *path != NULL; path++)
		object = cJSON_GetObjectItemCaseSensitive(object, *path);
	holds = holds_some(object, value);
	cJSON_Delete(tree);
	return holds;
}

bool
secret_json_gives_way(const Job *job, const char *id, const cJSON *value)
{
	if (value == NULL || job->former.id[0] == '\0' || job->emergency)
		return true;
	return strcmp(id, job->former.id) == 0 ||
		   (job->previous.id[0] != '\0' && strcmp(id, job->previous.id) == 0) ||
		   secret_json_holds(value, &job->former);
}

bool
secret_json_copy(const cJSON *object, const char *name, SecretBuf *out, RotorError *err)
{
	const char *text = job_string(object, name);

	return secret_buf_set(out, text, text != NULL ? strlen(text) : 0, err);
}

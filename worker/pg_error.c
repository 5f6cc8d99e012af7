/*
 * pg_error.c - see pg_error.h.
 */
#include "pg_error.h"

#include <string.h>

#include "words.h"

#define CODE_CHARS "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"

void
pg_error_say(PgError *err, const char *words)
{
	words_copy(err->message, sizeof(err->message), words, strlen(words));
}

/*
 * Where the server's own error begins in a verbose text: behind its severity, in whatever language, come a
 * colon, two blanks, the code, a colon and a blank. NULL if the server said nothing.
 */
static const char *
find_code(const char *text)
{
	for (const char *at = strstr(text, ":  "); at != NULL; at = strstr(at + 1, ":  "))
	{
		if (strspn(at + 3, CODE_CHARS) == 5 && strncmp(at + 8, ": ", 2) == 0)
			return at + 3;
	}
	return NULL;
}

/*
 * The server's function is in the last line: "LOCATION:  function, file:line". True, with the length of the
 * text before it, if there is such a line.
 */
static bool
read_location(PgError *err, const char *code, size_t *len)
{
	const char *last = memrchr(code, '\n', *len);
	const char *function = last != NULL ? strstr(last, ":  ") : NULL;
	size_t name;

	if (function == NULL)
		return false;
	function += 3;
	name = strcspn(function, ",\n");
	if (name == 0 || strncmp(function + name, ", ", 2) != 0)
		return false;
	err->location_known = true;
	err->in_authentication =
		name == strlen("auth_failed") && strncmp(function, "auth_failed", name) == 0;
	*len = (size_t) (last - code);
	return true;
}

void
pg_error_read(PgError *err, const char *text)
{
	const char *code = find_code(text);
	size_t len;

	err->location_known = err->in_authentication = false;
	memset(err->sqlstate, 0, sizeof(err->sqlstate));
	if (code == NULL)
	{
		pg_error_say(err, text);
		if (err->message[0] == '\0')
			pg_error_say(err, "the connection failed");
		return;
	}
	memcpy(err->sqlstate, code, 5);
	len = strlen(code);
	while (len > 0 && code[len - 1] == '\n')
		len--;
	(void) read_location(err, code, &len);
	words_copy(err->message, sizeof(err->message), code + 7, len - 7);
	if (err->message[0] == '\0')
		pg_error_say(err, "the server refused the connection");
}

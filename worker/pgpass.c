/*
 * pgpass.c - lines of a password file of libpq; see pgpass.h.
 */
#include "pgpass.h"

#include <stdlib.h>
#include <string.h>

/* How a line's four fields stand to a key. */
typedef enum Fit
{
	FIT_NOT,
	FIT_COVERS, /* by a wildcard */
	FIT_EXACT
} Fit;

/* Takes a field off *at, up to the colon, which must be there; compares it with the text. */
static Fit
take_field(const char **at, const char *end, const char *text, bool may_be_any)
{
	const char *c = *at;
	bool same = true;
	bool wildcard = end - c >= 2 && c[0] == '*' && c[1] == ':';

	if (wildcard)
	{
		*at = c + 2;
		return may_be_any && strcmp(text, "*") == 0 ? FIT_EXACT : FIT_COVERS;
	}
	for (; c < end && *c != ':'; c++)
	{
		if (*c == '\\' && c + 1 < end)
			c++;
		if (same && *text != '\0' && *text == *c)
			text++;
		else
			same = false;
	}
	if (c == end)
		return FIT_NOT;
	*at = c + 1;
	return same && *text == '\0' ? FIT_EXACT : FIT_NOT;
}

/* On a fit, *password is where the last field begins. */
static Fit
fit_line(const char *line, const char *end, const PgpassKey *key, const char **password)
{
	const char *const fields[] = {key->host, key->port, key->dbname, key->username};
	Fit all = FIT_EXACT;

	if (line == end || *line == '#')
		return FIT_NOT;
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
	{
		Fit fit = take_field(&line, end, fields[i], fields[i] != key->username);

		if (fit == FIT_NOT)
			return FIT_NOT;
		if (fit < all)
			all = fit;
	}
	*password = line;
	return all;
}

/* The end of the line without line feed and carriage returns; *next is where the next one begins. */
static const char *
line_end(const char *line, const char *end, const char **next)
{
	const char *feed = memchr(line, '\n', (size_t) (end - line));
	const char *stop = feed != NULL ? feed : end;

	*next = feed != NULL ? feed + 1 : end;
	while (stop > line && stop[-1] == '\r')
		stop--;
	return stop;
}

static bool
copy_password(const char *from, const char *end, SecretBuf *password)
{
	RotorError ignored; /* it is not ours if it is that long */

	secret_buf_wipe(password);
	for (; from < end && *from != ':'; from++)
	{
		if (*from == '\\' && from + 1 < end)
			from++;
		if (!secret_buf_append(password, from, 1, &ignored))
		{
			secret_buf_wipe(password);
			return false;
		}
	}
	return true;
}

bool
pgpass_find(const char *text, size_t len, const PgpassKey *key, SecretBuf *password)
{
	const char *end = text + len;
	const char *next;
	const char *from;

	for (const char *line = text; line < end; line = next)
	{
		const char *stop = line_end(line, end, &next);

		if (fit_line(line, stop, key, &from) != FIT_NOT)
			return copy_password(from, stop, password);
	}
	secret_buf_wipe(password);
	return false;
}

/* The new text while it is made; capacity suffices. */
static void
add(char *out, size_t *used, const char *data, size_t len)
{
	memcpy(out + *used, data, len);
	*used += len;
}

static void
add_field(char *out, size_t *used, const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
	{
		/* A host cannot begin a comment, and only a lone * is a wildcard. */
		if (text[i] == ':' || text[i] == '\\' || (i == 0 && text[i] == '#'))
			out[(*used)++] = '\\';
		out[(*used)++] = text[i];
	}
}

static void
add_line(char *out, size_t *used, const PgpassKey *key, const SecretBuf *password)
{
	const char *const fields[] = {key->host, key->port, key->dbname};

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
	{
		add_field(out, used, fields[i], strlen(fields[i]));
		out[(*used)++] = ':';
	}
	if (strcmp(key->username, "*") == 0)
		out[(*used)++] = '\\';
	add_field(out, used, key->username, strlen(key->username));
	out[(*used)++] = ':';
	add_field(out, used, password->data, password->len);
	out[(*used)++] = '\n';
}

static bool
check_text(const char *what, const char *text, size_t len, RotorError *err)
{
	if (len > 0 && memchr(text, '\n', len) == NULL && memchr(text, '\r', len) == NULL &&
		memchr(text, '\0', len) == NULL)
		return true;
	(void) error_set(err, ROTOR_ERROR_ARGUMENT, "a password file cannot hold the %s", what);
	return error_hint(err, "It may not be empty, nor have line ends. Use format \"json\".");
}

static bool
check_key(const PgpassKey *key, const SecretBuf *password, RotorError *err)
{
	return check_text("host", key->host, strlen(key->host), err) &&
		   check_text("port", key->port, strlen(key->port), err) &&
		   check_text("database", key->dbname, strlen(key->dbname), err) &&
		   check_text("user name", key->username, strlen(key->username), err) &&
		   check_text("password", password->data, password->len, err);
}

char *
pgpass_put(const char *text, size_t len, const PgpassKey *key, const SecretBuf *password,
		   size_t *out_len, RotorError *err)
{
	const char *end = text + len;
	const char *next;
	const char *ignored;
	size_t used = 0;
	bool written = false;
	char *out;

	if (!check_key(key, password, err))
		return NULL;
	out = malloc(len +
				 2 * (strlen(key->host) + strlen(key->port) + strlen(key->dbname) +
					  strlen(key->username) + password->len) +
				 16);
	if (out == NULL)
	{
		(void) error_set(err, ROTOR_ERROR_SPACE, "out of memory");
		return NULL;
	}
	for (const char *line = text; line < end; line = next)
	{
		Fit fit = fit_line(line, line_end(line, end, &next), key, &ignored);

		if (fit != FIT_NOT && !written)
		{
			add_line(out, &used, key, password);
			written = true;
		}
		/* Later ones for the very same key were never used. */
		if (fit == FIT_EXACT)
			continue;
		add(out, &used, line, (size_t) (next - line));
	}
	if (!written)
	{
		if (used > 0 && out[used - 1] != '\n')
			out[used++] = '\n';
		add_line(out, &used, key, password);
	}
	*out_len = used;
	return out;
}

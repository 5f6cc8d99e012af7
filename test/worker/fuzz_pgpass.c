/*
 * fuzz_pgpass.c
 *		Password files of libpq: the input is a file, a key and a password.
 *
 * What was put is what is found, every other line is there as it was and in its order, and what cannot be written
 * is refused.
 */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pgpass.h"

static char *
take_text(Input *input)
{
	Input bytes = take_bytes(input);
	char *text = malloc(bytes.len + 1);

	MUST(text != NULL);
	memcpy(text, bytes.data, bytes.len);
	text[bytes.len] = '\0';
	return text;
}

/* The next line that says nothing of the key, with its end; 0 bytes if there is none. */
static size_t
next_other(const char **at, const char *end, const PgpassKey *key)
{
	SecretBuf ignored;

	memset(&ignored, 0, sizeof(ignored));
	while (*at < end)
	{
		const char *feed = memchr(*at, '\n', (size_t) (end - *at));
		size_t len = (size_t) ((feed != NULL ? feed + 1 : end) - *at);

		if (!pgpass_find(*at, len, key, &ignored))
			return len;
		*at += len;
	}
	return 0;
}

/* All lines that say nothing of the key are in both, in the same order. */
static bool
keeps_others(const char *text, size_t len, const char *out, size_t out_len, const PgpassKey *key)
{
	const char *a = text;
	const char *b = out;

	for (;;)
	{
		size_t a_len = next_other(&a, text + len, key);
		size_t b_len = next_other(&b, out + out_len, key);
		/* The last of the text may have had no end. */
		size_t added = a_len != 0 && a[a_len - 1] != '\n' && b_len == a_len + 1;

		if (a_len + added != b_len || memcmp(a, b, a_len) != 0)
			return false;
		if (a_len == 0)
			return true;
		a += a_len;
		b += b_len;
	}
}

static void
check(const char *text, size_t len, const PgpassKey *key, const SecretBuf *password)
{
	SecretBuf found;
	SecretBuf again;
	RotorError err;
	size_t out_len = 0;
	char *out = pgpass_put(text, len, key, password, &out_len, &err);
	char *twice;
	size_t twice_len = 0;

	put_former_value(&found);
	put_former_value(&again);
	if (out == NULL)
	{
		must_be_error(&err, ROTOR_ERROR_ARGUMENT, ROTOR_ERROR_SPACE);
		return;
	}
	MUST(pgpass_find(out, out_len, key, &found));
	MUST(found.len == password->len && memcmp(found.data, password->data, found.len) == 0);
	/* A password that is too long for anybody makes a line that says nothing. */
	MUST(len > SECRET_BUF_CAPACITY || keeps_others(text, len, out, out_len, key));
	/* To put the same once more changes nothing. */
	twice = pgpass_put(out, out_len, key, password, &twice_len, &err);
	MUST(twice != NULL && twice_len == out_len && memcmp(twice, out, out_len) == 0);
	free(twice);
	free(out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Input input = {data, size};
	char *host = take_text(&input);
	char *port = take_text(&input);
	char *dbname = take_text(&input);
	char *username = take_text(&input);
	Input bytes = take_bytes(&input);
	PgpassKey key = {host, port, dbname, username};
	SecretBuf password;
	RotorError err;

	memset(&password, 0, sizeof(password));
	MUST(secret_buf_set(&password, (const char *) bytes.data, bytes.len, &err));
	if (host[0] != '\0' && port[0] != '\0' && dbname[0] != '\0' && username[0] != '\0' &&
		bytes.len > 0)
		check((const char *) input.data, input.len, &key, &password);
	free(host);
	free(port);
	free(dbname);
	free(username);
	return 0;
}

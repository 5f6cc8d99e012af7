/*
 * fuzz_pg_error.c
 *		What libpq says of a connection that failed: the input is its text.
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "pg_error.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char code_chars[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
	char *text = malloc(size + 1);
	PgError err;

	MUST(text != NULL);
	memcpy(text, data, size);
	text[size] = '\0';
	memset(&err, 0, sizeof(err));
	err.used_password = (size & 1) != 0;
	pg_error_read(&err, text);
	MUST(err.used_password == ((size & 1) != 0));
	MUST(err.sqlstate[0] == '\0' ||
		 (strspn(err.sqlstate, code_chars) == 5 && err.sqlstate[5] == '\0'));
	MUST(strnlen(err.message, sizeof(err.message)) < sizeof(err.message));
	MUST(err.message[0] != '\0' && strpbrk(err.message, "\r\n") == NULL);
	/* Who does not say where it refused does not say that it was at authentication. */
	MUST(err.location_known || !err.in_authentication);
	free(text);
	return 0;
}

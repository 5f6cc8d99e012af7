/*
 * error.c
 *		Fills RotorError; see error.h.
 */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>

#include <openssl/err.h>

bool
error_set(RotorError *err, RotorErrorCode code, const char *fmt, ...)
{
	va_list args;

	err->code = code;
	err->detail[0] = '\0';
	err->hint[0] = '\0';
	va_start(args, fmt);
	(void) vsnprintf(err->message, sizeof(err->message), fmt, args);
	va_end(args);
	return false;
}

bool
error_detail(RotorError *err, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	(void) vsnprintf(err->detail, sizeof(err->detail), fmt, args);
	va_end(args);
	return false;
}

bool
error_hint(RotorError *err, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	(void) vsnprintf(err->hint, sizeof(err->hint), fmt, args);
	va_end(args);
	return false;
}

bool
error_set_crypto(RotorError *err, const char *what)
{
	const char *reason = ERR_reason_error_string(ERR_peek_last_error());

	(void) error_set(err, ROTOR_ERROR_CRYPTO, "could not %s", what);
	if (reason != NULL)
		(void) error_detail(err, "OpenSSL reports: %s.", reason);
	ERR_clear_error();
	return false;
}

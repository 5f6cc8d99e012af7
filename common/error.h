/*
 * error.h
 *		One way to say what went wrong, for code that neither logs nor exits.
 *
 * Every function of common/ that can fail returns false and fills the
 * RotorError its caller passed; on success it returns true and leaves the
 * RotorError alone.  The pointer is never NULL.
 *
 * What always holds: all three texts are NUL-terminated, detail and hint may be
 * empty, and no text ever holds a secret.  No memory is allocated.
 *
 * Called by all of common/; the extension turns a RotorError into ereport(), the
 * worker into one log line.
 */
#ifndef ROTOR_COMMON_ERROR_H
#define ROTOR_COMMON_ERROR_H

#include <stdbool.h>

#define ERROR_TEXT_SIZE 256

typedef enum RotorErrorCode
{
	ROTOR_ERROR_NONE,			/* nothing went wrong */
	ROTOR_ERROR_ARGUMENT,		/* the caller's value is bad */
	ROTOR_ERROR_FORMAT,			/* malformed input data */
	ROTOR_ERROR_AUTHENTICATION, /* wrong key or altered data */
	ROTOR_ERROR_NOT_FOUND,		/* what was asked for is not there */
	ROTOR_ERROR_CRYPTO,			/* the cryptographic library failed */
	ROTOR_ERROR_SPACE,			/* the result does not fit */
	ROTOR_ERROR_CODE_COUNT
} RotorErrorCode;

typedef struct RotorError
{
	RotorErrorCode code;
	char message[ERROR_TEXT_SIZE]; /* lower case, no period */
	char detail[ERROR_TEXT_SIZE];  /* a fact, a sentence; may be empty */
	char hint[ERROR_TEXT_SIZE];	   /* a remedy, a sentence; may be empty */
} RotorError;

#define ERROR_PRINTF __attribute__((format(printf, 2, 3)))

/*
 * Fills *err with a code and a printf-style message, cut at ERROR_TEXT_SIZE - 1
 * bytes, and empties detail and hint.  Always returns false, so that a caller can
 * write "return error_set(...)".
 */
extern bool error_set(RotorError *err, RotorErrorCode code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Sets the detail of an error already set; always returns false. */
extern bool error_detail(RotorError *err, const char *fmt, ...) ERROR_PRINTF;

/* Sets the hint of an error already set; always returns false. */
extern bool error_hint(RotorError *err, const char *fmt, ...) ERROR_PRINTF;

/*
 * Fills *err with ROTOR_ERROR_CRYPTO, "could not <what>", and the reason OpenSSL
 * gives as detail, and empties this thread's OpenSSL error queue, so that a TLS
 * connection of the same process does not read our error as its own.  OpenSSL's
 * reasons are fixed texts, hence hold no secret.  Always returns false.
 */
extern bool error_set_crypto(RotorError *err, const char *what);

#endif /* ROTOR_COMMON_ERROR_H */

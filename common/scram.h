/*
 * scram.h
 *		Builds the SCRAM-SHA-256 verifier that PostgreSQL stores for a password, so
 *		that the password itself need not travel.
 *
 * What always holds: the verifier is what PostgreSQL would compute for the same
 * password, salt and iteration count, and all intermediate keys are wiped.  A
 * password that SASLprep (RFC 4013) might change is refused, not guessed at.
 *
 * Called by the extension's role module (ALTER ROLE) and by the worker's
 * PostgreSQL target.
 */
#ifndef ROTOR_COMMON_SCRAM_H
#define ROTOR_COMMON_SCRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

#define SCRAM_DEFAULT_ITERATIONS 4096
#define SCRAM_MIN_ITERATIONS	 1
#define SCRAM_MAX_ITERATIONS	 10000000

#define SCRAM_SALT_LEN	   16  /* bytes of a salt made here, as in PostgreSQL */
#define SCRAM_SALT_MAX	   64  /* bytes of a salt given by the caller */
#define SCRAM_VERIFIER_MAX 256 /* bytes of the text form, with the NUL */

/*
 * Writes to out the NUL-terminated verifier
 *	  SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>
 * (the last three in base64) of RFC 5802 section 3 and RFC 7677, in PostgreSQL's
 * form.
 *
 * password: len bytes (1 .. SECRET_BUF_CAPACITY) of printable ASCII, space
 * included, for which SASLprep is the identity; it need not be NUL-terminated.
 * iterations: SCRAM_MIN_ITERATIONS .. SCRAM_MAX_ITERATIONS; time grows with it, about
 * a millisecond for the default.
 * salt: salt_len bytes (1 .. SCRAM_SALT_MAX), or NULL for SCRAM_SALT_LEN random ones
 * (salt_len is then ignored).
 * Errors: ARGUMENT, CRYPTO; out is then an empty string.
 */
extern bool
scram_build_verifier(const char *password, size_t len, int iterations, const uint8_t *salt,
					 size_t salt_len, char out[SCRAM_VERIFIER_MAX], RotorError *err);

#endif /* ROTOR_COMMON_SCRAM_H */

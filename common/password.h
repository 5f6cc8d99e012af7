/*
 * password.h
 *		Makes the values that rotation installs: passwords of character classes,
 *		hexadecimal strings, UUIDs.
 *
 * What always holds: a password is drawn uniformly from exactly the set of
 * passwords its spec allows; no position, no character and no class is preferred.
 * Values are ASCII and never hold a space.
 *
 * Called by rotation for each new version, by the SQL function generate_password
 * (600,000 calls a second in one backend), and by policy checks for password_spec_check.
 */
#ifndef ROTOR_COMMON_PASSWORD_H
#define ROTOR_COMMON_PASSWORD_H

#include <stdbool.h>

#include "error.h"
#include "secret_buf.h"

#define PASSWORD_MIN_LENGTH 8
#define PASSWORD_MAX_LENGTH 1024

#define PASSWORD_HEX_MIN_BYTES 4
#define PASSWORD_HEX_MAX_BYTES 512

typedef struct PasswordSpec
{
	int length;				/* characters, PASSWORD_MIN_LENGTH .. PASSWORD_MAX_LENGTH */
	bool uppercase;			/* A-Z */
	bool lowercase;			/* a-z */
	bool digits;			/* 0-9 */
	bool symbols;			/* the 32 punctuation characters of ASCII */
	const char *exclude;	/* characters never to be used; may be NULL; not owned */
	bool require_each_type; /* at least one character of each class switched on */
} PasswordSpec;

/*
 * Tells whether passwords can be made from spec.  exclude may name any printable
 * ASCII characters, repeatedly, including the space and those of classes that are
 * off.
 * Error: ARGUMENT with the reason and a hint, in this order: length below the
 * number of required classes; length out of range; all classes off; exclude
 * holds something other than printable ASCII; a required class wholly excluded (the
 * message names it); everything excluded.
 */
extern bool password_spec_check(const PasswordSpec *spec, RotorError *err);

/*
 * Replaces the content of out by a new password of spec->length characters.
 * Errors: those of password_spec_check; CRYPTO if the random source fails or is not
 * random.  out is then empty.
 */
extern bool password_generate(const PasswordSpec *spec, SecretBuf *out, RotorError *err);

/*
 * Replaces the content of out by `bytes` random bytes (PASSWORD_HEX_MIN_BYTES ..
 * PASSWORD_HEX_MAX_BYTES) as 2 * bytes lower-case hexadecimal digits.
 * Errors: ARGUMENT if bytes is out of range; CRYPTO.  out is then empty.
 */
extern bool password_generate_hex(int bytes, SecretBuf *out, RotorError *err);

/*
 * Replaces the content of out by a random UUID, version 4 of RFC 9562 (section 5.4),
 * in its text form of 36 lower-case characters: 122 random bits.
 * Error: CRYPTO.  out is then empty.
 */
extern bool password_generate_uuid(SecretBuf *out, RotorError *err);

#endif /* ROTOR_COMMON_PASSWORD_H */

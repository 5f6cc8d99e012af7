/*
 * keyfile.h
 *		Reads and writes the text of a master key file, which is also what a key
 *		command prints.
 *
 * The text is lines of `id:key`.  id is 1 to 63 of A-Z a-z 0-9 . _ -; key is 32 bytes
 * as 64 hexadecimal digits or as padded base64 (44 characters).  Lines that are blank
 * or start with # are skipped, a line may end in CR LF, the last may lack its end.
 * The last key is the newest: new values are sealed with it, older ones stay for
 * reading.
 *
 * What always holds: a text is used only if all of it is valid; errors name the line and
 * at most an id the caller asked for, never what a line holds.  Opening files is the
 * caller's business.
 *
 * Called by the extension's master_key.
 */
#ifndef ROTOR_COMMON_KEYFILE_H
#define ROTOR_COMMON_KEYFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "seal.h"
#include "secret_buf.h"

#define KEYFILE_MAX_SIZE 65536
#define KEYFILE_ID_MAX	 63

typedef struct MasterKey
{
	char id[KEYFILE_ID_MAX + 1];
	uint8_t key[SEAL_KEY_LEN];
} MasterKey;

/*
 * The text of a key file.  Nothing behind data[len] has held a key that was not wiped;
 * whoever has a text wipes it after use.
 */
typedef struct KeyfileText
{
	size_t len;
	char data[KEYFILE_MAX_SIZE];
} KeyfileText;

/*
 * Finds the key `id`, or the newest one if id is NULL, in len bytes of text (0 ..
 * KEYFILE_MAX_SIZE; need not be NUL-terminated) after validating all of it.  The caller
 * wipes *out after use.
 * Errors: ARGUMENT if id is not a valid id; FORMAT if a line is malformed, an id occurs
 * twice, the text is too large or holds no key; NOT_FOUND, which names the id.  *out is
 * then wiped.
 */
extern bool
keyfile_find(const char *text, size_t len, const char *id, MasterKey *out, RotorError *err);

/* Tells whether id has the form of a key id.  Error: ARGUMENT. */
extern bool keyfile_check_id(const char *id, RotorError *err);

/*
 * Makes a random key, with an id of "key-" and 8 random hexadecimal digits.  The caller
 * wipes *out after use.
 * Error: CRYPTO; *out is then wiped.
 */
extern bool keyfile_new(MasterKey *out, RotorError *err);

/*
 * Replaces the content of out by the line of key, "id:", 64 lower-case hexadecimal
 * digits and a line feed.
 * Error: ARGUMENT if the id is not valid; out is then empty.
 */
extern bool keyfile_format_line(const MasterKey *key, SecretBuf *out, RotorError *err);

/*
 * Copies the key of the next key line from *offset (0 at first) on to *out and moves
 * *offset behind it.  False at the end of the text, or at a line that is malformed; *out
 * is then wiped.  The caller wipes *out after use.
 */
extern bool keyfile_next(const char *text, size_t len, size_t *offset, MasterKey *out);

/*
 * Appends key to a valid text, which may hold no key yet, as the newest.  All that the text
 * holds stays as it is, comments too.
 * Errors: FORMAT if the text is not valid; ARGUMENT if key's id is not, or is there already;
 * SPACE if it does not fit.  The text is then unchanged.
 */
extern bool keyfile_append(KeyfileText *text, const MasterKey *key, RotorError *err);

/*
 * Takes the line of the key `id` out of a valid text; all else stays as it is.
 * Errors: ARGUMENT if id is not a valid id; FORMAT if the text is not valid or holds no key;
 * NOT_FOUND, which names the id.  The text is then unchanged.
 */
extern bool keyfile_remove(KeyfileText *text, const char *id, RotorError *err);

/*
 * Adds those keys of older that text lacks, in their order, before the first key of text: its
 * newest stays the newest.  Either may hold no key.
 * Errors: FORMAT if one of the texts is not valid; ARGUMENT, which names the id, if both hold
 * an id with different keys; SPACE if it does not fit.  The text is then unchanged.
 */
extern bool keyfile_merge(KeyfileText *text, const KeyfileText *older, RotorError *err);

#endif /* ROTOR_COMMON_KEYFILE_H */

/*
 * seal.h
 *		Seals a value for storage with AES-256-GCM (NIST SP 800-38D) and opens it.
 *
 * A sealed value is
 *	  version byte 0x01 | nonce, 12 bytes | ciphertext | tag, 16 bytes
 * and is SEAL_OVERHEAD longer than its plain value.  The version byte is
 * authenticated by being the only one accepted.
 *
 * What always holds: each sealing draws a fresh random nonce (so one key must not
 * seal more than 2^32 values, SP 800-38D section 8.3); a plain value leaves seal_open
 * only after its tag was verified; whatever can be sealed fits the SecretBuf it is
 * opened into; the key schedule is wiped on return.  Safe to call from several
 * threads.
 *
 * Called by the extension's keyring for values and wrapped data keys, by keyfile for
 * the length of a key.
 */
#ifndef ROTOR_COMMON_SEAL_H
#define ROTOR_COMMON_SEAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "secret_buf.h"

#define SEAL_KEY_LEN   32
#define SEAL_NONCE_LEN 12
#define SEAL_TAG_LEN   16
#define SEAL_OVERHEAD  (1 + SEAL_NONCE_LEN + SEAL_TAG_LEN)
#define SEAL_MAX_LEN   (SECRET_BUF_CAPACITY + SEAL_OVERHEAD) /* longest sealed value */
#define SEAL_CHECK_LEN 16

/*
 * Seals plain_len bytes (0 .. SECRET_BUF_CAPACITY) under key, bound to aad (aad_len
 * bytes, 0 .. 65536; NULL if 0), which opening has to present again.  Writes to out,
 * of at least plain_len + SEAL_OVERHEAD bytes, and sets *out_len.  out must not overlap
 * the inputs.
 * Errors: ARGUMENT if a length is out of range, SPACE, CRYPTO; *out_len is then 0.
 */
extern bool
seal_value(const uint8_t key[SEAL_KEY_LEN], const void *aad, size_t aad_len, const void *plain,
		   size_t plain_len, uint8_t *out, size_t out_size, size_t *out_len, RotorError *err);

/*
 * Opens a sealed value of sealed_len bytes and replaces the content of out by the
 * plain value.
 * Errors: AUTHENTICATION if key or aad is not the one it was sealed with or a byte was
 * altered; FORMAT if it is too short, too long or of an unknown version; ARGUMENT if
 * aad_len is out of range; CRYPTO.  out is then empty and wiped.
 */
extern bool seal_open(const uint8_t key[SEAL_KEY_LEN], const void *aad, size_t aad_len,
					  const void *sealed, size_t sealed_len, SecretBuf *out, RotorError *err);

/*
 * Writes a check value of key, HMAC-SHA-256(key, "rotor key check") cut to
 * SEAL_CHECK_LEN bytes (RFC 2104 section 5), that may be stored in the open: it tells a
 * wrong key from damaged data and says nothing else about the key.
 * Error: CRYPTO; out is then zeroed.
 */
extern bool
seal_check_value(const uint8_t key[SEAL_KEY_LEN], uint8_t out[SEAL_CHECK_LEN], RotorError *err);

#endif /* ROTOR_COMMON_SEAL_H */

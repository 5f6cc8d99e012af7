/*
 * codec.h
 *		Text forms of bytes: base64, hexadecimal, percent-encoding.
 *
 * What always holds: decoding is strict, each value has one accepted text (in
 * hexadecimal: two, by case); nothing is written past out_size; errors tell a
 * position at most, never content, because the content may be a key.  Input and
 * output must not overlap.
 *
 * Called by scram, keyfile and password, by the extension for fingerprints, and by the
 * worker for URLs and store payloads.
 */
#ifndef ROTOR_COMMON_CODEC_H
#define ROTOR_COMMON_CODEC_H

#include <stdbool.h>
#include <stddef.h>

#include "error.h"
#include "secret_buf.h"

/* Bytes that encoding len bytes needs, with the NUL. */
#define CODEC_BASE64_SIZE(len) (((len) + 2) / 3 * 4 + 1)
#define CODEC_HEX_SIZE(len)	   (2 * (len) + 1)

/* The longest input of one call, in bytes. */
#define CODEC_MAX_INPUT ((size_t) 16 * 1024 * 1024)

/*
 * Writes the base64 text (RFC 4648 section 4, padded, one line) of len bytes
 * (0 .. CODEC_MAX_INPUT) and a NUL.  out_size must be at least
 * CODEC_BASE64_SIZE(len).
 * Errors: ARGUMENT if len is too long, SPACE; out is then untouched.
 */
extern bool
codec_base64_encode(const void *in, size_t len, char *out, size_t out_size, RotorError *err);

/*
 * Decodes len characters (0 .. CODEC_MAX_INPUT) of base64 (RFC 4648 section 4) and
 * sets *out_len to the number of bytes, which must fit out_size; no NUL is added.
 * Refused, as sections 3.2, 3.3 and 3.5 allow: white space or other foreign
 * characters, missing or misplaced padding, unused bits that are not zero.
 * Errors: ARGUMENT if len is too long, FORMAT, SPACE; *out_len is then 0 and out
 * untouched.
 */
extern bool codec_base64_decode(const char *in, size_t len, void *out, size_t out_size,
								size_t *out_len, RotorError *err);

/*
 * Writes len bytes (0 .. CODEC_MAX_INPUT) as lower-case hexadecimal (RFC 4648
 * section 8) and a NUL.  out_size must be at least CODEC_HEX_SIZE(len).
 * Errors: ARGUMENT if len is too long, SPACE; out is then untouched.
 */
extern bool
codec_hex_encode(const void *in, size_t len, char *out, size_t out_size, RotorError *err);

/*
 * Decodes len characters (0 .. CODEC_MAX_INPUT, even) of hexadecimal in either case
 * and sets *out_len to len / 2, which must fit out_size; no NUL is added.
 * Errors: ARGUMENT if len is too long, FORMAT, SPACE; *out_len is then 0 and out
 * untouched.
 */
extern bool codec_hex_decode(const char *in, size_t len, void *out, size_t out_size,
							 size_t *out_len, RotorError *err);

/*
 * Appends len bytes to out, each but the unreserved characters (RFC 3986 section
 * 2.3: A-Z a-z 0-9 - . _ ~) as % and two upper-case digits (section 2.1): fit for any
 * part of a URL.
 * Error: SPACE if the result does not fit; out is then unchanged.
 */
extern bool codec_percent_encode(const char *in, size_t len, SecretBuf *out, RotorError *err);

#endif /* ROTOR_COMMON_CODEC_H */

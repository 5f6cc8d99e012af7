/*
 * secret_buf.h
 *		The one place where a secret may live: a buffer of fixed capacity, inline,
 *		without heap, that is wiped after use.
 *
 * What always holds: len <= SECRET_BUF_CAPACITY, data[len] is NUL, and no byte
 * behind data[len] has held a secret that was not wiped.  The last point is what
 * makes wiping len bytes enough; whoever writes to data directly keeps it by
 * setting len first to the most bytes that will be written.  A zeroed struct is a
 * valid empty buffer.
 *
 * A SecretBuf is not copied by assignment and not returned by value: each copy
 * would have to be wiped too.
 *
 * Called by whatever handles a password or a plain value: password, seal,
 * keyfile, codec, and the modules of the extension and the worker.
 */
#ifndef ROTOR_COMMON_SECRET_BUF_H
#define ROTOR_COMMON_SECRET_BUF_H

#include <stdbool.h>
#include <stddef.h>

#include "error.h"

#define SECRET_BUF_CAPACITY 4096

typedef struct SecretBuf
{
	size_t len;							/* bytes in use, without the NUL */
	char data[SECRET_BUF_CAPACITY + 1]; /* always NUL-terminated */
} SecretBuf;

/*
 * Overwrites what buf holds and makes it empty.  Costs in proportion to len, so
 * it is cheap for an empty buffer; may be called any number of times.
 */
extern void secret_buf_wipe(SecretBuf *buf);

/*
 * Appends len bytes (0 .. SECRET_BUF_CAPACITY - buf->len) of data, which may hold
 * NULs, may be NULL if len is 0, and may lie within buf itself.
 * Error: SPACE if it does not fit; buf is then unchanged.
 */
extern bool secret_buf_append(SecretBuf *buf, const void *data, size_t len, RotorError *err);

/*
 * Replaces the content of buf by len bytes (0 .. SECRET_BUF_CAPACITY) of data, under
 * the terms of secret_buf_append; what a longer former content leaves over is wiped.
 * Error: SPACE if it does not fit; buf is then unchanged.
 */
extern bool secret_buf_set(SecretBuf *buf, const void *data, size_t len, RotorError *err);

/* Overwrites len bytes at p, in a way the compiler may not leave out; p may be NULL if len is 0. */
extern void secret_wipe(void *p, size_t len);

#endif /* ROTOR_COMMON_SECRET_BUF_H */

/*
 * secret_buf.c
 *		The buffer secrets live in; see secret_buf.h.
 */
#include "secret_buf.h"

#include <string.h>

#include <openssl/crypto.h>

void
secret_wipe(void *p, size_t len)
{
	if (len > 0)
		OPENSSL_cleanse(p, len);
}

void
secret_buf_wipe(SecretBuf *buf)
{
	/* Bytes behind len hold no secret, see the header; a len out of range is a caller's bug. */
	secret_wipe(buf->data, buf->len <= SECRET_BUF_CAPACITY ? buf->len : SECRET_BUF_CAPACITY);
	buf->data[0] = '\0';
	buf->len = 0;
}

static bool
no_space(RotorError *err)
{
	return error_set(err, ROTOR_ERROR_SPACE, "value does not fit the %d bytes of a secret buffer",
					 SECRET_BUF_CAPACITY);
}

bool
secret_buf_append(SecretBuf *buf, const void *data, size_t len, RotorError *err)
{
	if (buf->len > SECRET_BUF_CAPACITY || len > SECRET_BUF_CAPACITY - buf->len)
		return no_space(err);
	if (len > 0)
		memmove(buf->data + buf->len, data, len);
	buf->len += len;
	buf->data[buf->len] = '\0';
	return true;
}

bool
secret_buf_set(SecretBuf *buf, const void *data, size_t len, RotorError *err)
{
	if (len > SECRET_BUF_CAPACITY)
		return no_space(err);
	if (len > 0)
		memmove(buf->data, data, len);
	if (buf->len > len)
		secret_wipe(buf->data + len, buf->len - len);
	buf->len = len;
	buf->data[len] = '\0';
	return true;
}

/*
 * codec.c
 *		base64, hexadecimal and percent-encoding; see codec.h.
 */
#include "codec.h"

#include <stdint.h>
#include <string.h>

#include <openssl/evp.h>

static const char hex_lower[] = "0123456789abcdef";
static const char hex_upper[] = "0123456789ABCDEF";

static bool
check_sizes(size_t len, size_t needed, size_t out_size, RotorError *err)
{
	if (len > CODEC_MAX_INPUT)
		return error_set(err, ROTOR_ERROR_ARGUMENT, "input of %zu bytes is too long", len);
	if (needed > out_size)
		return error_set(err, ROTOR_ERROR_SPACE, "result of %zu bytes does not fit %zu bytes",
						 needed, out_size);
	return true;
}

bool
codec_base64_encode(const void *in, size_t len, char *out, size_t out_size, RotorError *err)
{
	if (!check_sizes(len, len <= CODEC_MAX_INPUT ? CODEC_BASE64_SIZE(len) : 0, out_size, err))
		return false;
	if (len == 0)
		out[0] = '\0';
	else
		(void) EVP_EncodeBlock((unsigned char *) out, in, (int) len);
	return true;
}

static bool
is_base64_char(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' ||
		   c == '/';
}

/* Checks what EVP_DecodeBlock leaves unchecked; sets *padding to the number of '='. */
static bool
check_base64(const char *in, size_t len, size_t *padding, RotorError *err)
{
	if (len % 4 != 0)
		return error_set(err, ROTOR_ERROR_FORMAT, "length of base64 is not a multiple of four");

	*padding = 0;
	if (len > 0 && in[len - 1] == '=')
		*padding = in[len - 2] == '=' ? 2 : 1;
	for (size_t i = 0; i < len - *padding; i++)
	{
		if (!is_base64_char(in[i]))
			return error_set(err, ROTOR_ERROR_FORMAT, "invalid base64 character at position %zu",
							 i + 1);
	}
	return true;
}

/*
 * Decodes the last four characters, which alone may be padded, to 1 .. 3 bytes.  That
 * unused bits are zero shows in their being encoded back to what they were.
 */
static bool
decode_base64_end(const char *in, size_t padding, uint8_t out[3], RotorError *err)
{
	char again[CODEC_BASE64_SIZE(3)];
	bool same;

	if (EVP_DecodeBlock(out, (const unsigned char *) in, 4) != 3)
		return error_set_crypto(err, "decode base64");
	(void) EVP_EncodeBlock((unsigned char *) again, out, 3 - (int) padding);
	same = memcmp(in, again, 4) == 0;
	secret_wipe(again, sizeof(again));
	if (!same)
		return error_set(err, ROTOR_ERROR_FORMAT, "unused bits at the end of base64 are not zero");
	return true;
}

bool
codec_base64_decode(const char *in, size_t len, void *out, size_t out_size, size_t *out_len,
					RotorError *err)
{
	uint8_t end[3] = {0};
	size_t padding = 0;
	size_t whole;
	bool ok = false;

	*out_len = 0;
	if (!check_sizes(len, 0, out_size, err) || !check_base64(in, len, &padding, err) ||
		!check_sizes(len, len / 4 * 3 - padding, out_size, err))
		return false;
	if (len == 0)
		return true;

	/* The end first: it is all that may still be refused, and out stays untouched then. */
	whole = len - 4;
	if (!decode_base64_end(in + whole, padding, end, err))
		goto cleanup;
	if (whole > 0 && EVP_DecodeBlock(out, (const unsigned char *) in, (int) whole) < 0)
	{
		(void) error_set_crypto(err, "decode base64");
		goto cleanup;
	}
	memcpy((uint8_t *) out + whole / 4 * 3, end, 3 - padding);
	*out_len = len / 4 * 3 - padding;
	ok = true;

cleanup:
	secret_wipe(end, sizeof(end));
	return ok;
}

bool
codec_hex_encode(const void *in, size_t len, char *out, size_t out_size, RotorError *err)
{
	const uint8_t *bytes = in;

	if (!check_sizes(len, len <= CODEC_MAX_INPUT ? CODEC_HEX_SIZE(len) : 0, out_size, err))
		return false;
	for (size_t i = 0; i < len; i++)
	{
		out[2 * i] = hex_lower[bytes[i] >> 4];
		out[2 * i + 1] = hex_lower[bytes[i] & 0x0f];
	}
	out[2 * len] = '\0';
	return true;
}

/* The value of a hexadecimal digit, -1 if it is none. */
static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

bool
codec_hex_decode(const char *in, size_t len, void *out, size_t out_size, size_t *out_len,
				 RotorError *err)
{
	uint8_t *bytes = out;

	*out_len = 0;
	if (!check_sizes(len, 0, out_size, err))
		return false;
	if (len % 2 != 0)
		return error_set(err, ROTOR_ERROR_FORMAT, "number of hexadecimal digits is odd");
	for (size_t i = 0; i < len; i++)
	{
		if (hex_value(in[i]) < 0)
			return error_set(err, ROTOR_ERROR_FORMAT, "invalid hexadecimal digit at position %zu",
							 i + 1);
	}
	if (!check_sizes(len, len / 2, out_size, err))
		return false;

	for (size_t i = 0; i < len / 2; i++)
		bytes[i] =
			(uint8_t) ((unsigned) hex_value(in[2 * i]) << 4 | (unsigned) hex_value(in[2 * i + 1]));
	*out_len = len / 2;
	return true;
}

static bool
is_unreserved(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
		   c == '.' || c == '_' || c == '~';
}

bool
codec_percent_encode(const char *in, size_t len, SecretBuf *out, RotorError *err)
{
	size_t before = out->len;

	for (size_t i = 0; i < len; i++)
	{
		uint8_t byte = (uint8_t) in[i];
		const char code[3] = {'%', hex_upper[byte >> 4], hex_upper[byte & 0x0f]};
		bool ok = is_unreserved(in[i]) ? secret_buf_append(out, &in[i], 1, err)
									   : secret_buf_append(out, code, sizeof(code), err);

		if (!ok)
		{
			secret_wipe(out->data + before, out->len - before);
			out->len = before;
			return false;
		}
	}
	return true;
}

/*
 * fuzz_codec.c
 *		base64, hexadecimal and percent-encoding: the input is decoded as each, and encoded.
 *
 * The input: one byte that says by how much the room given differs from the room needed,
 * and the rest.
 */
#include "fuzz.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "codec.h"

typedef bool (*Encode)(const void *in, size_t len, char *out, size_t out_size, RotorError *err);
typedef bool (*Decode)(const char *in, size_t len, void *out, size_t out_size, size_t *out_len,
					   RotorError *err);

/* Room of exactly that size, so that writing behind it is noticed. */
static void *
room(size_t size)
{
	void *memory = malloc(size > 0 ? size : 1);

	MUST(memory != NULL);
	memset(memory, 'x', size);
	return memory;
}

static void
must_be_untouched(const void *memory, size_t size)
{
	for (size_t i = 0; i < size; i++)
		MUST(((const uint8_t *) memory)[i] == 'x');
}

/* What is encoded is decoded to itself; where there is too little room, nothing is written. */
static void
check_encoding(Encode encode, Decode decode, Input input, size_t size, size_t missing)
{
	char *text = room(size);
	uint8_t *again = room(input.len);
	size_t again_len = 1;
	RotorError err;

	if (missing > 0)
	{
		missing = missing < size ? missing : size;
		MUST(!encode(input.data, input.len, text, size - missing, &err));
		must_be_error(&err, ROTOR_ERROR_SPACE, ROTOR_ERROR_SPACE);
		must_be_untouched(text, size);
	}
	else
	{
		MUST(encode(input.data, input.len, text, size, &err));
		MUST(strnlen(text, size) == size - 1);
		MUST(decode(text, size - 1, again, input.len, &again_len, &err));
		MUST(again_len == input.len && memcmp(again, input.data, again_len) == 0);
	}
	free(text);
	free(again);
}

/* What can be decoded is what encoding gives; upper-case hexadecimal digits aside. */
static void
check_decoding(Encode encode, Decode decode, Input input, size_t missing)
{
	const char *text = (const char *) input.data;
	uint8_t *bytes = room(input.len);
	char *again = room(input.len + 1);
	size_t len = 1;
	RotorError err;

	if (!decode(text, input.len, bytes, input.len, &len, &err))
	{
		must_be_error(&err, ROTOR_ERROR_FORMAT, ROTOR_ERROR_FORMAT);
		MUST(len == 0);
		must_be_untouched(bytes, input.len);
	}
	else
	{
		MUST(len <= input.len);
		MUST(encode(bytes, len, again, input.len + 1, &err));
		MUST(strlen(again) == input.len);
		for (size_t i = 0; i < input.len; i++)
			MUST(again[i] == text[i] || (decode == codec_hex_decode && again[i] == text[i] + 32));

		if (missing > 0 && len > 0)
		{
			size_t size = len - (missing < len ? missing : len);
			uint8_t *less = room(size);

			MUST(!decode(text, input.len, less, size, &len, &err));
			must_be_error(&err, ROTOR_ERROR_SPACE, ROTOR_ERROR_SPACE);
			MUST(len == 0);
			must_be_untouched(less, size);
			free(less);
		}
	}
	free(again);
	free(bytes);
}

/* Unreserved characters stand for themselves, all others are a percent sign and two digits. */
static void
check_percent_text(Input input, const char *text, size_t len)
{
	static const char digits[] = "0123456789ABCDEF";
	const char *end = text + len;

	for (size_t i = 0; i < input.len; i++)
	{
		uint8_t byte = input.data[i];

		if (byte < 128 && (isalnum(byte) || (byte != 0 && strchr("-._~", byte) != NULL)))
		{
			MUST(text < end && *text == (char) byte);
			text++;
			continue;
		}
		MUST(end - text >= 3 && text[0] == '%');
		MUST(text[1] == digits[byte / 16] && text[2] == digits[byte % 16]);
		text += 3;
	}
	MUST(text == end);
}

/* Appended behind what is there; if it does not fit, nothing is. */
static void
check_percent(Input input, size_t before)
{
	SecretBuf out = {0};
	RotorError err;

	before *= 17; /* up to 4335, so that the buffer is nearly full sometimes */
	if (before > SECRET_BUF_CAPACITY)
		before = SECRET_BUF_CAPACITY;
	memset(out.data, 'x', before);
	out.len = before;
	if (codec_percent_encode((const char *) input.data, input.len, &out, &err))
	{
		MUST(out.len <= SECRET_BUF_CAPACITY && out.data[out.len] == '\0');
		check_percent_text(input, out.data + before, out.len - before);
	}
	else
	{
		must_be_error(&err, ROTOR_ERROR_SPACE, ROTOR_ERROR_SPACE);
		MUST(out.len == before && before + 3 * input.len > SECRET_BUF_CAPACITY);
		for (size_t i = before; i < sizeof(out.data); i++)
			MUST(out.data[i] == '\0');
	}
	must_be_untouched(out.data, before);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Input input = {data, size};
	uint8_t missing = take_byte(&input);

	check_encoding(codec_base64_encode, codec_base64_decode, input, CODEC_BASE64_SIZE(input.len),
				   missing);
	check_encoding(codec_hex_encode, codec_hex_decode, input, CODEC_HEX_SIZE(input.len), missing);
	check_decoding(codec_base64_encode, codec_base64_decode, input, missing);
	check_decoding(codec_hex_encode, codec_hex_decode, input, missing);
	check_percent(input, missing);
	return 0;
}

/*
 * fuzz.c
 *		What the fuzz targets share; see fuzz.h.
 */
#include "fuzz.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "random.h"

static uint64_t seed_state;
static Input given;

void
fuzz_broken(const char *condition, const char *file, int line, const char *function)
{
	(void) fprintf(stderr, "%s:%d: %s: this must hold: %s\n", file, line, function, condition);
	abort();
}

uint8_t
take_byte(Input *input)
{
	if (input->len == 0)
		return 0;
	input->len--;
	return *input->data++;
}

uint32_t
take_number(Input *input)
{
	uint32_t number = 0;

	for (int i = 0; i < 4; i++)
		number |= (uint32_t) take_byte(input) << 8 * i;
	return number;
}

Input
take_bytes(Input *input)
{
	Input taken;

	taken.len = take_byte(input);
	if (taken.len > input->len)
		taken.len = input->len;
	taken.data = input->data;
	input->data += taken.len;
	input->len -= taken.len;
	return taken;
}

/* Starts with a capital and ends with a period. */
static bool
is_sentence(const char *text)
{
	size_t len = strlen(text);

	return len > 1 && isupper((unsigned char) text[0]) && text[len - 1] == '.';
}

void
must_be_error(const RotorError *err, RotorErrorCode code, RotorErrorCode other)
{
	size_t len = strnlen(err->message, ERROR_TEXT_SIZE);

	MUST(err->code == code || err->code == other);
	MUST(len > 0 && len < ERROR_TEXT_SIZE);
	/* Lower case, unless it begins with a name such as SCRAM; no period. */
	MUST(!isupper((unsigned char) err->message[0]) || isupper((unsigned char) err->message[1]));
	MUST(err->message[len - 1] != '.');
	MUST(strnlen(err->detail, ERROR_TEXT_SIZE) < ERROR_TEXT_SIZE);
	MUST(strnlen(err->hint, ERROR_TEXT_SIZE) < ERROR_TEXT_SIZE);
	MUST(err->detail[0] == '\0' || is_sentence(err->detail));
	MUST(err->hint[0] == '\0' || is_sentence(err->hint));
}

void
must_be_wiped(const SecretBuf *buf)
{
	MUST(buf->len == 0);
	for (size_t i = 0; i < sizeof(buf->data); i++)
		MUST(buf->data[i] == '\0');
}

void
put_former_value(SecretBuf *buf)
{
	memset(buf, 0, sizeof(*buf));
	buf->len = SECRET_BUF_CAPACITY;
	memset(buf->data, 'x', buf->len);
}

static int
seeded_source(unsigned char *buf, int num)
{
	for (int i = 0; i < num; i++)
	{
		uint64_t z = seed_state += UINT64_C(0x9e3779b97f4a7c15);

		z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
		z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
		buf[i] = (uint8_t) ((z ^ (z >> 31)) >> 24);
	}
	return 1;
}

void
use_seeded_source(uint32_t seed)
{
	random_source = seeded_source;
	random_discard();
	seed_state = seed;
}

static int
given_source(unsigned char *buf, int num)
{
	for (int i = 0; i < num; i++)
		buf[i] = take_byte(&given);
	return 1;
}

void
use_these_bytes(const uint8_t *bytes, size_t len)
{
	random_source = given_source;
	random_discard();
	given.data = bytes;
	given.len = len;
}

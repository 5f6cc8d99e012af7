/*
 * support.c
 *		What the unit tests share; see support.h.
 */
#include "support.h"

#include <ctype.h>

#include <openssl/rand.h>

#define SCRIPT_MAX 4096

static int calls;
static int failing_call;
static int source_answer;
static uint64_t seed_state;
static uint8_t next_byte;
static uint8_t script[SCRIPT_MAX];
static size_t script_len;
static size_t script_used;

static void
use_source(int (*source)(unsigned char *buf, int num))
{
	random_source = source;
	random_discard();
	calls = 0;
}

int
use_real_source(void **state __attribute__((unused)))
{
	use_source(RAND_bytes);
	return 0;
}

static uint8_t
seeded_byte(void)
{
	uint64_t z = seed_state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return (uint8_t) ((z ^ (z >> 31)) >> 24);
}

static int
seeded_source(unsigned char *buf, int num)
{
	calls++;
	for (int i = 0; i < num; i++)
		buf[i] = seeded_byte();
	return 1;
}

void
use_seeded_source(uint64_t seed)
{
	use_source(seeded_source);
	seed_state = seed;
}

static int
counting_source(unsigned char *buf, int num)
{
	calls++;
	for (int i = 0; i < num; i++)
		buf[i] = next_byte++;
	return 1;
}

void
use_counting_source(void)
{
	use_source(counting_source);
	next_byte = 0;
}

static int
constant_source(unsigned char *buf, int num)
{
	calls++;
	memset(buf, next_byte, (size_t) num);
	return 1;
}

void
use_constant_source(uint8_t byte)
{
	use_source(constant_source);
	next_byte = byte;
}

static int
scripted_source(unsigned char *buf, int num)
{
	calls++;
	for (int i = 0; i < num; i++)
		buf[i] = script_used < script_len ? script[script_used++] : 0;
	return 1;
}

void
use_scripted_source(const void *bytes, size_t len)
{
	assert_true(len <= SCRIPT_MAX);
	use_source(scripted_source);
	memcpy(script, bytes, len);
	script_len = len;
	script_used = 0;
}

static int
failing_source(unsigned char *buf, int num)
{
	calls++;
	for (int i = 0; i < num; i++)
		buf[i] = seeded_byte();
	return calls < failing_call ? 1 : 0;
}

void
use_failing_source(int call, size_t ready)
{
	uint8_t drawn[4096];
	RotorError err = fresh_error();

	use_source(failing_source);
	seed_state = 7;
	failing_call = 2;
	if (ready > 0)
		assert_true(random_bytes(drawn, sizeof(drawn) - ready, &err));
	calls = 0;
	failing_call = call;
}

static int
answering_source(unsigned char *buf, int num)
{
	calls++;
	memset(buf, 'x', (size_t) num);
	return source_answer;
}

void
use_source_answering(int answer)
{
	use_source(answering_source);
	source_answer = answer;
}

int
source_calls(void)
{
	return calls;
}

void
assert_error(const RotorError *err, RotorErrorCode code)
{
	size_t len = strlen(err->message);

	assert_int_equal(err->code, code);
	assert_true(len > 0);
	/* Lower case, unless it begins with a name such as SCRAM; no period. */
	assert_true(!isupper((unsigned char) err->message[0]) ||
				isupper((unsigned char) err->message[1]));
	assert_true(err->message[len - 1] != '.');
	/* Sentences. */
	if (err->detail[0] != '\0')
		assert_true(isupper((unsigned char) err->detail[0]) &&
					err->detail[strlen(err->detail) - 1] == '.');
	if (err->hint[0] != '\0')
		assert_true(isupper((unsigned char) err->hint[0]) &&
					err->hint[strlen(err->hint) - 1] == '.');
}

void
assert_error_lacks(const RotorError *err, const char *secret)
{
	assert_null(strstr(err->message, secret));
	assert_null(strstr(err->detail, secret));
	assert_null(strstr(err->hint, secret));
}

RotorError
fresh_error(void)
{
	RotorError err = {ROTOR_ERROR_NONE, "untouched", "untouched", "untouched"};

	return err;
}

void
put_former_value(SecretBuf *buf)
{
	static const char value[] = "former value, longer than most of what replaces it, by a margin";
	RotorError err = fresh_error();

	memset(buf, 0, sizeof(*buf));
	for (int i = 0; i < 32; i++)
		assert_true(secret_buf_append(buf, value, sizeof(value) - 1, &err));
}

void
assert_zero(const void *p, size_t len)
{
	const uint8_t *bytes = p;

	for (size_t i = 0; i < len; i++)
		assert_int_equal(bytes[i], 0);
}

void
assert_wiped(const SecretBuf *buf)
{
	assert_int_equal(buf->len, 0);
	assert_zero(buf->data, sizeof(buf->data));
}

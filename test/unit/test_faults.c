/*
 * test_faults.c
 *		What the functions of common/ do when what they call fails: each call that they make,
 *		one after the other.
 */
#include "support.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../faults/fault.h"
#include "codec.h"
#include "keyfile.h"
#include "password.h"
#include "scram.h"
#include "seal.h"

#define VALUE	  "hunter12, the value"
#define VALUE_LEN (sizeof(VALUE) - 1)

static const uint8_t key[SEAL_KEY_LEN] = {1, 2, 3, 4, 5};

/* Holds a former value whenever an operation begins. */
static SecretBuf buffer;

/*
 * A function of common/ with arguments it can work with: runs it, and asserts what it promises of
 * its output if it fails.
 */
typedef bool (*Operation)(RotorError *err);

static bool
generate_password(RotorError *err)
{
	const PasswordSpec spec = {32, true, true, true, true, NULL, true};
	bool ok = password_generate(&spec, &buffer, err);

	if (!ok)
		assert_wiped(&buffer);
	return ok;
}

static bool
generate_hex(RotorError *err)
{
	bool ok = password_generate_hex(32, &buffer, err);

	if (!ok)
		assert_wiped(&buffer);
	return ok;
}

static bool
generate_uuid(RotorError *err)
{
	bool ok = password_generate_uuid(&buffer, err);

	if (!ok)
		assert_wiped(&buffer);
	return ok;
}

static bool
draw_more_than_the_pool_holds(RotorError *err)
{
	static uint8_t out[10000];
	bool ok;

	memset(out, 'x', sizeof(out));
	ok = random_bytes(out, sizeof(out), err);
	if (!ok)
		assert_zero(out, sizeof(out));
	return ok;
}

static bool
build_verifier(RotorError *err)
{
	char out[SCRAM_VERIFIER_MAX];
	bool ok;

	memset(out, 'x', sizeof(out));
	ok = scram_build_verifier(VALUE, VALUE_LEN, 2, NULL, 0, out, err);
	if (!ok)
		assert_int_equal(out[0], '\0');
	return ok;
}

static bool
seal_a_value(RotorError *err)
{
	uint8_t out[VALUE_LEN + SEAL_OVERHEAD];
	size_t len = 99;
	bool ok;

	memset(out, 'x', sizeof(out));
	ok = seal_value(key, "aad", 3, VALUE, VALUE_LEN, out, sizeof(out), &len, err);
	if (!ok)
	{
		assert_int_equal(len, 0);
		assert_zero(out, sizeof(out));
	}
	return ok;
}

static uint8_t sealed[VALUE_LEN + SEAL_OVERHEAD];

static bool
open_a_value(RotorError *err)
{
	bool ok = seal_open(key, "aad", 3, sealed, sizeof(sealed), &buffer, err);

	if (!ok)
		assert_wiped(&buffer);
	return ok;
}

static bool
compute_check_value(RotorError *err)
{
	uint8_t out[SEAL_CHECK_LEN];
	bool ok;

	memset(out, 'x', sizeof(out));
	ok = seal_check_value(key, out, err);
	if (!ok)
		assert_zero(out, sizeof(out));
	return ok;
}

static bool
make_key(RotorError *err)
{
	MasterKey out;
	bool ok;

	memset(&out, 'x', sizeof(out));
	ok = keyfile_new(&out, err);
	if (!ok)
		assert_zero(&out, sizeof(out));
	return ok;
}

static bool
format_key(RotorError *err)
{
	const MasterKey master = {"first", {1, 2, 3}};
	bool ok = keyfile_format_line(&master, &buffer, err);

	if (!ok)
		assert_wiped(&buffer);
	return ok;
}

static bool
append_key(RotorError *err)
{
	static const char before[] = "# the first\n";
	static KeyfileText text;
	const MasterKey master = {"first", {1, 2, 3}};
	bool ok;

	memset(&text, 0, sizeof(text));
	text.len = sizeof(before) - 1;
	memcpy(text.data, before, text.len);
	ok = keyfile_append(&text, &master, err);
	if (!ok)
	{
		assert_int_equal(text.len, sizeof(before) - 1);
		assert_memory_equal(text.data, before, text.len);
		assert_zero(text.data + text.len, sizeof(text.data) - text.len);
	}
	return ok;
}

static bool
decode_base64(RotorError *err)
{
	static const char text[] = "aHVudGVyMTIsIHRoZSB2YWx1ZQ==";
	uint8_t out[64];
	size_t len = 99;
	bool ok;

	memset(out, 0, sizeof(out));
	ok = codec_base64_decode(text, sizeof(text) - 1, out, sizeof(out), &len, err);
	if (!ok)
	{
		assert_int_equal(len, 0);
		assert_zero(out, sizeof(out));
	}
	return ok;
}

static bool
find_base64_key(RotorError *err)
{
	static const char text[] = "first:zMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMw=\n";
	MasterKey out;
	bool ok;

	memset(&out, 'x', sizeof(out));
	ok = keyfile_find(text, sizeof(text) - 1, "first", &out, err);
	if (!ok)
		assert_zero(&out, sizeof(out));
	return ok;
}

#define CODE(name) (1U << (ROTOR_ERROR_##name))

/*
 * Makes the first call that the operation makes fail, then the second, and so on until it succeeds
 * because it makes no more.  Each time it has to fail with one of the codes, and to succeed when it
 * is tried again.  Returns how many calls there were.
 */
static int
fail_each_call(Operation operation, unsigned int codes)
{
	for (int n = 1;; n++)
	{
		char rule[32];
		RotorError err = fresh_error();
		bool ok;

		(void) snprintf(rule, sizeof(rule), "any:fail:%d", n);
		random_discard();
		assert_true(fault_arm(""));
		put_former_value(&buffer);
		assert_true(fault_arm(rule));
		ok = operation(&err);
		if (fault_fired()[0] == '\0')
		{
			assert_true(ok);
			return n - 1;
		}
		if (ok)
			fail_msg("call %d, %s, fails, and nobody notices", n, fault_fired());
		assert_error(&err, err.code);
		if (!(codes & (1U << err.code)))
			fail_msg("call %d, %s, fails, and the error is %d, \"%s\"", n, fault_fired(), err.code,
					 err.message);
		assert_error_lacks(&err, "hunter12");
		assert_true(fault_arm(""));
		assert_true(operation(&err));
	}
}

/* Twice: what is fetched once for the life of the process is there the second time. */
static void
assert_each_failure_is_told(Operation operation, unsigned int codes)
{
	assert_true(fail_each_call(operation, codes) > 0);
	assert_true(fail_each_call(operation, codes) > 0);
	assert_true(fault_arm(""));
}

TEST(no_password_comes_of_any_failure)
{
	assert_each_failure_is_told(generate_password, CODE(CRYPTO));
	assert_each_failure_is_told(generate_hex, CODE(CRYPTO) | CODE(SPACE));
	assert_each_failure_is_told(generate_uuid, CODE(CRYPTO) | CODE(SPACE));
}

TEST(no_random_byte_is_left_when_the_source_fails_at_any_refill)
{
	assert_each_failure_is_told(draw_more_than_the_pool_holds, CODE(CRYPTO));
}

TEST(no_verifier_comes_of_any_failure)
{
	assert_each_failure_is_told(build_verifier, CODE(CRYPTO) | CODE(SPACE));
}

TEST(nothing_is_sealed_by_any_failure)
{
	assert_each_failure_is_told(seal_a_value, CODE(CRYPTO));
	assert_each_failure_is_told(compute_check_value, CODE(CRYPTO));
}

TEST(nothing_is_opened_by_any_failure)
{
	size_t len;
	RotorError err = fresh_error();

	assert_true(seal_value(key, "aad", 3, VALUE, VALUE_LEN, sealed, sizeof(sealed), &len, &err));
	/* That the last call fails is how it tells of a value that is not authentic. */
	assert_each_failure_is_told(open_a_value, CODE(CRYPTO) | CODE(AUTHENTICATION));
}

TEST(no_key_is_made_read_or_written_by_any_failure)
{
	assert_each_failure_is_told(make_key, CODE(CRYPTO) | CODE(SPACE));
	assert_each_failure_is_told(format_key, CODE(SPACE));
	assert_each_failure_is_told(append_key, CODE(SPACE));
	assert_each_failure_is_told(find_base64_key, CODE(FORMAT));
}

TEST(nothing_is_decoded_by_any_failure)
{
	assert_each_failure_is_told(decode_base64, CODE(CRYPTO));
}

/* Another thread seals while this one fetches the cipher. */
static void
seal_in_the_middle(FaultAction action __attribute__((unused)),
				   const char *class __attribute__((unused)),
				   const char *point __attribute__((unused)), int call,
				   const char *sqlstate __attribute__((unused)))
{
	RotorError err;

	if (call == 1 && !seal_a_value(&err))
		exit(1); /* NOLINT(concurrency-mt-unsafe): there is one thread */
}

TEST(of_two_threads_that_fetch_the_cipher_together_one_lets_go_again)
{
	int status;
	pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0)
	{
		RotorError err;
		bool sealed_twice;

		/* In a process that has not fetched it yet. */
		fault_act = seal_in_the_middle;
		sealed_twice =
			fault_arm("EVP_CIPHER_fetch:trace") && seal_a_value(&err) && seal_a_value(&err);
		exit(sealed_twice ? 0 : 1); /* NOLINT(concurrency-mt-unsafe): there is one thread */
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

TEST(only_rules_are_taken_for_rules)
{
	static const char *const good[] = {"", "any:fail", "palloc:stop:3", "set.ok.commit:crash:1+",
									   "a:53100,b:trace,c:fail:999999"};
	static const char *const bad[] = {"any",		":fail",	   "any:",
									  "any:fail:",	"any:fail:0",  "any:fail:-1",
									  "any:fail:x", "any:fail:1x", "any:fail:1++",
									  "any:5310",	"any:531000",  "any:53,00",
									  "any:fail,",	",",		   "any:fail:1000000",
									  "any:FAIL",	"a:fail:1:2"};

	for (size_t i = 0; i < COUNT_OF(good); i++)
		assert_true(fault_check(good[i]));
	for (size_t i = 0; i < COUNT_OF(bad); i++)
	{
		if (fault_check(bad[i]))
			fail_msg("\"%s\" is taken for rules", bad[i]);
		assert_false(fault_arm(bad[i]));
	}
}

TEST(a_rule_counts_the_calls_that_match_it_by_name_class_or_any)
{
	assert_true(fault_arm("b:fail:2,class:fail:4,any:fail:6+"));
	assert_false(fault_now("other", "b"));
	assert_true(fault_now("other", "b"));
	assert_string_equal(fault_fired(), "b");
	assert_false(fault_now("class", "c"));
	assert_false(fault_now("class", "d"));
	assert_false(fault_now("class", "e"));
	assert_true(fault_now("other", "f"));
	assert_true(fault_now("class", "g"));
	assert_true(fault_now("class", "h"));
	assert_true(fault_arm(""));
	assert_string_equal(fault_fired(), "");
	assert_false(fault_now("class", "b"));
}

#define FAULT_TEST(name) cmocka_unit_test_setup_teardown(name, use_real_source, use_real_source)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		/* First, before anything has fetched the cipher. */
		FAULT_TEST(of_two_threads_that_fetch_the_cipher_together_one_lets_go_again),
		FAULT_TEST(only_rules_are_taken_for_rules),
		FAULT_TEST(a_rule_counts_the_calls_that_match_it_by_name_class_or_any),
		FAULT_TEST(no_password_comes_of_any_failure),
		FAULT_TEST(no_random_byte_is_left_when_the_source_fails_at_any_refill),
		FAULT_TEST(no_verifier_comes_of_any_failure),
		FAULT_TEST(nothing_is_sealed_by_any_failure),
		FAULT_TEST(nothing_is_opened_by_any_failure),
		FAULT_TEST(no_key_is_made_read_or_written_by_any_failure),
		FAULT_TEST(nothing_is_decoded_by_any_failure),
	};

	return cmocka_run_group_tests_name("faults", tests, NULL, NULL);
}

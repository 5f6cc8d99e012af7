/*
 * test_scram.c
 *		Tests of common/scram.c.
 */
#include "support.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "codec.h"
#include "scram.h"

typedef struct Known
{
	const char *password;
	const char *salt; /* base64 */
	int iterations;
	const char *verifier;
} Known;

/*
 * The first two are what PostgreSQL 15.20 stored in pg_authid.rolpassword after CREATE ROLE
 * ... PASSWORD.  The others were computed with Python's hashlib and hmac.
 */
static const Known known[] = {
	{"pencil", "2oyND+sAsy8qCCwhc6GuWg==", 4096,
	 "SCRAM-SHA-256$4096:2oyND+sAsy8qCCwhc6GuWg==$4GCYE+4n8IPzmJhZX5HwHJ/"
	 "0LaajJrnWS2wI8j49Cf8=:fCjtAFBXXGsE+cMxTvpZYUoDE5Ck1i2eErs+ePJJGfk="},
	{"a B~!\"'\\0 9z", "oFrotqSWiNnwpyHqQYJnRg==", 4096,
	 "SCRAM-SHA-256$4096:oFrotqSWiNnwpyHqQYJnRg==$Q1CfbjRukx8VUKvGCIjPahW16Fo+"
	 "eZd2gPKSn7FNZcw=:iY2ps1fUmPUwExV6uVqRRedCapLIAET5VOTn8FQZdXY="},
	{"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
	 "AA==", 1,
	 "SCRAM-SHA-256$1:AA==$6aUGDTHfCLtKkjcfd4+E+JO+MnvBkVHD0jS8zDFUlsg=:eeDBLe1hIgygJqqo8AJbETh6+90B19lKMQTWAj4zoLI="},
	{"correct horse battery staple",
	 "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw==",
	 12345,
	 "SCRAM-SHA-256$12345:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw==$yqinqtFBwN6Q77YDN20QzM1a6a24KPYQ2p7vJOPOVCU=:54O27aI+FufiR9xiLEVB5/RY1KcQtupJPJXtyDYEyW4="},
};

TEST(known_passwords_give_their_known_verifiers)
{
	for (size_t i = 0; i < COUNT_OF(known); i++)
	{
		char out[SCRAM_VERIFIER_MAX];
		uint8_t salt[SCRAM_SALT_MAX];
		size_t salt_len;
		RotorError err = fresh_error();

		assert_true(codec_base64_decode(known[i].salt, strlen(known[i].salt), salt, sizeof(salt),
										&salt_len, &err));
		assert_true(scram_build_verifier(known[i].password, strlen(known[i].password),
										 known[i].iterations, salt, salt_len, out, &err));
		assert_string_equal(out, known[i].verifier);
		assert_string_equal(err.message, "untouched");
	}
}

static void
hmac(const uint8_t key[32], const char *text, uint8_t out[32])
{
	assert_non_null(HMAC(EVP_sha256(), key, 32, (const uint8_t *) text, strlen(text), out, NULL));
}

TEST(the_verifier_of_rfc_7677s_example_bears_out_its_proof_and_its_signature)
{
	/* Section 3: password "pencil"; the RFC shows the exchange, not the verifier. */
	static const char auth_message[] =
		"n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
		"s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"
		"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
	static const char prefix[] = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$";
	const size_t at = sizeof(prefix) - 1;
	char out[SCRAM_VERIFIER_MAX];
	char text[CODEC_BASE64_SIZE(32)];
	uint8_t salt[16];
	uint8_t stored[32];
	uint8_t server[32];
	uint8_t proof[32];
	uint8_t signature[32];
	uint8_t digest[32];
	size_t len;
	RotorError err = fresh_error();

	assert_true(
		codec_base64_decode("W22ZaJ0SNY7soEsUEjb6gQ==", 24, salt, sizeof(salt), &len, &err));
	assert_true(scram_build_verifier("pencil", 6, 4096, salt, sizeof(salt), out, &err));
	assert_memory_equal(out, prefix, at);
	assert_int_equal(strlen(out), at + 44 + 1 + 44);
	assert_int_equal(out[at + 44], ':');
	assert_true(codec_base64_decode(out + at, 44, stored, 32, &len, &err));
	assert_true(codec_base64_decode(out + at + 45, 44, server, 32, &len, &err));

	/* v= of the server's final message is HMAC(ServerKey, AuthMessage). */
	hmac(server, auth_message, signature);
	assert_true(codec_base64_encode(signature, 32, text, sizeof(text), &err));
	assert_string_equal(text, "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");

	/* p= of the client's is ClientKey XOR HMAC(StoredKey, AuthMessage), StoredKey is H(ClientKey). */
	assert_true(codec_base64_decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", 44, proof, 32,
									&len, &err));
	hmac(stored, auth_message, signature);
	for (int i = 0; i < 32; i++)
		proof[i] ^= signature[i];
	assert_int_equal(EVP_Digest(proof, 32, digest, NULL, EVP_sha256(), NULL), 1);
	assert_memory_equal(digest, stored, 32);
}

TEST(without_a_salt_sixteen_random_bytes_are_taken)
{
	static const uint8_t counted[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
	char drawn[SCRAM_VERIFIER_MAX];
	char given[SCRAM_VERIFIER_MAX];
	RotorError err = fresh_error();

	use_counting_source();
	assert_true(scram_build_verifier("secret", 6, 1, NULL, 0, drawn, &err));
	assert_true(scram_build_verifier("secret", 6, 1, counted, 16, given, &err));
	assert_string_equal(drawn, given);
	/* The salt's length is not looked at if there is none. */
	use_counting_source();
	assert_true(scram_build_verifier("secret", 6, 1, NULL, SIZE_MAX, drawn, &err));
	assert_string_equal(drawn, given);
}

TEST(random_salts_differ)
{
	char one[SCRAM_VERIFIER_MAX];
	char two[SCRAM_VERIFIER_MAX];
	RotorError err = fresh_error();

	assert_true(scram_build_verifier("secret", 6, 1, NULL, 0, one, &err));
	assert_true(scram_build_verifier("secret", 6, 1, NULL, 0, two, &err));
	assert_string_not_equal(one, two);
}

TEST(the_password_ends_where_its_length_says)
{
	char whole[SCRAM_VERIFIER_MAX];
	char part[SCRAM_VERIFIER_MAX];
	RotorError err = fresh_error();

	assert_true(scram_build_verifier("secret", 6, 1, (const uint8_t *) "salt", 4, whole, &err));
	assert_true(scram_build_verifier("secret\xff", 6, 1, (const uint8_t *) "salt", 4, part, &err));
	assert_string_equal(whole, part);
}

TEST(the_longest_verifier_fits)
{
	static const uint8_t salt[SCRAM_SALT_MAX] = {0};
	char out[SCRAM_VERIFIER_MAX];
	RotorError err = fresh_error();

	/* Ten million iterations would take seconds; seven digits instead of eight. */
	assert_true(scram_build_verifier("secret", 6, 1000, salt, sizeof(salt), out, &err));
	assert_int_equal(strlen(out), 14 + 4 + 1 + 88 + 1 + 44 + 1 + 44);
	assert_true(strlen(out) + 4 < SCRAM_VERIFIER_MAX);
}

TEST(every_printable_character_is_accepted)
{
	RotorError err = fresh_error();

	for (int c = ' '; c <= '~'; c++)
	{
		const char password[] = {(char) c};
		char out[SCRAM_VERIFIER_MAX];

		assert_true(scram_build_verifier(password, 1, 1, NULL, 0, out, &err));
	}
}

TEST(a_password_that_saslprep_might_change_is_refused_and_not_shown)
{
	for (int byte = 0; byte < 256; byte++)
	{
		char password[] = "hunter?twelve";
		char out[SCRAM_VERIFIER_MAX] = "x";
		RotorError err = fresh_error();

		if (byte >= ' ' && byte <= '~')
			continue;
		password[6] = (char) byte;
		assert_false(scram_build_verifier(password, 13, 4096, NULL, 0, out, &err));
		assert_error(&err, ROTOR_ERROR_ARGUMENT);
		assert_string_equal(err.message, "password holds something other than printable ASCII");
		assert_error_lacks(&err, "hunter");
		assert_error_lacks(&err, "twelve");
		assert_string_equal(out, "");
	}
}

typedef struct Refusal
{
	size_t len;
	int iterations;
	size_t salt_len;
	const char *message;
	const char *hint;
} Refusal;

TEST(values_out_of_range_are_refused_and_the_password_is_not_shown)
{
	static const Refusal cases[] = {
		{0, 4096, 16, "password is empty", ""},
		{4097, 4096, 16, "password is longer than 4096 bytes", ""},
		{SIZE_MAX, 4096, 16, "password is longer than 4096 bytes", ""},
		{6, 0, 16, "SCRAM iteration count 0 is out of range", "Use a count from 1 to 10000000."},
		{6, -1, 16, "SCRAM iteration count -1 is out of range", "Use a count from 1 to 10000000."},
		{6, 10000001, 16, "SCRAM iteration count 10000001 is out of range",
		 "Use a count from 1 to 10000000."},
		{6, 4096, 0, "SCRAM salt of 0 bytes is out of range", ""},
		{6, 4096, 65, "SCRAM salt of 65 bytes is out of range", ""},
	};
	static const uint8_t salt[65] = {0};
	char password[2049];

	for (size_t i = 0; i < COUNT_OF(cases); i++)
	{
		char out[SCRAM_VERIFIER_MAX] = "x";
		RotorError err = fresh_error();

		memset(password, 'q', sizeof(password));
		assert_false(scram_build_verifier(password, cases[i].len, cases[i].iterations, salt,
										  cases[i].salt_len, out, &err));
		assert_error(&err, ROTOR_ERROR_ARGUMENT);
		assert_string_equal(err.message, cases[i].message);
		assert_string_equal(err.hint, cases[i].hint);
		assert_error_lacks(&err, "qq");
		assert_string_equal(out, "");
	}
}

TEST(the_longest_password_is_accepted)
{
	char password[SECRET_BUF_CAPACITY];
	char out[SCRAM_VERIFIER_MAX];
	RotorError err = fresh_error();

	memset(password, 'q', sizeof(password));
	assert_true(scram_build_verifier(password, sizeof(password), 1, NULL, 0, out, &err));
}

TEST(when_the_source_fails_no_verifier_is_built)
{
	for (size_t ready = 0; ready < SCRAM_SALT_LEN; ready++)
	{
		char out[SCRAM_VERIFIER_MAX] = "x";
		RotorError err = fresh_error();

		use_failing_source(1, ready);
		assert_false(scram_build_verifier("hunter12", 8, 4096, NULL, 0, out, &err));
		assert_error(&err, ROTOR_ERROR_CRYPTO);
		assert_error_lacks(&err, "hunter12");
		assert_string_equal(out, "");
	}
}

TEST(a_given_salt_needs_no_source)
{
	char out[SCRAM_VERIFIER_MAX];
	RotorError err = fresh_error();

	use_failing_source(1, 0);
	assert_true(scram_build_verifier("hunter12", 8, 1, (const uint8_t *) "salt", 4, out, &err));
	assert_int_equal(source_calls(), 0);
}

#define SCRAM_TEST(name) cmocka_unit_test_setup_teardown(name, use_real_source, use_real_source)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		SCRAM_TEST(known_passwords_give_their_known_verifiers),
		SCRAM_TEST(the_verifier_of_rfc_7677s_example_bears_out_its_proof_and_its_signature),
		SCRAM_TEST(without_a_salt_sixteen_random_bytes_are_taken),
		SCRAM_TEST(random_salts_differ),
		SCRAM_TEST(the_password_ends_where_its_length_says),
		SCRAM_TEST(the_longest_verifier_fits),
		SCRAM_TEST(every_printable_character_is_accepted),
		SCRAM_TEST(a_password_that_saslprep_might_change_is_refused_and_not_shown),
		SCRAM_TEST(values_out_of_range_are_refused_and_the_password_is_not_shown),
		SCRAM_TEST(the_longest_password_is_accepted),
		SCRAM_TEST(when_the_source_fails_no_verifier_is_built),
		SCRAM_TEST(a_given_salt_needs_no_source),
	};

	return cmocka_run_group_tests_name("scram", tests, NULL, NULL);
}

/*
 * test_seal.c
 *		Tests of common/seal.c.
 */
#include "support.h"

#include <pthread.h>

#include "codec.h"
#include "seal.h"

static const uint8_t key[SEAL_KEY_LEN] = {1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11,
										  12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22,
										  23, 24, 25, 26, 27, 28, 29, 30, 31, 32};

#define AAD			"secret 1, version 2, key 3"
#define AAD_LEN		(sizeof(AAD) - 1)
#define VALUE		"hunter12, the value"
#define VALUE_LEN	(sizeof(VALUE) - 1)
#define SEALED_SIZE (VALUE_LEN + SEAL_OVERHEAD)

/* Seals VALUE under key and AAD. */
static void
seal_it(uint8_t sealed[SEALED_SIZE])
{
	size_t len;
	RotorError err = fresh_error();

	assert_true(seal_value(key, AAD, AAD_LEN, VALUE, VALUE_LEN, sealed, SEALED_SIZE, &len, &err));
	assert_int_equal(len, SEALED_SIZE);
}

/* Asserts that opening fails with that code and leaves no plain text, authenticated or not. */
static void
assert_not_opened(const uint8_t *with_key, const void *aad, size_t aad_len, const void *sealed,
				  size_t len, RotorErrorCode code)
{
	SecretBuf out;
	RotorError err = fresh_error();

	put_former_value(&out);
	assert_false(seal_open(with_key, aad, aad_len, sealed, len, &out, &err));
	assert_error(&err, code);
	assert_error_lacks(&err, "hunter");
	assert_wiped(&out);
}

typedef struct Vector
{
	const char *key;
	const char *nonce;
	const char *aad;
	const char *plain;
	const char *sealed; /* ciphertext and tag */
} Vector;

/* Test cases 13 to 16 (AES-256) of McGrew and Viega's GCM specification, submitted to NIST. */
static const Vector vectors[] = {
	{"0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000",
	 "", "", "530f8afbc74536b9a963b4f1c4cb738b"},
	{"0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000",
	 "", "00000000000000000000000000000000",
	 "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"},
	{"feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
	 "",
	 "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
	 "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255",
	 "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
	 "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad"
	 "b094dac5d93471bdec1a502270e3cc6c"},
	{"feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
	 "feedfacedeadbeeffeedfacedeadbeefabaddad2",
	 "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
	 "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
	 "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
	 "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
	 "76fc6ece0f4e1768cddf8853bb2d551b"},
};

static size_t
from_hex(const char *hex, uint8_t *out, size_t size)
{
	size_t len;
	RotorError err = fresh_error();

	assert_true(codec_hex_decode(hex, strlen(hex), out, size, &len, &err));
	return len;
}

TEST(the_published_vectors_of_gcm_come_out_behind_version_and_nonce)
{
	for (size_t i = 0; i < COUNT_OF(vectors); i++)
	{
		uint8_t vector_key[32];
		uint8_t aad[32];
		uint8_t plain[64];
		uint8_t expected[128];
		uint8_t sealed[128];
		size_t aad_len = from_hex(vectors[i].aad, aad, sizeof(aad));
		size_t plain_len = from_hex(vectors[i].plain, plain, sizeof(plain));
		size_t len;
		SecretBuf out = {0};
		RotorError err = fresh_error();

		assert_int_equal(from_hex(vectors[i].key, vector_key, 32), 32);
		expected[0] = 1;
		assert_int_equal(from_hex(vectors[i].nonce, expected + 1, 12), 12);
		use_scripted_source(expected + 1, 12);
		assert_int_equal(from_hex(vectors[i].sealed, expected + 13, sizeof(expected) - 13),
						 plain_len + 16);

		assert_true(seal_value(vector_key, aad, aad_len, plain, plain_len, sealed, sizeof(sealed),
							   &len, &err));
		assert_int_equal(len, plain_len + SEAL_OVERHEAD);
		assert_memory_equal(sealed, expected, len);
		assert_true(seal_open(vector_key, aad, aad_len, expected, len, &out, &err));
		assert_int_equal(out.len, plain_len);
		assert_memory_equal(out.data, plain, plain_len);
	}
}

TEST(what_is_sealed_opens_to_itself_at_every_length)
{
	static uint8_t sealed[SEAL_MAX_LEN];
	char plain[SECRET_BUF_CAPACITY];
	SecretBuf out = {0};
	RotorError err = fresh_error();

	assert_true(random_bytes(plain, sizeof(plain), &err));
	for (size_t len = 0; len <= sizeof(plain); len += len < 100 || len > 2000 ? 1 : 37)
	{
		size_t sealed_len;

		assert_true(seal_value(key, AAD, AAD_LEN, plain, len, sealed, len + SEAL_OVERHEAD,
							   &sealed_len, &err));
		assert_int_equal(sealed_len, len + SEAL_OVERHEAD);
		assert_true(seal_open(key, AAD, AAD_LEN, sealed, sealed_len, &out, &err));
		assert_int_equal(out.len, len);
		assert_memory_equal(out.data, plain, len);
		assert_int_equal(out.data[len], '\0');
		assert_string_equal(err.message, "untouched");
	}
}

TEST(the_longest_value_is_sealed_and_opened_and_a_longer_one_refused)
{
	static char plain[SECRET_BUF_CAPACITY + 1];
	static uint8_t sealed[SEAL_MAX_LEN + 1];
	SecretBuf out = {0};
	size_t len;
	RotorError err = fresh_error();

	memset(plain, 'p', sizeof(plain));
	assert_true(
		seal_value(key, NULL, 0, plain, SECRET_BUF_CAPACITY, sealed, SEAL_MAX_LEN, &len, &err));
	assert_true(seal_open(key, NULL, 0, sealed, len, &out, &err));
	assert_int_equal(out.len, SECRET_BUF_CAPACITY);

	assert_false(seal_value(key, NULL, 0, plain, SECRET_BUF_CAPACITY + 1, sealed, sizeof(sealed),
							&len, &err));
	assert_error(&err, ROTOR_ERROR_ARGUMENT);
	assert_string_equal(err.message, "value of 4097 bytes is longer than 4096");
	assert_int_equal(len, 0);
	assert_false(seal_value(key, NULL, 0, plain, SIZE_MAX, sealed, sizeof(sealed), &len, &err));
	assert_error(&err, ROTOR_ERROR_ARGUMENT);
}

TEST(opening_leaves_nothing_of_the_value_before)
{
	uint8_t sealed[SEALED_SIZE];
	SecretBuf out;
	RotorError err = fresh_error();

	seal_it(sealed);
	put_former_value(&out);
	assert_true(seal_open(key, AAD, AAD_LEN, sealed, sizeof(sealed), &out, &err));
	assert_string_equal(out.data, VALUE);
	assert_zero(out.data + out.len, sizeof(out.data) - out.len);
}

TEST(sealing_twice_gives_two_nonces_and_hides_that_the_values_are_equal)
{
	uint8_t one[SEALED_SIZE];
	uint8_t two[SEALED_SIZE];

	seal_it(one);
	seal_it(two);
	assert_memory_not_equal(one + 1, two + 1, SEAL_NONCE_LEN);
	assert_memory_not_equal(one + 13, two + 13, VALUE_LEN);
	assert_int_equal(one[0], 1);
	assert_int_equal(two[0], 1);
}

TEST(a_change_of_any_single_bit_is_noticed)
{
	uint8_t sealed[SEALED_SIZE];

	seal_it(sealed);
	for (size_t i = 0; i < sizeof(sealed); i++)
	{
		for (int bit = 0; bit < 8; bit++)
		{
			sealed[i] ^= (uint8_t) (1 << bit);
			assert_not_opened(key, AAD, AAD_LEN, sealed, sizeof(sealed),
							  i == 0 ? ROTOR_ERROR_FORMAT : ROTOR_ERROR_AUTHENTICATION);
			sealed[i] ^= (uint8_t) (1 << bit);
		}
	}
}

TEST(each_truncation_and_extension_is_noticed)
{
	uint8_t sealed[SEALED_SIZE + 8] = {0};

	seal_it(sealed);
	for (size_t len = 0; len <= sizeof(sealed); len++)
	{
		if (len != SEALED_SIZE)
			assert_not_opened(key, AAD, AAD_LEN, sealed, len,
							  len < SEAL_OVERHEAD ? ROTOR_ERROR_FORMAT
												  : ROTOR_ERROR_AUTHENTICATION);
	}
}

TEST(another_key_does_not_open_whichever_byte_differs)
{
	uint8_t sealed[SEALED_SIZE];
	uint8_t other[SEAL_KEY_LEN];

	seal_it(sealed);
	for (size_t i = 0; i < sizeof(other); i++)
	{
		memcpy(other, key, sizeof(other));
		other[i] ^= 0x80;
		assert_not_opened(other, AAD, AAD_LEN, sealed, sizeof(sealed), ROTOR_ERROR_AUTHENTICATION);
	}
}

TEST(other_associated_data_do_not_open)
{
	uint8_t sealed[SEALED_SIZE];
	char other[] = AAD "!";

	seal_it(sealed);
	assert_not_opened(key, NULL, 0, sealed, sizeof(sealed), ROTOR_ERROR_AUTHENTICATION);
	assert_not_opened(key, AAD, AAD_LEN - 1, sealed, sizeof(sealed), ROTOR_ERROR_AUTHENTICATION);
	assert_not_opened(key, other, AAD_LEN + 1, sealed, sizeof(sealed), ROTOR_ERROR_AUTHENTICATION);
	for (size_t i = 0; i < AAD_LEN; i++)
	{
		other[i] ^= 1;
		assert_not_opened(key, other, AAD_LEN, sealed, sizeof(sealed), ROTOR_ERROR_AUTHENTICATION);
		other[i] ^= 1;
	}
}

TEST(associated_data_are_no_part_of_the_value)
{
	/* Moving a byte from one to the other must be noticed, though their sum is the same. */
	uint8_t sealed[3 + SEAL_OVERHEAD];
	size_t len;
	RotorError err = fresh_error();

	assert_true(seal_value(key, "ab", 2, "cde", 3, sealed, sizeof(sealed), &len, &err));
	assert_not_opened(key, "abc", 3, sealed, len, ROTOR_ERROR_AUTHENTICATION);
	assert_not_opened(key, "a", 1, sealed, len, ROTOR_ERROR_AUTHENTICATION);
}

TEST(the_reasons_for_not_opening_are_told)
{
	static uint8_t sealed[SEAL_MAX_LEN + 1];
	SecretBuf out = {0};
	RotorError err = fresh_error();

	seal_it(sealed);
	assert_false(seal_open(key, NULL, 0, sealed, SEALED_SIZE, &out, &err));
	assert_string_equal(err.message, "sealed value cannot be authenticated");
	assert_true(err.detail[0] != '\0');
	assert_false(seal_open(key, NULL, 0, sealed, SEAL_OVERHEAD - 1, &out, &err));
	assert_string_equal(err.message, "sealed value has an impossible length of 28");
	assert_false(seal_open(key, NULL, 0, sealed, SEAL_MAX_LEN + 1, &out, &err));
	assert_string_equal(err.message, "sealed value has an impossible length of 4126");
	assert_error(&err, ROTOR_ERROR_FORMAT);
	assert_false(seal_open(key, NULL, 0, NULL, 0, &out, &err));
	assert_string_equal(err.message, "sealed value has an impossible length of 0");
	sealed[0] = 2;
	assert_false(seal_open(key, NULL, 0, sealed, SEALED_SIZE, &out, &err));
	assert_string_equal(err.message, "sealed value has unknown version 2");
}

TEST(associated_data_that_are_too_long_are_refused)
{
	static uint8_t aad[65537];
	uint8_t sealed[SEALED_SIZE];
	SecretBuf out;
	size_t len;
	RotorError err = fresh_error();

	assert_true(seal_value(key, aad, 65536, VALUE, VALUE_LEN, sealed, sizeof(sealed), &len, &err));
	put_former_value(&out);
	assert_true(seal_open(key, aad, 65536, sealed, len, &out, &err));

	assert_false(seal_value(key, aad, 65537, VALUE, VALUE_LEN, sealed, sizeof(sealed), &len, &err));
	assert_error(&err, ROTOR_ERROR_ARGUMENT);
	assert_string_equal(err.message, "associated data of 65537 bytes is longer than 65536");
	assert_int_equal(len, 0);
	assert_not_opened(key, aad, 65537, sealed, sizeof(sealed), ROTOR_ERROR_ARGUMENT);
}

TEST(an_output_that_is_too_small_is_refused_and_left_alone)
{
	uint8_t sealed[SEALED_SIZE] = {0};
	RotorError err = fresh_error();

	for (size_t size = 0; size < SEALED_SIZE; size++)
	{
		size_t len = 99;

		assert_false(seal_value(key, AAD, AAD_LEN, VALUE, VALUE_LEN, sealed, size, &len, &err));
		assert_error(&err, ROTOR_ERROR_SPACE);
		assert_int_equal(len, 0);
		assert_zero(sealed, sizeof(sealed));
	}
}

TEST(when_the_source_fails_at_any_byte_of_the_nonce_nothing_is_sealed)
{
	for (size_t ready = 0; ready < SEAL_NONCE_LEN; ready++)
	{
		uint8_t sealed[SEALED_SIZE];
		size_t len = 99;
		RotorError err = fresh_error();

		use_failing_source(1, ready);
		memset(sealed, 'x', sizeof(sealed));
		assert_false(
			seal_value(key, AAD, AAD_LEN, VALUE, VALUE_LEN, sealed, sizeof(sealed), &len, &err));
		assert_error(&err, ROTOR_ERROR_CRYPTO);
		assert_int_equal(len, 0);
		assert_zero(sealed, sizeof(sealed));
	}
}

TEST(opening_and_checking_need_no_source)
{
	uint8_t sealed[SEALED_SIZE];
	uint8_t check[SEAL_CHECK_LEN];
	SecretBuf out = {0};
	RotorError err = fresh_error();

	seal_it(sealed);
	use_failing_source(1, 0);
	assert_true(seal_open(key, AAD, AAD_LEN, sealed, sizeof(sealed), &out, &err));
	assert_true(seal_check_value(key, check, &err));
	assert_int_equal(source_calls(), 0);
}

TEST(the_check_value_is_the_hmac_cut_to_sixteen_bytes)
{
	/* Computed with Python's hmac for the key 00 01 02 .. 1f. */
	uint8_t counted[SEAL_KEY_LEN];
	uint8_t expected[SEAL_CHECK_LEN];
	uint8_t check[SEAL_CHECK_LEN + 1] = {0};
	RotorError err = fresh_error();

	for (int i = 0; i < SEAL_KEY_LEN; i++)
		counted[i] = (uint8_t) i;
	assert_int_equal(from_hex("95f1c3d9dbe0fc98ca34dd0cf34b88b9", expected, 16), 16);
	check[SEAL_CHECK_LEN] = '#';
	assert_true(seal_check_value(counted, check, &err));
	assert_memory_equal(check, expected, SEAL_CHECK_LEN);
	assert_int_equal(check[SEAL_CHECK_LEN], '#');
}

TEST(the_check_value_differs_whichever_byte_of_the_key_does)
{
	uint8_t check[SEAL_CHECK_LEN];
	uint8_t other_check[SEAL_CHECK_LEN];
	uint8_t other[SEAL_KEY_LEN];
	RotorError err = fresh_error();

	assert_true(seal_check_value(key, check, &err));
	for (size_t i = 0; i < sizeof(other); i++)
	{
		memcpy(other, key, sizeof(other));
		other[i] ^= 1;
		assert_true(seal_check_value(other, other_check, &err));
		assert_memory_not_equal(check, other_check, SEAL_CHECK_LEN);
	}
}

static void *
open_many(void *sealed)
{
	SecretBuf out = {0};
	RotorError err = fresh_error();

	for (int i = 0; i < 2000; i++)
	{
		if (!seal_open(key, AAD, AAD_LEN, sealed, SEALED_SIZE, &out, &err) ||
			strcmp(out.data, VALUE) != 0)
			return NULL;
	}
	return sealed;
}

TEST(several_threads_open_at_once)
{
	uint8_t sealed[SEALED_SIZE];
	pthread_t threads[4];
	void *result;

	seal_it(sealed);
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, open_many, sealed), 0);
	for (size_t i = 0; i < COUNT_OF(threads); i++)
	{
		assert_int_equal(pthread_join(threads[i], &result), 0);
		assert_ptr_equal(result, sealed);
	}
}

#define SEAL_TEST(name) cmocka_unit_test_setup_teardown(name, use_real_source, use_real_source)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		SEAL_TEST(the_published_vectors_of_gcm_come_out_behind_version_and_nonce),
		SEAL_TEST(what_is_sealed_opens_to_itself_at_every_length),
		SEAL_TEST(the_longest_value_is_sealed_and_opened_and_a_longer_one_refused),
		SEAL_TEST(opening_leaves_nothing_of_the_value_before),
		SEAL_TEST(sealing_twice_gives_two_nonces_and_hides_that_the_values_are_equal),
		SEAL_TEST(a_change_of_any_single_bit_is_noticed),
		SEAL_TEST(each_truncation_and_extension_is_noticed),
		SEAL_TEST(another_key_does_not_open_whichever_byte_differs),
		SEAL_TEST(other_associated_data_do_not_open),
		SEAL_TEST(associated_data_are_no_part_of_the_value),
		SEAL_TEST(the_reasons_for_not_opening_are_told),
		SEAL_TEST(associated_data_that_are_too_long_are_refused),
		SEAL_TEST(an_output_that_is_too_small_is_refused_and_left_alone),
		SEAL_TEST(when_the_source_fails_at_any_byte_of_the_nonce_nothing_is_sealed),
		SEAL_TEST(opening_and_checking_need_no_source),
		SEAL_TEST(the_check_value_is_the_hmac_cut_to_sixteen_bytes),
		SEAL_TEST(the_check_value_differs_whichever_byte_of_the_key_does),
		SEAL_TEST(several_threads_open_at_once),
	};

	return cmocka_run_group_tests_name("seal", tests, NULL, NULL);
}

/*
 * test_codec.c
 *		Tests of common/codec.c.
 */
#include "support.h"

#include "codec.h"

/* RFC 4648 section 10. */
static const struct
{
	const char *plain;
	const char *base64;
	const char *hex;
} vectors[] = {
	{"", "", ""},
	{"f", "Zg==", "66"},
	{"fo", "Zm8=", "666f"},
	{"foo", "Zm9v", "666f6f"},
	{"foob", "Zm9vYg==", "666f6f62"},
	{"fooba", "Zm9vYmE=", "666f6f6261"},
	{"foobar", "Zm9vYmFy", "666f6f626172"},
};

TEST(the_vectors_of_rfc_4648_encode_into_a_buffer_of_just_their_size)
{
	for (size_t i = 0; i < COUNT_OF(vectors); i++)
	{
		size_t len = strlen(vectors[i].plain);
		char out[32];
		RotorError err = fresh_error();

		assert_true(codec_base64_encode(vectors[i].plain, len, out, CODEC_BASE64_SIZE(len), &err));
		assert_string_equal(out, vectors[i].base64);
		assert_int_equal(strlen(out) + 1, CODEC_BASE64_SIZE(len));
		assert_true(codec_hex_encode(vectors[i].plain, len, out, CODEC_HEX_SIZE(len), &err));
		assert_string_equal(out, vectors[i].hex);
		assert_int_equal(strlen(out) + 1, CODEC_HEX_SIZE(len));
	}
}

TEST(the_vectors_of_rfc_4648_decode_into_a_buffer_of_just_their_size)
{
	for (size_t i = 0; i < COUNT_OF(vectors); i++)
	{
		size_t len = strlen(vectors[i].plain);
		size_t out_len = 99;
		char out[8] = "#######";
		RotorError err = fresh_error();

		assert_true(codec_base64_decode(vectors[i].base64, strlen(vectors[i].base64), out, len,
										&out_len, &err));
		assert_int_equal(out_len, len);
		assert_memory_equal(out, vectors[i].plain, len);
		assert_int_equal(out[len], '#');

		memset(out, '#', sizeof(out));
		out_len = 99;
		assert_true(
			codec_hex_decode(vectors[i].hex, strlen(vectors[i].hex), out, len, &out_len, &err));
		assert_int_equal(out_len, len);
		assert_memory_equal(out, vectors[i].plain, len);
		assert_int_equal(out[len], '#');
	}
}

TEST(what_is_encoded_decodes_to_itself_at_every_length)
{
	uint8_t in[300];
	uint8_t out[300];
	char text[CODEC_HEX_SIZE(300)];
	size_t out_len;
	RotorError err = fresh_error();

	use_seeded_source(11);
	for (size_t len = 0; len <= sizeof(in); len++)
	{
		assert_true(random_bytes(in, len, &err));
		assert_true(codec_base64_encode(in, len, text, sizeof(text), &err));
		assert_true(codec_base64_decode(text, strlen(text), out, len, &out_len, &err));
		assert_int_equal(out_len, len);
		assert_memory_equal(out, in, len);
		assert_true(codec_hex_encode(in, len, text, sizeof(text), &err));
		assert_true(codec_hex_decode(text, strlen(text), out, len, &out_len, &err));
		assert_int_equal(out_len, len);
		assert_memory_equal(out, in, len);
	}
	(void) use_real_source(NULL);
}

TEST(base64_uses_plus_and_slash)
{
	char out[8];
	RotorError err = fresh_error();

	assert_true(codec_base64_encode("\xfb\xef\xff", 3, out, sizeof(out), &err));
	assert_string_equal(out, "++//");
}

typedef struct BadText
{
	const char *text;
	size_t len;
	const char *message;
} BadText;

#define BAD(text, message)              \
	{                                   \
		text, sizeof(text) - 1, message \
	}

#define NOT_FOUR   "length of base64 is not a multiple of four"
#define NOT_ZERO   "unused bits at the end of base64 are not zero"
#define BAD_CHAR   "invalid base64 character at position "
#define ODD_DIGITS "number of hexadecimal digits is odd"
#define BAD_DIGIT  "invalid hexadecimal digit at position "

TEST(malformed_base64_is_refused_and_nothing_is_written)
{
	static const BadText cases[] = {
		BAD("Z", NOT_FOUR),
		BAD("Zg", NOT_FOUR),
		BAD("Zg=", NOT_FOUR),
		BAD("Zm9vY", NOT_FOUR),
		BAD("Zm9v\n", NOT_FOUR),
		BAD("====", BAD_CHAR "1"),
		BAD("Z===", BAD_CHAR "2"),
		BAD("Zg=g", BAD_CHAR "3"),
		BAD("Z=g=", BAD_CHAR "2"),
		BAD("Zg==Zg==", BAD_CHAR "3"),
		BAD("Zm9v====", BAD_CHAR "5"),
		BAD("Zm9 ", BAD_CHAR "4"),
		BAD(" Zm9", BAD_CHAR "1"),
		BAD("Zm9v   \n", BAD_CHAR "5"),
		BAD("Zm9\n", BAD_CHAR "4"),
		BAD("Zm9-", BAD_CHAR "4"),
		BAD("Zm9_", BAD_CHAR "4"),
		BAD("Zm9\0", BAD_CHAR "4"),
		BAD("Zm9\xe9", BAD_CHAR "4"),
		BAD("Zh==", NOT_ZERO),
		BAD("Zm9=", NOT_ZERO),
		BAD("Zm9vZh==", NOT_ZERO),
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++)
	{
		uint8_t out[32] = {0};
		size_t out_len = 99;
		RotorError err = fresh_error();

		assert_false(
			codec_base64_decode(cases[i].text, cases[i].len, out, sizeof(out), &out_len, &err));
		assert_error(&err, ROTOR_ERROR_FORMAT);
		assert_string_equal(err.message, cases[i].message);
		assert_int_equal(out_len, 0);
		assert_zero(out, sizeof(out));
	}
}

TEST(each_base64_text_that_decodes_is_the_one_that_encodes)
{
	/* All texts of four characters in a sample of the byte range. */
	static const char sample[] = "AZaz09+/=-_ \n\0BQgw";

	for (size_t n = 0; n < (size_t) 18 * 18 * 18 * 18; n++)
	{
		const char text[4] = {sample[n % 18], sample[n / 18 % 18], sample[n / 324 % 18],
							  sample[n / 5832]};
		char again[8];
		uint8_t out[3];
		size_t out_len;
		RotorError err = fresh_error();

		if (codec_base64_decode(text, 4, out, sizeof(out), &out_len, &err))
		{
			assert_true(codec_base64_encode(out, out_len, again, sizeof(again), &err));
			assert_memory_equal(again, text, 4);
		}
	}
}

TEST(hex_decodes_in_either_case)
{
	uint8_t out[8];
	size_t out_len;
	RotorError err = fresh_error();

	assert_true(codec_hex_decode("abcdefABCDEF0189", 16, out, sizeof(out), &out_len, &err));
	assert_int_equal(out_len, 8);
	assert_memory_equal(out, "\xab\xcd\xef\xab\xcd\xef\x01\x89", 8);
}

TEST(malformed_hex_is_refused_and_nothing_is_written)
{
	static const BadText cases[] = {
		BAD("a", ODD_DIGITS),		  BAD("abc", ODD_DIGITS),
		BAD("0g", BAD_DIGIT "2"),	  BAD("/0", BAD_DIGIT "1"),
		BAD(":0", BAD_DIGIT "1"),	  BAD("@0", BAD_DIGIT "1"),
		BAD("0G", BAD_DIGIT "2"),	  BAD("`0", BAD_DIGIT "1"),
		BAD("0x12", BAD_DIGIT "2"),	  BAD(" 12 ", BAD_DIGIT "1"),
		BAD("12\0\0", BAD_DIGIT "3"), BAD("12\xb1\xb1", BAD_DIGIT "3"),
		BAD("00001z", BAD_DIGIT "6"),
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++)
	{
		uint8_t out[32] = {0};
		size_t out_len = 99;
		RotorError err = fresh_error();

		assert_false(
			codec_hex_decode(cases[i].text, cases[i].len, out, sizeof(out), &out_len, &err));
		assert_error(&err, ROTOR_ERROR_FORMAT);
		assert_string_equal(err.message, cases[i].message);
		assert_int_equal(out_len, 0);
		assert_zero(out, sizeof(out));
	}
}

TEST(a_result_that_does_not_fit_is_refused_and_nothing_is_written)
{
	char out[16] = {0};
	size_t out_len = 99;
	RotorError err = fresh_error();

	assert_false(codec_base64_encode("foo", 3, out, 4, &err));
	assert_error(&err, ROTOR_ERROR_SPACE);
	assert_string_equal(err.message, "result of 5 bytes does not fit 4 bytes");
	assert_false(codec_base64_encode("", 0, out, 0, &err));
	assert_error(&err, ROTOR_ERROR_SPACE);
	assert_false(codec_hex_encode("foo", 3, out, 6, &err));
	assert_error(&err, ROTOR_ERROR_SPACE);
	assert_false(codec_hex_encode("", 0, out, 0, &err));
	assert_error(&err, ROTOR_ERROR_SPACE);

	assert_false(codec_base64_decode("Zm9vYmE=", 8, out, 4, &out_len, &err));
	assert_error(&err, ROTOR_ERROR_SPACE);
	assert_int_equal(out_len, 0);
	out_len = 99;
	assert_false(codec_hex_decode("666f6f", 6, out, 2, &out_len, &err));
	assert_error(&err, ROTOR_ERROR_SPACE);
	assert_string_equal(err.message, "result of 3 bytes does not fit 2 bytes");
	assert_int_equal(out_len, 0);
	assert_zero(out, sizeof(out));
}

TEST(an_input_that_is_too_long_is_refused_before_it_is_read)
{
	static const size_t lengths[] = {CODEC_MAX_INPUT + 1, SIZE_MAX / 2, SIZE_MAX};

	for (size_t i = 0; i < COUNT_OF(lengths); i++)
	{
		char out[4] = {0};
		size_t out_len;
		RotorError err = fresh_error();

		assert_false(codec_base64_encode("", lengths[i], out, SIZE_MAX, &err));
		assert_error(&err, ROTOR_ERROR_ARGUMENT);
		assert_false(codec_hex_encode("", lengths[i], out, SIZE_MAX, &err));
		assert_error(&err, ROTOR_ERROR_ARGUMENT);
		assert_false(codec_base64_decode("", lengths[i], out, SIZE_MAX, &out_len, &err));
		assert_error(&err, ROTOR_ERROR_ARGUMENT);
		assert_false(codec_hex_decode("", lengths[i], out, SIZE_MAX, &out_len, &err));
		assert_error(&err, ROTOR_ERROR_ARGUMENT);
		assert_zero(out, sizeof(out));
	}
}

TEST(an_error_tells_a_position_but_no_content)
{
	uint8_t out[64];
	size_t out_len;
	RotorError err = fresh_error();

	assert_false(codec_base64_decode("c2VjcmV0c2VjcmV!", 16, out, sizeof(out), &out_len, &err));
	assert_error_lacks(&err, "c2V");
	assert_error_lacks(&err, "!");
	assert_false(codec_hex_decode("73656372657x", 12, out, sizeof(out), &out_len, &err));
	assert_error_lacks(&err, "7365");
}

TEST(percent_encoding_keeps_the_unreserved_and_encodes_every_other_byte)
{
	static const char unreserved[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";

	for (int byte = 0; byte < 256; byte++)
	{
		const char in = (char) byte;
		char expected[8];
		SecretBuf out = {0};
		RotorError err = fresh_error();

		if (byte != 0 && strchr(unreserved, in) != NULL)
			(void) snprintf(expected, sizeof(expected), "%c", in);
		else
			(void) snprintf(expected, sizeof(expected), "%%%02X", (unsigned) byte);
		assert_true(codec_percent_encode(&in, 1, &out, &err));
		assert_string_equal(out.data, expected);
		assert_int_equal(out.len, strlen(expected));
	}
}

TEST(percent_encoding_appends)
{
	SecretBuf out = {0};
	RotorError err = fresh_error();

	assert_true(secret_buf_set(&out, "user:", 5, &err));
	assert_true(codec_percent_encode("a b/\xc3\xa4", 6, &out, &err));
	assert_true(codec_percent_encode("", 0, &out, &err));
	assert_string_equal(out.data, "user:a%20b%2F%C3%A4");
}

TEST(percent_encoding_that_does_not_fit_leaves_the_buffer_as_it_was)
{
	SecretBuf out = {0};
	SecretBuf before;
	char filler[SECRET_BUF_CAPACITY];
	RotorError err = fresh_error();

	memset(filler, 'x', sizeof(filler));
	assert_true(secret_buf_set(&out, filler, SECRET_BUF_CAPACITY - 5, &err));
	before = out;
	assert_false(codec_percent_encode("abc/", 4, &out, &err));
	assert_error(&err, ROTOR_ERROR_SPACE);
	assert_memory_equal(&out, &before, sizeof(out));
	assert_true(codec_percent_encode("ab/", 3, &out, &err));
	assert_int_equal(out.len, SECRET_BUF_CAPACITY);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_vectors_of_rfc_4648_encode_into_a_buffer_of_just_their_size),
		cmocka_unit_test(the_vectors_of_rfc_4648_decode_into_a_buffer_of_just_their_size),
		cmocka_unit_test(what_is_encoded_decodes_to_itself_at_every_length),
		cmocka_unit_test(base64_uses_plus_and_slash),
		cmocka_unit_test(malformed_base64_is_refused_and_nothing_is_written),
		cmocka_unit_test(each_base64_text_that_decodes_is_the_one_that_encodes),
		cmocka_unit_test(hex_decodes_in_either_case),
		cmocka_unit_test(malformed_hex_is_refused_and_nothing_is_written),
		cmocka_unit_test(a_result_that_does_not_fit_is_refused_and_nothing_is_written),
		cmocka_unit_test(an_input_that_is_too_long_is_refused_before_it_is_read),
		cmocka_unit_test(an_error_tells_a_position_but_no_content),
		cmocka_unit_test(percent_encoding_keeps_the_unreserved_and_encodes_every_other_byte),
		cmocka_unit_test(percent_encoding_appends),
		cmocka_unit_test(percent_encoding_that_does_not_fit_leaves_the_buffer_as_it_was),
	};

	return cmocka_run_group_tests_name("codec", tests, NULL, NULL);
}

/*
 * test_error.c
 *		Tests of common/error.c.
 */
#include "support.h"

#include <openssl/err.h>
#include <openssl/evp.h>

TEST(setting_an_error_returns_false_and_clears_detail_and_hint)
{
	RotorError err = fresh_error();

	assert_false(error_set(&err, ROTOR_ERROR_SPACE, "number %d of %s", 7, "these"));
	assert_int_equal(err.code, ROTOR_ERROR_SPACE);
	assert_string_equal(err.message, "number 7 of these");
	assert_string_equal(err.detail, "");
	assert_string_equal(err.hint, "");
}

TEST(detail_and_hint_are_added_to_an_error_and_return_false)
{
	RotorError err = fresh_error();

	(void) error_set(&err, ROTOR_ERROR_FORMAT, "message");
	assert_false(error_detail(&err, "Detail %d.", 1));
	assert_false(error_hint(&err, "Hint %d.", 2));
	assert_int_equal(err.code, ROTOR_ERROR_FORMAT);
	assert_string_equal(err.message, "message");
	assert_string_equal(err.detail, "Detail 1.");
	assert_string_equal(err.hint, "Hint 2.");
}

TEST(texts_that_are_too_long_are_cut_and_stay_terminated)
{
	char text[2 * ERROR_TEXT_SIZE];
	RotorError err = fresh_error();

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	(void) error_set(&err, ROTOR_ERROR_FORMAT, "%s", text);
	(void) error_detail(&err, "%s", text);
	(void) error_hint(&err, "%s", text);
	assert_int_equal(strlen(err.message), ERROR_TEXT_SIZE - 1);
	assert_int_equal(strlen(err.detail), ERROR_TEXT_SIZE - 1);
	assert_int_equal(strlen(err.hint), ERROR_TEXT_SIZE - 1);
}

TEST(a_crypto_error_tells_what_openssl_says_and_empties_its_queue)
{
	RotorError err = fresh_error();

	assert_null(EVP_CIPHER_fetch(NULL, "no such cipher", NULL));
	assert_true(ERR_peek_error() != 0);
	assert_false(error_set_crypto(&err, "do it"));
	assert_error(&err, ROTOR_ERROR_CRYPTO);
	assert_string_equal(err.message, "could not do it");
	assert_non_null(strstr(err.detail, "OpenSSL reports: "));
	assert_string_equal(err.hint, "");
	assert_true(ERR_peek_error() == 0);
}

TEST(a_crypto_error_without_a_reason_has_no_detail)
{
	RotorError err = fresh_error();

	ERR_clear_error();
	assert_false(error_set_crypto(&err, "do it"));
	assert_error(&err, ROTOR_ERROR_CRYPTO);
	assert_string_equal(err.detail, "");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(setting_an_error_returns_false_and_clears_detail_and_hint),
		cmocka_unit_test(detail_and_hint_are_added_to_an_error_and_return_false),
		cmocka_unit_test(texts_that_are_too_long_are_cut_and_stay_terminated),
		cmocka_unit_test(a_crypto_error_tells_what_openssl_says_and_empties_its_queue),
		cmocka_unit_test(a_crypto_error_without_a_reason_has_no_detail),
	};

	return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}

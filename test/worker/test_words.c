/*
 * test_words.c
 *		Tests of worker/words.c.
 */
#include "support.h"

#include "words.h"

static void
assert_words(const char *text, size_t size, const char *expected)
{
	char out[64];

	memset(out, 'x', sizeof(out));
	words_copy(out, size, text, strlen(text));
	assert_string_equal(out, expected);
	for (size_t i = size; i < sizeof(out); i++)
		assert_int_equal(out[i], 'x');
}

TEST(words_are_one_line_without_blanks_at_the_ends)
{
	assert_words("  a\n\tb\x7f\x01  c \r\n", 64, "a b c");
	assert_words("", 64, "");
	assert_words(" \n", 64, "");
}

TEST(what_is_no_utf_8_becomes_question_marks)
{
	assert_words("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80", 64,
				 "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80");
	assert_words("gr\xfc\xdf", 64, "gr??");			   /* Latin-1 */
	assert_words("\xc0\xaf\xed\xa0\x80", 64, "?????"); /* overlong, a surrogate */
	assert_words("\xf4\x90\x80\x80", 64, "????");	   /* beyond Unicode */
	assert_words("a\xe2\x82", 64, "a??");			   /* cut within a character */
}

TEST(a_cut_is_between_characters)
{
	assert_words("\xe2\x82\xac\xe2\x82\xac", 7, "\xe2\x82\xac\xe2\x82\xac");
	assert_words("\xe2\x82\xac\xe2\x82\xac", 6, "\xe2\x82\xac");
	assert_words("\xe2\x82\xac", 3, "");
	assert_words("abc", 1, "");
	assert_words("ab c", 4, "ab");
}

TEST(no_more_is_read_than_is_there)
{
	char out[8];

	words_copy(out, sizeof(out), "abcdef", 3);
	assert_string_equal(out, "abc");
	words_copy(out, sizeof(out), "ab\xe2\x82\xac", 4);
	assert_string_equal(out, "ab??");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_are_one_line_without_blanks_at_the_ends),
		cmocka_unit_test(what_is_no_utf_8_becomes_question_marks),
		cmocka_unit_test(a_cut_is_between_characters),
		cmocka_unit_test(no_more_is_read_than_is_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * test_keyfile.c
 *		Tests of common/keyfile.c.
 */
#include "support.h"

#include <stdlib.h>

#include "codec.h"
#include "keyfile.h"

/* Three keys, as text and as the byte each consists of. */
#define HEX_A	 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HEX_B	 "BbbbBBBBBBbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define BASE64_C "zMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMw="
#define BYTE_A	 0xaa
#define BYTE_B	 0xbb
#define BYTE_C	 0xcc

#define ID_63 "123456789-123456789-123456789-123456789-123456789-123456789-123"

static bool
find(const char *text, const char *id, MasterKey *out, RotorError *err)
{
	return keyfile_find(text, strlen(text), id, out, err);
}

static void
assert_found(const char *text, const char *id, const char *expected_id, uint8_t expected_byte)
{
	MasterKey key;
	uint8_t expected[SEAL_KEY_LEN];
	RotorError err = fresh_error();

	memset(&key, 'x', sizeof(key));
	memset(expected, expected_byte, sizeof(expected));
	assert_true(find(text, id, &key, &err));
	assert_string_equal(key.id, expected_id);
	assert_memory_equal(key.key, expected, sizeof(expected));
	assert_string_equal(err.message, "untouched");
}

/* Asserts that a text is refused, naming no part of a key, and that nothing is left in the key. */
static void
assert_refused(const char *text, size_t len, const char *id, RotorErrorCode code,
			   const char *message)
{
	MasterKey key;
	RotorError err = fresh_error();

	memset(&key, 'x', sizeof(key));
	assert_false(keyfile_find(text, len, id, &key, &err));
	assert_error(&err, code);
	if (message != NULL)
		assert_string_equal(err.message, message);
	assert_error_lacks(&err, "aaaa");
	assert_error_lacks(&err, "bbbb");
	assert_error_lacks(&err, "zMzM");
	assert_zero(&key, sizeof(key));
}

TEST(the_last_key_is_the_newest)
{
	assert_found("a:" HEX_A "\n", NULL, "a", BYTE_A);
	assert_found("a:" HEX_A "\nb:" HEX_B "\n", NULL, "b", BYTE_B);
	assert_found("b:" HEX_B "\na:" HEX_A "\n", NULL, "a", BYTE_A);
	assert_found("a:" HEX_A "\nb:" HEX_B "\nc:" BASE64_C "\n# the end\n\n", NULL, "c", BYTE_C);
}

TEST(each_key_is_found_by_its_id)
{
	static const char text[] = "a:" HEX_A "\nb:" HEX_B "\nc:" BASE64_C "\n";

	assert_found(text, "a", "a", BYTE_A);
	assert_found(text, "b", "b", BYTE_B);
	assert_found(text, "c", "c", BYTE_C);
}

TEST(ids_are_compared_whole_and_by_case)
{
	static const char text[] = "key:" HEX_A "\nkey1:" HEX_B "\nKEY:" BASE64_C "\n";

	assert_found(text, "key", "key", BYTE_A);
	assert_found(text, "key1", "key1", BYTE_B);
	assert_found(text, "KEY", "KEY", BYTE_C);
	assert_found("key1:" HEX_A "\nkey:" HEX_B "\n", "key", "key", BYTE_B);
	assert_refused(text, strlen(text), "ke", ROTOR_ERROR_NOT_FOUND,
				   "there is no master key \"ke\"");
}

TEST(the_last_line_may_lack_its_end)
{
	assert_found("a:" HEX_A, NULL, "a", BYTE_A);
	assert_found("a:" HEX_A "\nb:" HEX_B, NULL, "b", BYTE_B);
	assert_found("a:" HEX_A "\n# comment", NULL, "a", BYTE_A);
	assert_found("a:" HEX_A "\r", NULL, "a", BYTE_A);
}

TEST(lines_may_end_as_on_windows)
{
	assert_found("# comment\r\n\r\na:" HEX_A "\r\nc:" BASE64_C "\r\n", "a", "a", BYTE_A);
	assert_found("# comment\r\n\r\na:" HEX_A "\r\nc:" BASE64_C "\r\n", NULL, "c", BYTE_C);
}

TEST(comments_and_blank_lines_are_skipped)
{
	assert_found("\n\n# a:" HEX_B "\n#\n \t \na:" HEX_A "\n#b:" HEX_B "\n   \n", NULL, "a", BYTE_A);
}

TEST(ids_of_all_characters_and_of_63_are_accepted)
{
	assert_found("A-Za.z_0-9:" HEX_A "\n", "A-Za.z_0-9", "A-Za.z_0-9", BYTE_A);
	assert_found(ID_63 ":" HEX_A "\n", ID_63, ID_63, BYTE_A);
	assert_int_equal(strlen(ID_63), KEYFILE_ID_MAX);
}

TEST(the_text_need_not_be_terminated)
{
	static const char text[] = "a:" HEX_A "\nb:" HEX_B;
	const size_t len = sizeof(text) - 1;
	char *copy = malloc(len); /* of just that size, so that a sanitizer sees a byte too many */
	MasterKey key;
	RotorError err = fresh_error();

	assert_non_null(copy);
	memcpy(copy, text, len);
	assert_true(keyfile_find(copy, len, NULL, &key, &err));
	assert_string_equal(key.id, "b");
	/* Nor does what lies behind the length count. */
	assert_true(keyfile_find(copy, 2 + 64 + 1, NULL, &key, &err));
	assert_string_equal(key.id, "a");
	free(copy);
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

#define NO_COLON(line) "line " line " of the master keys has no colon"
#define BAD_KEY(line)  "key in line " line " of the master keys is malformed"
#define ID_EMPTY(line) "id in line " line " of the master keys is empty"
#define ID_LONG(line)  "id in line " line " of the master keys is longer than 63 characters"
#define ID_CHAR(line) \
	"id in line " line " of the master keys holds a character other than A-Z a-z 0-9 . _ -"
#define REPEATED(line) "line " line " of the master keys repeats the id of another line"
#define NUL_BYTE(line) "line " line " of the master keys holds a NUL byte"
#define NO_KEY		   "there is no master key"

TEST(each_malformed_text_is_refused_by_its_line)
{
	static const BadText cases[] = {
		BAD("", NO_KEY),
		BAD("\n", NO_KEY),
		BAD("# only a comment", NO_KEY),
		BAD(HEX_A "\n", NO_COLON("1")),
		BAD("a=" HEX_A "\n", NO_COLON("1")),
		BAD("a:" HEX_A "\nb\n", NO_COLON("2")),
		BAD(" # indented comment\na:" HEX_A "\n", NO_COLON("1")),
		BAD(":" HEX_A "\n", ID_EMPTY("1")),
		BAD("\r\n\n:" HEX_A "\n", ID_EMPTY("3")),
		BAD(ID_63 "4:" HEX_A "\n", ID_LONG("1")),
		BAD(HEX_A HEX_A ":" HEX_A "\n", ID_LONG("1")),
		BAD(" a:" HEX_A "\n", ID_CHAR("1")),
		BAD("a :" HEX_A "\n", ID_CHAR("1")),
		BAD("a/b:" HEX_A "\n", ID_CHAR("1")),
		BAD("\xef\xbb\xbf"
			"a:" HEX_A "\n",
			ID_CHAR("1")),
		BAD("\xc3\xa4:" HEX_A "\n", ID_CHAR("1")),
		BAD("a:\n", BAD_KEY("1")),
		BAD("a: " HEX_A "\n", BAD_KEY("1")),
		BAD("a:" HEX_A " \n", BAD_KEY("1")),
		BAD("a:" HEX_A "\t\n", BAD_KEY("1")),
		BAD("a:" HEX_A "\r\r\n", BAD_KEY("1")),
		BAD("a:" HEX_A "\rb:" HEX_B "\n", BAD_KEY("1")),
		BAD("a:" HEX_A "aa\n", BAD_KEY("1")),
		BAD("a:" HEX_A HEX_A "\n", BAD_KEY("1")),
		BAD("a:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n", BAD_KEY("1")),
		BAD("a:gaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n", BAD_KEY("1")),
		BAD("a:a:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n", BAD_KEY("1")),
		BAD("a:zMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMw\n", BAD_KEY("1")),
		BAD("a:zMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMx=\n", BAD_KEY("1")),
		BAD("a:zMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzA==\n", BAD_KEY("1")),
		BAD("a:zMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzM\n", BAD_KEY("1")),
		BAD("a:zMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMz-w=\n", BAD_KEY("1")),
		/* What follows a valid line counts, even if the key asked for came before. */
		BAD("a:" HEX_A "\n\nb:nonsense", BAD_KEY("3")),
		BAD("a:" HEX_A "\na:" HEX_A "\n", REPEATED("2")),
		BAD("a:" HEX_A "\n# x\nb:" HEX_B "\na:" BASE64_C "\n", REPEATED("4")),
		BAD("\0", NUL_BYTE("1")),
		BAD("a:" HEX_A "\0", NUL_BYTE("1")),
		BAD("a:" HEX_A "\n\0", NUL_BYTE("2")),
		BAD("a\0:" HEX_A "\n", NUL_BYTE("1")),
		BAD("# comment \0 comment\na:" HEX_A "\n", NUL_BYTE("1")),
		BAD("a:" HEX_A "\nb:\0\n", NUL_BYTE("2")),
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++)
	{
		assert_refused(cases[i].text, cases[i].len, NULL, ROTOR_ERROR_FORMAT, cases[i].message);
		assert_refused(cases[i].text, cases[i].len, "a", ROTOR_ERROR_FORMAT, cases[i].message);
	}
}

TEST(no_text_at_all_holds_no_key)
{
	assert_refused(NULL, 0, NULL, ROTOR_ERROR_FORMAT, NO_KEY);
}

TEST(a_key_that_is_not_there_is_named)
{
	static const char text[] = "a:" HEX_A "\nb:" HEX_B "\n";

	assert_refused(text, strlen(text), "c", ROTOR_ERROR_NOT_FOUND, "there is no master key \"c\"");
	assert_refused(text, strlen(text), ID_63, ROTOR_ERROR_NOT_FOUND,
				   "there is no master key \"" ID_63 "\"");
}

TEST(asking_for_what_cannot_be_an_id_is_refused)
{
	static const char text[] = "a:" HEX_A "\n";

	assert_refused(text, strlen(text), "", ROTOR_ERROR_ARGUMENT, "master key id is empty");
	assert_refused(text, strlen(text), "a b", ROTOR_ERROR_ARGUMENT, NULL);
	assert_refused(text, strlen(text), ID_63 "4", ROTOR_ERROR_ARGUMENT,
				   "master key id is longer than 63 characters");
	assert_refused(text, strlen(text), "a\n", ROTOR_ERROR_ARGUMENT, NULL);
}

TEST(a_text_of_the_largest_size_is_read_and_a_larger_one_refused)
{
	static char text[KEYFILE_MAX_SIZE + 1];
	static const char line[] = "a:" HEX_A "\n";
	MasterKey key;
	RotorError err = fresh_error();

	memset(text, '\n', sizeof(text));
	memcpy(text + KEYFILE_MAX_SIZE - (sizeof(line) - 1), line, sizeof(line) - 1);
	assert_true(keyfile_find(text, KEYFILE_MAX_SIZE, NULL, &key, &err));
	assert_string_equal(key.id, "a");
	assert_refused(text, KEYFILE_MAX_SIZE + 1, NULL, ROTOR_ERROR_FORMAT,
				   "master keys of 65537 bytes are longer than 65536");
	assert_refused("", SIZE_MAX, NULL, ROTOR_ERROR_FORMAT, NULL);
}

TEST(as_many_keys_as_fit_are_read)
{
	/* Ids as short as they can be: one character, two, three. */
	static const char chars[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
	static char text[KEYFILE_MAX_SIZE + 64];
	const size_t base = sizeof(chars) - 1;
	size_t used = 0;
	size_t count = 0;
	MasterKey key;
	char last[8] = "";
	RotorError err = fresh_error();

	for (;; count++)
	{
		char id[8] = {0};
		int len;

		if (count < base)
			id[0] = chars[count];
		else
		{
			id[0] = chars[(count - base) / base];
			id[1] = chars[(count - base) % base];
		}
		len = snprintf(text + used, 64, "%s:" BASE64_C "\n", id);
		if (used + (size_t) len > KEYFILE_MAX_SIZE)
			break;
		used += (size_t) len;
		memcpy(last, id, sizeof(last));
	}
	assert_true(count > 1300);
	assert_true(keyfile_find(text, used, NULL, &key, &err));
	assert_string_equal(key.id, last);
	assert_true(keyfile_find(text, used, "A", &key, &err));
	assert_string_equal(key.id, "A");
}

TEST(the_longest_line_is_refused_without_a_look_beyond)
{
	static char text[KEYFILE_MAX_SIZE];

	memset(text, 'a', sizeof(text));
	assert_refused(text, sizeof(text), NULL, ROTOR_ERROR_FORMAT, NO_COLON("1"));
	memset(text, ':', sizeof(text));
	assert_refused(text, sizeof(text), NULL, ROTOR_ERROR_FORMAT, ID_EMPTY("1"));
	text[0] = 'a';
	assert_refused(text, sizeof(text), NULL, ROTOR_ERROR_FORMAT, BAD_KEY("1"));
}

TEST(a_valid_text_with_any_bytes_changed_is_read_or_refused_cleanly)
{
	static const char text[] = "# keys\na:" HEX_A "\r\n\nb:" HEX_B "\nc:" BASE64_C "\n";
	const size_t len = sizeof(text) - 1;

	use_seeded_source(12);
	for (int round = 0; round < 30000; round++)
	{
		char *copy = malloc(len);
		uint8_t choice[9];
		size_t left;
		MasterKey key;
		RotorError err = fresh_error();

		assert_non_null(copy);
		memcpy(copy, text, len);
		assert_true(random_bytes(choice, sizeof(choice), &err));
		for (int i = 0; i < 1 + choice[0] % 4; i++)
			copy[choice[1 + 2 * i] % len] =
				(char) ((choice[2 + 2 * i] & 3) ? "a:\n\r# =\0"[choice[2 + 2 * i] % 8]
												: choice[2 + 2 * i]);
		left = (choice[0] & 0x80) ? choice[8] % (len + 1) : len;

		if (keyfile_find(copy, left, NULL, &key, &err))
			assert_true(keyfile_check_id(key.id, &err));
		else
		{
			assert_error(&err, ROTOR_ERROR_FORMAT);
			assert_error_lacks(&err, "aaaa");
			assert_error_lacks(&err, "bbbb");
			assert_error_lacks(&err, "zMzM");
			assert_zero(&key, sizeof(key));
		}
		free(copy);
	}
}

TEST(each_byte_is_allowed_in_an_id_or_not)
{
	static const char allowed[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";

	for (int byte = 1; byte < 256; byte++)
	{
		const char id[] = {'x', (char) byte, '\0'};
		RotorError err = fresh_error();

		assert_int_equal(keyfile_check_id(id, &err), strchr(allowed, byte) != NULL);
		if (strchr(allowed, byte) == NULL)
		{
			assert_error(&err, ROTOR_ERROR_ARGUMENT);
			assert_string_equal(err.message,
								"master key id holds a character other than A-Z a-z 0-9 . _ -");
		}
	}
}

TEST(a_new_key_is_random_and_has_a_random_id)
{
	static const uint8_t bytes[] = {0xde, 0xad, 0x00, 0x1f, 1,	2,	3,	4,	5,	6,	7,	8,
									9,	  10,	11,	  12,	13, 14, 15, 16, 17, 18, 19, 20,
									21,	  22,	23,	  24,	25, 26, 27, 28, 29, 30, 31, 32};
	MasterKey key;
	MasterKey other;
	RotorError err = fresh_error();

	use_scripted_source(bytes, sizeof(bytes));
	assert_true(keyfile_new(&key, &err));
	assert_string_equal(key.id, "key-dead001f");
	assert_memory_equal(key.key, bytes + 4, SEAL_KEY_LEN);

	(void) use_real_source(NULL);
	assert_true(keyfile_new(&key, &err));
	assert_true(keyfile_new(&other, &err));
	assert_memory_not_equal(key.key, other.key, SEAL_KEY_LEN);
	assert_string_not_equal(key.id, other.id);
}

TEST(when_the_source_fails_at_any_byte_there_is_no_new_key)
{
	for (size_t ready = 0; ready < 4 + SEAL_KEY_LEN; ready++)
	{
		MasterKey key;
		RotorError err = fresh_error();

		use_failing_source(1, ready);
		memset(&key, 'x', sizeof(key));
		assert_false(keyfile_new(&key, &err));
		assert_error(&err, ROTOR_ERROR_CRYPTO);
		assert_zero(&key, sizeof(key));
	}
}

TEST(a_formatted_line_is_read_back_as_the_same_key)
{
	MasterKey key;
	MasterKey again;
	SecretBuf line;
	RotorError err = fresh_error();

	assert_true(keyfile_new(&key, &err));
	put_former_value(&line);
	assert_true(keyfile_format_line(&key, &line, &err));
	assert_int_equal(line.len, 12 + 1 + 64 + 1);
	assert_zero(line.data + line.len, sizeof(line.data) - line.len);
	assert_true(keyfile_find(line.data, line.len, key.id, &again, &err));
	assert_string_equal(again.id, key.id);
	assert_memory_equal(again.key, key.key, SEAL_KEY_LEN);
}

TEST(a_line_is_written_as_id_colon_hex_and_line_feed)
{
	MasterKey key = {"a", {0}};
	SecretBuf line = {0};
	RotorError err = fresh_error();

	memset(key.key, BYTE_A, sizeof(key.key));
	assert_true(keyfile_format_line(&key, &line, &err));
	assert_string_equal(line.data, "a:" HEX_A "\n");
}

TEST(a_key_without_a_valid_id_is_not_written)
{
	MasterKey key;
	SecretBuf line;
	RotorError err = fresh_error();

	/* Not terminated either. */
	memset(&key, 'a', sizeof(key));
	put_former_value(&line);
	assert_false(keyfile_format_line(&key, &line, &err));
	assert_error(&err, ROTOR_ERROR_ARGUMENT);
	assert_error_lacks(&err, "aaaa");
	assert_wiped(&line);
}

#define KEYFILE_TEST(name) cmocka_unit_test_setup_teardown(name, use_real_source, use_real_source)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		KEYFILE_TEST(the_last_key_is_the_newest),
		KEYFILE_TEST(each_key_is_found_by_its_id),
		KEYFILE_TEST(ids_are_compared_whole_and_by_case),
		KEYFILE_TEST(the_last_line_may_lack_its_end),
		KEYFILE_TEST(lines_may_end_as_on_windows),
		KEYFILE_TEST(comments_and_blank_lines_are_skipped),
		KEYFILE_TEST(ids_of_all_characters_and_of_63_are_accepted),
		KEYFILE_TEST(the_text_need_not_be_terminated),
		KEYFILE_TEST(each_malformed_text_is_refused_by_its_line),
		KEYFILE_TEST(no_text_at_all_holds_no_key),
		KEYFILE_TEST(a_key_that_is_not_there_is_named),
		KEYFILE_TEST(asking_for_what_cannot_be_an_id_is_refused),
		KEYFILE_TEST(a_text_of_the_largest_size_is_read_and_a_larger_one_refused),
		KEYFILE_TEST(as_many_keys_as_fit_are_read),
		KEYFILE_TEST(the_longest_line_is_refused_without_a_look_beyond),
		KEYFILE_TEST(a_valid_text_with_any_bytes_changed_is_read_or_refused_cleanly),
		KEYFILE_TEST(each_byte_is_allowed_in_an_id_or_not),
		KEYFILE_TEST(a_new_key_is_random_and_has_a_random_id),
		KEYFILE_TEST(when_the_source_fails_at_any_byte_there_is_no_new_key),
		KEYFILE_TEST(a_formatted_line_is_read_back_as_the_same_key),
		KEYFILE_TEST(a_line_is_written_as_id_colon_hex_and_line_feed),
		KEYFILE_TEST(a_key_without_a_valid_id_is_not_written),
	};

	return cmocka_run_group_tests_name("keyfile", tests, NULL, NULL);
}

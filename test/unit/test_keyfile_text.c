/*
 * test_keyfile_text.c
 *		Tests of what changes the text of a key file: common/keyfile.c.
 */
#include "support.h"

#include <stdlib.h>

#include "keyfile.h"

#define HEX_A	 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HEX_B	 "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define BASE64_C "zMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMw="
#define HEX_C	 "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
#define HEX_D	 "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"

/* Big, and one at a time. */
static KeyfileText text;
static KeyfileText other;

static void
put(KeyfileText *out, const char *content)
{
	memset(out, 0, sizeof(*out));
	out->len = strlen(content);
	memcpy(out->data, content, out->len);
}

static void
assert_text(const KeyfileText *actual, const char *expected)
{
	assert_int_equal(actual->len, strlen(expected));
	assert_memory_equal(actual->data, expected, actual->len);
	assert_zero(actual->data + actual->len, sizeof(actual->data) - actual->len);
}

static MasterKey
key_of(const char *id, int byte)
{
	MasterKey key = {{0}, {0}};

	strncpy(key.id, id, KEYFILE_ID_MAX);
	memset(key.key, byte, sizeof(key.key));
	return key;
}

static void
assert_no_key_in(const RotorError *err)
{
	assert_error_lacks(err, "aaaa");
	assert_error_lacks(err, "bbbb");
	assert_error_lacks(err, "cccc");
	assert_error_lacks(err, "dddd");
	assert_error_lacks(err, "zMzM");
}

/* --- the walk --- */

static void
assert_walk(const char *content, const char *ids)
{
	char met[256] = "";
	size_t offset = 0;
	MasterKey key;

	while (keyfile_next(content, strlen(content), &offset, &key))
	{
		size_t used = strlen(met);

		(void) snprintf(met + used, sizeof(met) - used, "%s ", key.id);
	}
	assert_string_equal(met, ids);
	assert_zero(&key, sizeof(key));
	assert_int_equal(offset, strlen(content));
}

TEST(a_walk_meets_each_key_in_its_order)
{
	assert_walk("", "");
	assert_walk("# none\n\n", "");
	assert_walk("b:" HEX_B "\na:" HEX_A "\n", "b a ");
	assert_walk("# x\r\n\r\nb:" HEX_B "\r\n \t\n#\nc:" BASE64_C, "b c ");
	assert_walk("b:" HEX_B "\n# the end", "b ");
}

TEST(a_walk_ends_at_a_malformed_line)
{
	assert_walk("a:" HEX_A "\nb:12\nc:" HEX_C "\n", "a ");
	assert_walk("nonsense", "");
}

TEST(a_walk_without_a_text_ends_at_once)
{
	size_t offset = 0;
	MasterKey key;

	assert_false(keyfile_next(NULL, 0, &offset, &key));
	assert_zero(&key, sizeof(key));
}

/* --- append --- */

static void
assert_appended(const char *before, const char *after)
{
	MasterKey key = key_of("d", 0xdd);
	MasterKey newest;
	RotorError err = fresh_error();

	put(&text, before);
	assert_true(keyfile_append(&text, &key, &err));
	assert_text(&text, after);
	assert_true(keyfile_find(text.data, text.len, NULL, &newest, &err));
	assert_string_equal(newest.id, "d");
	assert_string_equal(err.message, "untouched");
}

TEST(a_key_that_is_appended_is_the_newest_and_all_else_stays)
{
	assert_appended("", "d:" HEX_D "\n");
	assert_appended("# ours\n", "# ours\nd:" HEX_D "\n");
	assert_appended("a:" HEX_A "\n", "a:" HEX_A "\nd:" HEX_D "\n");
	assert_appended("a:" HEX_A, "a:" HEX_A "\nd:" HEX_D "\n");
	assert_appended("# x\r\na:" HEX_A "\r\n\r\n# last\r\n",
					"# x\r\na:" HEX_A "\r\n\r\n# last\r\nd:" HEX_D "\n");
	assert_appended("c:" BASE64_C "\n \n# no end", "c:" BASE64_C "\n \n# no end\nd:" HEX_D "\n");
}

static void
assert_not_appended(const char *before, const char *id, RotorErrorCode code, const char *message)
{
	MasterKey key = key_of(id, 0xdd);
	RotorError err = fresh_error();

	put(&text, before);
	assert_false(keyfile_append(&text, &key, &err));
	assert_error(&err, code);
	assert_string_equal(err.message, message);
	assert_no_key_in(&err);
	assert_text(&text, before);
}

TEST(a_key_is_not_appended_to_a_text_that_is_not_valid_or_has_its_id)
{
	assert_not_appended("a:" HEX_A "\nd:" HEX_B "\n", "d", ROTOR_ERROR_ARGUMENT,
						"master key \"d\" is there already");
	assert_not_appended("a:" HEX_A "\nb:12\n", "d", ROTOR_ERROR_FORMAT,
						"key in line 2 of the master keys is malformed");
	assert_not_appended("a:" HEX_A "\na:" HEX_A "\n", "d", ROTOR_ERROR_FORMAT,
						"line 2 of the master keys repeats the id of another line");
	assert_not_appended("a:" HEX_A "\n", "d d", ROTOR_ERROR_ARGUMENT,
						"master key id holds a character other than A-Z a-z 0-9 . _ -");
	assert_not_appended("a:" HEX_A "\n", "", ROTOR_ERROR_ARGUMENT, "master key id is empty");
}

/* A text of len bytes: one key, then comments. */
static void
fill(size_t len)
{
	put(&text, "a:" HEX_A "\n");
	memset(text.data + text.len, '#', len - text.len);
	text.len = len;
}

TEST(a_key_is_appended_as_long_as_it_fits)
{
	MasterKey key = key_of("d", 0xdd);
	const size_t line = 1 + 1 + 64 + 1;
	RotorError err = fresh_error();

	/* One byte stays free, and the last line gets its end. */
	fill(KEYFILE_MAX_SIZE - 1 - line - 1);
	assert_true(keyfile_append(&text, &key, &err));
	assert_int_equal(text.len, KEYFILE_MAX_SIZE - 1);

	for (size_t len = KEYFILE_MAX_SIZE - 1 - line; len <= KEYFILE_MAX_SIZE; len++)
	{
		fill(len);
		err = fresh_error();
		assert_false(keyfile_append(&text, &key, &err));
		assert_error(&err, ROTOR_ERROR_SPACE);
		assert_int_equal(text.len, len);
	}
}

/* --- remove --- */

static void
assert_removed(const char *before, const char *id, const char *after)
{
	RotorError err = fresh_error();

	put(&text, before);
	assert_true(keyfile_remove(&text, id, &err));
	assert_text(&text, after);
	assert_string_equal(err.message, "untouched");
}

TEST(the_line_of_a_key_is_removed_and_all_else_stays)
{
	assert_removed("a:" HEX_A "\nb:" HEX_B "\n", "a", "b:" HEX_B "\n");
	assert_removed("a:" HEX_A "\nb:" HEX_B "\n", "b", "a:" HEX_A "\n");
	assert_removed("a:" HEX_A "\nb:" HEX_B, "b", "a:" HEX_A "\n");
	assert_removed("a:" HEX_A, "a", "");
	assert_removed("# x\r\n\r\na:" HEX_A "\r\n# y\r\nb:" HEX_B "\r\n# z", "a",
				   "# x\r\n\r\n# y\r\nb:" HEX_B "\r\n# z");
	assert_removed("# x\na:" HEX_A "\n# y\n\n \nb:" HEX_B "\n# z\n", "b",
				   "# x\na:" HEX_A "\n# y\n\n \n# z\n");
	assert_removed("a:" HEX_A "\nc:" BASE64_C "\naa:" HEX_B "\n", "aa",
				   "a:" HEX_A "\nc:" BASE64_C "\n");
}

static void
assert_not_removed(const char *before, const char *id, RotorErrorCode code)
{
	RotorError err = fresh_error();

	put(&text, before);
	assert_false(keyfile_remove(&text, id, &err));
	assert_error(&err, code);
	assert_no_key_in(&err);
	assert_text(&text, before);
}

TEST(a_key_that_is_not_there_is_not_removed)
{
	assert_not_removed("a:" HEX_A "\n", "b", ROTOR_ERROR_NOT_FOUND);
	assert_not_removed("aa:" HEX_A "\n", "a", ROTOR_ERROR_NOT_FOUND);
	assert_not_removed("# a:" HEX_A "\nb:" HEX_B "\n", "a", ROTOR_ERROR_NOT_FOUND);
	assert_not_removed("a:" HEX_A "\nb:12\n", "a", ROTOR_ERROR_FORMAT);
	assert_not_removed("", "a", ROTOR_ERROR_FORMAT);
	assert_not_removed("a:" HEX_A "\n", "a b", ROTOR_ERROR_ARGUMENT);
}

TEST(what_was_appended_can_be_removed_again)
{
	static const char before[] = "# keys\na:" HEX_A "\n# more\nb:" HEX_B "\n\n";
	MasterKey key = key_of("d", 0xdd);
	RotorError err = fresh_error();

	put(&text, before);
	assert_true(keyfile_append(&text, &key, &err));
	assert_true(keyfile_remove(&text, "d", &err));
	assert_text(&text, before);
}

/* --- merge --- */

static void
assert_merged(const char *before, const char *older, const char *after)
{
	RotorError err = fresh_error();

	put(&text, before);
	put(&other, older);
	assert_true(keyfile_merge(&text, &other, &err));
	assert_text(&text, after);
	assert_text(&other, older);
	assert_string_equal(err.message, "untouched");
}

TEST(keys_that_are_missing_come_before_those_that_are_there)
{
	assert_merged("d:" HEX_D "\n", "a:" HEX_A "\nb:" HEX_B "\n",
				  "a:" HEX_A "\nb:" HEX_B "\nd:" HEX_D "\n");
	assert_merged("# ours\n\nb:" HEX_B "\nd:" HEX_D, "a:" HEX_A "\nb:" HEX_B "\nc:" BASE64_C,
				  "# ours\n\na:" HEX_A "\nc:" HEX_C "\nb:" HEX_B "\nd:" HEX_D);
	/* The same key, written in another way. */
	assert_merged("c:" HEX_C "\n", "c:" BASE64_C "\n", "c:" HEX_C "\n");
	assert_merged("a:" HEX_A "\n", "# nothing\n", "a:" HEX_A "\n");
}

TEST(into_a_text_without_keys_they_come_in_their_order)
{
	assert_merged("", "# theirs\nb:" HEX_B "\n\na:" HEX_A, "b:" HEX_B "\na:" HEX_A "\n");
	assert_merged("# ours", "b:" HEX_B "\na:" HEX_A "\n", "# ours\nb:" HEX_B "\na:" HEX_A "\n");
	assert_merged("", "", "");
}

static void
assert_not_merged(const char *before, const char *older, RotorErrorCode code, const char *message)
{
	RotorError err = fresh_error();

	put(&text, before);
	put(&other, older);
	assert_false(keyfile_merge(&text, &other, &err));
	assert_error(&err, code);
	assert_string_equal(err.message, message);
	assert_no_key_in(&err);
	assert_text(&text, before);
}

TEST(a_key_that_is_another_one_changes_nothing)
{
	assert_not_merged("a:" HEX_A "\n", "b:" HEX_B "\na:" HEX_D "\n", ROTOR_ERROR_ARGUMENT,
					  "master key \"a\" is there already, and is another one");
	assert_not_merged("a:" HEX_A "\n", "b:" HEX_B "\nb:" HEX_B "\n", ROTOR_ERROR_FORMAT,
					  "line 2 of the master keys repeats the id of another line");
	assert_not_merged("a:" HEX_A "\n", "b:" HEX_B "\nnonsense", ROTOR_ERROR_FORMAT,
					  "line 2 of the master keys has no colon");
	assert_not_merged("nonsense", "b:" HEX_B "\n", ROTOR_ERROR_FORMAT,
					  "line 1 of the master keys has no colon");
}

TEST(keys_that_do_not_fit_are_not_merged_at_all)
{
	const size_t lines = (size_t) 2 * (1 + 1 + 64 + 1);
	RotorError err = fresh_error();

	put(&other, "b:" HEX_B "\nc:" HEX_C "\n");
	fill(KEYFILE_MAX_SIZE - 1 - lines - 1);
	assert_true(keyfile_merge(&text, &other, &err));
	fill(KEYFILE_MAX_SIZE - 1 - lines);
	assert_false(keyfile_merge(&text, &other, &err));
	assert_error(&err, ROTOR_ERROR_SPACE);
	assert_int_equal(text.len, KEYFILE_MAX_SIZE - 1 - lines);
	assert_memory_equal(text.data, "a:", 2);
}

/* --- hostile --- */

TEST(texts_with_any_bytes_changed_are_changed_or_refused_cleanly)
{
	static const char valid[] = "# keys\na:" HEX_A "\r\n\nb:" HEX_B "\nc:" BASE64_C "\n";
	MasterKey key = key_of("d", 0xdd);

	use_seeded_source(7);
	put(&other, "z:" HEX_D "\n");
	for (int round = 0; round < 20000; round++)
	{
		static KeyfileText before;
		uint8_t choice[4];
		RotorError err = fresh_error();
		bool ok;

		put(&text, valid);
		assert_true(random_bytes(choice, sizeof(choice), &err));
		text.data[choice[0] % text.len] =
			(char) ((choice[1] & 1) ? "a:\n\r# =\0"[choice[2] % 8] : choice[2]);
		before.len = text.len;
		memcpy(before.data, text.data, text.len);
		switch (choice[3] % 3)
		{
			case 0:
				ok = keyfile_append(&text, &key, &err);
				break;
			case 1:
				ok = keyfile_remove(&text, "b", &err);
				break;
			default:
				ok = keyfile_merge(&text, &other, &err);
				break;
		}
		if (ok)
		{
			MasterKey newest;

			assert_true(keyfile_find(text.data, text.len, NULL, &newest, &err));
		}
		else
		{
			assert_int_equal(text.len, before.len);
			assert_memory_equal(text.data, before.data, before.len);
			assert_no_key_in(&err);
		}
	}
}

#define TEXT_TEST(name) cmocka_unit_test_setup_teardown(name, use_real_source, use_real_source)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEXT_TEST(a_walk_meets_each_key_in_its_order),
		TEXT_TEST(a_walk_ends_at_a_malformed_line),
		TEXT_TEST(a_walk_without_a_text_ends_at_once),
		TEXT_TEST(a_key_that_is_appended_is_the_newest_and_all_else_stays),
		TEXT_TEST(a_key_is_not_appended_to_a_text_that_is_not_valid_or_has_its_id),
		TEXT_TEST(a_key_is_appended_as_long_as_it_fits),
		TEXT_TEST(the_line_of_a_key_is_removed_and_all_else_stays),
		TEXT_TEST(a_key_that_is_not_there_is_not_removed),
		TEXT_TEST(what_was_appended_can_be_removed_again),
		TEXT_TEST(keys_that_are_missing_come_before_those_that_are_there),
		TEXT_TEST(into_a_text_without_keys_they_come_in_their_order),
		TEXT_TEST(a_key_that_is_another_one_changes_nothing),
		TEXT_TEST(keys_that_do_not_fit_are_not_merged_at_all),
		TEXT_TEST(texts_with_any_bytes_changed_are_changed_or_refused_cleanly),
	};

	return cmocka_run_group_tests_name("keyfile_text", tests, NULL, NULL);
}

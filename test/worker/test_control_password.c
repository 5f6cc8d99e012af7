/*
 * test_control_password.c - tests of worker/control_password.c: which password is tried, and how password_file is written.
 */
#include "support.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "atomic_file.h"
#include "control_password.h"
#include "options.h"

#define FIRST  "11111111-1111-1111-1111-111111111111"
#define SECOND "22222222-2222-2222-2222-222222222222"

static char folder[] = "/tmp/rotor-test-password-XXXXXX";
static char path[64];
static FileCalls real_calls;

static int
make_folder(void **state __attribute__((unused)))
{
	real_calls = file_calls;
	if (mkdtemp(folder) == NULL)
		return 1;
	(void) snprintf(path, sizeof(path), "%s/password", folder);
	return 0;
}

static int
remove_folder(void **state __attribute__((unused)))
{
	char command[100];

	options_reset();
	(void) snprintf(command, sizeof(command), "rm -rf %s", folder);
	return system(command);
}

static ssize_t
full_disk(int fd __attribute__((unused)), const void *data __attribute__((unused)),
		  size_t len __attribute__((unused)))
{
	errno = ENOSPC;
	return -1;
}

static void
put_file(const char *text, mode_t mode)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(path, mode), 0);
}

static void
assert_file(const char *expected)
{
	char text[100];
	FILE *file = fopen(path, "r");

	assert_non_null(file);
	assert_non_null(fgets(text, sizeof(text), file));
	(void) fclose(file);
	assert_string_equal(text, expected);
}

/* A worker that starts with password_file, which has that text. */
static ControlPassword
begin(const char *text)
{
	RotorError err;

	file_calls = real_calls;
	assert_true(options_set(OPT_PASSWORD_FILE, path, &err));
	put_file(text, 0600);
	return (ControlPassword){0};
}

static void
keep(ControlPassword *password, const char *version, const char *value)
{
	RotorError err;

	assert_true(control_password_keep(password, version, value, &err));
	assert_string_equal(control_password_version(password), version);
}

/* Whether it was written; is_news and the error as the function gives them. */
static bool
save(ControlPassword *password, bool *is_news)
{
	RotorError err = fresh_error();
	bool is_saved = control_password_save(password, is_news, &err);

	if (!is_saved)
		assert_non_null(strstr(err.message, "password"));
	assert_int_equal(control_password_is_unsaved(password), !is_saved);
	return is_saved;
}

TEST(a_new_value_is_written_to_the_file)
{
	ControlPassword password = begin("old\n");
	bool is_news;

	assert_false(control_password_is_unsaved(&password));
	keep(&password, FIRST, "new");
	assert_true(control_password_is_unsaved(&password));
	assert_true(save(&password, &is_news));
	assert_file("new\n");
	control_password_wipe(&password);
}

TEST(a_file_that_could_not_be_written_is_tried_again_and_told_once)
{
	ControlPassword password = begin("old\n");
	bool is_news;

	keep(&password, FIRST, "new");
	file_calls.write = full_disk;
	assert_false(save(&password, &is_news));
	assert_true(is_news);
	assert_false(save(&password, &is_news));
	assert_false(is_news);
	assert_file("old\n");
	file_calls = real_calls;
	assert_true(save(&password, &is_news));
	assert_file("new\n");
	control_password_wipe(&password);
}

TEST(another_error_another_value_and_the_same_error_much_later_are_told)
{
	ControlPassword password = begin("old\n");
	bool is_news;

	keep(&password, FIRST, "new");
	file_calls.write = full_disk;
	assert_false(save(&password, &is_news));
	put_file("old\n", 0644);
	assert_false(save(&password, &is_news));
	assert_true(is_news);
	assert_false(save(&password, &is_news));
	assert_false(is_news);
	password.tell_again = 0;
	assert_false(save(&password, &is_news));
	assert_true(is_news);
	keep(&password, SECOND, "newer");
	assert_false(save(&password, &is_news));
	assert_true(is_news);
	put_file("old\n", 0600);
	file_calls = real_calls;
	assert_true(save(&password, &is_news));
	assert_file("newer\n");
	control_password_wipe(&password);
}

TEST(what_another_worker_has_written_is_not_written_again)
{
	ControlPassword password = begin("new\n");
	bool is_news;

	keep(&password, FIRST, "new");
	file_calls.write = full_disk;
	assert_true(save(&password, &is_news));
	control_password_wipe(&password);
}

TEST(without_a_file_there_is_nothing_to_write)
{
	ControlPassword password = begin("old\n");
	RotorError err;

	assert_true(options_set(OPT_PASSWORD_FILE, "", &err));
	keep(&password, FIRST, "new");
	assert_false(control_password_is_unsaved(&password));
	control_password_wipe(&password);
}

static void
assert_tried(const ControlPassword *password, const char *expected)
{
	SecretBuf tried = {0};
	RotorError err;

	assert_true(control_password_get(password, &tried, &err));
	assert_string_equal(tried.data, expected);
	secret_buf_wipe(&tried);
}

TEST(the_file_goes_first_and_whichever_was_refused_gives_way)
{
	ControlPassword password = begin("old\n");
	SecretBuf refused = {0};
	RotorError err;

	assert_tried(&password, "old");
	keep(&password, FIRST, "new");
	assert_tried(&password, "old");
	assert_true(secret_buf_set(&refused, "old", 3, &err));
	control_password_was_refused(&password, &refused);
	assert_tried(&password, "new");
	assert_true(secret_buf_set(&refused, "new", 3, &err));
	control_password_was_refused(&password, &refused);
	assert_tried(&password, "old");
	control_password_wipe(&password);
}

TEST(a_file_that_cannot_be_read_gives_way_to_a_value_that_is_known)
{
	ControlPassword password = begin("old\n");
	SecretBuf tried = {0};
	RotorError err = fresh_error();

	put_file("old\n", 0644);
	assert_false(control_password_get(&password, &tried, &err));
	assert_non_null(strstr(err.message, "password"));
	keep(&password, FIRST, "new");
	assert_tried(&password, "new");
	assert_int_equal(unlink(path), 0);
	assert_tried(&password, "new");
	control_password_wipe(&password);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_new_value_is_written_to_the_file),
		cmocka_unit_test(a_file_that_could_not_be_written_is_tried_again_and_told_once),
		cmocka_unit_test(another_error_another_value_and_the_same_error_much_later_are_told),
		cmocka_unit_test(what_another_worker_has_written_is_not_written_again),
		cmocka_unit_test(without_a_file_there_is_nothing_to_write),
		cmocka_unit_test(the_file_goes_first_and_whichever_was_refused_gives_way),
		cmocka_unit_test(a_file_that_cannot_be_read_gives_way_to_a_value_that_is_known),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}

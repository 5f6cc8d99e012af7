/*
 * test_secret_buf.c
 *		Tests of common/secret_buf.c.
 */
#include "support.h"

TEST(a_zeroed_buffer_is_empty_and_usable)
{
	SecretBuf buf = {0};
	RotorError err = fresh_error();

	assert_true(secret_buf_append(&buf, "ab", 2, &err));
	assert_true(secret_buf_append(&buf, "c", 1, &err));
	assert_int_equal(buf.len, 3);
	assert_string_equal(buf.data, "abc");
	assert_string_equal(err.message, "untouched");
}

TEST(wiping_leaves_only_zeros)
{
	SecretBuf buf;

	put_former_value(&buf);
	secret_buf_wipe(&buf);
	assert_wiped(&buf);
	secret_buf_wipe(&buf);
	assert_wiped(&buf);
}

TEST(a_full_buffer_is_wiped_to_its_last_byte)
{
	SecretBuf buf = {0};
	char full[SECRET_BUF_CAPACITY];
	RotorError err = fresh_error();

	memset(full, 'x', sizeof(full));
	assert_true(secret_buf_set(&buf, full, sizeof(full), &err));
	assert_int_equal(buf.len, SECRET_BUF_CAPACITY);
	assert_int_equal(buf.data[SECRET_BUF_CAPACITY], '\0');
	secret_buf_wipe(&buf);
	assert_wiped(&buf);
}

TEST(a_length_out_of_range_is_wiped_within_bounds)
{
	SecretBuf buf;

	memset(&buf, 'x', sizeof(buf));
	buf.data[SECRET_BUF_CAPACITY] = '\0';
	buf.len = SIZE_MAX;
	secret_buf_wipe(&buf);
	assert_wiped(&buf);
}

TEST(a_shorter_value_leaves_nothing_of_the_longer_one_before_it)
{
	SecretBuf buf;
	RotorError err = fresh_error();

	put_former_value(&buf);
	assert_true(secret_buf_set(&buf, "short", 5, &err));
	assert_int_equal(buf.len, 5);
	assert_string_equal(buf.data, "short");
	assert_zero(buf.data + 5, sizeof(buf.data) - 5);
}

TEST(setting_nothing_empties_and_wipes)
{
	SecretBuf buf;
	RotorError err = fresh_error();

	put_former_value(&buf);
	assert_true(secret_buf_set(&buf, NULL, 0, &err));
	assert_wiped(&buf);
}

TEST(values_may_hold_nul_bytes)
{
	SecretBuf buf = {0};
	RotorError err = fresh_error();

	assert_true(secret_buf_set(&buf, "a\0b", 3, &err));
	assert_true(secret_buf_append(&buf, "\0c", 2, &err));
	assert_int_equal(buf.len, 5);
	assert_memory_equal(buf.data, "a\0b\0c", 6);
}

TEST(the_last_byte_fits_and_one_more_is_refused_without_a_change)
{
	SecretBuf buf = {0};
	SecretBuf before;
	char full[SECRET_BUF_CAPACITY + 1];
	RotorError err = fresh_error();

	memset(full, 's', sizeof(full));
	assert_true(secret_buf_set(&buf, full, SECRET_BUF_CAPACITY - 1, &err));
	assert_true(secret_buf_append(&buf, "s", 1, &err));
	before = buf;

	assert_false(secret_buf_append(&buf, "t", 1, &err));
	assert_error(&err, ROTOR_ERROR_SPACE);
	assert_string_equal(err.message, "value does not fit the 4096 bytes of a secret buffer");
	assert_memory_equal(&buf, &before, sizeof(buf));

	assert_false(secret_buf_set(&buf, full, SECRET_BUF_CAPACITY + 1, &err));
	assert_error(&err, ROTOR_ERROR_SPACE);
	assert_memory_equal(&buf, &before, sizeof(buf));

	assert_false(secret_buf_append(&buf, full, SIZE_MAX, &err));
	assert_error(&err, ROTOR_ERROR_SPACE);
	assert_memory_equal(&buf, &before, sizeof(buf));
}

TEST(appending_to_a_broken_buffer_is_refused)
{
	SecretBuf buf = {0};
	RotorError err = fresh_error();

	buf.len = SECRET_BUF_CAPACITY + 1;
	assert_false(secret_buf_append(&buf, "x", 1, &err));
	assert_error(&err, ROTOR_ERROR_SPACE);
}

TEST(a_part_of_a_buffer_may_be_its_new_value)
{
	SecretBuf buf = {0};
	RotorError err = fresh_error();

	assert_true(secret_buf_set(&buf, "0123456789", 10, &err));
	assert_true(secret_buf_set(&buf, buf.data + 2, 5, &err));
	assert_string_equal(buf.data, "23456");
	assert_zero(buf.data + 5, sizeof(buf.data) - 5);
	assert_true(secret_buf_append(&buf, buf.data, buf.len, &err));
	assert_string_equal(buf.data, "2345623456");
}

TEST(wiping_memory_zeroes_exactly_that)
{
	char bytes[4] = {1, 2, 3, 4};

	secret_wipe(NULL, 0);
	secret_wipe(bytes, 0);
	assert_int_equal(bytes[0], 1);
	secret_wipe(bytes + 1, 2);
	assert_memory_equal(bytes, "\1\0\0\4", 4);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_zeroed_buffer_is_empty_and_usable),
		cmocka_unit_test(wiping_leaves_only_zeros),
		cmocka_unit_test(a_full_buffer_is_wiped_to_its_last_byte),
		cmocka_unit_test(a_length_out_of_range_is_wiped_within_bounds),
		cmocka_unit_test(a_shorter_value_leaves_nothing_of_the_longer_one_before_it),
		cmocka_unit_test(setting_nothing_empties_and_wipes),
		cmocka_unit_test(values_may_hold_nul_bytes),
		cmocka_unit_test(the_last_byte_fits_and_one_more_is_refused_without_a_change),
		cmocka_unit_test(appending_to_a_broken_buffer_is_refused),
		cmocka_unit_test(a_part_of_a_buffer_may_be_its_new_value),
		cmocka_unit_test(wiping_memory_zeroes_exactly_that),
	};

	return cmocka_run_group_tests_name("secret_buf", tests, NULL, NULL);
}

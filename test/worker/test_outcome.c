/*
 * test_outcome.c - tests of worker/outcome.c and worker/deadline.c: what leaves the program holds no value.
 */
#include "support.h"

#include "deadline.h"
#include "outcome.h"

static void
scrub(Outcome *outcome, const char *value)
{
	SecretBuf buf = {0};
	RotorError err;

	assert_true(secret_buf_set(&buf, value, strlen(value), &err));
	outcome_scrub(outcome, &buf);
	secret_buf_wipe(&buf);
}

/* The message after value was taken out of text. */
static const char *
scrubbed(const char *text, const char *value)
{
	static Outcome outcome;

	outcome = outcome_make(OUTCOME_UNKNOWN, "08006", "%s", text);
	scrub(&outcome, value);
	return outcome.message;
}

TEST(an_outcome_keeps_class_code_and_message)
{
	Outcome outcome = outcome_make(OUTCOME_REFUSED, "28P01", "user %s", "app");

	assert_int_equal(outcome.class, OUTCOME_REFUSED);
	assert_string_equal(outcome.code, "28P01");
	assert_string_equal(outcome.message, "user app");
	assert_int_equal(outcome.retry_after_ms, 0);
}

TEST(an_outcome_may_have_neither_code_nor_message)
{
	Outcome outcome = outcome_make(OUTCOME_OK, NULL, NULL);

	assert_string_equal(outcome.code, "");
	assert_string_equal(outcome.message, "");
}

TEST(what_is_too_long_is_cut)
{
	char text[2 * OUTCOME_MESSAGE_SIZE];
	Outcome outcome;

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	outcome = outcome_make(OUTCOME_PERMANENT, text, "%s", text);
	assert_int_equal(strlen(outcome.code), OUTCOME_CODE_SIZE - 1);
	assert_int_equal(strlen(outcome.message), OUTCOME_MESSAGE_SIZE - 1);
}

TEST(an_error_is_told_with_detail_and_hint)
{
	RotorError err;
	Outcome outcome;

	(void) error_set(&err, ROTOR_ERROR_ARGUMENT, "bad host");
	assert_string_equal(outcome_of_error(OUTCOME_PERMANENT, &err).message, "bad host");
	(void) error_detail(&err, "It is empty.");
	(void) error_hint(&err, "Set one.");
	outcome = outcome_of_error(OUTCOME_PERMANENT, &err);
	assert_string_equal(outcome.message, "bad host: It is empty. Set one.");
}

TEST(each_class_has_the_name_that_the_extension_knows)
{
	static const char *const names[OUTCOME_COUNT] = {"ok",			 "proved",	  "refused",
													 "inconclusive", "transient", "unknown",
													 "superseded",	 "permanent", "internal"};

	for (int i = 0; i < OUTCOME_COUNT; i++)
		assert_string_equal(outcome_name((OutcomeClass) i), names[i]);
	assert_string_equal(outcome_name((OutcomeClass) 99), "internal");
}

TEST(every_occurrence_of_a_value_is_taken_out)
{
	assert_string_equal(scrubbed("a Secret1! b Secret1!", "Secret1!"), "a *** b ***");
	assert_string_equal(scrubbed("Secret1!Secret1!", "Secret1!"), "******");
	assert_string_equal(scrubbed("nothing here", "Secret1!"), "nothing here");
	assert_string_equal(scrubbed("", "Secret1!"), "");
}

TEST(an_empty_value_changes_nothing)
{
	assert_string_equal(scrubbed("as it was", ""), "as it was");
}

TEST(a_value_is_found_in_whatever_form_a_peer_writes_it)
{
	assert_string_equal(scrubbed("u=a%2Fb%3dc%26d x", "a/b=c&d"), "u=*** x");
	assert_string_equal(scrubbed("u=a/b%3Dc&d x", "a/b=c&d"), "u=*** x");
	assert_string_equal(scrubbed("u=a+b%20c", "a b c"), "u=***");
	assert_string_equal(scrubbed("{\"p\":\"q\\\"w\\\\e\\/r\"}", "q\"w\\e/r"), "{\"p\":\"***\"}");
	assert_string_equal(scrubbed("{\"p\":\"q\\u0022w\\u005Ce\"}", "q\"w\\e"), "{\"p\":\"***\"}");
	assert_string_equal(scrubbed("\"a\\tb\\nc\\rd\\be\\ff\"", "a\tb\nc\rd\be\ff"), "\"***\"");
	assert_string_equal(scrubbed("PASSWORD 'it''s me'", "it's me"), "PASSWORD '***'");
	assert_string_equal(scrubbed("PASSWORD 'it\\'s me'", "it's me"), "PASSWORD '***'");
}

TEST(a_text_that_can_be_read_in_two_ways_is_read_in_both)
{
	assert_string_equal(scrubbed("<%25x>", "%25x"), "<***>");
	assert_string_equal(scrubbed("<%2525x>", "%25x"), "<***>");
	assert_string_equal(scrubbed("<\\\\\\\\>", "\\\\"), "<***>");
	assert_string_equal(scrubbed("<\\\\>", "\\\\"), "<***>");
}

TEST(a_value_of_backslashes_costs_no_more_than_another)
{
	char text[OUTCOME_MESSAGE_SIZE];
	char value[OUTCOME_MESSAGE_SIZE];

	memset(text, '\\', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	memset(value, '\\', 300);
	memcpy(value + 300, "x", sizeof("x"));
	/* It ends where the text was cut, so it may have been there. */
	assert_null(strstr(scrubbed(text, value), "\\\\\\\\"));
}

TEST(what_the_cut_left_of_a_value_is_taken_out)
{
	char text[2 * OUTCOME_MESSAGE_SIZE];

	memset(text, '.', OUTCOME_MESSAGE_SIZE - 3);
	memcpy(text + OUTCOME_MESSAGE_SIZE - 3, "Secret1!", sizeof("Secret1!"));
	assert_null(strstr(scrubbed(text, "Secret1!"), "Se"));
	/* Also if the peer cut its own words; a letter or three may be by chance. */
	assert_string_equal(scrubbed("near 'Secr", "Secret1!"), "near '***");
	assert_string_equal(scrubbed("near 'Sec", "Secret1!"), "near 'Sec");
}

TEST(a_mask_that_does_not_fit_is_cut)
{
	char text[OUTCOME_MESSAGE_SIZE];
	const char *clean;

	for (size_t i = 0; i < sizeof(text) - 1; i += 2)
		memcpy(text + i, "a.", 2);
	text[sizeof(text) - 1] = '\0';
	clean = scrubbed(text, "a");
	assert_null(strchr(clean, 'a'));
	assert_int_equal(strlen(clean), OUTCOME_MESSAGE_SIZE - 1);
}

TEST(the_code_is_scrubbed_too_and_nothing_is_left_behind_its_end)
{
	Outcome outcome = outcome_make(OUTCOME_UNKNOWN, "Secret1!", "Secret1!Secret1!");

	scrub(&outcome, "Secret1!");
	assert_string_equal(outcome.code, "***");
	assert_string_equal(outcome.message, "******");
	assert_zero(outcome.code + 3, sizeof(outcome.code) - 3);
	assert_zero(outcome.message + 6, sizeof(outcome.message) - 6);
}

TEST(a_deadline_has_as_much_left_as_it_was_given_or_less)
{
	Deadline deadline = deadline_in(3600000);

	assert_in_range(deadline_left(deadline), 1, 3600000);
	assert_int_equal(deadline_left(deadline_in(-1)), 0);
	assert_int_equal(deadline_left(deadline_in(0)), 0);
	assert_true(deadline_in(INT64_MAX) == INT64_MAX);
	assert_true(deadline_sooner(deadline, deadline + 1) == deadline);
	assert_true(deadline_sooner(deadline + 1, deadline) == deadline);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_outcome_keeps_class_code_and_message),
		cmocka_unit_test(an_outcome_may_have_neither_code_nor_message),
		cmocka_unit_test(what_is_too_long_is_cut),
		cmocka_unit_test(an_error_is_told_with_detail_and_hint),
		cmocka_unit_test(each_class_has_the_name_that_the_extension_knows),
		cmocka_unit_test(every_occurrence_of_a_value_is_taken_out),
		cmocka_unit_test(an_empty_value_changes_nothing),
		cmocka_unit_test(a_value_is_found_in_whatever_form_a_peer_writes_it),
		cmocka_unit_test(a_text_that_can_be_read_in_two_ways_is_read_in_both),
		cmocka_unit_test(a_value_of_backslashes_costs_no_more_than_another),
		cmocka_unit_test(what_the_cut_left_of_a_value_is_taken_out),
		cmocka_unit_test(a_mask_that_does_not_fit_is_cut),
		cmocka_unit_test(the_code_is_scrubbed_too_and_nothing_is_left_behind_its_end),
		cmocka_unit_test(a_deadline_has_as_much_left_as_it_was_given_or_less),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

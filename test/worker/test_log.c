/*
 * test_log.c - tests of worker/log.c: what a line is, whatever is put into it.
 */
#include "support.h"

#include <cjson/cJSON.h>

#include "log.h"

#define TIME INT64_C(1700000000123) /* 2023-11-14 22:13:20.123 */

static char line[LOG_LINE_SIZE];

static const char *
json(const LogEvent *event, const char *message)
{
	size_t length = log_format_line(line, LOG_JSON, TIME, LOG_WARNING, event, message);

	assert_int_equal(length, strlen(line));
	return line;
}

static const char *
text(const LogEvent *event, const char *message)
{
	size_t length = log_format_line(line, LOG_TEXT, TIME, LOG_ERROR, event, message);

	assert_int_equal(length, strlen(line));
	return line;
}

TEST(a_message_alone_has_time_and_level)
{
	assert_string_equal(json(NULL, "begins"),
						"{\"time\":\"2023-11-14T22:13:20.123Z\",\"level\":\"warning\","
						"\"message\":\"begins\"}\n");
	assert_string_equal(text(NULL, "begins"), "2023-11-14T22:13:20.123Z error: begins\n");
}

TEST(an_event_has_what_is_known_of_it)
{
	LogEvent event = {.rotation = "r",
					  .secret = "s",
					  .step = "set",
					  .attempt = 2,
					  .duration_ms = 12.5,
					  .class = "unknown",
					  .code = "08006",
					  .target = "t",
					  .store = "local",
					  .detail = "lost"};

	assert_string_equal(
		json(&event, "not done"),
		"{\"time\":\"2023-11-14T22:13:20.123Z\",\"level\":\"warning\","
		"\"message\":\"not done\",\"rotation\":\"r\",\"secret\":\"s\",\"step\":\"set\","
		"\"attempt\":2,\"duration_ms\":12.5,\"class\":\"unknown\",\"code\":\"08006\","
		"\"target\":\"t\",\"store\":\"local\",\"detail\":\"lost\"}\n");
	assert_string_equal(
		text(&event, "not done"),
		"2023-11-14T22:13:20.123Z error: not done rotation=r secret=s step=set attempt=2 "
		"duration_ms=12.5 class=unknown code=08006 target=t store=local detail=lost\n");
}

TEST(what_is_not_known_is_left_out)
{
	LogEvent event = {.attempt = -1, .duration_ms = -1, .code = "", .detail = "x"};

	assert_string_equal(json(&event, "m"),
						"{\"time\":\"2023-11-14T22:13:20.123Z\",\"level\":\"warning\","
						"\"message\":\"m\",\"detail\":\"x\"}\n");
}

TEST(foreign_words_neither_end_the_line_nor_break_its_form)
{
	LogEvent event = {.attempt = -1, .duration_ms = -1, .detail = "a\"b\\c\nd\x1b[31m\x7f"};

	assert_string_equal(json(&event, "m"),
						"{\"time\":\"2023-11-14T22:13:20.123Z\",\"level\":\"warning\","
						"\"message\":\"m\",\"detail\":\"a\\\"b\\\\c d [31m \"}\n");
	assert_string_equal(text(&event, "m"),
						"2023-11-14T22:13:20.123Z error: m detail=a\"b\\c d [31m \n");
}

TEST(only_valid_utf8_reaches_the_line)
{
	static const struct
	{
		const char *in, *out;
	} cases[] = {
		{"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"},
		{"\xe2\x82\xac \xf0\x9f\x94\x91", "\xe2\x82\xac \xf0\x9f\x94\x91"},
		{"a\xff", "a?"},
		{"a\xc3", "a?"},
		{"\xc0\xaf", "??"},
		{"\xe0\x80\xaf", "???"},
		{"\xed\xa0\x80", "???"},
		{"\xf4\x90\x80\x80", "????"},
		{"\xf0\x9f\x94", "???"},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++)
	{
		char expected[128];

		(void) snprintf(expected, sizeof(expected), "2023-11-14T22:13:20.123Z error: %s\n",
						cases[i].out);
		assert_string_equal(text(NULL, cases[i].in), expected);
	}
}

TEST(a_line_stays_whole_however_long_its_parts_are)
{
	static const char *const fills[] = {"x", "\"", "\\", "\n", "\xc3\xbc", "\xf0\x9f\x94\x91"};

	for (size_t i = 0; i < COUNT_OF(fills); i++)
	{
		char part[1200] = "";
		LogEvent event;
		cJSON *tree;

		for (size_t used = 0; used + 5 < sizeof(part); used += strlen(fills[i]))
			memcpy(part + used, fills[i], strlen(fills[i]) + 1);
		event = (LogEvent){part, part, part, 1, 1, part, part, part, part, part};
		tree = cJSON_Parse(json(&event, part));
		assert_non_null(tree);
		assert_non_null(cJSON_GetObjectItem(tree, "detail"));
		assert_true(strlen(line) < LOG_LINE_SIZE);
		assert_int_equal(line[strlen(line) - 1], '\n');
		cJSON_Delete(tree);
		(void) text(&event, part);
		assert_int_equal(line[strlen(line) - 1], '\n');
		assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_message_alone_has_time_and_level),
		cmocka_unit_test(an_event_has_what_is_known_of_it),
		cmocka_unit_test(what_is_not_known_is_left_out),
		cmocka_unit_test(foreign_words_neither_end_the_line_nor_break_its_form),
		cmocka_unit_test(only_valid_utf8_reaches_the_line),
		cmocka_unit_test(a_line_stays_whole_however_long_its_parts_are),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

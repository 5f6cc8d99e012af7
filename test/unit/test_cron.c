/*
 * test_cron.c
 *		Tests of common/cron.c.
 */
#include "support.h"

#include <stdlib.h>
#include <time.h>

#include "cron.h"

static CronSpec
parsed(const char *text)
{
	CronSpec spec;
	RotorError err = fresh_error();

	memset(&spec, 0xff, sizeof(spec));
	if (!cron_parse(text, &spec, &err))
		fail_msg("\"%s\": %s; %s", text, err.message, err.detail);
	assert_string_equal(err.message, "untouched");
	return spec;
}

/* A time as "2026-03-01 04:05". */
static CronTime
at(const char *text)
{
	int numbers[5];
	const char *rest = text;

	for (size_t i = 0; i < COUNT_OF(numbers); i++)
	{
		char *end;

		numbers[i] = (int) strtol(rest, &end, 10);
		assert_true(end > rest);
		rest = *end != '\0' ? end + 1 : end;
	}
	return (CronTime){numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]};
}

static void
assert_time(const CronTime *time, const char *expected)
{
	char text[64];

	(void) snprintf(text, sizeof(text), "%04d-%02d-%02d %02d:%02d", time->year, time->month,
					time->day, time->hour, time->minute);
	assert_string_equal(text, expected);
}

/* From the first time given on, a schedule comes due at each of the others in turn. */
static void
assert_due(const char *schedule, const char *const *times)
{
	CronSpec spec = parsed(schedule);
	CronTime time = at(times[0]);

	for (int i = 1; times[i] != NULL; i++)
	{
		assert_true(cron_next(&spec, &time, &time));
		assert_time(&time, times[i]);
	}
}

#define ASSERT_DUE(schedule, ...) assert_due(schedule, (const char *const[]){__VA_ARGS__, NULL})

static void
assert_refused(const char *schedule, const char *message, const char *detail, const char *hint)
{
	CronSpec spec;
	RotorError err = fresh_error();

	if (cron_parse(schedule, &spec, &err))
		fail_msg("\"%s\" was accepted", schedule);
	assert_error(&err, ROTOR_ERROR_ARGUMENT);
	assert_string_equal(err.message, message);
	assert_string_equal(err.detail, detail);
	assert_non_null(strstr(err.hint, hint));
}

/* The examples of the manual page crontab(5) of Vixie cron, 1 January 2026 being a Thursday. */
TEST(the_examples_of_the_manual_come_due_when_it_says)
{
	/* five minutes after midnight, every day */
	ASSERT_DUE("5 0 * * *", "2026-01-01 00:00", "2026-01-01 00:05", "2026-01-02 00:05");
	/* at 2:15pm on the first of every month */
	ASSERT_DUE("15 14 1 * *", "2026-01-01 14:15", "2026-02-01 14:15", "2026-03-01 14:15");
	/* at 10 pm on weekdays */
	ASSERT_DUE("0 22 * * 1-5", "2026-01-01 00:00", "2026-01-01 22:00", "2026-01-02 22:00",
			   "2026-01-05 22:00");
	/* 23 minutes after midnight, 2am, 4am ..., every day */
	ASSERT_DUE("23 0-23/2 * * *", "2026-01-01 20:00", "2026-01-01 20:23", "2026-01-01 22:23",
			   "2026-01-02 00:23", "2026-01-02 02:23");
	/* at 5 after 4 every Sunday */
	ASSERT_DUE("5 4 * * sun", "2026-01-01 00:00", "2026-01-04 04:05", "2026-01-11 04:05");
	/* at 4:30 am on the 1st and 15th of each month, plus every Friday */
	ASSERT_DUE("30 4 1,15 * 5", "2026-01-01 00:00", "2026-01-01 04:30", "2026-01-02 04:30",
			   "2026-01-09 04:30", "2026-01-15 04:30", "2026-01-16 04:30", "2026-01-23 04:30",
			   "2026-01-30 04:30", "2026-02-01 04:30");
	/* 4:00 am on the 8th to 14th of each month */
	ASSERT_DUE("0 4 8-14 * *", "2026-01-14 03:59", "2026-01-14 04:00", "2026-02-08 04:00");
}

TEST(words_stand_for_what_the_manual_says)
{
	ASSERT_DUE("@hourly", "2026-01-01 22:30", "2026-01-01 23:00", "2026-01-02 00:00");
	ASSERT_DUE("@daily", "2026-01-01 00:00", "2026-01-02 00:00", "2026-01-03 00:00");
	ASSERT_DUE("@midnight", "2026-01-01 00:00", "2026-01-02 00:00");
	ASSERT_DUE("@weekly", "2026-01-01 00:00", "2026-01-04 00:00", "2026-01-11 00:00");
	ASSERT_DUE("@monthly", "2026-01-01 00:00", "2026-02-01 00:00", "2026-03-01 00:00");
	ASSERT_DUE("@yearly", "2026-01-01 00:00", "2027-01-01 00:00");
	ASSERT_DUE("@annually", "2025-12-31 23:59", "2026-01-01 00:00");
	ASSERT_DUE(" @Daily\t", "2026-01-01 00:00", "2026-01-02 00:00");
}

TEST(two_restricted_day_fields_match_either_and_else_both_must)
{
	/* Friday the 13th: both are restricted, so each Friday and each 13th. */
	ASSERT_DUE("0 0 13 * fri", "2026-02-01 00:00", "2026-02-06 00:00", "2026-02-13 00:00",
			   "2026-02-20 00:00", "2026-02-27 00:00", "2026-03-06 00:00", "2026-03-13 00:00");
	ASSERT_DUE("0 0 13 jan fri", "2026-01-10 00:00", "2026-01-13 00:00", "2026-01-16 00:00");
	/* A field that begins with * is no restriction in this sense: odd days that are Mondays. */
	ASSERT_DUE("0 0 */2 * mon", "2026-01-01 00:00", "2026-01-05 00:00", "2026-01-19 00:00",
			   "2026-02-09 00:00");
	/* The same days without *: odd days, and Mondays. */
	ASSERT_DUE("0 0 1-31/2 * mon", "2026-01-10 00:00", "2026-01-11 00:00", "2026-01-12 00:00",
			   "2026-01-13 00:00");
	assert_true(parsed("0 0 1 * 1").either_day);
	assert_false(parsed("0 0 * * 1").either_day);
	assert_false(parsed("0 0 1 * */2").either_day);
}

TEST(sunday_is_zero_and_seven_and_may_end_a_range)
{
	const char *sundays[] = {"0 0 * * 0", "0 0 * * 7", "0 0 * * sun", "0 0 * * SUN", "0 0 * * 0,7"};

	for (size_t i = 0; i < COUNT_OF(sundays); i++)
		assert_int_equal(parsed(sundays[i]).weekdays, 1);
	assert_int_equal(parsed("0 0 * * 5-7").weekdays, 0x61);
	assert_int_equal(parsed("0 0 * * fri-sun").weekdays, 0x61);
	assert_int_equal(parsed("0 0 * * 5-0").weekdays, 0x61);
	assert_int_equal(parsed("0 0 * * sun-sat").weekdays, 0x7f);
	assert_int_equal(parsed("0 0 * * 0-7").weekdays, 0x7f);
	assert_int_equal(parsed("0 0 * * 1-7/2").weekdays, 0x2b);
}

TEST(fields_are_sets_of_what_is_listed)
{
	CronSpec spec = parsed("\t 0,30,45-50/2  */6\t1,31 jan,Mar-may,12 * ");

	assert_true(spec.minutes == (UINT64_C(1) | UINT64_C(1) << 30 | UINT64_C(1) << 45 |
								 UINT64_C(1) << 47 | UINT64_C(1) << 49));
	assert_int_equal(spec.hours, 1 | 1 << 6 | 1 << 12 | 1 << 18);
	assert_true(spec.days == (UINT32_C(1) << 1 | UINT32_C(1) << 31));
	assert_int_equal(spec.months, 1 << 1 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 12);
	assert_int_equal(spec.weekdays, 0x7f);

	spec = parsed("* * * * *");
	assert_true(spec.minutes == (UINT64_C(1) << 60) - 1);
	assert_int_equal(spec.hours, (1 << 24) - 1);
	assert_true(spec.days == (uint32_t) ((UINT64_C(1) << 32) - 2));
	assert_int_equal(spec.months, (1 << 13) - 2);
	assert_true(parsed("*/59 23 31 12 6").minutes == (UINT64_C(1) | UINT64_C(1) << 59));
}

TEST(only_a_schedule_without_stars_in_minute_and_hour_has_a_fixed_time)
{
	assert_true(parsed("30 2 * * *").fixed_time);
	assert_true(parsed("0-59 0-23 * * *").fixed_time);
	assert_true(parsed("@daily").fixed_time);
	assert_false(parsed("*/5 2 * * *").fixed_time);
	assert_false(parsed("0 * * * *").fixed_time);
	assert_false(parsed("@hourly").fixed_time);
}

TEST(months_have_their_days_and_leap_years_are_gregorian)
{
	ASSERT_DUE("59 23 31 * *", "2026-01-31 23:59", "2026-03-31 23:59", "2026-05-31 23:59",
			   "2026-07-31 23:59", "2026-08-31 23:59", "2026-10-31 23:59", "2026-12-31 23:59",
			   "2027-01-31 23:59");
	ASSERT_DUE("0 0 29 2 *", "2026-01-01 00:00", "2028-02-29 00:00", "2032-02-29 00:00");
	ASSERT_DUE("0 0 29 feb *", "2096-02-29 00:00", "2104-02-29 00:00");
	ASSERT_DUE("0 0 29 2 *", "1999-01-01 00:00", "2000-02-29 00:00");
	ASSERT_DUE("0 0 1 3 *", "2026-02-28 23:59", "2026-03-01 00:00");
	ASSERT_DUE("* * * * *", "2026-12-31 23:59", "2027-01-01 00:00", "2027-01-01 00:01");
	ASSERT_DUE("* * * * *", "2028-02-28 23:59", "2028-02-29 00:00");
}

/* 29 February is a Sunday in 2032 and, because 2100 has none, then only every 28 or 40 years. */
TEST(the_rarest_of_dates_is_found)
{
	ASSERT_DUE("0 0 29 2 */7", "2026-01-01 00:00", "2032-02-29 00:00", "2060-02-29 00:00",
			   "2088-02-29 00:00", "2128-02-29 00:00");
}

/* The day of the week agrees with the C library's, over 400 years and more. */
TEST(weekdays_are_those_of_the_calendar)
{
	CronSpec spec = parsed("0 0 * * wed");
	CronTime time = at("1899-12-31 00:00");
	struct tm before = {.tm_year = -1, .tm_mon = 11, .tm_mday = 31};
	const time_t day = 86400;
	time_t last = timegm(&before);

	assert_int_equal(before.tm_wday, 0);
	last -= 4 * day; /* the Wednesday before */
	for (int week = 0; week < 450 * 53; week++)
	{
		struct tm tm;

		assert_true(cron_next(&spec, &time, &time));
		last += 7 * day;
		assert_non_null(gmtime_r(&last, &tm));
		assert_int_equal(time.day, tm.tm_mday);
		assert_int_equal(time.month, tm.tm_mon + 1);
		assert_int_equal(time.year, tm.tm_year + 1900);
	}
}

TEST(a_match_is_always_later_than_the_time_given)
{
	ASSERT_DUE("30 3 * * *", "2026-01-01 03:29", "2026-01-01 03:30");
	ASSERT_DUE("30 3 * * *", "2026-01-01 03:30", "2026-01-02 03:30");
	ASSERT_DUE("30 3 * * *", "2026-01-01 03:59", "2026-01-02 03:30");
	ASSERT_DUE("0,59 0,23 * * *", "2026-01-01 00:58", "2026-01-01 00:59", "2026-01-01 23:00",
			   "2026-01-01 23:59", "2026-01-02 00:00");
	ASSERT_DUE("10 5,7 * * *", "2026-01-01 05:30", "2026-01-01 07:10");
	ASSERT_DUE("10 5,7 * * *", "2026-01-01 06:00", "2026-01-01 07:10");
}

TEST(what_can_never_come_due_is_refused)
{
	static const char *const never[] = {"0 0 30 2 *", "0 0 31 2,4,6,9,11 *", "0 0 31 feb */2",
										"0 0 30,31 2 *"};

	for (size_t i = 0; i < COUNT_OF(never); i++)
		assert_refused(never[i], "schedule never comes due",
					   "None of its months has one of its days of the month.", "another month");
	/* The day of the week suffices here. */
	ASSERT_DUE("0 0 30 2 mon", "2026-01-01 00:00", "2026-02-02 00:00");
	ASSERT_DUE("0 0 30 2,4 *", "2026-01-01 00:00", "2026-04-30 00:00");
}

TEST(an_error_says_field_position_and_what_is_allowed)
{
	const char *range = "The number is out of range.";
	const char *missing = "A number or another allowed value is missing.";
	const char *foreign = "This character has no meaning here.";

	assert_refused("60 * * * *", "invalid minute at position 1 of the schedule", range,
				   "Minutes are 0 to 59;");
	assert_refused("0 24 * * *", "invalid hour at position 3 of the schedule", range,
				   "Hours are 0 to 23;");
	assert_refused("0 0 0 * *", "invalid day of month at position 5 of the schedule", range,
				   "Days of the month are 1 to 31;");
	assert_refused("0 0 32 * *", "invalid day of month at position 5 of the schedule", range, "31");
	assert_refused("0 0 * 13 *", "invalid month at position 7 of the schedule", range,
				   "Months are 1 to 12 or jan to dec;");
	assert_refused("0 0 * 1 8", "invalid day of week at position 9 of the schedule", range,
				   "Weekdays are 0 to 7 or sun to sat;");
	assert_refused("4294967296 * * * *", "invalid minute at position 1 of the schedule", range, "");
	assert_refused("jan * * * *", "invalid minute at position 1 of the schedule", missing, "");
	assert_refused("0 0 * mon *", "invalid month at position 7 of the schedule", missing, "");
	assert_refused("1- * * * *", "invalid minute at position 3 of the schedule", missing, "");
	assert_refused("1,,2 * * * *", "invalid minute at position 3 of the schedule", missing, "");
	assert_refused("-1 * * * *", "invalid minute at position 1 of the schedule", missing, "");
	assert_refused("0 0 L * *", "invalid day of month at position 5 of the schedule", missing, "");
	assert_refused("0 0 * * monday", "invalid day of week at position 12 of the schedule", foreign,
				   "");
	assert_refused("*5 * * * *", "invalid minute at position 2 of the schedule", foreign, "");
	assert_refused("1\n2 * * *", "invalid minute at position 2 of the schedule", foreign, "");
	assert_refused("0 0 * * 1#2", "invalid day of week at position 10 of the schedule", foreign,
				   "");
	assert_refused("30-10 * * * *", "invalid minute at position 1 of the schedule",
				   "The range ends before it begins.", "");
	assert_refused("5/10 * * * *", "invalid minute at position 2 of the schedule",
				   "A step needs * or a range in front.", "");
	assert_refused("*/0 * * * *", "invalid minute at position 3 of the schedule",
				   "The step is missing or out of range.", "");
	assert_refused("*/60 * * * *", "invalid minute at position 3 of the schedule",
				   "The step is missing or out of range.", "");
	assert_refused("*/ * * * *", "invalid minute at position 3 of the schedule",
				   "The step is missing or out of range.", "");
}

TEST(a_text_of_another_form_is_refused)
{
	char longest[CRON_MAX_LENGTH + 2];

	assert_refused("", "schedule has fewer than five fields", "", "@daily");
	assert_refused("  ", "schedule has fewer than five fields", "", "@daily");
	assert_refused("0 0 * *", "schedule has fewer than five fields", "", "minute, hour, day");
	assert_refused("0 0 * * * root", "schedule has more than five fields", "", "minute, hour, day");
	assert_refused("@reboot", "schedule is an unknown word", "", "@hourly");
	assert_refused("@", "schedule is an unknown word", "", "@hourly");
	assert_refused("@dailyx", "schedule is an unknown word", "", "@hourly");
	assert_refused("@daily *", "schedule is an unknown word", "", "@hourly");

	memset(longest, ' ', sizeof(longest));
	memcpy(longest, "0 0 * * *", 9);
	longest[CRON_MAX_LENGTH + 1] = '\0';
	assert_refused(longest, "schedule is too long", "", "");
	longest[CRON_MAX_LENGTH] = '\0';
	(void) parsed(longest);
}

TEST(a_spec_that_nobody_parsed_ends_too)
{
	CronSpec spec = {0};
	CronTime time = at("2026-01-01 00:00");
	CronTime next;

	assert_false(cron_next(&spec, &time, &next));
	spec.months = 1 << 2;
	spec.days = 1 << 30;
	spec.weekdays = 0x7f;
	spec.hours = 1;
	spec.minutes = 1;
	assert_false(cron_next(&spec, &time, &next));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_examples_of_the_manual_come_due_when_it_says),
		cmocka_unit_test(words_stand_for_what_the_manual_says),
		cmocka_unit_test(two_restricted_day_fields_match_either_and_else_both_must),
		cmocka_unit_test(sunday_is_zero_and_seven_and_may_end_a_range),
		cmocka_unit_test(fields_are_sets_of_what_is_listed),
		cmocka_unit_test(only_a_schedule_without_stars_in_minute_and_hour_has_a_fixed_time),
		cmocka_unit_test(months_have_their_days_and_leap_years_are_gregorian),
		cmocka_unit_test(the_rarest_of_dates_is_found),
		cmocka_unit_test(weekdays_are_those_of_the_calendar),
		cmocka_unit_test(a_match_is_always_later_than_the_time_given),
		cmocka_unit_test(what_can_never_come_due_is_refused),
		cmocka_unit_test(an_error_says_field_position_and_what_is_allowed),
		cmocka_unit_test(a_text_of_another_form_is_refused),
		cmocka_unit_test(a_spec_that_nobody_parsed_ends_too),
	};

	return cmocka_run_group_tests_name("cron", tests, NULL, NULL);
}

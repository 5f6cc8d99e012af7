/*
 * test_cron_zone.c
 *		Tests of common/cron_zone.c.
 *
 * The zones are those of the tz database for the years in question, as `zdump -v` prints them.
 */
#include "support.h"

#include <stdlib.h>
#include <time.h>

#include "cron_zone.h"

#define HOUR   3600
#define DAY	   86400
#define MINUTE 60

typedef struct Change
{
	const char *at; /* UTC */
	int offset;		/* from then on */
} Change;

typedef struct Zone
{
	const char *name;
	int offset; /* before the first change */
	Change changes[4];
} Zone;

static const Zone berlin = {
	"Europe/Berlin", HOUR, {{"2026-03-29 01:00", 2 * HOUR}, {"2026-10-25 01:00", HOUR}}};
static const Zone new_york = {"America/New_York",
							  -5 * HOUR,
							  {{"2026-03-08 07:00", -4 * HOUR}, {"2026-11-01 06:00", -5 * HOUR}}};
static const Zone lord_howe = {
	"Australia/Lord_Howe",
	11 * HOUR,
	{{"2026-04-04 15:00", 10 * HOUR + HOUR / 2}, {"2026-10-03 15:30", 11 * HOUR}}};
static const Zone havana = {"America/Havana",
							-5 * HOUR,
							{{"2026-03-08 05:00", -4 * HOUR}, {"2026-11-01 05:00", -5 * HOUR}}};
static const Zone apia = {"Pacific/Apia",
						  -10 * HOUR,
						  {{"2011-04-02 14:00", -11 * HOUR},
						   {"2011-09-24 14:00", -10 * HOUR},
						   {"2011-12-30 10:00", 14 * HOUR}}};
static const Zone utc = {"UTC", 0, {{NULL, 0}}};

static const Zone *const zones[] = {&berlin, &new_york, &lord_howe, &havana, &apia, &utc};

/* Seconds since 1970 of a time as "2026-03-01 04:05". */
static int64_t
at(const char *text)
{
	struct tm tm = {0};
	int numbers[5];

	for (size_t i = 0; i < COUNT_OF(numbers); i++)
	{
		char *end;

		numbers[i] = (int) strtol(text, &end, 10);
		assert_true(end > text);
		text = *end != '\0' ? end + 1 : end;
	}
	tm.tm_year = numbers[0] - 1900;
	tm.tm_mon = numbers[1] - 1;
	tm.tm_mday = numbers[2];
	tm.tm_hour = numbers[3];
	tm.tm_min = numbers[4];
	return timegm(&tm);
}

static void
write_time(int64_t seconds, char out[32])
{
	time_t time = (time_t) seconds;
	struct tm tm;

	assert_non_null(gmtime_r(&time, &tm));
	assert_int_equal(tm.tm_sec, 0);
	assert_true(strftime(out, 32, "%Y-%m-%d %H:%M", &tm) > 0);
}

static void
find(const void *arg, int64_t time, CronOffset *offset)
{
	const Zone *zone = arg;

	offset->offset = zone->offset;
	offset->until = INT64_MAX;
	for (size_t i = 0; i < COUNT_OF(zone->changes) && zone->changes[i].at != NULL; i++)
	{
		if (time < at(zone->changes[i].at))
		{
			offset->until = at(zone->changes[i].at);
			return;
		}
		offset->offset = zone->changes[i].offset;
	}
}

static CronSpec
parsed(const char *text)
{
	CronSpec spec;
	RotorError err = fresh_error();

	if (!cron_parse(text, &spec, &err))
		fail_msg("\"%s\": %s; %s", text, err.message, err.detail);
	return spec;
}

/* From the first time on, a schedule comes due at each of the others in turn; all of them in UTC. */
static void
assert_due(const Zone *zone, const char *schedule, const char *const *times)
{
	CronSpec spec = parsed(schedule);
	CronZone how = {find, zone};
	int64_t time = at(times[0]);
	char text[32];

	for (int i = 1; times[i] != NULL; i++)
	{
		assert_true(cron_zone_next(&spec, &how, time, &time));
		write_time(time, text);
		assert_string_equal(text, times[i]);
	}
}

#define ASSERT_DUE(zone, schedule, ...) \
	assert_due(&(zone), schedule, (const char *const[]){__VA_ARGS__, NULL})

TEST(without_a_zone_a_schedule_is_that_of_the_calendar)
{
	ASSERT_DUE(utc, "30 3 * * *", "2026-01-01 00:00", "2026-01-01 03:30", "2026-01-02 03:30");
	ASSERT_DUE(utc, "0 0 29 2 *", "2026-01-01 00:00", "2028-02-29 00:00", "2032-02-29 00:00");
	ASSERT_DUE(utc, "*/20 * * * *", "1999-12-31 23:30", "1999-12-31 23:40", "2000-01-01 00:00");
	ASSERT_DUE(utc, "0 12 31 12 *", "1003-01-01 00:00", "1003-12-31 12:00", "1004-12-31 12:00");
}

TEST(a_time_that_is_skipped_comes_right_after_the_gap)
{
	/* 02:30 on 29 March 2026 does not exist in Berlin: 03:00 of the new time is 01:00 UTC. */
	ASSERT_DUE(berlin, "30 2 * * *", "2026-03-28 00:00", "2026-03-28 01:30", "2026-03-29 01:00",
			   "2026-03-30 00:30");
	ASSERT_DUE(new_york, "15 2 * * *", "2026-03-07 08:00", "2026-03-08 07:00", "2026-03-09 06:15");
	/* Half an hour: 02:00 to 02:30 on 4 October. */
	ASSERT_DUE(lord_howe, "15 2 * * *", "2026-10-02 16:00", "2026-10-03 15:30", "2026-10-04 15:15");
	ASSERT_DUE(lord_howe, "45 2 * * *", "2026-10-02 17:00", "2026-10-03 15:45", "2026-10-04 15:45");
	/* The midnight that Havana skips. */
	ASSERT_DUE(havana, "@daily", "2026-03-07 12:00", "2026-03-08 05:00", "2026-03-09 04:00");
}

TEST(several_times_of_a_gap_come_once)
{
	ASSERT_DUE(berlin, "0,15,30,45 2 * * *", "2026-03-28 12:00", "2026-03-29 01:00",
			   "2026-03-30 00:00");
	/* And if one is due right after the gap anyway, that is it. */
	ASSERT_DUE(berlin, "30 2,3 * * *", "2026-03-28 12:00", "2026-03-29 01:00", "2026-03-29 01:30",
			   "2026-03-30 00:30");
	ASSERT_DUE(berlin, "0 2,3 * * *", "2026-03-28 12:00", "2026-03-29 01:00", "2026-03-30 00:00");
}

TEST(a_time_that_is_repeated_comes_the_first_time)
{
	ASSERT_DUE(berlin, "30 2 * * *", "2026-10-24 12:00", "2026-10-25 00:30", "2026-10-26 01:30");
	ASSERT_DUE(new_york, "30 1 * * *", "2026-10-31 12:00", "2026-11-01 05:30", "2026-11-02 06:30");
	ASSERT_DUE(lord_howe, "45 1 * * *", "2026-04-03 16:00", "2026-04-04 14:45", "2026-04-05 15:15");
	ASSERT_DUE(havana, "@daily", "2026-10-31 12:00", "2026-11-01 04:00", "2026-11-02 05:00");
	/* Who asks in between gets no second one either. */
	ASSERT_DUE(berlin, "30 2 * * *", "2026-10-25 01:10", "2026-10-26 01:30");
	ASSERT_DUE(berlin, "30 2 * * *", "2026-10-25 00:30", "2026-10-26 01:30");
	ASSERT_DUE(berlin, "10,50 2 * * *", "2026-10-24 12:00", "2026-10-25 00:10", "2026-10-25 00:50",
			   "2026-10-26 01:10");
}

TEST(a_wildcard_goes_by_the_time_that_passes)
{
	ASSERT_DUE(berlin, "*/30 * * * *", "2026-03-29 00:00", "2026-03-29 00:30", "2026-03-29 01:00",
			   "2026-03-29 01:30");
	ASSERT_DUE(berlin, "@hourly", "2026-10-24 23:30", "2026-10-25 00:00", "2026-10-25 01:00",
			   "2026-10-25 02:00");
	/* Of an hour that is left out nothing comes, of one that is repeated everything twice. */
	ASSERT_DUE(berlin, "*/30 2 * * *", "2026-03-28 01:30", "2026-03-30 00:00");
	ASSERT_DUE(berlin, "*/30 2 * * *", "2026-10-25 00:00", "2026-10-25 00:30", "2026-10-25 01:00",
			   "2026-10-25 01:30", "2026-10-26 01:00");
	ASSERT_DUE(lord_howe, "*/15 * * * *", "2026-04-04 14:30", "2026-04-04 14:45",
			   "2026-04-04 15:00", "2026-04-04 15:15");
	ASSERT_DUE(lord_howe, "@hourly", "2026-04-04 13:30", "2026-04-04 14:00", "2026-04-04 15:30");
}

TEST(a_day_that_is_left_out_is_a_gap)
{
	/* Samoa had no 30 December 2011: 29 December 23:59 was followed by 31 December 00:00. */
	ASSERT_DUE(apia, "0 3 * * *", "2011-12-28 14:00", "2011-12-29 13:00", "2011-12-30 10:00",
			   "2011-12-30 13:00", "2011-12-31 13:00");
	ASSERT_DUE(apia, "0 3 30 12 *", "2011-01-01 00:00", "2011-12-30 10:00", "2012-12-29 13:00");
	ASSERT_DUE(apia, "@hourly", "2011-12-30 08:30", "2011-12-30 09:00", "2011-12-30 10:00");
	ASSERT_DUE(apia, "*/30 3 30 12 *", "2011-01-01 00:00", "2012-12-29 13:00");
}

/* One fire a day, whatever the clock does; in a year of published changes. */
TEST(a_daily_schedule_comes_due_on_each_day_of_a_year)
{
	static const Zone *const of_2026[] = {&berlin, &new_york, &lord_howe, &havana, &utc};

	for (size_t i = 0; i < COUNT_OF(of_2026); i++)
	{
		for (int minute = 0; minute < 24 * 60; minute += 15)
		{
			CronZone how = {find, of_2026[i]};
			char schedule[32];
			CronSpec spec;
			int64_t time = cron_zone_moment(&how, at("2025-12-31 23:59"));
			int64_t end = cron_zone_moment(&how, at("2027-01-01 00:00"));
			int count = 0;

			(void) snprintf(schedule, sizeof(schedule), "%d %d * * *", minute % 60, minute / 60);
			spec = parsed(schedule);
			while (cron_zone_next(&spec, &how, time, &time) && time < end)
				count++;
			assert_int_equal(count, 365);
		}
	}
}

static bool
matches(const CronSpec *spec, int64_t local)
{
	time_t time = (time_t) local;
	struct tm tm;
	bool day;
	bool weekday;

	assert_non_null(gmtime_r(&time, &tm));
	day = spec->days >> tm.tm_mday & 1;
	weekday = spec->weekdays >> tm.tm_wday & 1;
	return (spec->minutes >> tm.tm_min & 1) && (spec->hours >> tm.tm_hour & 1) &&
		   (spec->months >> (tm.tm_mon + 1) & 1) &&
		   (spec->either_day ? day || weekday : day && weekday);
}

/*
 * What Vixie cron does, minute by minute: it looks at the wall clock; what is fixed runs for each
 * local time that the clock has passed since the latest one that it ever showed.
 */
static void
assert_like_a_running_cron(const Zone *zone, const char *schedule, int64_t from, int64_t until)
{
	CronZone how = {find, zone};
	CronSpec spec = parsed(schedule);
	int64_t latest = cron_zone_local(&how, from);
	int64_t expected;

	assert_true(cron_zone_next(&spec, &how, from, &expected));
	for (int64_t now = from + MINUTE; now < until; now += MINUTE)
	{
		int64_t local = cron_zone_local(&how, now);
		bool runs = !spec.fixed_time && matches(&spec, local);

		for (; latest < local; latest += MINUTE)
			runs |= spec.fixed_time && matches(&spec, latest + MINUTE);
		if (runs != (expected == now))
			fail_msg("%s in %s: %s at %lld", schedule, zone->name,
					 runs ? "nothing" : "a surplus run", (long long) now);
		if (runs)
			assert_true(cron_zone_next(&spec, &how, now, &expected));
	}
}

TEST(every_schedule_runs_as_with_a_cron_that_looks_each_minute)
{
	static const char *const schedules[] = {
		"* * * * *",  "*/7 * * * *",	   "0-59 0-23 * * *", "30 2 * * *",	  "0 0 * * *",
		"59 1 * * *", "15,45 1,2,3 * * *", "*/10 2 * * *",	  "5 */2 * * *",  "0 3 * * sun",
		"@hourly",	  "1-59/2 0-5 * * *",  "0 2 30 * *",	  "0 12 1 * mon",
	};

	for (size_t i = 0; i < COUNT_OF(zones); i++)
	{
		for (size_t j = 0; j < COUNT_OF(zones[i]->changes) && zones[i]->changes[j].at; j++)
		{
			int64_t change = at(zones[i]->changes[j].at);

			/* Each begins after the last change, for a running cron knows what it ran before. */
			for (size_t k = 0; k < COUNT_OF(schedules); k++)
				assert_like_a_running_cron(zones[i], schedules[k], change - (int64_t) 2 * DAY,
										   change + (int64_t) 3 * DAY);
		}
	}
}

TEST(the_moment_of_a_local_time_is_the_first_one_and_never_goes_back)
{
	for (size_t i = 0; i < COUNT_OF(zones); i++)
	{
		CronZone how = {find, zones[i]};

		for (size_t j = 0; j < COUNT_OF(zones[i]->changes) && zones[i]->changes[j].at; j++)
		{
			int64_t change = at(zones[i]->changes[j].at);
			int64_t before = INT64_MIN;

			for (int64_t local = change - (int64_t) 3 * DAY; local < change + (int64_t) 3 * DAY;
				 local += MINUTE)
			{
				int64_t moment = cron_zone_moment(&how, local);

				assert_true(moment >= before);
				/* It shows that time, or it is the first moment behind the gap. */
				if (cron_zone_local(&how, moment) != local)
				{
					assert_int_equal(moment, change);
					assert_true(cron_zone_local(&how, moment) > local);
					assert_true(cron_zone_local(&how, moment - 1) < local);
				}
				before = moment;
			}
		}
	}
}

TEST(times_beyond_the_calendar_have_no_next_one)
{
	CronSpec spec = parsed("@daily");
	CronZone how = {find, &utc};
	int64_t next;

	assert_false(cron_zone_next(&spec, &how, INT64_MIN, &next));
	assert_false(cron_zone_next(&spec, &how, INT64_MAX, &next));
	assert_false(cron_zone_next(&spec, &how, CRON_ZONE_LAST, &next));
	assert_true(cron_zone_next(&spec, &how, at("9999-12-20 00:00"), &next));
	spec = parsed("0 0 1 1 *");
	assert_false(cron_zone_next(&spec, &how, at("9999-06-01 00:00"), &next));
	spec = parsed("*/2 0 1 1 *");
	assert_false(cron_zone_next(&spec, &how, at("9999-06-01 00:00"), &next));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_a_zone_a_schedule_is_that_of_the_calendar),
		cmocka_unit_test(a_time_that_is_skipped_comes_right_after_the_gap),
		cmocka_unit_test(several_times_of_a_gap_come_once),
		cmocka_unit_test(a_time_that_is_repeated_comes_the_first_time),
		cmocka_unit_test(a_wildcard_goes_by_the_time_that_passes),
		cmocka_unit_test(a_day_that_is_left_out_is_a_gap),
		cmocka_unit_test(a_daily_schedule_comes_due_on_each_day_of_a_year),
		cmocka_unit_test(every_schedule_runs_as_with_a_cron_that_looks_each_minute),
		cmocka_unit_test(the_moment_of_a_local_time_is_the_first_one_and_never_goes_back),
		cmocka_unit_test(times_beyond_the_calendar_have_no_next_one),
	};

	return cmocka_run_group_tests_name("cron_zone", tests, NULL, NULL);
}

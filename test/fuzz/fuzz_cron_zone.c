/*
 * fuzz_cron_zone.c
 *		Schedules in a time zone: the input is a time, a zone that changes its offset up to
 *		three times after it, and the text of a schedule.
 *
 * What comes due is what a cron runs that looks at the wall clock each minute, and that runs
 * fixed times for all that the clock has passed since the latest time it ever showed.
 */
#include "fuzz.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cron_zone.h"

#define MINUTE	60
#define MINUTES 4000 /* that the cron runs */
#define CHANGES 3

typedef struct Zone
{
	int64_t at[CHANGES]; /* growing */
	int64_t offset[CHANGES + 1];
} Zone;

static void
find(const void *arg, int64_t time, CronOffset *offset)
{
	const Zone *zone = arg;
	int i = 0;

	while (i < CHANGES && time >= zone->at[i])
		i++;
	offset->offset = zone->offset[i];
	offset->until = i < CHANGES ? zone->at[i] : INT64_MAX;
}

static bool
matches(const CronSpec *spec, int64_t local)
{
	time_t time = (time_t) local;
	struct tm tm;
	bool day;
	bool weekday;

	MUST(gmtime_r(&time, &tm) != NULL);
	day = spec->days >> tm.tm_mday & 1;
	weekday = spec->weekdays >> tm.tm_wday & 1;
	return (spec->minutes >> tm.tm_min & 1) && (spec->hours >> tm.tm_hour & 1) &&
		   (spec->months >> (tm.tm_mon + 1) & 1) &&
		   (spec->either_day ? day || weekday : day && weekday);
}

/* Whatever the wall clock does, the next run is the one of a cron that is running. */
static void
check_runs(const CronSpec *spec, const CronZone *how, int64_t from)
{
	int64_t latest = cron_zone_local(how, from);
	int64_t expected;

	MUST(cron_zone_next(spec, how, from, &expected));
	for (int64_t now = from + MINUTE; now < from + (int64_t) MINUTES * MINUTE; now += MINUTE)
	{
		int64_t local = cron_zone_local(how, now);
		bool runs = !spec->fixed_time && matches(spec, local);

		for (; latest < local; latest += MINUTE)
			runs |= spec->fixed_time && matches(spec, latest + MINUTE);
		MUST(runs == (expected == now));
		if (runs)
			MUST(cron_zone_next(spec, how, now, &expected) && expected > now);
	}
}

/* The moment of a local time is the first at which the wall clock has come so far. */
static void
check_moments(const CronZone *how, int64_t from)
{
	int64_t latest = cron_zone_local(how, from);

	for (int64_t now = from + MINUTE; now < from + (int64_t) MINUTES * MINUTE; now += MINUTE)
	{
		for (; latest < cron_zone_local(how, now); latest += MINUTE)
			MUST(cron_zone_moment(how, latest + MINUTE) == now);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Input input = {data, size};
	/* 1970 to 2106, in minutes. */
	int64_t from = (int64_t) (take_number(&input) / MINUTE) * MINUTE;
	int64_t at = from;
	char text[CRON_MAX_LENGTH + 1];
	Zone zone;
	CronZone how = {find, &zone};
	CronSpec spec;
	RotorError err;

	zone.offset[0] = ((int64_t) take_byte(&input) - 128) * 5 * MINUTE;
	for (int i = 0; i < CHANGES; i++)
	{
		at += (1 + (int64_t) take_byte(&input) * 5) * MINUTE;
		zone.at[i] = at;
		zone.offset[i + 1] = ((int64_t) take_byte(&input) - 128) * 10 * MINUTE;
	}
	if (input.len >= sizeof(text) || memchr(input.data, '\0', input.len) != NULL)
		return 0;
	memcpy(text, input.data, input.len);
	text[input.len] = '\0';
	check_moments(&how, from);
	if (cron_parse(text, &spec, &err))
		check_runs(&spec, &how, from);
	return 0;
}

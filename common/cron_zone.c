/*
 * cron_zone.c
 *		Schedules in a time zone; see cron_zone.h.
 */
#include "cron_zone.h"

#define MINUTE		 60
#define DAY			 86400
#define FARTHEST	 ((int64_t) 2 * DAY)   /* of an offset */
#define DAYS_TO_1970 719468				   /* from 0000-03-01 */
#define DAYS_OF_ERA	 146097				   /* 400 years */
#define FIRST_LOCAL	 INT64_C(-62135596800) /* 0001-01-01 00:00 */

static int64_t
floor_div(int64_t a, int64_t b)
{
	return a / b - (a % b < 0);
}

/* Of the Gregorian calendar, with years that begin in March, so that leap days come last. */
static void
to_calendar(int64_t local, CronTime *time)
{
	int64_t days = floor_div(local, DAY) + DAYS_TO_1970;
	int64_t minutes = (local - floor_div(local, DAY) * DAY) / MINUTE;
	int64_t era = floor_div(days, DAYS_OF_ERA);
	int64_t day = days - era * DAYS_OF_ERA;
	int64_t year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
	int64_t month;

	day -= 365 * year + year / 4 - year / 100;
	month = (5 * day + 2) / 153;
	time->day = (int) (day - (153 * month + 2) / 5 + 1);
	time->month = (int) (month < 10 ? month + 3 : month - 9);
	time->year = (int) (year + era * 400 + (time->month <= 2));
	time->hour = (int) (minutes / 60);
	time->minute = (int) (minutes % 60);
}

static int64_t
from_calendar(const CronTime *time)
{
	int64_t year = time->month <= 2 ? time->year - 1 : time->year;
	int64_t era = floor_div(year, 400);
	int64_t month = time->month > 2 ? time->month - 3 : time->month + 9;
	int64_t day = (153 * month + 2) / 5 + time->day - 1;

	year -= era * 400;
	day += 365 * year + year / 4 - year / 100 + era * DAYS_OF_ERA - DAYS_TO_1970;
	return day * DAY + (int64_t) (time->hour * 60 + time->minute) * MINUTE;
}

/* The local time that comes due next after the one given; false if there is none in time. */
static bool
next_local(const CronSpec *spec, int64_t *local)
{
	CronTime time;

	to_calendar(*local, &time);
	if (!cron_next(spec, &time, &time) || time.year > 9999)
		return false;
	*local = from_calendar(&time);
	return true;
}

int64_t
cron_zone_local(const CronZone *zone, int64_t time)
{
	CronOffset now;

	zone->find(zone->arg, time, &now);
	return time + now.offset;
}

int64_t
cron_zone_moment(const CronZone *zone, int64_t local)
{
	CronOffset now;

	/* From a moment that is surely earlier, through all that follows. */
	zone->find(zone->arg, local - FARTHEST, &now);
	for (;;)
	{
		int64_t behind = now.until;

		if (local - now.offset < behind)
			return local - now.offset;
		zone->find(zone->arg, behind, &now);
		/* It ended before this local time came, and what follows begins after it. */
		if (local - now.offset < behind)
			return behind;
	}
}

/* What comes due at a time of the wall clock comes once, whatever the wall clock does. */
static bool
next_fixed(const CronSpec *spec, const CronZone *zone, int64_t after, int64_t *next)
{
	int64_t local = cron_zone_local(zone, after);

	do
	{
		if (!next_local(spec, &local))
			return false;
		*next = cron_zone_moment(zone, local);
		/* else: it came due already, in the first of two hours or behind the gap */
	} while (*next <= after);
	return true;
}

/* What comes due whenever the wall clock shows a minute that matches. */
static bool
next_passing(const CronSpec *spec, const CronZone *zone, int64_t after, int64_t *next)
{
	CronOffset now;
	int64_t local;

	zone->find(zone->arg, after, &now);
	local = after + now.offset;
	while (next_local(spec, &local))
	{
		int64_t behind = now.until;

		*next = local - now.offset;
		if (*next < behind)
			return true;
		/* The wall clock was changed before; its first minute then is the next one to be looked at. */
		zone->find(zone->arg, behind, &now);
		local = behind + now.offset - 1;
	}
	return false;
}

bool
cron_zone_next(const CronSpec *spec, const CronZone *zone, int64_t after, int64_t *next)
{
	if (after < FIRST_LOCAL + FARTHEST || after > CRON_ZONE_LAST - FARTHEST)
		return false;
	return spec->fixed_time ? next_fixed(spec, zone, after, next)
							: next_passing(spec, zone, after, next);
}

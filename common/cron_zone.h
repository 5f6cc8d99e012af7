/*
 * cron_zone.h
 *		Schedules of cron.h in a time zone, with its daylight saving time.
 *
 * The rule is that of Vixie cron, in the words of Debian's cron(8): "If the time has moved forwards,
 * those jobs which would have run in the time that was skipped will be run soon after the change.
 * Conversely, if the time has moved backwards by less than 3 hours, those jobs that fall into the
 * repeated time will not be re-run.  Only jobs that run at a particular time (not specified as
 * @hourly, nor with '*' in the hour or minute specifier) are affected.  Jobs which are specified
 * with wildcards are run based on the new time immediately."  So:
 *
 * - With fixed_time a time of the wall clock that does not exist is the first moment behind the
 *   gap, and one that exists twice is the first of the two.  That holds for every gap and repetition
 *   that a zone has, also for the day that Samoa left out: what a zone announces is no correction
 *   of a clock (which is what cron takes more than three hours for).
 * - Else it is the time that passes which counts: whenever the wall clock shows a minute that
 *   matches, also if it shows it again; what it leaves out is left out.
 *
 * Times are seconds since 1970-01-01 00:00 UTC; local times are the same of the wall clock, as if
 * that were UTC.  Offsets are local time minus UTC, less than two days.
 */
#ifndef ROTOR_COMMON_CRON_ZONE_H
#define ROTOR_COMMON_CRON_ZONE_H

#include <stdbool.h>
#include <stdint.h>

#include "cron.h"

/* The latest moment that is looked at: the end of the year 9999. */
#define CRON_ZONE_LAST INT64_C(253402300799)

/* What the offset of a zone is at some moment, and until when. */
typedef struct CronOffset
{
	int64_t offset;
	int64_t until; /* the first moment that has another one; INT64_MAX: none */
} CronOffset;

typedef struct CronZone
{
	/* Fills *offset with what holds at that moment. */
	void (*find)(const void *arg, int64_t time, CronOffset *offset);
	const void *arg;
} CronZone;

/*
 * The first moment after `after` at which the schedule comes due; false if there is none up to
 * CRON_ZONE_LAST, or if `after` is before the year 1.
 */
extern bool
cron_zone_next(const CronSpec *spec, const CronZone *zone, int64_t after, int64_t *next);

/* The local time of a moment. */
extern int64_t cron_zone_local(const CronZone *zone, int64_t time);

/*
 * The moment of a local time: the first of two, or the first one behind the gap that the local time
 * falls into.  It never gets earlier with a later local time.
 */
extern int64_t cron_zone_moment(const CronZone *zone, int64_t local);

#endif /* ROTOR_COMMON_CRON_ZONE_H */

/*
 * cron.h
 *		Schedules as cron writes them: `minute hour day-of-month month day-of-week`.
 *
 * A field is `*`, a number, a name (jan .. dec, sun .. sat), a range (1-5, mon-fri), either
 * of `*` and a range with a step (0-30/10), or several of these joined by commas.  Sunday is
 * 0 or 7; a range may end with it (fri-sun).  Names and the words @hourly, @daily, @midnight,
 * @weekly, @monthly, @yearly and @annually are known in either case.
 *
 * Which days match is as in Vixie cron: if neither of the two day fields begins with `*`, a
 * day matches that either of them names; else one that both of them do.
 *
 * What always holds: this is arithmetic of the calendar (Gregorian, also for the past), which
 * knows no time zones; a schedule that never comes due, as on 30 February, is refused when it
 * is read; each call ends within microseconds.
 *
 * Who applies a time zone does as Vixie cron does.  A schedule with fixed_time runs by the
 * clock on the wall: when its time falls into an hour that is skipped, it runs right after
 * it; in an hour that is repeated, it runs the first time only.  So the caller goes on from
 * the local time that came due, not from that of the clock.  Any other schedule runs by the
 * time that passes: what a skipped hour would have had does not run, a repeated hour has it
 * twice.
 */
#ifndef ROTOR_COMMON_CRON_H
#define ROTOR_COMMON_CRON_H

#include <stdbool.h>
#include <stdint.h>

#include "error.h"

/* The longest text, in bytes; all minutes and hours in full have 235. */
#define CRON_MAX_LENGTH 512

/* What a text says, as sets: bit n stands for the number n. */
typedef struct CronSpec
{
	uint64_t minutes; /* 0 .. 59 */
	uint32_t hours;	  /* 0 .. 23 */
	uint32_t days;	  /* 1 .. 31 */
	uint16_t months;  /* 1 .. 12 */
	uint8_t weekdays; /* 0 .. 6, Sunday is 0 */
	bool either_day;  /* days and weekdays: one suffices */
	bool fixed_time;  /* neither minute nor hour begins with `*` */
} CronSpec;

/* A minute of local time. */
typedef struct CronTime
{
	int year; /* 1 .. 1000000 */
	int month;
	int day;
	int hour;
	int minute;
} CronTime;

/*
 * Reads a NUL-terminated text.
 * Error: ARGUMENT, which names the field, the position and what is allowed; *spec is then
 * undefined.
 */
extern bool cron_parse(const char *text, CronSpec *spec, RotorError *err);

/*
 * Finds the first minute after `after` that matches.  Returns false if there is none within
 * 400 years, which no spec of cron_parse has.
 */
extern bool cron_next(const CronSpec *spec, const CronTime *after, CronTime *next);

#endif /* ROTOR_COMMON_CRON_H */

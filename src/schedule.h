/*
 * schedule.h - when: the next rotation by interval or cron, windows, jitter, the pause after a
 * failure, the end of a password's life. Pure arithmetic, by the policy's time zone and never the
 * session's.
 *
 * DT_NOEND stands for never. Days and months of a rotation_interval are those of the calendar in
 * the time zone; those of a window or a jitter have 24 hours and 30 days.
 */
#ifndef ROTOR_SCHEDULE_H
#define ROTOR_SCHEDULE_H

#include "types.h"

/*
 * Raises 22023, with the place, the fact and the remedy, if schedule, window or zone cannot be read.
 * A zone that this server does not know is no reason to refuse a dump: with restored it only warns.
 */
extern void schedule_check(const Policy *policy, bool restored);

/* Does the policy rotate by itself? */
extern bool schedule_exists(const Policy *policy);

/* One planned rotation. */
typedef struct PlannedRun
{
	TimestampTz from;		/* it begins then, or up to the jitter later; DT_NOEND: never */
	TimestampTz latest;		/* with all of the jitter */
	TimestampTz window_end; /* it must have begun before; DT_NOEND: no window */
} PlannedRun;

/* The first one after base, moved into a window, without its jitter. */
extern PlannedRun schedule_run_after(const Policy *policy, TimestampTz base);

/* When to rotate next, jitter included, of a password that was set at base. */
extern TimestampTz schedule_next(const Policy *policy, TimestampTz base);

/*
 * The same after so many failures in a row: as planned, but after a pause at the latest, or when a
 * window opens then. The pause is backoff_max, doubled with each failure, from a minute to a day.
 */
extern TimestampTz schedule_again(const Policy *policy, TimestampTz now, int failures);

/* The same when the policy was changed: an interval counts from the last rotation, cron from now. */
extern TimestampTz schedule_anew(const Policy *policy, TimestampTz last_rotation, TimestampTz now);

/* May a scheduled rotation begin now? Else *then says when to try again. */
extern bool schedule_may_begin(const Policy *policy, TimestampTz now, TimestampTz *then);

/*
 * Milliseconds to wait after the given failed attempt (1 is the first): uniform between 1 and
 * backoff * 2^(attempt - 1), at most backoff_max ("full jitter": many failures at once do not come
 * back at once).
 */
extern int64 schedule_backoff_ms(const Policy *policy, int attempt);

/* VALID UNTIL for a password set now; false if the policy leaves VALID UNTIL alone. */
extern bool schedule_valid_until(const Policy *policy, TimestampTz *valid_until);

#endif

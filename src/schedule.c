/*
 * schedule.c - see schedule.h.
 */
#include "postgres.h"

#include <math.h>

#include "clock.h"
#include "cron_zone.h"
#include "fmgr.h"
#include "pgtime.h"
#include "random.h"
#include "report.h"
#include "schedule.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define UNIX_EPOCH ((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY)

/* --- time zones, as the server knows them --- */

static void
find_offset(const void *zone, int64_t time, CronOffset *offset)
{
	pg_time_t at = (pg_time_t) time;
	pg_time_t boundary;
	long before;
	long after;
	int before_is_dst;
	int after_is_dst;
	int found = pg_next_dst_boundary(&at, &before, &before_is_dst, &boundary, &after, &after_is_dst,
									 (const pg_tz *) zone);

	offset->offset = found < 0 ? 0 : before;
	offset->until = found > 0 ? (int64_t) boundary : INT64_MAX;
}

/* A zone that was known when the policy was written may be gone with an update: then it is UTC. */
static CronZone
zone_of(const Policy *policy)
{
	const char *name = policy->time_zone != NULL ? policy->time_zone : "UTC";
	CronZone zone = {.find = find_offset, .arg = pg_tzset(name)};

	if (zone.arg == NULL)
	{
		ereport(LOG, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					  errmsg("rotor: policy \"%s\": time zone \"%s\" is not known any more",
							 policy->name, name),
					  errdetail("Its schedule goes by UTC.")));
		zone.arg = pg_tzset("UTC");
	}
	return zone;
}

/* Seconds since 1970, rounded down. */
static int64
to_seconds(TimestampTz time)
{
	return time / USECS_PER_SEC - (time % USECS_PER_SEC < 0) + UNIX_EPOCH;
}

static TimestampTz
from_seconds(int64 seconds)
{
	return (seconds - UNIX_EPOCH) * USECS_PER_SEC;
}

/* --- what a policy says --- */

bool
schedule_exists(const Policy *policy)
{
	return policy->rotation_interval != NULL || policy->schedule != NULL;
}

static int64
microseconds(const Interval *interval)
{
	if (interval == NULL)
		return 0;
	return (interval->month * INT64CONST(30) + interval->day) * USECS_PER_DAY + interval->time;
}

static void
check_text(const char *column, const char *text)
{
	CronSpec spec;
	RotorError err;

	if (text == NULL || cron_parse(text, &spec, &err))
		return;
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s: %s", column, err.message),
					err.detail[0] ? errdetail("%s", err.detail) : 0,
					err.hint[0] ? errhint("%s", err.hint) : 0));
}

void
schedule_check(const Policy *policy, bool restored)
{
	pg_tz *zone = policy->time_zone != NULL ? pg_tzset(policy->time_zone) : NULL;

	check_text("schedule", policy->schedule);
	check_text("window_schedule", policy->window_schedule);
	if (policy->time_zone != NULL && (zone == NULL || !pg_tz_acceptable(zone)))
		ereport(restored ? WARNING : ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("time_zone \"%s\" is not known", policy->time_zone),
				 restored ? errdetail("Policy \"%s\" goes by UTC.", policy->name) : 0,
				 errhint("pg_timezone_names lists the names, such as Europe/Berlin.")));
}

/* The first time after base at which cron text comes due in the zone; DT_NOEND: never. */
static TimestampTz
cron_after(const char *text, const CronZone *zone, TimestampTz base)
{
	CronSpec spec;
	RotorError err;
	int64_t next;

	/* The guard has read it before; who gets past that is told once a rotation. */
	if (!cron_parse(text, &spec, &err))
	{
		ereport(LOG, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					  errmsg("rotor: schedule \"%s\" cannot be read: %s", text, err.message)));
		return DT_NOEND;
	}
	if (TIMESTAMP_NOT_FINITE(base) || !cron_zone_next(&spec, zone, to_seconds(base), &next))
		return DT_NOEND;
	return from_seconds(next);
}

/* Days and months by the calendar of the zone, the rest by the time that passes. */
static TimestampTz
interval_after(const Interval *interval, const CronZone *zone, TimestampTz base)
{
	Interval calendar = {.month = interval->month, .day = interval->day};
	int64 seconds = to_seconds(base);
	TimestampTz fraction = base - from_seconds(seconds);
	TimestampTz next;
	Timestamp local;

	if (calendar.month == 0 && calendar.day == 0)
		return base + interval->time;
	local = DatumGetTimestamp(DirectFunctionCall2(
		timestamp_pl_interval, TimestampGetDatum(from_seconds(cron_zone_local(zone, seconds))),
		IntervalPGetDatum(&calendar)));
	next = from_seconds(cron_zone_moment(zone, to_seconds(local))) + fraction + interval->time;
	/* A month less 29 days is a day to the table's constraint, and a step back in February. */
	return Max(next, base + USECS_PER_MINUTE);
}

static TimestampTz
due_after(const Policy *policy, const CronZone *zone, TimestampTz base)
{
	if (policy->schedule != NULL)
		return cron_after(policy->schedule, zone, base);
	if (policy->rotation_interval != NULL)
		return interval_after(policy->rotation_interval, zone, base);
	return DT_NOEND;
}

/* --- windows and jitter --- */

/* The window that is open at that time, or else the next one to open, and when it closes. */
static void
find_window(const Policy *policy, const CronZone *zone, TimestampTz at, TimestampTz *opens,
			TimestampTz *closes)
{
	int64 duration = microseconds(policy->window_duration);

	*opens = cron_after(policy->window_schedule ? policy->window_schedule : policy->schedule, zone,
						at - duration);
	*closes = TIMESTAMP_IS_NOEND(*opens) ? DT_NOEND : *opens + duration;
}

/* Moves a time into a window, if there are any, and leaves room for the jitter there. */
static PlannedRun
place(const Policy *policy, const CronZone *zone, TimestampTz at)
{
	PlannedRun run = {.from = at, .window_end = DT_NOEND};
	TimestampTz opens;
	int64 jitter = microseconds(policy->jitter);

	if (TIMESTAMP_IS_NOEND(at))
		return (PlannedRun){DT_NOEND, DT_NOEND, DT_NOEND};
	if (policy->window_duration != NULL)
	{
		find_window(policy, zone, at, &opens, &run.window_end);
		run.from = Max(at, opens);
		if (TIMESTAMP_IS_NOEND(run.from))
			return (PlannedRun){DT_NOEND, DT_NOEND, DT_NOEND};
		jitter = Min(jitter, run.window_end - run.from - 1);
	}
	run.latest = run.from + jitter;
	return run;
}

/* Uniform from 0 to limit. */
static int64
random_up_to(int64 limit)
{
	uint64 random;
	RotorError err;

	if (!random_bytes(&random, sizeof(random), &err))
		report_raise(&err);
	/* 53 bits: what a double holds exactly. */
	return Min((int64) (ldexp((double) (random >> 11), -53) * ((double) limit + 1)), limit);
}

static TimestampTz
with_jitter(PlannedRun run)
{
	if (TIMESTAMP_IS_NOEND(run.from))
		return DT_NOEND;
	return run.latest > run.from ? run.from + random_up_to(run.latest - run.from) : run.from;
}

PlannedRun
schedule_run_after(const Policy *policy, TimestampTz base)
{
	CronZone zone = zone_of(policy);

	return place(policy, &zone, due_after(policy, &zone, base));
}

TimestampTz
schedule_next(const Policy *policy, TimestampTz base)
{
	return with_jitter(schedule_run_after(policy, base));
}

TimestampTz
schedule_again(const Policy *policy, TimestampTz now, int failures)
{
	CronZone zone = zone_of(policy);
	TimestampTz planned = schedule_next(policy, now);
	int64 pause = Max(policy->backoff_max_ms * 1000, USECS_PER_MINUTE);

	if (!schedule_exists(policy))
		return DT_NOEND;
	for (int i = 1; i < failures && pause < USECS_PER_DAY; i++)
		pause *= 2;
	return Min(planned, place(policy, &zone, now + Min(pause, USECS_PER_DAY)).from);
}

TimestampTz
schedule_anew(const Policy *policy, TimestampTz last_rotation, TimestampTz now)
{
	CronZone zone = zone_of(policy);

	if (policy->schedule != NULL)
		return schedule_next(policy, now);
	return with_jitter(place(policy, &zone, Max(now, due_after(policy, &zone, last_rotation))));
}

bool
schedule_may_begin(const Policy *policy, TimestampTz now, TimestampTz *then)
{
	CronZone zone;
	TimestampTz opens;
	TimestampTz closes;

	if (policy->window_duration == NULL)
		return true;
	zone = zone_of(policy);
	find_window(policy, &zone, now, &opens, &closes);
	if (opens <= now)
		return true;
	*then = with_jitter(place(policy, &zone, opens));
	return false;
}

/* --- after a failure, and at the end --- */

int64
schedule_backoff_ms(const Policy *policy, int attempt)
{
	int64 ceiling = policy->backoff_ms;

	for (int i = 1; i < attempt && ceiling < policy->backoff_max_ms; i++)
		ceiling *= 2;
	/* Never 0: others that are due come before another attempt. */
	return 1 + random_up_to(Max(Min(ceiling, policy->backoff_max_ms), 1) - 1);
}

bool
schedule_valid_until(const Policy *policy, TimestampTz *valid_until)
{
	TimestampTz now = clock_now();
	/* A role that is used in turn logs in for a while after the other one's rotation. */
	int64 grace = policy->strategy == STRATEGY_BLUE_GREEN ? policy->grace_ms * 1000 : 0;
	PlannedRun run;

	if (policy->valid_until_margin == NULL || !schedule_exists(policy))
		return false;
	run = schedule_run_after(policy, now);
	if (TIMESTAMP_IS_NOEND(run.from))
		return false;
	/* The server compares it with its own clock. */
	*valid_until = DatumGetTimestampTz(
		DirectFunctionCall2(timestamptz_pl_interval,
							TimestampTzGetDatum(GetCurrentTimestamp() + (run.latest - now) + grace),
							IntervalPGetDatum(policy->valid_until_margin)));
	return true;
}

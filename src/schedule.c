/*
 * schedule.c - see schedule.h.
 */
#include "postgres.h"

#include "fmgr.h"
#include "random.h"
#include "report.h"
#include "schedule.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

int64
schedule_backoff_ms(const Policy *policy, int attempt)
{
	int64 ceiling = policy->backoff_ms;
	uint32 random;
	RotorError err;

	for (int i = 1; i < attempt && ceiling < policy->backoff_max_ms; i++)
		ceiling *= 2;
	ceiling = Max(Min(ceiling, policy->backoff_max_ms), 1);
	if (!random_bytes(&random, sizeof(random), &err))
		report_raise(&err);
	return (int64) ((double) random / ((double) PG_UINT32_MAX + 1) * (double) (ceiling + 1));
}

bool
schedule_valid_until(const Policy *policy, TimestampTz *valid_until)
{
	Datum end = TimestampTzGetDatum(GetCurrentTimestamp());

	if (policy->valid_until_margin == NULL || policy->rotation_interval == NULL)
		return false;
	end = DirectFunctionCall2(timestamptz_pl_interval, end,
							  IntervalPGetDatum(policy->rotation_interval));
	end = DirectFunctionCall2(timestamptz_pl_interval, end,
							  IntervalPGetDatum(policy->valid_until_margin));
	*valid_until = DatumGetTimestampTz(end);
	return true;
}

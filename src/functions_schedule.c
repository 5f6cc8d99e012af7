/*
 * functions_schedule.c - next_runs(): what a policy plans.
 */
#include "postgres.h"

#include "clock.h"
#include "compat.h"
#include "funcapi.h"
#include "functions.h"
#include "manage.h"
#include "schedule.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

ROTOR_FUNCTION(rotor_next_runs);

#define MAX_RUNS 10000

static int
required_count(FunctionCallInfo fcinfo)
{
	int count = PG_ARGISNULL(1) ? 0 : PG_GETARG_INT32(1);

	if (count < 1 || count > MAX_RUNS)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("count must be 1 to %d", MAX_RUNS),
						errhint("To see later ones, pass a later time in after.")));
	return count;
}

static void
put_time(TimestampTz time, Datum *value, bool *null)
{
	*value = TimestampTzGetDatum(time);
	*null = TIMESTAMP_NOT_FINITE(time);
}

Datum
rotor_next_runs(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;
	char *name = required_text(fcinfo, 0, "policy");
	int count = required_count(fcinfo);
	TimestampTz after = PG_ARGISNULL(2) ? clock_now() : PG_GETARG_TIMESTAMPTZ(2);
	AccessScope scope;
	Policy policy;

	if (TIMESTAMP_NOT_FINITE(after))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("after must be finite"),
						errhint("Pass a time, or leave it out for the present one.")));
	access_enter(&scope);
	manage_load_policy(name, &policy);
	access_leave(&scope);
	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < count; i++)
	{
		PlannedRun run = schedule_run_after(&policy, after);
		Datum values[3];
		bool nulls[3];

		if (TIMESTAMP_IS_NOEND(run.from))
			break;
		put_time(run.from, &values[0], &nulls[0]);
		put_time(run.latest, &values[1], &nulls[1]);
		put_time(run.window_end, &values[2], &nulls[2]);
		tuplestore_putvalues(set->setResult, set->setDesc, values, nulls);
		after = run.from;
		CHECK_FOR_INTERRUPTS();
	}
	return (Datum) 0;
}

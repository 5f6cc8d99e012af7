/*
 * functions_emergency.c - rotate_all(), cancel_emergency().
 */
#include "postgres.h"

#include "catalog.h"
#include "catalog/pg_type.h"
#include "catalog_emergency.h"
#include "catalog_read.h"
#include "compat.h"
#include "funcapi.h"
#include "functions.h"
#include "glance.h"
#include "pgstat.h"
#include "report.h"
#include "request.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

ROTOR_FUNCTION(rotor_rotate_all);
ROTOR_FUNCTION(rotor_cancel_emergency);

#define LONGEST_LOOK_MS 5000
#define LOOK_MS			200L /* at least, between two looks at an emergency that is waited for */

/* An optional text argument; the empty string if it is null. */
static void
optional_text(FunctionCallInfo fcinfo, int number, const char *what, char *out, size_t size)
{
	out[0] = '\0';
	if (PG_ARGISNULL(number))
		return;
	if (VARSIZE_ANY_EXHDR(PG_GETARG_TEXT_PP(number)) >= size)
		ereport(ERROR,
				(errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION),
				 errmsg("%s is longer than %zu bytes", what, size - 1), errhint("Shorten it.")));
	text_to_cstring_buffer(PG_GETARG_TEXT_PP(number), out, size);
	if (out[0] == '\0')
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s is empty", what),
						errhint("Leave it out to mean every secret.")));
}

typedef struct PolicyLook
{
	const char *name;
	Policy policy;
	bool found;
} PolicyLook;

static void
look_for_policy(void *arg)
{
	PolicyLook *policy = arg;
	bool uncommitted;

	policy->found =
		catalog_load_policy(policy->name, &policy->policy, &uncommitted, CurrentMemoryContext);
}

static void
require_policy(const char *name)
{
	PolicyLook policy = {.name = name};

	glance(look_for_policy, &policy);
	if (!policy.found)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("there is no policy \"%s\"", name),
				 errhint("rotor.policy lists the policies.")));
}

static void
look_for_locks(void *stands_in_own_way)
{
	*(bool *) stands_in_own_way = catalog_stands_in_own_way();
}

/* Who waits for workers must not hold what they need: they would wait for each other, and nobody would know. */
static void
require_nothing_uncommitted(void)
{
	bool stands_in_own_way = false;

	glance(look_for_locks, &stands_in_own_way);
	if (stands_in_own_way)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("a role, a secret, a policy or a rotation was changed by this transaction"),
				 errdetail("Workers see only what is committed, and would wait for its locks."),
				 errhint("Commit first, then rotate; or pass wait => false.")));
}

static void
read_order(FunctionCallInfo fcinfo, EmergencyOrder *order)
{
	optional_text(fcinfo, 0, "policy", order->policy, sizeof(order->policy));
	optional_text(fcinfo, 1, "pattern", order->pattern, sizeof(order->pattern));
	optional_text(fcinfo, 2, "reason", order->reason, sizeof(order->reason));
	order->terminate_sessions = PG_ARGISNULL(3) ? -1 : PG_GETARG_BOOL(3);
	if (PG_ARGISNULL(4))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("wait must not be null"),
						errhint("Pass true or false, or leave it out.")));
	if (order->policy[0] != '\0')
		require_policy(order->policy);
	if (PG_GETARG_BOOL(4))
		require_nothing_uncommitted();
}

typedef struct ProgressLook
{
	const pg_uuid_t *id;
	int64 remaining;
	int64 total;
	bool found;
} ProgressLook;

static void
look_at_progress(void *arg)
{
	ProgressLook *progress = arg;

	progress->found =
		catalog_emergency_progress(progress->id, &progress->remaining, &progress->total);
}

/* True once nothing is left to do; else *pause_ms says when to look again: a long list takes long to count. */
static bool
is_over(const pg_uuid_t *id, long *pause_ms)
{
	ProgressLook progress = {.id = id};
	TimestampTz start = GetCurrentTimestamp();
	char *activity;

	glance(look_at_progress, &progress);
	*pause_ms = Max(LOOK_MS, (long) Min((GetCurrentTimestamp() - start) / 100, LONGEST_LOOK_MS));
	if (!progress.found || progress.remaining == 0)
		return true;
	activity = psprintf("rotor.rotate_all: " INT64_FORMAT " of " INT64_FORMAT
						" secrets left, emergency %s",
						progress.remaining, progress.total, uuid_text(id));
	pgstat_report_activity(STATE_RUNNING, activity);
	pfree(activity);
	return false;
}

/* Whoever is interrupted is told that the emergency is not. */
static void
goes_on_by_itself(const pg_uuid_t *id)
{
	MemoryContext context = MemoryContextSwitchTo(TopTransactionContext);
	ErrorData *edata = CopyErrorData();

	FlushErrorState();
	if (edata->sqlerrcode == ERRCODE_QUERY_CANCELED)
	{
		edata->detail = psprintf(request_is_preloaded() ? "Emergency %s goes on by itself."
														: "Emergency %s is not over: "
														  "rotor.run_due() goes on with it.",
								 uuid_text(id));
		edata->hint = psprintf("rotor.emergencies shows it; SELECT rotor.cancel_emergency('%s') "
							   "calls off what has not begun.",
							   uuid_text(id));
	}
	MemoryContextSwitchTo(context);
	ReThrowError(edata);
}

/* Waits until it is over. Where rotor is not preloaded, workers are started as long as it is not. */
static void
wait_for_end(const pg_uuid_t *id, const Actor *actor)
{
	MemoryContext look =
		AllocSetContextCreate(CurrentMemoryContext, "rotor emergency", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(look);
	RotationOrder order = {.actor = *actor};
	long pause_ms = LOOK_MS;

	PG_TRY();
	{
		while (!is_over(id, &pause_ms))
		{
			if (!request_is_preloaded())
			{
				request_submit(REQUEST_RUN_DUE, &order, NULL, palloc(sizeof(Request)));
				if (is_over(id, &pause_ms))
					break;
			}
			/* What is left is in other hands, or a worker at it. */
			glance_pause(pause_ms);
			MemoryContextReset(look);
		}
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		goes_on_by_itself(id);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(look);
}

/* What has come of it, by status; "waiting" is what has not begun. */
static void
put_result(FunctionCallInfo fcinfo, const pg_uuid_t *id)
{
	ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;
	AccessScope scope;
	EmergencyCount counts[FSM_STATUS_COUNT + 1];
	int rows;

	InitMaterializedSRF(fcinfo, 0);
	access_enter(&scope);
	rows = catalog_emergency_counts(id, counts);
	access_leave(&scope);
	for (int i = 0; i < rows; i++)
	{
		Datum values[2] = {CStringGetTextDatum(counts[i].status), Int64GetDatum(counts[i].count)};
		bool nulls[2] = {false, false};

		tuplestore_putvalues(set->setResult, set->setDesc, values, nulls);
	}
}

Datum
rotor_rotate_all(PG_FUNCTION_ARGS)
{
	EmergencyOrder order = {0};
	pg_uuid_t id;
	int64 total;

	actor_current(&order.actor);
	access_require_superuser(&order.actor, "rotate_all");
	require_writable("rotor.rotate_all()");
	read_order(fcinfo, &order);
	if (PG_GETARG_BOOL(4))
	{
		Request *result = palloc(sizeof(Request));

		request_submit(REQUEST_EMERGENCY, NULL, &order, result);
		if (result->answer.failure.sqlstate != 0)
			report_failure(&result->answer.failure, NULL);
		id = result->emergency_id;
		total = result->total;
	}
	else
	{
		AccessScope scope;

		access_enter(&scope);
		id = catalog_begin_emergency(&order, &total);
		access_leave(&scope);
		wake_workers_at_commit();
	}
	if (total == 0)
		ereport(NOTICE, (errmsg("no secret is concerned"),
						 errhint("rotor.secrets lists the secrets that are managed.")));
	else
		ereport(NOTICE, (errmsg_plural("emergency %s: " INT64_FORMAT " secret",
									   "emergency %s: " INT64_FORMAT " secrets",
									   (unsigned long) total, uuid_text(&id), total),
						 errhint("rotor.emergencies shows how far it is.")));
	if (PG_GETARG_BOOL(4))
		wait_for_end(&id, &order.actor);
	put_result(fcinfo, &id);
	return (Datum) 0;
}

Datum
rotor_cancel_emergency(PG_FUNCTION_ARGS)
{
	pg_uuid_t *id = PG_GETARG_UUID_P(0);
	AccessScope scope;
	Actor actor;
	int64 count;

	actor_current(&actor);
	access_require_superuser(&actor, "cancel_emergency");
	require_writable("rotor.cancel_emergency()");
	access_enter(&scope);
	count = catalog_cancel_emergency(id, &actor);
	access_leave(&scope);
	if (count == EMERGENCY_UNKNOWN)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("emergency %s does not exist", uuid_text(id)),
						errhint("rotor.emergencies lists them.")));
	if (count == EMERGENCY_OVER)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("emergency %s is over", uuid_text(id)),
						errhint("There is nothing to call off.")));
	wake_workers_at_commit();
	PG_RETURN_INT64(count);
}

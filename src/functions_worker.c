/*
 * functions_worker.c - what workers outside call: claim(), heartbeat(), complete(), fail(); and
 * setup_worker(), which makes the role that may.
 */
#include "postgres.h"

#include "catalog.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "functions.h"
#include "lease.h"
#include "lib/stringinfo.h"
#include "report.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/json.h"

ROTOR_FUNCTION(rotor_claim);
ROTOR_FUNCTION(rotor_heartbeat);
ROTOR_FUNCTION(rotor_complete);
ROTOR_FUNCTION(rotor_fail);
ROTOR_FUNCTION(rotor_setup_worker);

#define MAX_CLAIM		 256
#define WORKER_NAME_SIZE 256
#define MESSAGE_SIZE	 2048
#define RESULT_KB		 (512 * 1024) /* more than MAX_CLAIM jobs can take */

/* --- arguments --- */

static char *
bounded_text(FunctionCallInfo fcinfo, int number, const char *what, size_t most)
{
	char *value = required_text(fcinfo, number, what);

	if (strlen(value) >= most)
		ereport(ERROR, (errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION),
						errmsg("%s is longer than %zu bytes", what, most - 1)));
	return value;
}

static const struct
{
	const char *name;
	FsmOutcome outcome;
	bool unsettled;
	bool good;
	int sqlstate; /* if the peer gave none */
} reports[] = {
	{"ok", FSM_OUTCOME_OK, false, true, 0},
	{"proved", FSM_OUTCOME_PROVED, false, true, 0},
	{"refused", FSM_OUTCOME_REFUSED, false, false, ERRCODE_INVALID_PASSWORD},
	{"inconclusive", FSM_OUTCOME_INCONCLUSIVE, false, false,
	 ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE},
	{"transient", FSM_OUTCOME_TRANSIENT, false, false, ERRCODE_CONNECTION_FAILURE},
	{"unknown", FSM_OUTCOME_TRANSIENT, true, false, ERRCODE_TRANSACTION_RESOLUTION_UNKNOWN},
	{"superseded", FSM_OUTCOME_SUPERSEDED, false, false, ERRCODE_OBJECT_IN_USE},
	{"permanent", FSM_OUTCOME_PERMANENT, false, false, ERRCODE_EXTERNAL_ROUTINE_EXCEPTION},
	{"internal", FSM_OUTCOME_INTERNAL, false, false, ERRCODE_INTERNAL_ERROR},
};

static int
sqlstate_of(const char *code, int otherwise)
{
	if (strlen(code) != 5 || strspn(code, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") != 5)
		return otherwise;
	return MAKE_SQLSTATE(code[0], code[1], code[2], code[3], code[4]);
}

/* Arguments 2 to 5 of complete() and fail(): outcome, code, message, duration_ms. */
static void
read_report(FunctionCallInfo fcinfo, bool good, OutsideReport *report)
{
	char *name = required_text(fcinfo, 2, "outcome");
	char *code = PG_ARGISNULL(3) ? "" : text_to_cstring(PG_GETARG_TEXT_PP(3));
	char *message = PG_ARGISNULL(4) ? "" : bounded_text(fcinfo, 4, "message", MESSAGE_SIZE);

	memset(report, 0, sizeof(*report));
	for (size_t i = 0; i < lengthof(reports); i++)
	{
		if (reports[i].good != good || strcmp(reports[i].name, name) != 0)
			continue;
		report->outcome = reports[i].outcome;
		report->unsettled = reports[i].unsettled;
		report->sqlstate = sqlstate_of(code, reports[i].sqlstate);
		/* A code that is no SQLSTATE is told in words. */
		report->message = code[0] == '\0' || report->sqlstate == sqlstate_of(code, 0)
							  ? message
							  : psprintf("%s: %s", code, message);
		report->ms = PG_ARGISNULL(5) ? -1 : PG_GETARG_FLOAT8(5);
		return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unrecognized outcome \"%s\"", name),
			 errhint(good ? "complete() takes ok and proved."
						  : "fail() takes released, transient, unknown, refused, "
							"inconclusive, superseded, permanent and internal.")));
}

static void
read_ids(FunctionCallInfo fcinfo, pg_uuid_t **rotation, pg_uuid_t **lease)
{
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("rotation and lease must not be null")));
	*rotation = PG_GETARG_UUID_P(0);
	*lease = PG_GETARG_UUID_P(1);
}

/* --- the functions --- */

static void
put_job(const char *json, void *arg)
{
	ReturnSetInfo *set = arg;
	Datum values[1] = {CStringGetTextDatum(json)};
	bool nulls[1] = {false};

	PG_TRY();
	{
		tuplestore_putvalues(set->setResult, set->setDesc, values, nulls);
	}
	PG_FINALLY();
	{
		/* The tuplestore and the client have theirs. */
		secret_wipe(VARDATA(DatumGetPointer(values[0])), strlen(json));
	}
	PG_END_TRY();
}

/* Values must not be spilled to a temporary file, however small work_mem is. */
static void
begin_result_in_memory(FunctionCallInfo fcinfo)
{
	int usual = work_mem;

	work_mem = RESULT_KB;
	PG_TRY();
	{
		InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	}
	PG_FINALLY();
	{
		work_mem = usual;
	}
	PG_END_TRY();
}

Datum
rotor_claim(PG_FUNCTION_ARGS)
{
	LeaseClaim claim;
	AccessScope scope;
	char *worker = bounded_text(fcinfo, 0, "worker", WORKER_NAME_SIZE);

	require_writable("rotor.claim()");
	for (int i = 1; i <= 5; i++)
	{
		if (PG_ARGISNULL(i))
			ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
							errmsg("arguments of rotor.claim() must not be null")));
	}
	claim.worker = worker;
	claim.reach = (WorkerReach){.target_types = PG_GETARG_DATUM(1),
								.store_types = PG_GETARG_DATUM(2),
								.except_targets = PG_GETARG_DATUM(4),
								.except_stores = PG_GETARG_DATUM(5)};
	claim.max_jobs = PG_GETARG_INT32(3);
	if (claim.max_jobs < 1 || claim.max_jobs > MAX_CLAIM)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("max_jobs must be between 1 and %d", MAX_CLAIM)));
	begin_result_in_memory(fcinfo);
	access_enter(&scope);
	lease_claim(&claim, put_job, fcinfo->resultinfo);
	access_leave(&scope);
	return (Datum) 0;
}

/* Lists of uuids in JSON. */
typedef struct LeaseLists
{
	StringInfoData held;
	StringInfoData locked;
} LeaseLists;

static void
append_lease(const pg_uuid_t *lease, bool renewed, void *arg)
{
	LeaseLists *lists = arg;
	StringInfo list = renewed ? &lists->held : &lists->locked;

	appendStringInfo(list, "%s\"%s\"", list->len == 0 ? "" : ",", uuid_text(lease));
}

Datum
rotor_heartbeat(PG_FUNCTION_ARGS)
{
	LeaseLists lists;
	AccessScope scope;
	bool null;
	Datum queue;

	(void) bounded_text(fcinfo, 0, "worker", WORKER_NAME_SIZE);
	require_writable("rotor.heartbeat()");
	if (PG_ARGISNULL(1))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("leases must not be null"),
						errhint("Pass an empty array to ask for the queue only.")));
	initStringInfo(&lists.held);
	initStringInfo(&lists.locked);
	access_enter(&scope);
	lease_renew(PG_GETARG_DATUM(1), append_lease, &lists);
	queue = catalog_datum(
		"SELECT jsonb_build_object('waiting', count(*) FILTER (WHERE NOT leased AND due), "
		"'leased', count(*) FILTER (WHERE leased), 'oldest_overdue_seconds', "
		"coalesce(extract(epoch FROM max(clock_timestamp() - next_attempt_at) "
		"FILTER (WHERE NOT leased AND due)), 0), 'dead_letters', "
		"(SELECT count(*) FROM rotor.rotation WHERE dead_letter))::text "
		"FROM (SELECT next_attempt_at, next_attempt_at <= clock_timestamp() AS due, "
		"coalesce(leased_until > clock_timestamp(), false) AS leased FROM rotor.rotation "
		"WHERE outside AND status IN ('pending', 'in_progress', 'verifying')) q",
		0, NULL, NULL, &null);
	access_leave(&scope);
	PG_RETURN_TEXT_P(
		cstring_to_text(psprintf("{\"held\":[%s],\"locked\":[%s],\"queue\":%s}", lists.held.data,
								 lists.locked.data, TextDatumGetCString(queue))));
}

Datum
rotor_complete(PG_FUNCTION_ARGS)
{
	OutsideReport report;
	RotationAnswer answer = {0};
	AccessScope scope;
	pg_uuid_t *rotation;
	pg_uuid_t *lease;
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext inner;
	char *next;
	size_t size;
	text *volatile result = NULL;

	read_ids(fcinfo, &rotation, &lease);
	require_writable("rotor.complete()");
	read_report(fcinfo, true, &report);
	access_enter(&scope);
	lease_report(rotation, lease, &report, &answer, &next, &size);
	if (next != NULL)
	{
		inner = MemoryContextSwitchTo(caller);
		PG_TRY();
		{
			result = cstring_to_text(next);
		}
		PG_FINALLY();
		{
			MemoryContextSwitchTo(inner);
			secret_wipe(next, size);
		}
		PG_END_TRY();
	}
	access_leave(&scope);
	if (!answer.outside && !fsm_is_over(answer.status))
		wake_workers_at_commit();
	if (result == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(result);
}

Datum
rotor_fail(PG_FUNCTION_ARGS)
{
	OutsideReport report;
	RotationAnswer answer = {0};
	AccessScope scope;
	pg_uuid_t *rotation;
	pg_uuid_t *lease;
	int64 delay_ms = PG_ARGISNULL(6) ? 0 : Max(PG_GETARG_INT64(6), 0);

	read_ids(fcinfo, &rotation, &lease);
	require_writable("rotor.fail()");
	if (strcmp(required_text(fcinfo, 2, "outcome"), "released") == 0)
	{
		access_enter(&scope);
		lease_release(rotation, lease, delay_ms);
		access_leave(&scope);
		PG_RETURN_TEXT_P(cstring_to_text("released"));
	}
	read_report(fcinfo, false, &report);
	report.retry_after_ms = delay_ms;
	access_enter(&scope);
	lease_report(rotation, lease, &report, &answer, NULL, NULL);
	access_leave(&scope);
	if (!answer.outside && !fsm_is_over(answer.status))
		wake_workers_at_commit();
	PG_RETURN_TEXT_P(cstring_to_text(fsm_status_name(answer.status)));
}

/* What a worker may call, and nothing else. */
static const char *const worker_functions[] = {
	"claim(text, text[], text[], integer, text[], text[])",
	"heartbeat(text, uuid[])",
	"complete(uuid, uuid, text, text, text, double precision)",
	"fail(uuid, uuid, text, text, text, double precision, bigint)",
};

Datum
rotor_setup_worker(PG_FUNCTION_ARGS)
{
	char *name = bounded_text(fcinfo, 0, "role", NAMEDATALEN);
	const char *role = quote_identifier(name);
	bool made = false;
	StringInfoData detail;
	Actor actor;
	AccessScope scope;

	actor_current(&actor);
	access_require_superuser(&actor, "setup_worker");
	require_writable("rotor.setup_worker()");
	access_enter(&scope);
	if (!OidIsValid(get_role_oid(name, true)))
	{
		catalog_execute(psprintf("CREATE ROLE %s LOGIN", role), 0, NULL, NULL, NULL);
		made = true;
	}
	catalog_execute(psprintf("GRANT USAGE ON SCHEMA rotor TO %s", role), 0, NULL, NULL, NULL);
	for (size_t i = 0; i < lengthof(worker_functions); i++)
		catalog_execute(
			psprintf("GRANT EXECUTE ON FUNCTION rotor.%s TO %s", worker_functions[i], role), 0,
			NULL, NULL, NULL);
	initStringInfo(&detail);
	appendStringInfoString(&detail, "{\"role\":");
	escape_json(&detail, name);
	appendStringInfoChar(&detail, '}');
	catalog_audit_event(&actor, "worker_set_up", NULL, detail.data);
	access_leave(&scope);
	if (made)
		ereport(NOTICE,
				(errmsg("role %s was made, without a password", role),
				 errhint("SELECT rotor.rotate(%s) gives it one, rotor.get_secret() tells it.",
						 quote_literal_cstr(name))));
	PG_RETURN_VOID();
}

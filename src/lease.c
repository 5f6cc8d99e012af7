/*
 * lease.c - see lease.h.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "catalog_read.h"
#include "clock.h"
#include "commands/async.h"
#include "compat.h"
#include "executor/spi.h"
#include "functions.h"
#include "guc.h"
#include "lease.h"
#include "rotation_job.h"
#include "secret_buf.h"
#include "transaction.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"
#include "work_order.h"

/* Nobody is kept from a job for longer because a worker could not do it just now. */
#define LONGEST_DELAY_MS INT64CONST(3600000)

/* --- giving --- */

static void
load_job(const pg_uuid_t *id, RotationRow *row, Secret *secret, Policy *policy)
{
	if (!catalog_load_rotation(id, row, CurrentMemoryContext) ||
		!catalog_load_secret(row->secret_id, secret, policy, CurrentMemoryContext))
		elog(ERROR, "the rotation is gone");
}

/* A step that cannot even be asked of a worker fails as if one had said so. */
static void
fail_at_once(RotationRow *row, const Secret *secret, const Policy *policy, const Failure *failure)
{
	RotationAnswer answer = {0};
	OutsideReport report = {.outcome = FSM_OUTCOME_PERMANENT,
							.sqlstate = failure->sqlstate,
							.message = psprintf("%s: %s", failure->message, failure->detail),
							.unsettled = row->unsettled || row->leased,
							.ms = -1};

	/* What may have been sent before has to be found out, some day. */
	if (report.unsettled)
		report.outcome = FSM_OUTCOME_TRANSIENT;
	rotation_report(row, secret, policy, &report, &answer);
}

/* The job as JSON text, or NULL if it has failed at once. */
static char *
hand_out(const pg_uuid_t *id, const char *worker, size_t *size)
{
	WorkLease lease = {.id = rotation_new_uuid(), .seconds = rotor_lease_duration};
	RotationRow row;
	Secret secret;
	Policy policy;
	Failure failure = {0};
	char *json;

	load_job(id, &row, &secret, &policy);
	lease.look = row.unsettled || row.leased;
	json = work_order(&secret, &policy, &row, &lease, size, &failure);
	if (json != NULL)
	{
		PG_TRY();
		{
			/* It is on record before anything is sent under it. */
			catalog_give_lease(id, &lease.id, worker, lease.seconds, lease.look);
		}
		PG_CATCH();
		{
			secret_wipe(json, *size);
			PG_RE_THROW();
		}
		PG_END_TRY();
	}
	else
		fail_at_once(&row, &secret, &policy, &failure);
	return json;
}

/* One job, on its way to a worker. */
typedef struct HandOut
{
	const pg_uuid_t *rotation;
	const char *worker;
	MemoryContext keep;
	char *json; /* NULL: it has failed at once */
	size_t size;
} HandOut;

static void
do_hand_out(void *arg)
{
	HandOut *out = arg;

	MemoryContextSwitchTo(out->keep);
	out->json = hand_out(out->rotation, out->worker, &out->size);
}

/* False, with *failure filled and nothing changed, if an error is raised: it is this job's alone. */
static bool
try_hand_out(HandOut *out, const pg_uuid_t *rotation, const char *worker, Failure *failure)
{
	memset(out, 0, sizeof(*out));
	out->rotation = rotation;
	out->worker = worker;
	out->keep = CurrentMemoryContext;
	return subtransaction_run(do_hand_out, out, NULL, failure);
}

/* What the job needs cannot be had now, such as its key: the attempt has failed. */
static void
fail_job(const pg_uuid_t *id, const Failure *failure)
{
	RotationAnswer answer = {0};
	OutsideReport report = {.outcome = outcome_of_sqlstate(failure->sqlstate),
							.sqlstate = failure->sqlstate,
							.message = failure->message,
							.ms = -1};
	RotationRow row;
	Secret secret;
	Policy policy;

	load_job(id, &row, &secret, &policy);
	report.unsettled = row.unsettled || row.leased;
	if (report.unsettled)
		report.outcome = FSM_OUTCOME_TRANSIENT;
	rotation_report(&row, &secret, &policy, &report, &answer);
}

void
lease_claim(const LeaseClaim *claim, void (*give)(const char *json, void *arg), void *arg)
{
	pg_uuid_t *ids = palloc(claim->max_jobs * sizeof(pg_uuid_t));
	int count = catalog_find_waiting(clock_now(), &claim->reach, claim->max_jobs, ids);

	for (int i = 0; i < count; i++)
	{
		HandOut out;
		Failure failure = {0};

		if (!try_hand_out(&out, &ids[i], claim->worker, &failure))
			fail_job(&ids[i], &failure);
		else if (out.json != NULL)
		{
			PG_TRY();
			{
				give(out.json, arg);
			}
			PG_FINALLY();
			{
				secret_wipe(out.json, out.size);
			}
			PG_END_TRY();
		}
	}
}

/* --- holding --- */

void
lease_renew(Datum leases, void (*give)(const pg_uuid_t *lease, bool renewed, void *arg), void *arg)
{
	Oid types[] = {UUIDARRAYOID, INT4OID};
	Datum values[] = {leases, Int32GetDatum(rotor_lease_duration)};
	uint64 count = catalog_execute(
		"WITH held AS (SELECT id, lease FROM rotor.rotation "
		"WHERE lease = ANY ($1) AND leased_until > clock_timestamp()), "
		"free AS (SELECT id FROM rotor.rotation "
		"WHERE lease = ANY ($1) AND leased_until > clock_timestamp() FOR UPDATE SKIP LOCKED), "
		"renewed AS (UPDATE rotor.rotation r SET leased_until = "
		"clock_timestamp() + $2 * interval '1 second' FROM free WHERE r.id = free.id "
		"RETURNING r.id) "
		"SELECT held.lease, renewed.id IS NOT NULL FROM held LEFT JOIN renewed USING (id)",
		2, types, values, NULL);
	SPITupleTable *found = SPI_tuptable;
	bool null;

	for (uint64 i = 0; i < count; i++)
		give(DatumGetUUIDP(SPI_getbinval(found->vals[i], found->tupdesc, 1, &null)),
			 DatumGetBool(SPI_getbinval(found->vals[i], found->tupdesc, 2, &null)), arg);
}

/* --- taking back --- */

/* Locks the rotation; 55000 unless the lease is its present one and runs. Fills *worker. */
static void
require_lease(const pg_uuid_t *rotation, const pg_uuid_t *lease, RotationRow *row, char **worker)
{
	catalog_lock_rotation(rotation);
	if (!catalog_load_rotation(rotation, row, CurrentMemoryContext))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("rotation %s does not exist", uuid_text(rotation))));
	*worker = catalog_lease_holder(rotation, lease);
	if (*worker == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the lease of rotation %s is over", uuid_text(rotation)),
				 errdetail("Another worker may have its step by now."),
				 errhint("Forget the job: whoever takes it over looks first what became of it.")));
}

static void
load_secret(const RotationRow *row, Secret *secret, Policy *policy)
{
	if (!catalog_load_secret(row->secret_id, secret, policy, CurrentMemoryContext))
		elog(ERROR, "the rotation's secret is gone");
}

void
lease_report(const pg_uuid_t *rotation, const pg_uuid_t *lease, const OutsideReport *report,
			 RotationAnswer *answer, char **next, size_t *next_size)
{
	OutsideReport named = *report;
	RotationRow row;
	Secret secret;
	Policy policy;
	HandOut out;
	Failure failure = {0};
	char *worker;

	require_lease(rotation, lease, &row, &worker);
	load_secret(&row, &secret, &policy);
	named.worker = worker;
	named.goes_on = next != NULL;
	rotation_report(&row, &secret, &policy, &named, answer);
	if (next == NULL)
		return;
	*next = NULL;
	if (!answer->outside || answer->delay_ms > 0)
		return;
	if (try_hand_out(&out, rotation, worker, &failure))
	{
		*next = out.json;
		*next_size = out.size;
	}
	else /* The report counts all the same: a claim will tell. */
		Async_Notify(WORKER_CHANNEL, "");
}

void
lease_release(const pg_uuid_t *rotation, const pg_uuid_t *lease, int64 delay_ms)
{
	Oid types[] = {UUIDOID, TIMESTAMPTZOID};
	Datum values[] = {UUIDPGetDatum(rotation), TimestampTzGetDatum(TimestampTzPlusMilliseconds(
												   clock_now(), Min(delay_ms, LONGEST_DELAY_MS)))};
	RotationRow row;
	char *worker;

	require_lease(rotation, lease, &row, &worker);
	(void) catalog_execute("UPDATE rotor.rotation SET lease = NULL, leased_by = NULL, "
						   "leased_until = NULL, next_attempt_at = greatest(next_attempt_at, $2) "
						   "WHERE id = $1",
						   2, types, values, NULL);
}

/*
 * catalog_lease.c - see catalog_lease.h.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "catalog_lease.h"
#include "catalog_run.h"
#include "compat.h"
#include "utils/builtins.h"

static Statement find_waiting = {
	"SELECT r.id FROM rotor.rotation r JOIN rotor.secret s ON s.id = r.secret_id "
	"JOIN rotor.target t ON t.name = s.target JOIN rotor.store o ON o.name = s.store "
	"WHERE r.outside AND r.status IN ('pending', 'in_progress', 'verifying') "
	"AND r.next_attempt_at <= $2 "
	"AND (r.leased_until IS NULL OR r.leased_until < clock_timestamp()) "
	"AND s.system_identifier = $1 AND s.deleted_at IS NULL "
	"AND CASE WHEN r.step IN ('publish', 'finish') "
	"THEN o.type = ANY ($4) AND o.name <> ALL ($6) "
	"ELSE t.type = ANY ($3) AND t.name <> ALL ($5) END "
	"ORDER BY r.next_attempt_at LIMIT $7 FOR UPDATE OF r SKIP LOCKED",
	7,
	{INT8OID, TIMESTAMPTZOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT4OID},
	NULL};
static Statement give_lease = {
	"UPDATE rotor.rotation SET lease = $2, leased_by = $3, leased_until = "
	"clock_timestamp() + $4 * interval '1 second', unsettled = $5 WHERE id = $1",
	5,
	{UUIDOID, UUIDOID, TEXTOID, INT4OID, BOOLOID},
	NULL};
static Statement holder = {"SELECT leased_by FROM rotor.rotation WHERE id = $1 AND lease = $2 "
						   "AND leased_until > clock_timestamp()",
						   2,
						   {UUIDOID, UUIDOID},
						   NULL};
static Statement standing = {
	"SELECT r.step, r.status, r.outside, r.attempt, p.max_attempts, "
	"coalesce(extract(epoch FROM r.next_attempt_at - $2) * 1000, 0)::bigint, "
	"r.strategy = 'immediate', r.lease IS NOT NULL OR r.attempt > 0, "
	"r.error_code, r.error_message FROM rotor.rotation r "
	"JOIN rotor.secret s ON s.id = r.secret_id "
	"JOIN rotor.policy p ON p.name = s.policy WHERE r.id = $1",
	2,
	{UUIDOID, TIMESTAMPTZOID},
	NULL};
static Statement surroundings = {
	"SELECT jsonb_build_object('username', s.username, 'options', s.options), "
	"jsonb_build_object('name', t.name, 'type', t.type, 'host', t.host, 'port', t.port, "
	"'dbname', t.dbname, 'sslmode', t.sslmode, 'options', t.options), "
	"jsonb_build_object('name', o.name, 'type', o.type, 'options', o.options, "
	"'key', coalesce(s.options ->> 'key', p.name, s.name)), t.admin, "
	"CASE WHEN p.name IS NULL THEN 'null' ELSE jsonb_build_object('name', p.name, 'owner', "
	"p.owner, 'resting', s.id = p.resting, "
	"'locked', s.retire_at IS NULL AND s.id = p.resting) END, "
	"CASE $1 WHEN p.resting THEN p.in_use END "
	"FROM rotor.secret s JOIN rotor.target t ON t.name = s.target "
	"JOIN rotor.store o ON o.name = s.store "
	"LEFT JOIN rotor.pair p ON $1 IN (p.in_use, p.resting) WHERE s.id = $1",
	1,
	{INT8OID},
	NULL};

int
catalog_find_waiting(TimestampTz now, const WorkerReach *reach, int max, pg_uuid_t *ids)
{
	Args args = {0};
	int count;

	arg(&args, Int64GetDatum((int64) GetSystemIdentifier()));
	arg(&args, TimestampTzGetDatum(now));
	arg(&args, reach->target_types);
	arg(&args, reach->store_types);
	arg(&args, reach->except_targets);
	arg(&args, reach->except_stores);
	arg(&args, Int32GetDatum(max));
	count = (int) run(&find_waiting, &args);
	for (int i = 0; i < count; i++)
		ids[i] = *DatumGetUUIDP(result(i, 0, NULL));
	SPI_freetuptable(SPI_tuptable);
	return count;
}

void
catalog_give_lease(const pg_uuid_t *rotation, const pg_uuid_t *lease, const char *worker,
				   int seconds, bool unsettled)
{
	Args args = {0};

	arg_uuid(&args, rotation);
	arg_uuid(&args, lease);
	arg(&args, CStringGetTextDatum(worker));
	arg(&args, Int32GetDatum(seconds));
	arg(&args, BoolGetDatum(unsettled));
	run(&give_lease, &args);
}

char *
catalog_lease_holder(const pg_uuid_t *rotation, const pg_uuid_t *lease)
{
	Args args = {0};

	arg_uuid(&args, rotation);
	arg_uuid(&args, lease);
	return run(&holder, &args) == 1 ? result_string(0, CurrentMemoryContext) : NULL;
}

bool
catalog_load_standing(const pg_uuid_t *rotation, TimestampTz now, Standing *out)
{
	Args args = {0};

	arg_uuid(&args, rotation);
	arg(&args, TimestampTzGetDatum(now));
	if (run(&standing, &args) != 1)
		return false;
	out->step = fsm_step_of(TextDatumGetCString(result(0, 0, NULL)));
	out->status = fsm_status_of(TextDatumGetCString(result(0, 1, NULL)));
	out->outside = DatumGetBool(result(0, 2, NULL));
	out->attempt = DatumGetInt32(result(0, 3, NULL));
	out->max_attempts = DatumGetInt32(result(0, 4, NULL));
	out->delay_ms = Max(DatumGetInt64(result(0, 5, NULL)), 0);
	out->immediate = DatumGetBool(result(0, 6, NULL));
	out->claimed = DatumGetBool(result(0, 7, NULL));
	out->error_code = result_string(8, CurrentMemoryContext);
	out->error_message = result_string(9, CurrentMemoryContext);
	return true;
}

bool
catalog_load_surroundings(int64 secret_id, Surroundings *out)
{
	Args args = {0};
	HeapTuple tuple;
	TupleDesc desc;
	Datum other;
	bool null;

	arg(&args, Int64GetDatum(secret_id));
	if (run(&surroundings, &args) != 1)
		return false;
	tuple = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;
	out->account = SPI_getvalue(tuple, desc, 1);
	out->target = SPI_getvalue(tuple, desc, 2);
	out->store = SPI_getvalue(tuple, desc, 3);
	out->admin = SPI_getvalue(tuple, desc, 4);
	out->pair = SPI_getvalue(tuple, desc, 5);
	other = SPI_getbinval(tuple, desc, 6, &null);
	out->other = null ? 0 : DatumGetInt64(other);
	return true;
}

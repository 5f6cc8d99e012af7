/*
 * catalog_emergency.c - see catalog_emergency.h.
 *
 * A secret is on a list (rotor.emergency_secret) until its rotation begins: the list and the
 * rotations' rows together are what a restart finds.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog.h"
#include "catalog/pg_type.h"
#include "catalog_emergency.h"
#include "catalog_run.h"
#include "compat.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#define ACTIVE "('pending', 'in_progress', 'verifying')"

static Statement begin = {
	"INSERT INTO rotor.emergency (id, policy, pattern, reason, terminate_sessions, requested_by, "
	"session_user_name, client_addr, requested_pid) "
	"VALUES ($1, $2, $3, $4, $5, $6, $7, $8::inet, $9)",
	9,
	{UUIDOID, TEXTOID, TEXTOID, TEXTOID, BOOLOID, TEXTOID, TEXTOID, TEXTOID, INT4OID},
	NULL};
static Statement make_list = {
	"INSERT INTO rotor.emergency_secret (secret_id, emergency) "
	"SELECT s.id, $1 FROM rotor.secret s WHERE s.deleted_at IS NULL AND s.system_identifier = $2 "
	"AND ($3 IS NULL OR s.policy = $3) AND ($4 IS NULL OR s.name LIKE $4 OR EXISTS "
	"(SELECT FROM rotor.pair p WHERE s.id IN (p.in_use, p.resting) AND p.name LIKE $4)) ORDER BY s.id "
	"ON CONFLICT (secret_id) DO UPDATE SET emergency = excluded.emergency",
	4,
	{UUIDOID, INT8OID, TEXTOID, TEXTOID},
	NULL};
static Statement note_total = {
	"UPDATE rotor.emergency SET total = $2 WHERE id = $1", 2, {UUIDOID, INT8OID}, NULL};
static Statement claim = {
	"SELECT l.secret_id, s.role_oid, l.emergency, e.terminate_sessions, e.reason, e.requested_by, "
	"e.session_user_name, host(e.client_addr), e.requested_pid "
	"FROM rotor.emergency_secret l JOIN rotor.secret s ON s.id = l.secret_id "
	"JOIN rotor.emergency e ON e.id = l.emergency "
	"WHERE l.secret_id > $1 ORDER BY l.secret_id LIMIT $2 FOR UPDATE OF l SKIP LOCKED",
	2,
	{INT8OID, INT8OID},
	NULL};
static Statement take = {
	"DELETE FROM rotor.emergency_secret WHERE emergency = $1 AND secret_id = $2",
	2,
	{UUIDOID, INT8OID},
	NULL};
/* What is left is counted by the list alone: it is for the eye. */
static Statement open_one = {
	"SELECT format('rotor: emergency %s: %s of %s secrets not begun', e.id, "
	"(SELECT count(*) FROM rotor.emergency_secret l WHERE l.emergency = e.id), e.total) "
	"FROM rotor.emergency e WHERE e.finished_at IS NULL ORDER BY e.started_at DESC LIMIT 1",
	0,
	{0},
	NULL};
static Statement is_open = {
	"SELECT FROM rotor.emergency WHERE finished_at IS NULL LIMIT 1", 0, {0}, NULL};
/* Who ends one has its lock, and looks with a snapshot that is newer than that. */
static Statement lock_open = {"SELECT id FROM rotor.emergency WHERE finished_at IS NULL "
							  "ORDER BY id FOR UPDATE SKIP LOCKED",
							  0,
							  {0},
							  NULL};
static Statement end_one = {
	"WITH counted AS (SELECT count(*) FILTER (WHERE r.status = 'success') AS succeeded, "
	"count(*) FILTER (WHERE r.status <> 'success') AS failed FROM rotor.rotation r "
	"WHERE r.emergency = $1) "
	"UPDATE rotor.emergency e SET finished_at = clock_timestamp(), succeeded = c.succeeded, "
	"failed = c.failed FROM counted c WHERE e.id = $1 "
	"AND NOT EXISTS (SELECT FROM rotor.emergency_secret l WHERE l.emergency = $1) "
	"AND NOT EXISTS (SELECT FROM rotor.rotation r WHERE r.emergency = $1 AND r.status IN " ACTIVE
	") "
	"RETURNING jsonb_build_object('emergency', e.id, 'total', e.total, 'succeeded', e.succeeded, "
	"'failed', e.failed)::text",
	1,
	{UUIDOID},
	NULL};
static Statement lock_one = {
	"SELECT finished_at IS NOT NULL FROM rotor.emergency WHERE id = $1 FOR UPDATE",
	1,
	{UUIDOID},
	NULL};
static Statement clear_list = {
	"DELETE FROM rotor.emergency_secret WHERE emergency = $1", 1, {UUIDOID}, NULL};
static Statement note_cancelled = {
	"UPDATE rotor.emergency SET cancelled_at = clock_timestamp() WHERE id = $1",
	1,
	{UUIDOID},
	NULL};
static Statement progress = {
	"SELECT CASE WHEN e.finished_at IS NOT NULL THEN 0 ELSE greatest(1, "
	"(SELECT count(*) FROM rotor.emergency_secret l WHERE l.emergency = $1) + "
	"(SELECT count(*) FROM rotor.rotation r WHERE r.emergency = $1 AND r.status IN " ACTIVE ")) "
	"END, e.total FROM rotor.emergency e WHERE e.id = $1",
	1,
	{UUIDOID},
	NULL};

static Statement stands_in_own_way = {
	"SELECT FROM pg_catalog.pg_locks WHERE pid = pg_backend_pid() AND mode NOT IN "
	"('AccessShareLock', 'RowShareLock', 'SIReadLock') AND "
	"(classid = 'pg_catalog.pg_authid'::regclass OR (locktype = 'relation' AND relation IN "
	"('pg_catalog.pg_authid'::regclass, 'rotor.secret'::regclass, 'rotor.policy'::regclass, "
	"'rotor.rotation'::regclass, 'rotor.emergency'::regclass)))",
	0,
	{0},
	NULL};
static Statement counts_by_status = {
	"SELECT status, count(*) FROM rotor.rotation WHERE emergency = $1 GROUP BY status "
	"UNION ALL SELECT 'waiting', count(*) FROM rotor.emergency_secret WHERE emergency = $1 "
	"HAVING count(*) > 0 ORDER BY 1",
	1,
	{UUIDOID},
	NULL};

pg_uuid_t
catalog_begin_emergency(const EmergencyOrder *order, int64 *total)
{
	pg_uuid_t id = rotation_new_uuid();
	Args args = {0};
	char *detail;

	arg_uuid(&args, &id);
	arg_text(&args, order->policy);
	arg_text(&args, order->pattern);
	arg_text(&args, order->reason);
	if (order->terminate_sessions >= 0)
		arg(&args, BoolGetDatum(order->terminate_sessions > 0));
	else
		arg_null(&args);
	arg_text(&args, order->actor.name);
	arg_text(&args, order->actor.session_user);
	arg_text(&args, order->actor.client_addr);
	arg(&args, Int32GetDatum(order->actor.pid));
	run(&begin, &args);

	memset(&args, 0, sizeof(args));
	arg_uuid(&args, &id);
	arg(&args, Int64GetDatum((int64) GetSystemIdentifier()));
	arg_text(&args, order->policy);
	arg_text(&args, order->pattern);
	*total = (int64) run(&make_list, &args);

	memset(&args, 0, sizeof(args));
	arg_uuid(&args, &id);
	arg(&args, Int64GetDatum(*total));
	run(&note_total, &args);
	detail = psprintf("{\"emergency\":\"%s\",\"total\":" INT64_FORMAT "}",
					  DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&id))), *total);
	catalog_audit_event(&order->actor, "emergency_started", NULL, detail);
	return id;
}

bool
catalog_stands_in_own_way(void)
{
	Args args = {0};

	return run(&stands_in_own_way, &args) > 0;
}

int
catalog_claim_emergency(RotationOrder *orders, int max, int64 after)
{
	Args args = {0};
	int count;

	arg(&args, Int64GetDatum(after));
	arg(&args, Int64GetDatum(max));
	count = (int) run(&claim, &args);
	for (int i = 0; i < count; i++)
	{
		RotationOrder *order = &orders[i];
		bool null;
		Datum terminate = result(i, 3, &null);

		memset(order, 0, sizeof(*order));
		order->in_emergency = true;
		order->strategy = 0;
		order->secret_id = DatumGetInt64(result(i, 0, NULL));
		order->role = DatumGetObjectId(result(i, 1, NULL));
		order->emergency = *DatumGetUUIDP(result(i, 2, NULL));
		order->terminate_sessions = null ? -1 : DatumGetBool(terminate);
		result_text_of(i, 4, order->reason, sizeof(order->reason));
		result_text_of(i, 5, order->actor.name, sizeof(order->actor.name));
		result_text_of(i, 6, order->actor.session_user, sizeof(order->actor.session_user));
		result_text_of(i, 7, order->actor.client_addr, sizeof(order->actor.client_addr));
		order->actor.pid = DatumGetInt32(result(i, 8, NULL));
	}
	return count;
}

bool
catalog_take_from_emergency(const pg_uuid_t *emergency, int64 secret_id)
{
	Args args = {0};

	arg_uuid(&args, emergency);
	arg(&args, Int64GetDatum(secret_id));
	return run(&take, &args) == 1;
}

bool
catalog_open_emergency(char *activity, size_t size)
{
	Args args = {0};

	if (run(&open_one, &args) != 1)
		return false;
	result_text(0, activity, size);
	return true;
}

bool
catalog_is_emergency_open(void)
{
	Args args = {0};

	return run(&is_open, &args) > 0;
}

int
catalog_end_emergencies(void)
{
	Args args = {0};
	int count = (int) run(&lock_open, &args);
	pg_uuid_t *ids = palloc(sizeof(pg_uuid_t) * Max(count, 1));
	int ended = 0;
	Actor actor;

	actor_schedule(&actor);
	for (int i = 0; i < count; i++)
		ids[i] = *DatumGetUUIDP(result(i, 0, NULL));
	for (int i = 0; i < count; i++)
	{
		memset(&args, 0, sizeof(args));
		arg_uuid(&args, &ids[i]);
		if (run(&end_one, &args) != 1)
			continue;
		catalog_audit_event(&actor, "emergency_finished", NULL,
							result_string(0, CurrentMemoryContext));
		ended++;
	}
	return ended;
}

int64
catalog_cancel_emergency(const pg_uuid_t *emergency, const Actor *actor)
{
	Args args = {0};
	int64 count;

	arg_uuid(&args, emergency);
	if (run(&lock_one, &args) != 1)
		return EMERGENCY_UNKNOWN;
	if (DatumGetBool(result(0, 0, NULL)))
		return EMERGENCY_OVER;
	count = (int64) run(&clear_list, &args);
	run(&note_cancelled, &args);
	catalog_audit_event(
		actor, "emergency_cancelled", NULL,
		psprintf("{\"emergency\":\"%s\",\"called_off\":" INT64_FORMAT "}",
				 DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(emergency))), count));
	return count;
}

bool
catalog_emergency_progress(const pg_uuid_t *emergency, int64 *remaining, int64 *total)
{
	Args args = {0};

	arg_uuid(&args, emergency);
	if (run(&progress, &args) != 1)
		return false;
	*remaining = DatumGetInt64(result(0, 0, NULL));
	*total = DatumGetInt64(result(0, 1, NULL));
	return true;
}

int
catalog_emergency_counts(const pg_uuid_t *emergency, EmergencyCount counts[FSM_STATUS_COUNT + 1])
{
	Args args = {0};
	int rows;

	arg_uuid(&args, emergency);
	rows = (int) run(&counts_by_status, &args);
	for (int i = 0; i < rows; i++)
	{
		result_text_of(i, 0, counts[i].status, sizeof(counts[i].status));
		counts[i].count = DatumGetInt64(result(i, 1, NULL));
	}
	return rows;
}

/*
 * catalog_rotation.c - catalog.h: rotations, what is due, and what they replaced.
 */
#include "postgres.h"

#include "catalog.h"
#include "catalog/pg_type.h"
#include "catalog_run.h"
#include "clock.h"
#include "compat.h"
#include "utils/builtins.h"

#define ACTIVE "('pending', 'in_progress', 'verifying')"

static Statement load_rotation = {
	"SELECT secret_id, version_id, trigger, strategy, step, status, attempt, terminate_sessions, "
	"reason, requested_by, session_user_name, host(client_addr), started_at, note, "
	"coalesce(next_attempt_at <= $2, false), dead_letter, outcome, error_code, "
	"error_message, emergency, outside, unsettled, lease IS NOT NULL "
	"FROM rotor.rotation WHERE id = $1 FOR UPDATE",
	2,
	{UUIDOID, TIMESTAMPTZOID},
	NULL};
static Statement active_rotation = {
	"SELECT id FROM rotor.rotation WHERE secret_id = $1 AND status IN " ACTIVE, 1, {INT8OID}, NULL};
static Statement is_rotating = {"SELECT FROM rotor.rotation WHERE secret_id = $1 AND status IN "
								"('in_progress', 'verifying')",
								1,
								{INT8OID},
								NULL};
static Statement unsettled_rotation = {
	"SELECT id FROM rotor.rotation WHERE secret_id = $1 AND dead_letter "
	"AND (unsettled OR step = 'undo') AND step <> 'retire' ORDER BY queued_at DESC LIMIT 1",
	1,
	{INT8OID},
	NULL};
static Statement save_rotation = {
	"INSERT INTO rotor.rotation AS r (id, secret_id, version_id, trigger, strategy, step, status, "
	"attempt, next_attempt_at, dead_letter, outcome, error_code, error_message, note, reason, "
	"terminate_sessions, requested_by, session_user_name, client_addr, started_at, finished_at, "
	"create_ms, set_ms, test_ms, finish_ms, emergency, outside, unsettled) "
	"VALUES ($1, $2, $3, $4, $5, $6, $7, $8, "
	"CASE WHEN $7 IN " ACTIVE " THEN $9 END, "
	"$10, $11, $12, $13, $14, $15, $16, $17, $18, $19::inet, $20, "
	"CASE WHEN $7 NOT IN " ACTIVE " THEN clock_timestamp() END, $21, $22, $23, $24, $25, $26, $27) "
	"ON CONFLICT (id) DO UPDATE SET version_id = excluded.version_id, step = excluded.step, "
	"status = excluded.status, attempt = excluded.attempt, "
	"next_attempt_at = excluded.next_attempt_at, dead_letter = excluded.dead_letter, "
	"outcome = excluded.outcome, error_code = excluded.error_code, "
	"error_message = excluded.error_message, note = excluded.note, "
	"started_at = coalesce(r.started_at, excluded.started_at), "
	"finished_at = excluded.finished_at, "
	"create_ms = coalesce(excluded.create_ms, r.create_ms), "
	"set_ms = coalesce(excluded.set_ms, r.set_ms), "
	"test_ms = coalesce(excluded.test_ms, r.test_ms), "
	"finish_ms = coalesce(excluded.finish_ms, r.finish_ms), trigger = excluded.trigger, "
	"emergency = excluded.emergency, terminate_sessions = excluded.terminate_sessions, "
	"outside = excluded.outside, unsettled = excluded.unsettled, "
	"lease = NULL, leased_by = NULL, leased_until = NULL",
	27,
	{UUIDOID,	INT8OID,		UUIDOID,   TEXTOID, TEXTOID, TEXTOID,		 TEXTOID,
	 INT4OID,	TIMESTAMPTZOID, BOOLOID,   TEXTOID, TEXTOID, TEXTOID,		 TEXTOID,
	 TEXTOID,	BOOLOID,		TEXTOID,   TEXTOID, TEXTOID, TIMESTAMPTZOID, FLOAT8OID,
	 FLOAT8OID, FLOAT8OID,		FLOAT8OID, UUIDOID, BOOLOID, BOOLOID},
	NULL};
static Statement postpone_rotation = {
	"UPDATE rotor.rotation SET next_attempt_at = $2 WHERE id = $1 AND status IN " ACTIVE,
	2,
	{UUIDOID, TIMESTAMPTZOID},
	NULL};
static Statement settle_retirement = {"UPDATE rotor.rotation SET dead_letter = false "
									  "WHERE secret_id = $1 AND dead_letter AND step = 'retire'",
									  1,
									  {INT8OID},
									  NULL};
static Statement settle_dead_letters = {
	"WITH settled AS (UPDATE rotor.rotation SET dead_letter = false "
	"WHERE secret_id = $1 AND dead_letter RETURNING id), "
	"released AS (UPDATE rotor.secret SET failures = 0, quarantined_until = NULL "
	"WHERE id = $1 AND failures > 0) "
	"DELETE FROM rotor.saved_verifier v USING settled s WHERE v.rotation_id = s.id",
	1,
	{INT8OID},
	NULL};
/* Of one that fails again and again and changes nothing, the last dead letter tells all there is. */
static Statement note_failures = {
	"WITH repeated AS (UPDATE rotor.rotation SET dead_letter = false WHERE $2 > 1 "
	"AND secret_id = $1 AND dead_letter AND trigger = 'schedule' AND step IN ('create', 'publish', 'set') "
	"AND NOT unsettled) "
	"UPDATE rotor.secret SET failures = $2, quarantined_until = $3 WHERE id = $1",
	3,
	{INT8OID, INT4OID, TIMESTAMPTZOID},
	NULL};
/* What is tried again by request is due as it was. */
static Statement end_quarantine = {
	"UPDATE rotor.secret SET failures = 0, quarantined_until = NULL, "
	"next_rotation = CASE WHEN next_rotation = quarantined_until THEN $2 ELSE next_rotation END "
	"WHERE id = $1 AND failures > 0",
	2,
	{INT8OID, TIMESTAMPTZOID},
	NULL};
static Statement save_verifier = {
	"INSERT INTO rotor.saved_verifier VALUES ($1, $2, $3, $4, $5, $6)",
	6,
	{UUIDOID, UUIDOID, BYTEAOID, TEXTOID, UUIDOID, UUIDOID},
	NULL};
static Statement load_verifier = {
	"SELECT key_id, sealed, version_stage, former_current, former_previous "
	"FROM rotor.saved_verifier WHERE rotation_id = $1",
	1,
	{UUIDOID},
	NULL};
static Statement drop_verifier = {
	"DELETE FROM rotor.saved_verifier WHERE rotation_id = $1", 1, {UUIDOID}, NULL};

bool
catalog_load_rotation(const pg_uuid_t *id, RotationRow *row, MemoryContext keep)
{
	Args args = {0};
	bool null;
	Datum started_at;
	char word[16];

	arg_uuid(&args, id);
	arg(&args, TimestampTzGetDatum(clock_now()));
	if (run(&load_rotation, &args) != 1)
		return false;
	memset(row, 0, sizeof(*row));
	row->id = *id;
	row->secret_id = DatumGetInt64(result(0, 0, NULL));
	row->has_version = result_uuid(1, &row->version);
	row->trigger = result_string(2, keep);
	row->strategy = result_string(3, keep);
	result_text(4, word, sizeof(word));
	row->step = fsm_step_of(word);
	result_text(5, word, sizeof(word));
	row->status = fsm_status_of(word);
	row->attempt = DatumGetInt32(result(0, 6, NULL));
	row->terminate_sessions = DatumGetBool(result(0, 7, NULL));
	row->reason = result_string(8, keep);
	result_text(9, row->actor.name, sizeof(row->actor.name));
	result_text(10, row->actor.session_user, sizeof(row->actor.session_user));
	result_text(11, row->actor.client_addr, sizeof(row->actor.client_addr));
	started_at = result(0, 12, &null);
	row->started_at = null ? 0 : DatumGetTimestampTz(started_at);
	row->note = result_string(13, keep);
	row->due = DatumGetBool(result(0, 14, NULL));
	row->dead_letter = DatumGetBool(result(0, 15, NULL));
	row->outcome = result_string(16, keep);
	row->error_code = result_string(17, keep);
	row->error_message = result_string(18, keep);
	row->in_emergency = result_uuid(19, &row->emergency);
	row->outside = DatumGetBool(result(0, 20, NULL));
	row->unsettled = DatumGetBool(result(0, 21, NULL));
	row->leased = DatumGetBool(result(0, 22, NULL));
	for (int i = 0; i < FSM_STEP_COUNT; i++)
		row->step_ms[i] = -1;
	return true;
}

bool
catalog_active_rotation(int64 secret_id, pg_uuid_t *id)
{
	Args args = {0};

	arg(&args, Int64GetDatum(secret_id));
	return run(&active_rotation, &args) == 1 && result_uuid(0, id);
}

bool
catalog_is_rotating(int64 secret_id)
{
	Args args = {0};

	arg(&args, Int64GetDatum(secret_id));
	return run(&is_rotating, &args) > 0;
}

bool
catalog_unsettled_rotation(int64 secret_id, pg_uuid_t *id)
{
	Args args = {0};

	arg(&args, Int64GetDatum(secret_id));
	return run(&unsettled_rotation, &args) == 1 && result_uuid(0, id);
}

void
catalog_save_rotation(const RotationRow *row)
{
	Args args = {0};

	arg_uuid(&args, &row->id);
	arg(&args, Int64GetDatum(row->secret_id));
	arg_uuid(&args, row->has_version ? &row->version : NULL);
	arg_text(&args, row->trigger);
	arg_text(&args, row->strategy);
	arg_text(&args, fsm_step_name(row->step));
	arg_text(&args, fsm_status_name(row->status));
	arg(&args, Int32GetDatum(row->attempt));
	arg(&args, TimestampTzGetDatum(TimestampTzPlusMilliseconds(clock_now(), row->delay_ms)));
	arg(&args, BoolGetDatum(row->dead_letter));
	arg_text(&args, row->outcome);
	arg_text(&args, row->error_code);
	arg_text(&args, row->error_message);
	arg_text(&args, row->note);
	arg_text(&args, row->reason);
	arg(&args, BoolGetDatum(row->terminate_sessions));
	arg_text(&args, row->actor.name);
	arg_text(&args, row->actor.session_user);
	arg_text(&args, row->actor.client_addr);
	if (row->started_at != 0)
		arg(&args, TimestampTzGetDatum(row->started_at));
	else
		arg_null(&args);
	arg_positive(&args, row->step_ms[FSM_STEP_CREATE]);
	arg_positive(&args, row->step_ms[FSM_STEP_SET]);
	arg_positive(&args, row->step_ms[FSM_STEP_TEST]);
	arg_positive(&args, row->step_ms[FSM_STEP_FINISH]);
	arg_uuid(&args, row->in_emergency ? &row->emergency : NULL);
	arg(&args, BoolGetDatum(row->outside));
	arg(&args, BoolGetDatum(row->unsettled));
	run(&save_rotation, &args);
}

void
catalog_postpone_rotation(const pg_uuid_t *id, TimestampTz next_attempt_at)
{
	Args args = {0};

	arg_uuid(&args, id);
	arg_time(&args, next_attempt_at);
	run(&postpone_rotation, &args);
}

void
catalog_settle_retirement(int64 secret_id)
{
	Args args = {0};

	arg(&args, Int64GetDatum(secret_id));
	run(&settle_retirement, &args);
}

void
catalog_settle_dead_letters(int64 secret_id)
{
	Args args = {0};

	arg(&args, Int64GetDatum(secret_id));
	run(&settle_dead_letters, &args);
}

void
catalog_note_failures(int64 secret_id, int failures, TimestampTz quarantined_until)
{
	Args args = {0};

	arg(&args, Int64GetDatum(secret_id));
	arg(&args, Int32GetDatum(failures));
	arg_time(&args, quarantined_until);
	run(&note_failures, &args);
}

void
catalog_end_quarantine(int64 secret_id)
{
	Args args = {0};

	arg(&args, Int64GetDatum(secret_id));
	arg(&args, TimestampTzGetDatum(clock_now()));
	run(&end_quarantine, &args);
}

void
catalog_save_verifier(const pg_uuid_t *rotation, const SavedVerifier *saved)
{
	Args args = {0};

	arg_uuid(&args, rotation);
	if (saved->value.sealed != NULL)
	{
		arg_uuid(&args, &saved->value.key_id);
		arg(&args, PointerGetDatum(saved->value.sealed));
	}
	else
	{
		arg_null(&args);
		arg_null(&args);
	}
	arg_text(&args, saved->version_stage);
	arg_uuid(&args, saved->has_current ? &saved->former_current : NULL);
	arg_uuid(&args, saved->has_previous ? &saved->former_previous : NULL);
	run(&save_verifier, &args);
}

bool
catalog_load_verifier(const pg_uuid_t *rotation, SavedVerifier *saved)
{
	Args args = {0};

	memset(saved, 0, sizeof(*saved));
	arg_uuid(&args, rotation);
	if (run(&load_verifier, &args) != 1)
		return false;
	if (result_uuid(0, &saved->value.key_id))
		saved->value.sealed = DatumGetByteaPCopy(result(0, 1, NULL));
	result_text(2, saved->version_stage, sizeof(saved->version_stage));
	saved->has_current = result_uuid(3, &saved->former_current);
	saved->has_previous = result_uuid(4, &saved->former_previous);
	return true;
}

void
catalog_drop_verifier(const pg_uuid_t *rotation)
{
	Args args = {0};

	arg_uuid(&args, rotation);
	run(&drop_verifier, &args);
}

/*
 * catalog.c - see catalog.h.
 */
#include "postgres.h"

#include "catalog.h"
#include "catalog/pg_type.h"
#include "catalog_run.h"
#include "clock.h"
#include "compat.h"
#include "executor/spi.h"
#include "policy.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "access/xact.h"

#define POLICY_COLUMNS                                                                      \
	"p.name, p.type, p.length, p.uppercase, p.lowercase, p.digits, p.symbols, p.exclude, "  \
	"p.require_each_type, p.strategy, p.verification = 'verifier', p.verify_query, "        \
	"p.verify_database, coalesce(p.scram_iterations, 0), p.rotation_interval, p.schedule, " \
	"p.time_zone, p.window_schedule, p.window_duration, p.jitter, "                         \
	"p.valid_until_margin, p.terminate_sessions, p.max_attempts, "                          \
	"(extract(epoch FROM p.backoff) * 1000)::bigint, "                                      \
	"(extract(epoch FROM p.backoff_max) * 1000)::bigint, "                                  \
	"(extract(epoch FROM p.grace_period) * 1000)::bigint, p.xmin"
#define POLICY_COLUMN_COUNT 27

#define ROLE_COLUMNS                                                                 \
	"SELECT a.rolname, a.rolcanlogin, a.rolsuper, a.rolreplication, a.rolpassword, " \
	"a.rolvaliduntil FROM pg_catalog.pg_authid a WHERE a.oid = $1"

static Statement load_secret = {
	"SELECT " POLICY_COLUMNS ", s.id, s.name, s.role_oid, s.username, s.system_identifier, "
	"s.enabled, s.deleted_at IS NOT NULL, s.xmin, "
	"s.enabled AND s.deleted_at IS NULL AND s.next_rotation IS NOT NULL "
	"AND s.next_rotation <= $2, s.target, s.store <> 'local', "
	"coalesce(s.retire_at <= $2, false) FROM rotor.secret s "
	"JOIN rotor.policy p ON p.name = s.policy WHERE s.id = $1",
	2,
	{INT8OID, TIMESTAMPTZOID},
	NULL};
static Statement load_policy = {
	"SELECT " POLICY_COLUMNS " FROM rotor.policy p WHERE p.name = $1", 1, {TEXTOID}, NULL};
static Statement insert_secret = {
	"INSERT INTO rotor.secret (name, target, username, role_oid, system_identifier, store, policy, "
	"created_by, next_rotation, options) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, "
	"coalesce($10::jsonb, '{}')) RETURNING id",
	10,
	{TEXTOID, TEXTOID, TEXTOID, OIDOID, INT8OID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID,
	 TEXTOID},
	NULL};
static Statement load_plan = {
	"SELECT " POLICY_COLUMNS ", s.next_rotation, s.xmin, s.failures, "
	"coalesce(s.next_rotation = s.quarantined_until, false), (SELECT v.set_at FROM rotor.version v "
	"WHERE v.secret_id = s.id AND v.stage = 'current') FROM rotor.secret s "
	"JOIN rotor.policy p ON p.name = s.policy WHERE s.id = $1",
	1,
	{INT8OID},
	NULL};
static Statement plan_secret = {"UPDATE rotor.secret SET username = coalesce($3, username), "
								"last_rotation = coalesce($4, last_rotation), next_rotation = $5 "
								"WHERE id = $1 AND xmin = $2",
								5,
								{INT8OID, XIDOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID},
								NULL};
static Statement postpone_secret = {
	"UPDATE rotor.secret SET next_rotation = $2 WHERE id = $1", 2, {INT8OID, TIMESTAMPTZOID}, NULL};
static Statement plan_retirement = {
	"UPDATE rotor.secret SET retire_at = $2 WHERE id = $1 AND retire_at IS DISTINCT FROM $2",
	2,
	{INT8OID, TIMESTAMPTZOID},
	NULL};
static Statement hasten_retirement = {
	"UPDATE rotor.secret SET retire_at = least(retire_at, $2) WHERE id = $1 AND retire_at IS NOT NULL",
	2,
	{INT8OID, TIMESTAMPTZOID},
	NULL};
static Statement retire_pending = {
	"UPDATE rotor.version SET stage = NULL, retired_at = clock_timestamp() "
	"WHERE secret_id = $1 AND stage = 'pending'",
	1,
	{INT8OID},
	NULL};
static Statement insert_version = {
	"INSERT INTO rotor.version (id, secret_id, stage, key_id, sealed) "
	"VALUES ($1, $2, 'pending', $3, $4)",
	4,
	{UUIDOID, INT8OID, UUIDOID, BYTEAOID},
	NULL};
static Statement load_version = {
	"SELECT key_id, sealed, stage, fingerprint FROM rotor.version WHERE id = $1",
	1,
	{UUIDOID},
	NULL};
static Statement load_labels = {
	"SELECT id, stage FROM rotor.version WHERE secret_id = $1 AND stage IS NOT NULL",
	1,
	{INT8OID},
	NULL};
static Statement set_label = {
	"UPDATE rotor.version SET stage = $2, retired_at = CASE WHEN $2 IS NULL THEN "
	"clock_timestamp() END WHERE id = $1",
	2,
	{UUIDOID, TEXTOID},
	NULL};
static Statement note_set = {
	"UPDATE rotor.version SET stage = 'current', fingerprint = $2, set_at = clock_timestamp(), "
	"verified_at = NULL, retired_at = NULL, superseded_at = NULL WHERE id = $1",
	2,
	{UUIDOID, BYTEAOID},
	NULL};
static Statement note_fingerprint = {
	"UPDATE rotor.version SET fingerprint = $2 WHERE id = $1", 2, {UUIDOID, BYTEAOID}, NULL};
static Statement note_verified = {
	"UPDATE rotor.version SET verified_at = clock_timestamp() WHERE id = $1", 1, {UUIDOID}, NULL};
static Statement load_role = {ROLE_COLUMNS, 1, {OIDOID}, NULL};
static Statement lock_role = {ROLE_COLUMNS " FOR UPDATE", 1, {OIDOID}, NULL};
static Statement role_is_being_rotated = {
	"SELECT EXISTS (SELECT FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a "
	"ON a.pid = l.pid WHERE l.locktype = 'object' AND l.granted "
	"AND l.classid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND l.objid = $1 "
	"AND a.backend_type = 'rotor worker')",
	1,
	{OIDOID},
	NULL};
static Statement terminate_sessions = {
	"SELECT count(*) FROM (SELECT pg_catalog.pg_terminate_backend(a.pid) AS ended "
	"FROM pg_catalog.pg_stat_activity a WHERE a.usesysid = $1 AND a.pid NOT IN ($2, $3) "
	"AND a.backend_type IN ('client backend', 'walsender')) t "
	"WHERE t.ended",
	3,
	{OIDOID, INT4OID, INT4OID},
	NULL};
/* The verification login of a rotation that has just ended may not have gone yet. */
static Statement count_sessions = {
	"SELECT count(*) FROM pg_catalog.pg_stat_activity a WHERE a.usesysid = $1 AND a.pid <> $2 "
	"AND a.backend_type IN ('client backend', 'walsender') "
	"AND a.application_name <> '" VERIFICATION_NAME "'",
	2,
	{OIDOID, INT4OID},
	NULL};
static Statement audit = {
	"INSERT INTO rotor.audit (actor, session_user_name, client_addr, event, secret, rotation, "
	"version, result, duration_ms, detail) "
	"VALUES ($1, $2, $3::inet, $4, $5, $6, $7, $8, $9, $10::jsonb)",
	10,
	{TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, UUIDOID, UUIDOID, TEXTOID, FLOAT8OID, TEXTOID},
	NULL};

static Interval *
result_interval(int number, MemoryContext keep)
{
	bool null;
	Datum value = result(0, number, &null);
	Interval *copy;

	if (null)
		return NULL;
	copy = MemoryContextAlloc(keep, sizeof(Interval));
	*copy = *DatumGetIntervalP(value);
	return copy;
}

static bool
written_here(int number)
{
	return TransactionIdIsCurrentTransactionId(DatumGetTransactionId(result(0, number, NULL)));
}

/* --- secrets and policies --- */

static void
fill_policy(Policy *policy, MemoryContext keep)
{
	char strategy[16];

	memset(policy, 0, sizeof(*policy));
	result_text(0, policy->name, sizeof(policy->name));
	result_text(1, policy->type, sizeof(policy->type));
	policy->spec.length = DatumGetInt32(result(0, 2, NULL));
	policy->spec.uppercase = DatumGetBool(result(0, 3, NULL));
	policy->spec.lowercase = DatumGetBool(result(0, 4, NULL));
	policy->spec.digits = DatumGetBool(result(0, 5, NULL));
	policy->spec.symbols = DatumGetBool(result(0, 6, NULL));
	result_text(7, policy->exclude, sizeof(policy->exclude));
	policy->spec.exclude = policy->exclude;
	policy->spec.require_each_type = DatumGetBool(result(0, 8, NULL));
	result_text(9, strategy, sizeof(strategy));
	policy->strategy = policy_strategy_of(strategy);
	policy->verifier_suffices = DatumGetBool(result(0, 10, NULL));
	policy->verify_query = result_string(11, keep);
	policy->verify_database = result_string(12, keep);
	policy->scram_iterations = DatumGetInt32(result(0, 13, NULL));
	policy->rotation_interval = result_interval(14, keep);
	policy->schedule = result_string(15, keep);
	policy->time_zone = result_string(16, keep);
	policy->window_schedule = result_string(17, keep);
	policy->window_duration = result_interval(18, keep);
	policy->jitter = result_interval(19, keep);
	policy->valid_until_margin = result_interval(20, keep);
	policy->terminate_sessions = DatumGetBool(result(0, 21, NULL));
	policy->max_attempts = DatumGetInt32(result(0, 22, NULL));
	policy->backoff_ms = DatumGetInt64(result(0, 23, NULL));
	policy->backoff_max_ms = DatumGetInt64(result(0, 24, NULL));
	policy->grace_ms = DatumGetInt64(result(0, 25, NULL));
}

bool
catalog_load_secret(int64 id, Secret *secret, Policy *policy, MemoryContext keep)
{
	Args args = {0};
	const int first = POLICY_COLUMN_COUNT;

	arg(&args, Int64GetDatum(id));
	arg(&args, TimestampTzGetDatum(clock_now()));
	if (run(&load_secret, &args) != 1)
		return false;
	fill_policy(policy, keep);
	memset(secret, 0, sizeof(*secret));
	secret->id = DatumGetInt64(result(0, first, NULL));
	result_text(first + 1, secret->name, sizeof(secret->name));
	secret->role = DatumGetObjectId(result(0, first + 2, NULL));
	result_text(first + 3, secret->username, sizeof(secret->username));
	secret->system_identifier = (uint64) DatumGetInt64(result(0, first + 4, NULL));
	secret->enabled = DatumGetBool(result(0, first + 5, NULL));
	secret->deleted = DatumGetBool(result(0, first + 6, NULL));
	secret->uncommitted = written_here(first + 7);
	secret->due = DatumGetBool(result(0, first + 8, NULL));
	result_text(first + 9, secret->target, sizeof(secret->target));
	secret->outside_target = strcmp(secret->target, "self") != 0;
	secret->outside_store = DatumGetBool(result(0, first + 10, NULL));
	secret->retiring = DatumGetBool(result(0, first + 11, NULL));
	strlcpy(secret->policy, policy->name, sizeof(secret->policy));
	return true;
}

bool
catalog_load_policy(const char *name, Policy *policy, bool *uncommitted, MemoryContext keep)
{
	Args args = {0};

	arg(&args, CStringGetTextDatum(name));
	if (run(&load_policy, &args) != 1)
		return false;
	fill_policy(policy, keep);
	*uncommitted = written_here(POLICY_COLUMN_COUNT - 1);
	return true;
}

void
catalog_insert_secret(Secret *secret, const char *store, const char *options, const Actor *actor,
					  TimestampTz next_rotation)
{
	Args args = {0};

	arg_text(&args, secret->name);
	arg_text(&args, secret->target);
	arg_text(&args, secret->username);
	arg(&args, ObjectIdGetDatum(secret->role));
	arg(&args, Int64GetDatum((int64) secret->system_identifier));
	arg_text(&args, store);
	arg_text(&args, secret->policy);
	arg_text(&args, actor->name);
	arg_time(&args, next_rotation);
	arg_text(&args, options);
	run(&insert_secret, &args);
	secret->id = DatumGetInt64(result(0, 0, NULL));
}

/* A time that may be missing. */
static TimestampTz
result_time(int number, TimestampTz otherwise)
{
	bool null;
	Datum value = result(0, number, &null);

	return null ? otherwise : DatumGetTimestampTz(value);
}

bool
catalog_load_plan(int64 id, SecretPlan *plan, MemoryContext keep)
{
	Args args = {0};

	arg(&args, Int64GetDatum(id));
	if (run(&load_plan, &args) != 1)
		return false;
	fill_policy(&plan->policy, keep);
	plan->next_rotation = result_time(POLICY_COLUMN_COUNT, DT_NOEND);
	plan->row_version = DatumGetTransactionId(result(0, POLICY_COLUMN_COUNT + 1, NULL));
	plan->failures = DatumGetInt32(result(0, POLICY_COLUMN_COUNT + 2, NULL));
	plan->quarantined = DatumGetBool(result(0, POLICY_COLUMN_COUNT + 3, NULL));
	plan->set_at = result_time(POLICY_COLUMN_COUNT + 4, DT_NOBEGIN);
	return true;
}

bool
catalog_plan_secret(int64 id, const SecretPlan *plan, const char *username,
					TimestampTz last_rotation, TimestampTz next_rotation)
{
	Args args = {0};

	arg(&args, Int64GetDatum(id));
	arg(&args, TransactionIdGetDatum(plan->row_version));
	arg_text(&args, username);
	arg_time(&args, last_rotation);
	arg_time(&args, next_rotation);
	return run(&plan_secret, &args) == 1;
}

void
catalog_postpone_secret(int64 id, TimestampTz next_rotation)
{
	Args args = {0};

	arg(&args, Int64GetDatum(id));
	arg_time(&args, next_rotation);
	run(&postpone_secret, &args);
}

void
catalog_plan_retirement(int64 id, TimestampTz at)
{
	Args args = {0};

	arg(&args, Int64GetDatum(id));
	arg_time(&args, at);
	run(&plan_retirement, &args);
}

void
catalog_hasten_retirement(int64 id, TimestampTz at)
{
	Args args = {0};

	arg(&args, Int64GetDatum(id));
	arg_time(&args, at);
	run(&hasten_retirement, &args);
}

/* --- versions --- */

static Datum
fingerprint_datum(const uint8_t fingerprint[FINGERPRINT_LEN])
{
	bytea *value = palloc(VARHDRSZ + FINGERPRINT_LEN);

	SET_VARSIZE(value, VARHDRSZ + FINGERPRINT_LEN);
	memcpy(VARDATA(value), fingerprint, FINGERPRINT_LEN);
	return PointerGetDatum(value);
}

void
catalog_insert_version(const pg_uuid_t *id, int64 secret_id, const SealedValue *value)
{
	Args retire = {0};
	Args args = {0};

	arg(&retire, Int64GetDatum(secret_id));
	run(&retire_pending, &retire);
	arg_uuid(&args, id);
	arg(&args, Int64GetDatum(secret_id));
	arg_uuid(&args, &value->key_id);
	arg(&args, PointerGetDatum(value->sealed));
	run(&insert_version, &args);
}

bool
catalog_load_version(const pg_uuid_t *id, SealedValue *value, char stage[16],
					 uint8_t fingerprint[FINGERPRINT_LEN], bool *has_fingerprint)
{
	Args args = {0};
	bool null;
	Datum print;

	arg_uuid(&args, id);
	if (run(&load_version, &args) != 1)
		return false;
	value->key_id = *DatumGetUUIDP(result(0, 0, NULL));
	value->sealed = DatumGetByteaPCopy(result(0, 1, NULL));
	result_text(2, stage, 16);
	print = result(0, 3, &null);
	*has_fingerprint = !null && VARSIZE_ANY_EXHDR(DatumGetByteaPP(print)) == FINGERPRINT_LEN;
	if (*has_fingerprint)
		memcpy(fingerprint, VARDATA_ANY(DatumGetByteaPP(print)), FINGERPRINT_LEN);
	return true;
}

static void
label(const pg_uuid_t *version, const char *stage)
{
	Args args = {0};

	arg_uuid(&args, version);
	arg_text(&args, stage);
	run(&set_label, &args);
}

void
catalog_promote_version(int64 secret_id, const pg_uuid_t *version,
						const uint8_t fingerprint[FINGERPRINT_LEN], SavedVerifier *saved,
						bool keep_previous)
{
	Args args = {0};
	uint64 count;

	arg(&args, Int64GetDatum(secret_id));
	count = run(&load_labels, &args);
	saved->version_stage[0] = '\0';
	saved->has_current = saved->has_previous = false;
	for (uint64 i = 0; i < count; i++)
	{
		pg_uuid_t id = *DatumGetUUIDP(result(i, 0, NULL));
		char *stage = TextDatumGetCString(result(i, 1, NULL));

		if (memcmp(id.data, version->data, UUID_LEN) == 0)
			strlcpy(saved->version_stage, stage, sizeof(saved->version_stage));
		if (strcmp(stage, "current") == 0)
		{
			saved->has_current = true;
			saved->former_current = id;
		}
		else if (strcmp(stage, "previous") == 0)
		{
			saved->has_previous = true;
			saved->former_previous = id;
		}
	}
	/* One label at a time: a stage is unique at every moment. */
	if (saved->has_previous)
		label(&saved->former_previous, NULL);
	if (saved->has_current)
		label(&saved->former_current, keep_previous ? "previous" : NULL);
	memset(&args, 0, sizeof(args));
	arg_uuid(&args, version);
	if (fingerprint != NULL)
		arg(&args, fingerprint_datum(fingerprint));
	else
		arg_null(&args);
	run(&note_set, &args);
}

void
catalog_demote_version(const pg_uuid_t *version, const SavedVerifier *saved)
{
	/* A refused value is nobody's pending any more; one that was previous is that again below. */
	label(version, NULL);
	if (saved->has_current)
		label(&saved->former_current, "current");
	if (saved->has_previous)
		label(&saved->former_previous, "previous");
}

void
catalog_note_fingerprint(const pg_uuid_t *version, const uint8_t fingerprint[FINGERPRINT_LEN])
{
	Args args = {0};

	arg_uuid(&args, version);
	arg(&args, fingerprint_datum(fingerprint));
	run(&note_fingerprint, &args);
}

void
catalog_note_verified(const pg_uuid_t *version)
{
	Args args = {0};

	arg_uuid(&args, version);
	run(&note_verified, &args);
}

/* --- roles --- */

bool
catalog_load_role(Oid role, bool lock, RoleState *state)
{
	Args args = {0};
	bool null;
	Datum value;

	arg(&args, ObjectIdGetDatum(role));
	if (run(lock ? &lock_role : &load_role, &args) != 1)
		return false;
	memset(state, 0, sizeof(*state));
	state->oid = role;
	strlcpy(state->name, NameStr(*DatumGetName(result(0, 0, NULL))), sizeof(state->name));
	state->can_login = DatumGetBool(result(0, 1, NULL));
	state->superuser = DatumGetBool(result(0, 2, NULL));
	state->replication = DatumGetBool(result(0, 3, NULL));
	value = result(0, 4, &null);
	state->verifier = null ? NULL : TextDatumGetCString(value);
	value = result(0, 5, &null);
	state->has_valid_until = !null;
	state->valid_until = null ? 0 : DatumGetTimestampTz(value);
	return true;
}

bool
catalog_role_is_being_rotated(Oid role)
{
	Args args = {0};

	arg(&args, ObjectIdGetDatum(role));
	run(&role_is_being_rotated, &args);
	return DatumGetBool(result(0, 0, NULL));
}

int
catalog_terminate_sessions(Oid role, int spare, int spare_too)
{
	Args args = {0};

	arg(&args, ObjectIdGetDatum(role));
	arg(&args, Int32GetDatum(spare));
	arg(&args, Int32GetDatum(spare_too));
	run(&terminate_sessions, &args);
	return (int) DatumGetInt64(result(0, 0, NULL));
}

int
catalog_count_sessions(Oid role, int except)
{
	Args args = {0};

	arg(&args, ObjectIdGetDatum(role));
	arg(&args, Int32GetDatum(except));
	run(&count_sessions, &args);
	return (int) DatumGetInt64(result(0, 0, NULL));
}

/* --- audit --- */

void
catalog_audit(const AuditRow *row)
{
	Args args = {0};

	arg_text(&args, row->actor->name);
	arg_text(&args, row->actor->session_user);
	arg_text(&args, row->actor->client_addr);
	arg_text(&args, row->event);
	arg_text(&args, row->secret);
	arg_uuid(&args, row->rotation);
	arg_uuid(&args, row->version);
	arg_text(&args, row->result);
	arg_positive(&args, row->duration_ms);
	arg_text(&args, row->detail);
	run(&audit, &args);
}

void
catalog_audit_event(const Actor *actor, const char *event, const char *secret, const char *detail)
{
	AuditRow row = {.actor = actor,
					.event = event,
					.secret = secret,
					.result = "ok",
					.duration_ms = -1,
					.detail = detail};

	catalog_audit(&row);
}

Datum
catalog_datum(const char *query, int nargs, Oid *types, Datum *values, bool *null)
{
	Datum value = (Datum) 0;

	*null = true;
	if (catalog_execute(query, nargs, types, values, NULL) == 1)
	{
		Form_pg_attribute column = TupleDescAttr(SPI_tuptable->tupdesc, 0);

		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, null);
		if (!*null)
			value = SPI_datumTransfer(value, column->attbyval, column->attlen);
	}
	return value;
}

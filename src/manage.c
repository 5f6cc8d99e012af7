/*
 * manage.c - see manage.h.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog.h"
#include "catalog/pg_type.h"
#include "catalog_read.h"
#include "clock.h"
#include "compat.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "manage.h"
#include "schedule.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/timestamp.h"
#include "watch.h"

void
manage_load_policy(const char *name, Policy *policy)
{
	bool uncommitted;

	if (!catalog_load_policy(name, policy, &uncommitted, CurrentMemoryContext))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("policy \"%s\" does not exist", name),
				 errhint("rotor.policy lists the policies; a superuser can insert one.")));
}

void
manage_require_store_and_target(const char *store, const char *target)
{
	TargetAddress address;
	Oid types[] = {TEXTOID};
	Datum values[] = {CStringGetTextDatum(store)};

	if (catalog_execute("SELECT FROM rotor.store WHERE name = $1", 1, types, values, NULL) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("store \"%s\" does not exist", store),
				 errhint("rotor.store lists the stores; a superuser can insert one.")));
	if (!catalog_find_target(target, &address))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("target \"%s\" does not exist", target),
				 errhint("rotor.target lists the targets; a superuser can insert one.")));
}

char *
manage_detail(const char *policy, const char *username)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoString(&json, "{\"policy\":");
	escape_json(&json, policy);
	appendStringInfoString(&json, ",\"role\":");
	escape_json(&json, username);
	appendStringInfoChar(&json, '}');
	return json.data;
}

void
manage_watch(int64 id)
{
	Oid types[] = {INT8OID, INT8OID};
	Datum values[] = {Int64GetDatum(id), Int64GetDatum((int64) GetSystemIdentifier())};
	HeapTuple tuple;
	char *mode;
	bool null;

	if (!watch_is_on() ||
		catalog_execute("SELECT s.role_oid, CASE WHEN s.deleted_at IS NULL THEN p.outside_change "
						"END FROM rotor.secret s JOIN rotor.policy p ON p.name = s.policy "
						"WHERE s.id = $1 AND s.system_identifier = $2 AND s.role_oid <> 0",
						2, types, values, NULL) != 1)
		return;
	tuple = SPI_tuptable->vals[0];
	mode = SPI_getvalue(tuple, SPI_tuptable->tupdesc, 2);
	watch_role(DatumGetObjectId(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 1, &null)),
			   mode ? watch_mode_of(mode) : WATCH_NONE);
}

static void
require_length(const char *what, const char *text)
{
	int characters = pg_mbstrlen(text);

	if (characters < 1 || characters > 128)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("a %s has 1 to 128 characters, this one has %d", what, characters)));
}

void
manage_secret(const ManageOrder *order, const Actor *actor, Secret *secret)
{
	const char *username = order->username ? order->username : order->name;
	Secret made = {0};
	Policy plan;

	if (OidIsValid(order->role))
		username = GetUserNameFromId(order->role, false);
	require_length("secret's name", order->name);
	require_length("username", username);
	manage_load_policy(order->policy, &plan);
	manage_require_store_and_target(order->store, order->target);
	strlcpy(made.name, order->name, sizeof(made.name));
	strlcpy(made.username, username, sizeof(made.username));
	strlcpy(made.policy, order->policy, sizeof(made.policy));
	strlcpy(made.target, order->target, sizeof(made.target));
	made.role = order->role;
	made.outside_target = !OidIsValid(order->role);
	made.outside_store = strcmp(order->store, "local") != 0;
	made.system_identifier = GetSystemIdentifier();
	catalog_insert_secret(&made, order->store, order->options, actor,
						  schedule_next(&plan, clock_now()));
	if (OidIsValid(order->role))
		manage_watch(made.id);
	catalog_audit_event(actor, "managed", made.name, manage_detail(made.policy, made.username));
	/* Last: name and policy may be parts of *secret. */
	*secret = made;
}

void
manage_role(const char *name, Oid role, const char *policy, const Actor *actor, Secret *secret)
{
	ManageOrder order = {
		.name = name, .role = role, .policy = policy, .store = "local", .target = "self"};

	manage_secret(&order, actor, secret);
}

void
manage_account(const ManageOrder *order, const Actor *actor, Secret *secret)
{
	Oid types[] = {TEXTOID, TEXTOID, TEXTOID, INT8OID};
	Datum values[] = {CStringGetTextDatum(order->target), CStringGetTextDatum(order->username),
					  CStringGetTextDatum(order->options ? order->options : "{}"),
					  Int64GetDatum((int64) GetSystemIdentifier())};
	bool null;
	Datum other = catalog_datum(
		"SELECT name FROM rotor.secret WHERE target = $1 AND username = $2 AND role_oid = 0 "
		"AND coalesce(options ->> 'host', '') = coalesce($3::jsonb ->> 'host', '') "
		"AND system_identifier = $4 AND deleted_at IS NULL",
		4, types, values, &null);

	if (!null)
		ereport(ERROR, (errcode(ERRCODE_DUPLICATE_OBJECT),
						errmsg("account \"%s\" of target \"%s\" is managed already",
							   order->username, order->target),
						errdetail("Its secret is \"%s\".", TextDatumGetCString(other)),
						errhint("An account has one secret.")));
	manage_secret(order, actor, secret);
}

/* Secrets that are planned anew in one statement. */
#define PLAN_BATCH 1000

/*
 * Reads the next secrets of a policy, by id; returns how many. Of two that are used in turn, the one that
 * rests is planned, from the last turn on.
 */
static int
read_batch(const char *policy, int64 after, Datum ids[], TimestampTz bases[])
{
	Oid types[] = {TEXTOID, INT8OID};
	Datum values[] = {CStringGetTextDatum(policy), Int64GetDatum(after)};
	int count = (int) catalog_execute(
		"SELECT s.id, coalesce((SELECT u.last_rotation FROM rotor.pair p JOIN rotor.secret u "
		"ON u.id = p.in_use WHERE p.resting = s.id), s.last_rotation, s.created_at) "
		"FROM rotor.secret s WHERE s.policy = $1 AND s.id > $2 AND NOT EXISTS "
		"(SELECT FROM rotor.pair p WHERE p.in_use = s.id) ORDER BY s.id "
		"LIMIT " CppAsString2(PLAN_BATCH),
		2, types, values, NULL);
	bool null;

	for (int i = 0; i < count; i++)
	{
		HeapTuple tuple = SPI_tuptable->vals[i];

		ids[i] = SPI_getbinval(tuple, SPI_tuptable->tupdesc, 1, &null);
		bases[i] = DatumGetTimestampTz(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 2, &null));
	}
	SPI_freetuptable(SPI_tuptable);
	return count;
}

void
manage_plan_anew(const char *name, const Policy *policy)
{
	Oid types[] = {INT8ARRAYOID, TIMESTAMPTZARRAYOID};
	Datum *ids = palloc(PLAN_BATCH * sizeof(Datum));
	TimestampTz *bases = palloc(PLAN_BATCH * sizeof(TimestampTz));
	Datum *times = palloc(PLAN_BATCH * sizeof(Datum));
	bool *nulls = palloc(PLAN_BATCH * sizeof(bool));
	TimestampTz now = clock_now();
	int64 last = 0;
	int count;

	while ((count = read_batch(name, last, ids, bases)) > 0)
	{
		Datum arrays[2];
		int lower = 1;

		for (int i = 0; i < count; i++)
		{
			TimestampTz next = schedule_anew(policy, bases[i], now);

			times[i] = TimestampTzGetDatum(next);
			nulls[i] = TIMESTAMP_IS_NOEND(next);
		}
		last = DatumGetInt64(ids[count - 1]);
		arrays[0] = PointerGetDatum(
			construct_array(ids, count, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
		arrays[1] = PointerGetDatum(construct_md_array(times, nulls, 1, &count, &lower,
													   TIMESTAMPTZOID, sizeof(TimestampTz),
													   FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
		(void) catalog_execute("UPDATE rotor.secret s SET next_rotation = n.at "
							   "FROM unnest($1, $2) n (id, at) WHERE s.id = n.id",
							   2, types, arrays, NULL);
		pfree(DatumGetPointer(arrays[0]));
		pfree(DatumGetPointer(arrays[1]));
	}
}

/*
 * functions_admin.c - grant_access(), revoke_access(), rewrap_keys(), reset_statistics().
 */
#include "postgres.h"

#include "catalog.h"
#include "catalog/pg_type.h"
#include "catalog_read.h"
#include "compat.h"
#include "executor/spi.h"
#include "functions.h"
#include "keyring.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/json.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

ROTOR_FUNCTION(rotor_grant_access);
ROTOR_FUNCTION(rotor_revoke_access);
ROTOR_FUNCTION(rotor_rewrap_keys);
ROTOR_FUNCTION(rotor_reset_statistics);

/* Separated by semicolons: signatures hold commas. */
#define READ_FUNCTIONS \
	"rotor.get_secret(text,text);rotor.connection_uri(text,text);rotor.describe(text)"
#define ROTATE_FUNCTIONS                                                                    \
	"rotor.rotate(text,boolean,text,text,boolean);rotor.rollback(text);rotor.cancel(uuid);" \
	"rotor.requeue(uuid);rotor.describe(text)"
#define MANAGE_FUNCTIONS                                                                \
	"rotor.get_secret(text,text);rotor.connection_uri(text,text);" ROTATE_FUNCTIONS     \
	";rotor.manage(text,text,text,text,text);rotor.unmanage(text);rotor.restore(text);" \
	"rotor.enable(text);rotor.disable(text);rotor.grant_access(text,regrole,text);"     \
	"rotor.revoke_access(text,regrole,text)"

/* What EXECUTE goes with a right. */
static const char *const functions_of[PRIVILEGE_COUNT] = {
	[PRIVILEGE_READ] = READ_FUNCTIONS,
	[PRIVILEGE_ROTATE] = ROTATE_FUNCTIONS,
	[PRIVILEGE_MANAGE] = MANAGE_FUNCTIONS,
};

static void
execute(const char *sql)
{
	int code = SPI_execute(sql, false, 0);

	if (code < 0)
		elog(ERROR, "could not run \"%s\": %s", sql, SPI_result_code_string(code));
}

/* GRANT ... TO or REVOKE ... FROM on the functions in a list with semicolons; nothing for an empty one. */
static void
change_execute(const char *before, const char *functions, const char *after, const char *role)
{
	char *list = pstrdup(functions);
	StringInfoData sql;

	if (list[0] == '\0')
		return;
	initStringInfo(&sql);
	appendStringInfo(&sql, "%s EXECUTE ON FUNCTION ", before);
	for (char *name = list; name != NULL;)
	{
		char *end = strchr(name, ';');

		if (end != NULL)
			*end++ = '\0';
		appendStringInfo(&sql, "%s%s", name, end ? ", " : "");
		name = end;
	}
	appendStringInfo(&sql, " %s %s", after, role);
	execute(sql.data);
}

static char *
grant_detail(const char *role, const char *privilege)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoString(&json, "{\"role\":");
	escape_json(&json, role);
	appendStringInfoString(&json, ",\"privilege\":");
	escape_json(&json, privilege);
	appendStringInfoChar(&json, '}');
	return json.data;
}

/* One right of one role on one secret: which statement, how many rows. */
static uint64
change_grant(const char *sql, const Secret *secret, Oid role, Privilege privilege,
			 const Actor *actor)
{
	Oid types[] = {INT8OID, OIDOID, TEXTOID, TEXTOID, TEXTOID};
	Datum values[] = {Int64GetDatum(secret->id), ObjectIdGetDatum(role),
					  CStringGetTextDatum(access_privilege_name(privilege)),
					  CStringGetTextDatum(actor->name),
					  CStringGetTextDatum(functions_of[privilege])};

	if (SPI_execute_with_args(sql, 5, types, values, NULL, false, 0) < 0)
		elog(ERROR, "could not run \"%s\"", sql);
	return SPI_processed;
}

Datum
rotor_grant_access(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Oid role = PG_GETARG_OID(1);
	Privilege privilege = access_privilege_of(text_to_cstring(PG_GETARG_TEXT_PP(2)));
	char *role_name;
	Secret secret;
	Actor actor;
	AccessScope scope;

	actor_current(&actor);
	require_writable("rotor.grant_access()");
	require_secret(name, &secret, NULL);
	access_require(&actor, &secret, PRIVILEGE_MANAGE, "grant_access");
	role_name = GetUserNameFromId(role, true);
	if (role_name == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("role %u does not exist", role),
						errhint("Name a role, for example 'app_user'::regrole.")));
	access_enter(&scope);
	/* What the role had before us, by somebody's own GRANT, is not ours to take back later. */
	(void) change_grant(
		"INSERT INTO rotor.access_grant (secret_id, role_oid, privilege, granted_by, gave_usage, "
		"gave_execute) SELECT $1, $2, $3, $4, NOT has_schema_privilege($2, 'rotor', 'USAGE') OR "
		"EXISTS (SELECT FROM rotor.access_grant g WHERE g.role_oid = $2 AND g.gave_usage), "
		"ARRAY(SELECT f FROM unnest(string_to_array($5, ';')) f "
		"WHERE NOT has_function_privilege($2, f, 'EXECUTE') OR EXISTS (SELECT FROM "
		"rotor.access_grant g WHERE g.role_oid = $2 AND f = ANY (g.gave_execute))) "
		"ON CONFLICT DO NOTHING",
		&secret, role, privilege, &actor);
	execute(psprintf("GRANT USAGE ON SCHEMA rotor TO %s", quote_identifier(role_name)));
	change_execute("GRANT", functions_of[privilege], "TO", quote_identifier(role_name));
	audit_call(&actor, "access_granted", name,
			   grant_detail(role_name, access_privilege_name(privilege)));
	access_leave(&scope);
	PG_RETURN_VOID();
}

/* What a right gave, as far as none that is left gave it too: one column of the answer as text. */
static char *
given_only_by(const char *query, Oid role, Datum gave, Oid gave_type)
{
	Oid types[] = {OIDOID, gave_type};
	Datum values[] = {ObjectIdGetDatum(role), gave};
	bool null;
	Datum value = catalog_datum(query, 2, types, values, &null);

	return null ? "" : TextDatumGetCString(value);
}

/* A right is gone: take back what came with it, as far as no other needs it. */
static void
take_back(Oid role, Datum gave_usage, Datum gave_execute)
{
	const char *name = quote_identifier(GetUserNameFromId(role, false));
	char *functions =
		given_only_by("SELECT string_agg(f, ';') FROM unnest($2) f WHERE NOT EXISTS (SELECT FROM "
					  "rotor.access_grant g WHERE g.role_oid = $1 AND f = ANY (g.gave_execute))",
					  role, gave_execute, TEXTARRAYOID);
	char *usage = given_only_by("SELECT 'USAGE' WHERE $2 AND NOT EXISTS (SELECT FROM "
								"rotor.access_grant g WHERE g.role_oid = $1)",
								role, gave_usage, BOOLOID);

	change_execute("REVOKE", functions, "FROM", name);
	if (usage[0] != '\0')
		execute(psprintf("REVOKE USAGE ON SCHEMA rotor FROM %s", name));
}

/* A column of the row that was deleted; SPI's next statement takes it away. */
static Datum
deleted(int number)
{
	Form_pg_attribute attribute = TupleDescAttr(SPI_tuptable->tupdesc, number - 1);
	bool null;

	return datumCopy(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, number, &null),
					 attribute->attbyval, attribute->attlen);
}

Datum
rotor_revoke_access(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Oid role = PG_GETARG_OID(1);
	Privilege privilege = access_privilege_of(text_to_cstring(PG_GETARG_TEXT_PP(2)));
	char *role_name = GetUserNameFromId(role, true);
	Secret secret;
	Actor actor;
	AccessScope scope;

	actor_current(&actor);
	require_writable("rotor.revoke_access()");
	require_secret(name, &secret, NULL);
	access_require(&actor, &secret, PRIVILEGE_MANAGE, "revoke_access");
	access_enter(&scope);
	if (change_grant(
			"DELETE FROM rotor.access_grant WHERE secret_id = $1 AND role_oid = $2 "
			"AND privilege = $3 AND $4 || $5 IS NOT NULL RETURNING gave_usage, gave_execute",
			&secret, role, privilege, &actor) == 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("role \"%s\" has no right \"%s\" on secret \"%s\"",
							   role_name ? role_name : psprintf("%u", role),
							   access_privilege_name(privilege), name),
						errhint("rotor.access_grant lists the rights on single secrets.")));
	if (role_name != NULL)
		take_back(role, deleted(1), deleted(2));
	audit_call(&actor, "access_revoked", name,
			   grant_detail(role_name ? role_name : psprintf("%u", role),
							access_privilege_name(privilege)));
	access_leave(&scope);
	PG_RETURN_VOID();
}

/* Wraps one data key anew; false if it was under the newest master key already. */
static bool
rewrap(const pg_uuid_t *id)
{
	Oid types[] = {UUIDOID, TEXTOID, BYTEAOID, BYTEAOID};
	Datum values[4];
	DataKeyRow row;

	if (!catalog_find_data_key(id, &row) || !keyring_rewrap(&row))
		return false;
	values[0] = UUIDPGetDatum(id);
	values[1] = CStringGetTextDatum(row.master_key_id);
	values[2] = PointerGetDatum(row.wrapped);
	values[3] = PointerGetDatum(row.check_value);
	if (SPI_execute_with_args("UPDATE rotor.data_key SET master_key_id = $2, wrapped = $3, "
							  "check_value = $4 WHERE id = $1",
							  4, types, values, NULL, false, 0) < 0)
		elog(ERROR, "could not update a data key");
	return true;
}

Datum
rotor_rewrap_keys(PG_FUNCTION_ARGS)
{
	Actor actor;
	AccessScope scope;
	int64 moved = 0;
	uint64 count;
	pg_uuid_t *ids;

	actor_current(&actor);
	require_writable("rotor.rewrap_keys()");
	access_require_superuser(&actor, "rewrap_keys");
	access_enter(&scope);
	if (SPI_execute("SELECT id FROM rotor.data_key ORDER BY created_at FOR UPDATE", false, 0) < 0)
		elog(ERROR, "could not read the data keys");
	count = SPI_processed;
	ids = palloc(Max(count, 1) * sizeof(pg_uuid_t));
	for (uint64 i = 0; i < count; i++)
	{
		bool null;

		ids[i] =
			*DatumGetUUIDP(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &null));
	}
	for (uint64 i = 0; i < count; i++)
		moved += rewrap(&ids[i]);
	audit_call(&actor, "keys_rewrapped", NULL,
			   psprintf("{\"moved\":" INT64_FORMAT ",\"total\":" UINT64_FORMAT "}", moved, count));
	access_leave(&scope);
	PG_RETURN_INT64(moved);
}

Datum
rotor_reset_statistics(PG_FUNCTION_ARGS)
{
	Actor actor;
	AccessScope scope;
	Datum at;
	bool null;

	actor_current(&actor);
	require_writable("rotor.reset_statistics()");
	access_require_superuser(&actor, "reset_statistics");
	access_enter(&scope);
	execute("UPDATE rotor.statistics_reset SET at = clock_timestamp()");
	at = catalog_datum("SELECT at FROM rotor.statistics_reset", 0, NULL, NULL, &null);
	audit_call(&actor, "statistics_reset", NULL, NULL);
	access_leave(&scope);
	PG_RETURN_DATUM(at);
}

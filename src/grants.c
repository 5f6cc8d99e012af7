/*
 * grants.c - see grants.h.
 */
#include "postgres.h"

#include "catalog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "grants.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/json.h"

/* Separated by semicolons: signatures hold commas. */
#define READ_FUNCTIONS \
	"rotor.get_secret(text,text);rotor.connection_uri(text,text);rotor.describe(text)"
#define ROTATE_FUNCTIONS                                                                    \
	"rotor.rotate(text,boolean,text,text,boolean);rotor.rollback(text);rotor.cancel(uuid);" \
	"rotor.requeue(uuid);rotor.describe(text)"
#define MANAGE_FUNCTIONS                                                                                  \
	"rotor.get_secret(text,text);rotor.connection_uri(text,text);" ROTATE_FUNCTIONS                       \
	";rotor.manage(text,text,text,text,text,jsonb);rotor.unmanage(text);rotor.restore(text);"             \
	"rotor.intake_certificate();rotor.set_value(text,text,boolean);"                                      \
	"rotor.enable(text);rotor.disable(text);rotor.reconcile(text);rotor.grant_access(text,regrole,text);" \
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

char *
grants_detail(const char *role, const char *privilege)
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

/* One right of one role on one secret: which statement, how many rows. */
static uint64
change_grant(const char *sql, int64 secret_id, Oid role, Privilege privilege, const char *by)
{
	Oid types[] = {INT8OID, OIDOID, TEXTOID, TEXTOID, TEXTOID};
	Datum values[] = {Int64GetDatum(secret_id), ObjectIdGetDatum(role),
					  CStringGetTextDatum(access_privilege_name(privilege)),
					  CStringGetTextDatum(by), CStringGetTextDatum(functions_of[privilege])};

	return catalog_execute(sql, 5, types, values, NULL);
}

bool
grants_give(int64 secret_id, Oid role, Privilege privilege, const char *by)
{
	const char *name = quote_identifier(GetUserNameFromId(role, false));
	/* What the role had before us, by somebody's own GRANT, is not ours to take back later. */
	bool given =
		change_grant(
			"INSERT INTO rotor.access_grant (secret_id, role_oid, privilege, granted_by, gave_usage, "
			"gave_execute, role_name) SELECT $1, $2, $3, $4, "
			"NOT has_schema_privilege($2, 'rotor', 'USAGE') OR "
			"EXISTS (SELECT FROM rotor.access_grant g WHERE g.role_oid = $2 AND g.gave_usage), "
			"ARRAY(SELECT f FROM unnest(string_to_array($5, ';')) f "
			"WHERE NOT has_function_privilege($2, f, 'EXECUTE') OR EXISTS (SELECT FROM "
			"rotor.access_grant g WHERE g.role_oid = $2 AND f = ANY (g.gave_execute))), "
			"pg_get_userbyid($2) ON CONFLICT DO NOTHING",
			secret_id, role, privilege, by) > 0;

	execute(psprintf("GRANT USAGE ON SCHEMA rotor TO %s", name));
	change_execute("GRANT", functions_of[privilege], "TO", name);
	return given;
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

bool
grants_take(int64 secret_id, Oid role, Privilege privilege)
{
	if (change_grant("DELETE FROM rotor.access_grant WHERE secret_id = $1 AND role_oid = $2 "
					 "AND privilege = $3 AND $4 || $5 IS NOT NULL RETURNING gave_usage, "
					 "gave_execute",
					 secret_id, role, privilege, "") == 0)
		return false;
	if (GetUserNameFromId(role, true) != NULL)
		take_back(role, deleted(1), deleted(2));
	return true;
}

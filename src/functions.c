/*
 * functions.c - see functions.h.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog.h"
#include "catalog/pg_type.h"
#include "catalog_read.h"
#include "compat.h"
#include "functions.h"
#include "request.h"
#include "utils/builtins.h"

char *
required_text(FunctionCallInfo fcinfo, int number, const char *what)
{
	if (PG_ARGISNULL(number))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("%s must not be null", what),
				 errhint("Pass a value, or leave the argument out if it has a default.")));
	return text_to_cstring(PG_GETARG_TEXT_PP(number));
}

void
require_secret(const char *name, Secret *secret, char *target)
{
	if (!catalog_find_secret(name, secret, target))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("secret \"%s\" does not exist", name),
				 errhint("rotor.secrets lists the secrets; rotor.manage() makes one.")));
}

void
require_writable(const char *what)
{
	if (RecoveryInProgress())
		ereport(ERROR, (errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
						errmsg("cannot run %s on a standby", what),
						errdetail("A standby follows the primary's roles and secrets."),
						errhint("Call it on the primary.")));
	PreventCommandIfReadOnly(what);
	/* A copy of the home database has our tables too, but nobody who would act on them. */
	request_require_home();
}

static Datum
row_datum(const char *query, Oid type, Datum key)
{
	bool null;
	Datum row = catalog_datum(query, 1, &type, &key, &null);

	if (null)
		elog(ERROR, "the row is gone");
	return row;
}

Datum
rotation_datum(const pg_uuid_t *id)
{
	return row_datum("SELECT r FROM rotor.rotation r WHERE r.id = $1", UUIDOID, UUIDPGetDatum(id));
}

Datum
secret_datum(int64 id)
{
	return row_datum("SELECT s FROM rotor.secret s WHERE s.id = $1", INT8OID, Int64GetDatum(id));
}

char *
uuid_text(const pg_uuid_t *id)
{
	return DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(id)));
}

void
audit_call(const Actor *actor, const char *event, const char *secret, const char *detail)
{
	AuditRow row = {.actor = actor,
					.event = event,
					.secret = secret,
					.result = "ok",
					.duration_ms = -1,
					.detail = detail};

	catalog_audit(&row);
}

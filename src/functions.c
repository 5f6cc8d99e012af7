/*
 * functions.c - see functions.h.
 */
#include "postgres.h"

#include "access/xact.h"
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

int
require_members(const char *name, Secret members[2])
{
	Pair pair;

	if (catalog_find_secret(name, &members[0]))
		return 1;
	if (!catalog_find_pair(name, &pair))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("secret \"%s\" does not exist", name),
				 errhint("rotor.secrets lists the secrets; rotor.manage() makes one.")));
	members[0] = pair.in_use;
	members[1] = pair.resting;
	return 2;
}

void
require_secret(const char *name, Secret *secret)
{
	Secret members[2];

	(void) require_members(name, members);
	*secret = members[0];
}

bool
find_secret_to_rotate(const char *name, Secret *secret, bool *by_pair)
{
	Pair pair;

	*by_pair = false;
	if (catalog_find_secret(name, secret))
		return true;
	if (!catalog_find_pair(name, &pair))
		return false;
	*secret = pair.resting;
	*by_pair = true;
	return true;
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
notice_first_key(void)
{
	ereport(NOTICE,
			(errmsg("rotor made its first master key"),
			 errdetail("It is in the file that rotor.key_file names, \"rotor.key\" in the data "
					   "directory unless you set it."),
			 errhint("Keep a copy elsewhere: without it, no secret can be read. Better, move it "
					 "out of the data directory, so that no base backup carries it.")));
}

static bool wake_at_commit;

static void
at_transaction_end(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT && wake_at_commit)
		request_wake_workers();
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT)
		wake_at_commit = false;
}

void
wake_workers_at_commit(void)
{
	static bool registered = false;

	if (!registered)
		RegisterXactCallback(at_transaction_end, NULL);
	registered = true;
	wake_at_commit = true;
	if (!request_is_preloaded())
		ereport(NOTICE, (errmsg("rotor is not preloaded, so nothing runs by itself"),
						 errhint("Call rotor.run_due() after the commit, or have cron or pg_cron "
								 "call it.")));
}

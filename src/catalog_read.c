/*
 * catalog_read.c - see catalog_read.h. Column numbers follow sql/tables.sql.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_extension.h"
#include "catalog_read.h"
#include "commands/extension.h"
#include "compat.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

enum
{
	SECRET_ID = 1,
	SECRET_NAME,
	SECRET_TARGET,
	SECRET_USERNAME,
	SECRET_ROLE_OID,
	SECRET_SYSTEM_IDENTIFIER,
	SECRET_POLICY = 8,
	SECRET_ENABLED,
	VERSION_ID = 1,
	VERSION_SECRET_ID,
	VERSION_STAGE,
	VERSION_KEY_ID,
	VERSION_SEALED,
	GRANT_SECRET_ID = 1,
	GRANT_ROLE_OID,
	GRANT_PRIVILEGE,
	TARGET_NAME = 1,
	TARGET_HOST = 3,
	TARGET_PORT,
	TARGET_DBNAME,
	TARGET_SSLMODE,
	DATA_KEY_ID = 1,
	DATA_KEY_MASTER_KEY_ID,
	DATA_KEY_WRAPPED,
	DATA_KEY_CHECK_VALUE
};

static const char *const our_tables[] = {
	"policy",	"store",		  "target",		  "secret", "data_key",			"version",
	"rotation", "saved_verifier", "access_grant", "audit",	"statistics_reset",
};

/* A scan of one table by one index, at the newest snapshot. */
typedef struct TableScan
{
	Relation relation;
	Snapshot snapshot;
	SysScanDesc scan;
} TableScan;

static Oid
our_relation(const char *name)
{
	Oid relation = get_relname_relid(name, get_namespace_oid("rotor", false));

	if (!OidIsValid(relation))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
						errmsg("relation rotor.%s does not exist", name)));
	return relation;
}

static void
scan_begin(TableScan *scan, const char *table, const char *index, ScanKey keys, int count)
{
	scan->relation = table_open(our_relation(table), AccessShareLock);
	scan->snapshot = RegisterSnapshot(GetLatestSnapshot());
	scan->scan =
		systable_beginscan(scan->relation, our_relation(index), true, scan->snapshot, count, keys);
}

static HeapTuple
scan_next(TableScan *scan)
{
	return systable_getnext(scan->scan);
}

static void
scan_end(TableScan *scan)
{
	systable_endscan(scan->scan);
	UnregisterSnapshot(scan->snapshot);
	table_close(scan->relation, AccessShareLock);
}

static Datum
column(const TableScan *scan, HeapTuple tuple, int number, bool *null)
{
	return heap_getattr(tuple, number, RelationGetDescr(scan->relation), null);
}

static Datum
required(const TableScan *scan, HeapTuple tuple, int number)
{
	bool null;
	Datum value = column(scan, tuple, number, &null);

	if (null)
		elog(ERROR, "unexpected null in column %d of %s", number,
			 RelationGetRelationName(scan->relation));
	return value;
}

/* Copies a text column; a null becomes the empty string. */
static void
copy_text(const TableScan *scan, HeapTuple tuple, int number, char *out, size_t size)
{
	bool null;
	Datum value = column(scan, tuple, number, &null);

	out[0] = '\0';
	if (!null)
		text_to_cstring_buffer(DatumGetTextPP(value), out, size);
}

static void
fill_secret(const TableScan *scan, HeapTuple tuple, Secret *secret)
{
	memset(secret, 0, sizeof(*secret));
	secret->id = DatumGetInt64(required(scan, tuple, SECRET_ID));
	copy_text(scan, tuple, SECRET_NAME, secret->name, sizeof(secret->name));
	copy_text(scan, tuple, SECRET_USERNAME, secret->username, sizeof(secret->username));
	secret->role = DatumGetObjectId(required(scan, tuple, SECRET_ROLE_OID));
	secret->system_identifier =
		(uint64) DatumGetInt64(required(scan, tuple, SECRET_SYSTEM_IDENTIFIER));
	copy_text(scan, tuple, SECRET_POLICY, secret->policy, sizeof(secret->policy));
	secret->enabled = DatumGetBool(required(scan, tuple, SECRET_ENABLED));
	secret->uncommitted =
		TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(tuple->t_data));
}

bool
catalog_find_secret(const char *name, Secret *secret, char target[SECRET_NAME_SIZE])
{
	TableScan scan;
	ScanKeyData key;
	HeapTuple tuple;

	ScanKeyInit(&key, SECRET_NAME, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(name));
	scan_begin(&scan, "secret", "secret_name", &key, 1);
	tuple = scan_next(&scan);
	if (HeapTupleIsValid(tuple))
	{
		fill_secret(&scan, tuple, secret);
		if (target != NULL)
			copy_text(&scan, tuple, SECRET_TARGET, target, SECRET_NAME_SIZE);
	}
	scan_end(&scan);
	return HeapTupleIsValid(tuple);
}

bool
catalog_find_secret_of_role(Oid role, Secret *secret)
{
	TableScan scan;
	ScanKeyData keys[2];
	HeapTuple tuple;

	ScanKeyInit(&keys[0], SECRET_TARGET, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum("self"));
	ScanKeyInit(&keys[1], SECRET_ROLE_OID, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(role));
	scan_begin(&scan, "secret", "secret_role", keys, 2);
	tuple = scan_next(&scan);
	if (HeapTupleIsValid(tuple))
		fill_secret(&scan, tuple, secret);
	scan_end(&scan);
	return HeapTupleIsValid(tuple);
}

bool
catalog_has_grant(int64 secret_id, Oid caller, const char *privilege)
{
	TableScan scan;
	ScanKeyData key;
	HeapTuple tuple;
	bool found = false;

	ScanKeyInit(&key, GRANT_SECRET_ID, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(secret_id));
	scan_begin(&scan, "access_grant", "access_grant_pkey", &key, 1);
	while (!found && HeapTupleIsValid(tuple = scan_next(&scan)))
	{
		Oid grantee = DatumGetObjectId(required(&scan, tuple, GRANT_ROLE_OID));
		char granted[16];

		copy_text(&scan, tuple, GRANT_PRIVILEGE, granted, sizeof(granted));
		found = (strcmp(granted, privilege) == 0 || strcmp(granted, "manage") == 0) &&
				has_privs_of_role(caller, grantee);
	}
	scan_end(&scan);
	return found;
}

bool
catalog_find_version(int64 secret_id, const char *stage, pg_uuid_t *version, SealedValue *value)
{
	TableScan scan;
	ScanKeyData keys[2];
	HeapTuple tuple;

	ScanKeyInit(&keys[0], VERSION_SECRET_ID, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(secret_id));
	ScanKeyInit(&keys[1], VERSION_STAGE, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(stage));
	scan_begin(&scan, "version", "version_stage", keys, 2);
	tuple = scan_next(&scan);
	if (HeapTupleIsValid(tuple))
	{
		*version = *DatumGetUUIDP(required(&scan, tuple, VERSION_ID));
		value->key_id = *DatumGetUUIDP(required(&scan, tuple, VERSION_KEY_ID));
		value->sealed = DatumGetByteaPCopy(required(&scan, tuple, VERSION_SEALED));
	}
	scan_end(&scan);
	return HeapTupleIsValid(tuple);
}

bool
catalog_find_target(const char *name, TargetAddress *address)
{
	TableScan scan;
	ScanKeyData key;
	HeapTuple tuple;
	bool null;

	memset(address, 0, sizeof(*address));
	ScanKeyInit(&key, TARGET_NAME, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(name));
	scan_begin(&scan, "target", "target_pkey", &key, 1);
	tuple = scan_next(&scan);
	if (HeapTupleIsValid(tuple))
	{
		Datum port = column(&scan, tuple, TARGET_PORT, &null);

		address->port = null ? 0 : DatumGetInt32(port);
		copy_text(&scan, tuple, TARGET_HOST, address->host, sizeof(address->host));
		copy_text(&scan, tuple, TARGET_DBNAME, address->dbname, sizeof(address->dbname));
		copy_text(&scan, tuple, TARGET_SSLMODE, address->sslmode, sizeof(address->sslmode));
	}
	scan_end(&scan);
	return HeapTupleIsValid(tuple);
}

bool
catalog_find_data_key(const pg_uuid_t *id, DataKeyRow *row)
{
	TableScan scan;
	ScanKeyData key;
	HeapTuple tuple;

	ScanKeyInit(&key, DATA_KEY_ID, BTEqualStrategyNumber, F_UUID_EQ, UUIDPGetDatum(id));
	scan_begin(&scan, "data_key", "data_key_pkey", &key, 1);
	tuple = scan_next(&scan);
	if (HeapTupleIsValid(tuple))
	{
		row->id = *id;
		copy_text(&scan, tuple, DATA_KEY_MASTER_KEY_ID, row->master_key_id,
				  sizeof(row->master_key_id));
		row->wrapped = DatumGetByteaPCopy(required(&scan, tuple, DATA_KEY_WRAPPED));
		row->check_value = DatumGetByteaPCopy(required(&scan, tuple, DATA_KEY_CHECK_VALUE));
	}
	scan_end(&scan);
	return HeapTupleIsValid(tuple);
}

bool
catalog_is_ours(void)
{
	static Oid verified = InvalidOid; /* members leave an extension only with it */
	Oid extension = get_extension_oid("rotor", true);
	Oid schema = get_namespace_oid("rotor", true);

	if (!OidIsValid(extension) || !OidIsValid(schema))
		return false;
	if (extension == verified)
		return true;
	for (size_t i = 0; i < lengthof(our_tables); i++)
	{
		Oid relation = get_relname_relid(our_tables[i], schema);
		HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
		bool ours;

		if (!HeapTupleIsValid(tuple))
			return false;
		ours = superuser_arg(((Form_pg_class) GETSTRUCT(tuple))->relowner) &&
			   ((Form_pg_class) GETSTRUCT(tuple))->relkind == RELKIND_RELATION;
		ReleaseSysCache(tuple);
		if (!ours || getExtensionOfObject(RelationRelationId, relation) != extension)
			return false;
	}
	verified = extension;
	return true;
}

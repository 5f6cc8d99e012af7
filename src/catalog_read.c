/*
 * catalog_read.c - see catalog_read.h. Column numbers follow sql/tables.sql.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_extension.h"
#include "catalog_read.h"
#include "catalog_scan.h"
#include "commands/extension.h"
#include "compat.h"
#include "executor/executor.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

static const char *const our_tables[] = {
	"policy",	"store",		  "target",		  "secret", "data_key",		 "version",
	"rotation", "saved_verifier", "access_grant", "audit",	"audit_default", "statistics_reset",
	"home",		"pair",
};

static KnownRelation access_grant_known = {.name = "access_grant"};
static KnownRelation access_grant_pkey_known = {.name = "access_grant_pkey"};
static KnownRelation data_key_known = {.name = "data_key"};
static KnownRelation data_key_pkey_known = {.name = "data_key_pkey"};
static KnownRelation home_known = {.name = "home"};
static KnownRelation home_pkey_known = {.name = "home_pkey"};
static KnownRelation pair_known = {.name = "pair"};
static KnownRelation pair_pkey_known = {.name = "pair_pkey"};
static KnownRelation pair_in_use_known = {.name = "pair_in_use_key"};
static KnownRelation pair_resting_known = {.name = "pair_resting_key"};
static KnownRelation rotation_known = {.name = "rotation"};
static KnownRelation rotation_pkey_known = {.name = "rotation_pkey"};
static KnownRelation secret_known = {.name = "secret"};
static KnownRelation secret_pkey_known = {.name = "secret_pkey"};
static KnownRelation secret_name_known = {.name = "secret_name"};
static KnownRelation secret_role_known = {.name = "secret_role"};
static KnownRelation target_known = {.name = "target"};
static KnownRelation target_pkey_known = {.name = "target_pkey"};
static KnownRelation version_known = {.name = "version"};
static KnownRelation version_key_known = {.name = "version_key"};
static KnownRelation version_stage_known = {.name = "version_stage"};

static bool
text_is(Datum value, const char *wanted)
{
	text *packed = DatumGetTextPP(value);

	return VARSIZE_ANY_EXHDR(packed) == strlen(wanted) &&
		   memcmp(VARDATA_ANY(packed), wanted, strlen(wanted)) == 0;
}

static void
fill_secret(const TableScan *scan, HeapTuple tuple, Secret *secret)
{
	Datum values[SECRET_COLUMN_COUNT];
	bool nulls[SECRET_COLUMN_COUNT];

	if (RelationGetDescr(scan->relation)->natts != SECRET_COLUMN_COUNT)
		elog(ERROR, "rotor.secret does not have %d columns", SECRET_COLUMN_COUNT);
	/* All at once: each column behind a text would be searched from the row's beginning. */
	heap_deform_tuple(tuple, RelationGetDescr(scan->relation), values, nulls);
	secret->id = DatumGetInt64(values[SECRET_ID - 1]);
	text_to_cstring_buffer(DatumGetTextPP(values[SECRET_NAME - 1]), secret->name,
						   sizeof(secret->name));
	text_to_cstring_buffer(DatumGetTextPP(values[SECRET_USERNAME - 1]), secret->username,
						   sizeof(secret->username));
	secret->role = DatumGetObjectId(values[SECRET_ROLE_OID - 1]);
	text_to_cstring_buffer(DatumGetTextPP(values[SECRET_TARGET - 1]), secret->target,
						   sizeof(secret->target));
	secret->outside_target = strcmp(secret->target, "self") != 0;
	secret->outside_store = !text_is(values[SECRET_STORE - 1], "local");
	secret->system_identifier = (uint64) DatumGetInt64(values[SECRET_SYSTEM_IDENTIFIER - 1]);
	text_to_cstring_buffer(DatumGetTextPP(values[SECRET_POLICY - 1]), secret->policy,
						   sizeof(secret->policy));
	secret->enabled = DatumGetBool(values[SECRET_ENABLED - 1]);
	secret->deleted = false;
	secret->due = secret->retiring = false;
	secret->uncommitted =
		TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(tuple->t_data));
}

bool
catalog_find_secret(const char *name, Secret *secret)
{
	TableScan scan;
	ScanKeyData key;
	HeapTuple tuple;

	ScanKeyInit(&key, SECRET_NAME, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(name));
	scan_begin(&scan, &secret_known, &secret_name_known, &key, 1);
	tuple = scan_next(&scan);
	if (HeapTupleIsValid(tuple))
		fill_secret(&scan, tuple, secret);
	scan_end(&scan);
	return HeapTupleIsValid(tuple);
}

bool
catalog_find_secret_of_role(Oid role, Secret *secret)
{
	TableScan scan;
	ScanKeyData keys[3];
	HeapTuple tuple;

	ScanKeyInit(&keys[0], SECRET_TARGET, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum("self"));
	ScanKeyInit(&keys[1], SECRET_ROLE_OID, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(role));
	ScanKeyInit(&keys[2], SECRET_SYSTEM_IDENTIFIER, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum((int64) GetSystemIdentifier()));
	scan_begin(&scan, &secret_known, &secret_role_known, keys, 3);
	tuple = scan_next(&scan);
	if (HeapTupleIsValid(tuple))
		fill_secret(&scan, tuple, secret);
	scan_end(&scan);
	return HeapTupleIsValid(tuple);
}

/* The secret of that id; false if it is not managed any more. */
static bool
find_secret_by_id(int64 id, Secret *secret)
{
	TableScan scan;
	ScanKeyData key;
	HeapTuple tuple;
	bool managed = false;

	ScanKeyInit(&key, SECRET_ID, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(id));
	scan_begin(&scan, &secret_known, &secret_pkey_known, &key, 1);
	tuple = scan_next(&scan);
	if (HeapTupleIsValid(tuple))
	{
		fill_secret(&scan, tuple, secret);
		(void) scan_column(&scan, tuple, SECRET_DELETED_AT, &secret->deleted);
		secret->deleted = !secret->deleted;
		managed = !secret->deleted;
	}
	scan_end(&scan);
	return managed;
}

bool
catalog_find_pair(const char *name, Pair *pair)
{
	TableScan scan;
	ScanKeyData key;
	HeapTuple tuple;
	int64 in_use = 0;
	int64 resting = 0;

	ScanKeyInit(&key, PAIR_NAME, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(name));
	scan_begin(&scan, &pair_known, &pair_pkey_known, &key, 1);
	tuple = scan_next(&scan);
	if (HeapTupleIsValid(tuple))
	{
		in_use = DatumGetInt64(scan_required(&scan, tuple, PAIR_IN_USE));
		resting = DatumGetInt64(scan_required(&scan, tuple, PAIR_RESTING));
		scan_text(&scan, tuple, PAIR_OWNER, pair->owner, sizeof(pair->owner));
		pair->owner_oid = DatumGetObjectId(scan_required(&scan, tuple, PAIR_OWNER_OID));
		strlcpy(pair->name, name, sizeof(pair->name));
	}
	scan_end(&scan);
	return HeapTupleIsValid(tuple) && find_secret_by_id(in_use, &pair->in_use) &&
		   find_secret_by_id(resting, &pair->resting);
}

/* The secret that stands beside this one in the pair where this one has that column; 0: there is none. */
static int64
find_other(KnownRelation *index, AttrNumber column, AttrNumber other, int64 secret_id)
{
	TableScan scan;
	ScanKeyData key;
	HeapTuple tuple;
	int64 found = 0;

	ScanKeyInit(&key, column, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(secret_id));
	scan_begin(&scan, &pair_known, index, &key, 1);
	tuple = scan_next(&scan);
	if (HeapTupleIsValid(tuple))
		found = DatumGetInt64(scan_required(&scan, tuple, other));
	scan_end(&scan);
	return found;
}

bool
catalog_is_resting(int64 secret_id)
{
	return find_other(&pair_resting_known, PAIR_RESTING, PAIR_IN_USE, secret_id) != 0;
}

TimestampTz
catalog_retirement(int64 secret_id)
{
	TableScan scan;
	ScanKeyData key;
	HeapTuple tuple;
	Datum at = (Datum) 0;
	bool null = true;

	ScanKeyInit(&key, SECRET_ID, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(secret_id));
	scan_begin(&scan, &secret_known, &secret_pkey_known, &key, 1);
	tuple = scan_next(&scan);
	if (HeapTupleIsValid(tuple))
		at = scan_column(&scan, tuple, SECRET_RETIRE_AT, &null);
	scan_end(&scan);
	return null ? DT_NOEND : DatumGetTimestampTz(at);
}

int64
catalog_pair_other(int64 secret_id)
{
	int64 other = find_other(&pair_resting_known, PAIR_RESTING, PAIR_IN_USE, secret_id);

	return other != 0 ? other
					  : find_other(&pair_in_use_known, PAIR_IN_USE, PAIR_RESTING, secret_id);
}

bool
catalog_is_paired(int64 secret_id)
{
	return catalog_pair_other(secret_id) != 0;
}

int
catalog_secrets_after(int64 id, int limit, int64 *last)
{
	TableScan scan;
	ScanKeyData key;
	HeapTuple tuple;
	int count = 0;

	ScanKeyInit(&key, SECRET_ID, BTGreaterStrategyNumber, F_INT8GT, Int64GetDatum(id));
	scan_begin_ordered(&scan, &secret_known, &secret_pkey_known, &key, 1);
	while (count < limit && HeapTupleIsValid(tuple = scan_next(&scan)))
	{
		*last = DatumGetInt64(scan_required(&scan, tuple, SECRET_ID));
		count++;
	}
	scan_end(&scan);
	return count;
}

bool
catalog_has_grant(int64 secret_id, Oid caller, const char *privilege)
{
	TableScan scan;
	ScanKeyData key;
	HeapTuple tuple;
	bool found = false;

	ScanKeyInit(&key, GRANT_SECRET_ID, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(secret_id));
	scan_begin(&scan, &access_grant_known, &access_grant_pkey_known, &key, 1);
	while (!found && HeapTupleIsValid(tuple = scan_next(&scan)))
	{
		Oid grantee = DatumGetObjectId(scan_required(&scan, tuple, GRANT_ROLE_OID));
		char granted[16];

		scan_text(&scan, tuple, GRANT_PRIVILEGE, granted, sizeof(granted));
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
	scan_begin(&scan, &version_known, &version_stage_known, keys, 2);
	tuple = scan_next(&scan);
	if (HeapTupleIsValid(tuple))
	{
		*version = *DatumGetUUIDP(scan_required(&scan, tuple, VERSION_ID));
		value->key_id = *DatumGetUUIDP(scan_required(&scan, tuple, VERSION_KEY_ID));
		value->sealed = DatumGetByteaPCopy(scan_required(&scan, tuple, VERSION_SEALED));
	}
	scan_end(&scan);
	return HeapTupleIsValid(tuple);
}

void
catalog_lock_rotation(const pg_uuid_t *id)
{
	TableScan scan;
	ScanKeyData key;
	HeapTuple tuple;
	TupleTableSlot *slot;
	TM_FailureData failure;

	ScanKeyInit(&key, ROTATION_ID, BTEqualStrategyNumber, F_UUID_EQ, UUIDPGetDatum(id));
	LockRelationOid(scan_relation(&rotation_known), RowShareLock);
	scan_begin(&scan, &rotation_known, &rotation_pkey_known, &key, 1);
	tuple = scan_next(&scan);
	if (HeapTupleIsValid(tuple))
	{
		slot = table_slot_create(scan.relation, NULL);
		(void) table_tuple_lock(scan.relation, &tuple->t_self, scan.snapshot, slot,
								GetCurrentCommandId(false), LockTupleExclusive, LockWaitBlock,
								TUPLE_LOCK_FLAG_FIND_LAST_VERSION, &failure);
		ExecDropSingleTupleTableSlot(slot);
	}
	scan_end(&scan);
}

static bool
read_target(const char *name, TargetAddress *address)
{
	TableScan scan;
	ScanKeyData key;
	HeapTuple tuple;
	bool null;

	memset(address, 0, sizeof(*address));
	ScanKeyInit(&key, TARGET_NAME, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(name));
	scan_begin(&scan, &target_known, &target_pkey_known, &key, 1);
	tuple = scan_next(&scan);
	if (HeapTupleIsValid(tuple))
	{
		Datum port = scan_column(&scan, tuple, TARGET_PORT, &null);

		address->port = null ? 0 : DatumGetInt32(port);
		scan_text(&scan, tuple, TARGET_TYPE, address->type, sizeof(address->type));
		scan_text(&scan, tuple, TARGET_HOST, address->host, sizeof(address->host));
		scan_text(&scan, tuple, TARGET_DBNAME, address->dbname, sizeof(address->dbname));
		scan_text(&scan, tuple, TARGET_SSLMODE, address->sslmode, sizeof(address->sslmode));
	}
	scan_end(&scan);
	return HeapTupleIsValid(tuple);
}

bool
catalog_find_target(const char *name, TargetAddress *address)
{
	/* Targets hardly ever change; whoever writes one invalidates the relation, see guard. */
	static char cached_name[SECRET_NAME_SIZE];
	static TargetAddress cached;
	static uint64 cached_generation = 0;
	uint64 before;

	before = scan_generation();
	if (cached_generation != before || strcmp(cached_name, name) != 0)
	{
		cached_generation = 0;
		if (!read_target(name, &cached))
		{
			memset(address, 0, sizeof(*address));
			return false;
		}
		strlcpy(cached_name, name, sizeof(cached_name));
		cached_generation = before;
	}
	*address = cached;
	return true;
}

bool
catalog_find_data_key(const pg_uuid_t *id, DataKeyRow *row)
{
	TableScan scan;
	ScanKeyData key;
	HeapTuple tuple;

	ScanKeyInit(&key, DATA_KEY_ID, BTEqualStrategyNumber, F_UUID_EQ, UUIDPGetDatum(id));
	scan_begin(&scan, &data_key_known, &data_key_pkey_known, &key, 1);
	tuple = scan_next(&scan);
	if (HeapTupleIsValid(tuple))
	{
		row->id = *id;
		scan_text(&scan, tuple, DATA_KEY_MASTER_KEY_ID, row->master_key_id,
				  sizeof(row->master_key_id));
		row->wrapped = DatumGetByteaPCopy(scan_required(&scan, tuple, DATA_KEY_WRAPPED));
		row->check_value = DatumGetByteaPCopy(scan_required(&scan, tuple, DATA_KEY_CHECK_VALUE));
	}
	scan_end(&scan);
	return HeapTupleIsValid(tuple);
}

/* Do the relations of our names belong to the extension and to a superuser? */
static bool
tables_are_ours(void)
{
	Oid extension = get_extension_oid("rotor", true);
	Oid schema = get_namespace_oid("rotor", true);

	if (!OidIsValid(extension) || !OidIsValid(schema))
		return false;
	for (size_t i = 0; i < lengthof(our_tables); i++)
	{
		Oid relation = get_relname_relid(our_tables[i], schema);
		HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
		Form_pg_class form;
		bool ours;

		if (!HeapTupleIsValid(tuple))
			return false;
		form = (Form_pg_class) GETSTRUCT(tuple);
		ours = superuser_arg(form->relowner) &&
			   (form->relkind == RELKIND_RELATION || form->relkind == RELKIND_PARTITIONED_TABLE);
		ReleaseSysCache(tuple);
		if (!ours || getExtensionOfObject(RelationRelationId, relation) != extension)
			return false;
	}
	return true;
}

void
catalog_each_version_of_key(const pg_uuid_t *key_id, VisitVersion visit, void *arg)
{
	TableScan scan;
	ScanKeyData key;
	HeapTuple tuple;
	bool more = true;

	ScanKeyInit(&key, VERSION_KEY_ID, BTEqualStrategyNumber, F_UUID_EQ, UUIDPGetDatum(key_id));
	scan_begin(&scan, &version_known, &version_key_known, &key, 1);
	while (more && HeapTupleIsValid(tuple = scan_next(&scan)))
	{
		pg_uuid_t version = *DatumGetUUIDP(scan_required(&scan, tuple, VERSION_ID));

		more = visit(&version, arg);
	}
	scan_end(&scan);
}

/* False in a copy of the database that the extension was created in. */
static bool
is_home(void)
{
	TableScan scan;
	ScanKeyData key;
	HeapTuple tuple;
	bool here;

	ScanKeyInit(&key, HOME_SINGLETON, BTEqualStrategyNumber, F_BOOLEQ, BoolGetDatum(true));
	scan_begin(&scan, &home_known, &home_pkey_known, &key, 1);
	tuple = scan_next(&scan);
	here = HeapTupleIsValid(tuple) &&
		   DatumGetObjectId(scan_required(&scan, tuple, HOME_DATABASE_OID)) == MyDatabaseId;
	scan_end(&scan);
	return here;
}

/* Owner and version of the extension, palloc'd; false if it is not installed here. */
static bool
read_extension(Oid *owner, char **version)
{
	Relation relation = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;
	bool found;
	bool null;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ,
				CStringGetDatum("rotor"));
	scan = systable_beginscan(relation, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	found = HeapTupleIsValid(tuple);
	if (found)
	{
		*owner = ((Form_pg_extension) GETSTRUCT(tuple))->extowner;
		*version = TextDatumGetCString(
			heap_getattr(tuple, Anum_pg_extension_extversion, RelationGetDescr(relation), &null));
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	return found;
}

/* Does the extension's SQL have another version than the one that this library was built for? */
static bool
has_other_version(char **version)
{
	Oid owner;

	/* An update script runs our triggers while it is on its way. */
	return !creating_extension && read_extension(&owner, version) &&
		   strcmp(*version, ROTOR_VERSION) != 0;
}

Oid
catalog_extension_owner(void)
{
	Oid owner;
	char *version;

	return read_extension(&owner, &version) ? owner : InvalidOid;
}

const char *
catalog_version_remedy(const char *version)
{
	return strverscmp(version, ROTOR_VERSION) < 0
			   ? "Run ALTER EXTENSION rotor UPDATE."
			   : "Restart the server, so that it loads the library that is installed; without "
				 "preloading a new session suffices.";
}

void
catalog_require_version(void)
{
	static uint64 verified = 0; /* generation; 0: never */
	uint64 before;
	char *version;

	before = scan_generation();
	if (verified == before)
		return;
	if (has_other_version(&version))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the extension has version %s, the library %s", version, ROTOR_VERSION),
				 errdetail("Nothing is done until they agree; nothing is lost."),
				 errhint("%s", catalog_version_remedy(version))));
	verified = before;
}

void
catalog_version_changed(void)
{
	Oid home = get_relname_relid("home", get_namespace_oid("rotor", false));

	if (OidIsValid(home))
		CacheInvalidateRelcacheByRelid(home);
	scan_forget();
}

CatalogState
catalog_state(char **version)
{
	static uint64 verified = 0; /* generation; 0: never */
	uint64 before;

	before = scan_generation();
	if (verified == before)
		return CATALOG_OURS;
	/* Older tables may lack what we look for, so the version comes first. */
	if (has_other_version(version))
		return CATALOG_OTHER_VERSION;
	if (!tables_are_ours() || !is_home())
		return CATALOG_NOT_OURS;
	verified = before;
	return CATALOG_OURS;
}

bool
catalog_is_ours(void)
{
	char *version;

	return catalog_state(&version) == CATALOG_OURS;
}

/*
 * catalog_keys.c - see catalog_keys.h.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "catalog_keys.h"
#include "catalog_read.h"
#include "catalog_run.h"
#include "compat.h"
#include "nodes/makefuncs.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

/* Of the bootstrap superuser as a shared object; 0 is the role itself, which rotations lock. */
#define KEY_FILE_LOCK 1

static Statement lock_data_keys = {
	"LOCK TABLE rotor.data_key IN SHARE ROW EXCLUSIVE MODE", 0, {0}, NULL};
/* Whoever seals holds the key: it cannot be retired before the value is there to be seen. */
static Statement active_data_key = {
	"SELECT id FROM rotor.data_key WHERE active FOR KEY SHARE", 0, {0}, NULL};
static Statement deactivate_data_key = {
	"UPDATE rotor.data_key SET active = false WHERE active", 0, {0}, NULL};
static Statement insert_data_key = {
	"INSERT INTO rotor.data_key (id, master_key_id, wrapped, check_value, active) "
	"VALUES ($1, $2, $3, $4, true)",
	4,
	{UUIDOID, TEXTOID, BYTEAOID, BYTEAOID},
	NULL};
static Statement rewrap_data_key = {
	"UPDATE rotor.data_key SET master_key_id = $2, wrapped = $3, check_value = $4 WHERE id = $1",
	4,
	{UUIDOID, TEXTOID, BYTEAOID, BYTEAOID},
	NULL};
static Statement data_keys = {
	"SELECT id FROM rotor.data_key WHERE NOT (active AND $1) ORDER BY created_at DESC, id",
	1,
	{BOOLOID},
	NULL};
static Statement lock_old_data_keys = {
	"SELECT id FROM rotor.data_key WHERE NOT active ORDER BY created_at, id FOR UPDATE SKIP LOCKED",
	0,
	{0},
	NULL};
static Statement delete_data_key = {"DELETE FROM rotor.data_key WHERE id = $1", 1, {UUIDOID}, NULL};
static Statement saved_verifiers_of_key = {
	"SELECT rotation_id FROM rotor.saved_verifier WHERE key_id = $1", 1, {UUIDOID}, NULL};
static Statement lock_version = {
	"SELECT secret_id, sealed FROM rotor.version WHERE id = $1 AND key_id = $2 "
	"FOR NO KEY UPDATE SKIP LOCKED",
	2,
	{UUIDOID, UUIDOID},
	NULL};
static Statement lock_saved_verifier = {
	"SELECT (SELECT r.secret_id FROM rotor.rotation r WHERE r.id = rotation_id), sealed "
	"FROM rotor.saved_verifier WHERE rotation_id = $1 AND key_id = $2 "
	"FOR NO KEY UPDATE SKIP LOCKED",
	2,
	{UUIDOID, UUIDOID},
	NULL};
static Statement replace_version = {
	"UPDATE rotor.version SET key_id = $2, sealed = $3 WHERE id = $1",
	3,
	{UUIDOID, UUIDOID, BYTEAOID},
	NULL};
static Statement replace_saved_verifier = {
	"UPDATE rotor.saved_verifier SET key_id = $2, sealed = $3 WHERE rotation_id = $1",
	3,
	{UUIDOID, UUIDOID, BYTEAOID},
	NULL};

void
catalog_lock_keys(void)
{
	Args args = {0};

	/* The file is the cluster's, and another database may have rotor too. */
	LockSharedObject(AuthIdRelationId, BOOTSTRAP_SUPERUSERID, KEY_FILE_LOCK, ExclusiveLock);
	run(&lock_data_keys, &args);
}

bool
catalog_active_data_key(pg_uuid_t *id)
{
	Args args = {0};

	bool found = run(&active_data_key, &args) > 0 && result_uuid(0, id);

	/* Asked for each value that is sealed anew, in one transaction. */
	SPI_freetuptable(SPI_tuptable);
	return found;
}

static void
run_with_row(Statement *statement, const DataKeyRow *row)
{
	Args args = {0};

	arg_uuid(&args, &row->id);
	arg_text(&args, row->master_key_id);
	arg(&args, PointerGetDatum(row->wrapped));
	arg(&args, PointerGetDatum(row->check_value));
	run(statement, &args);
}

void
catalog_insert_data_key(const DataKeyRow *row)
{
	Args args = {0};

	run(&deactivate_data_key, &args);
	run_with_row(&insert_data_key, row);
}

void
catalog_rewrap_data_key(const DataKeyRow *row)
{
	run_with_row(&rewrap_data_key, row);
}

/* The first column of the last result, count uuids, palloc'd. */
static pg_uuid_t *
uuid_column(uint64 count)
{
	pg_uuid_t *ids = palloc(Max(count, 1) * sizeof(pg_uuid_t));

	for (uint64 i = 0; i < count; i++)
		ids[i] = *DatumGetUUIDP(result(i, 0, NULL));
	return ids;
}

int
catalog_data_keys(pg_uuid_t **ids, bool inactive_only)
{
	Args args = {0};
	int count;

	arg(&args, BoolGetDatum(inactive_only));
	count = (int) run(&data_keys, &args);
	*ids = uuid_column(count);
	return count;
}

int64
catalog_count_data_keys(const char *master_key_id)
{
	Oid types[] = {TEXTOID};
	Datum values[] = {CStringGetTextDatum(master_key_id)};
	bool null;

	return DatumGetInt64(catalog_datum(
		"SELECT count(*) FROM rotor.data_key WHERE master_key_id = $1", 1, types, values, &null));
}

int64
catalog_count_values(const char *master_key_id)
{
	Oid types[] = {TEXTOID};
	Datum values[] = {CStringGetTextDatum(master_key_id)};
	bool null;

	return DatumGetInt64(
		catalog_datum("SELECT coalesce(sum(versions + saved_verifiers), 0)::bigint "
					  "FROM rotor.keys WHERE master_key_id = $1",
					  1, types, values, &null));
}

int
catalog_retire_data_keys(pg_uuid_t **ids)
{
	Args none = {0};
	int count = (int) run(&lock_old_data_keys, &none);
	int retired = 0;

	*ids = uuid_column(count);
	for (int i = 0; i < count; i++)
	{
		Args args = {0};

		/* Nobody can begin to need it any more: whoever seals locks it first. */
		if (catalog_data_key_is_used(&(*ids)[i]))
			continue;
		(*ids)[retired] = (*ids)[i];
		arg_uuid(&args, &(*ids)[retired++]);
		run(&delete_data_key, &args);
	}
	return retired;
}

bool
catalog_data_keys_changed(void)
{
	Relation relation = table_openrv(makeRangeVar("rotor", "data_key", -1), AccessShareLock);
	/* Whoever writes takes this lock, and keeps it to the end of the transaction; we do not. */
	bool changed = CheckRelationLockedByMe(relation, RowExclusiveLock, false);

	table_close(relation, AccessShareLock);
	return changed;
}

/* --- sealed values --- */

static bool
visit_none(const pg_uuid_t *version, void *used)
{
	*(bool *) used = true;
	return false;
}

bool
catalog_data_key_is_used(const pg_uuid_t *id)
{
	Args args = {0};
	bool used = false;

	catalog_each_version_of_key(id, visit_none, &used);
	arg_uuid(&args, id);
	return used || run(&saved_verifiers_of_key, &args) > 0;
}

typedef struct Walk
{
	const pg_uuid_t *key_id;
	VisitValue visit;
	void *arg;
	bool more;
} Walk;

/* Locks a value and visits it, unless somebody else has it. */
static void
visit_value(Walk *walk, bool is_version, const pg_uuid_t *owner)
{
	OwnedValue owned = {.is_version = is_version, .owner = *owner, .value.key_id = *walk->key_id};
	Args args = {0};
	bool locked;

	arg_uuid(&args, owner);
	arg_uuid(&args, walk->key_id);
	locked = run(is_version ? &lock_version : &lock_saved_verifier, &args) > 0;
	if (locked)
	{
		owned.secret_id = DatumGetInt64(result(0, 0, NULL));
		owned.value.sealed = DatumGetByteaPCopy(result(0, 1, NULL));
	}
	SPI_freetuptable(SPI_tuptable); /* there may be a million of them before the transaction ends */
	if (!locked)
		return;
	walk->more = walk->visit(&owned, walk->arg);
	pfree(owned.value.sealed);
}

static bool
visit_version(const pg_uuid_t *version, void *arg)
{
	Walk *walk = arg;

	visit_value(walk, true, version);
	return walk->more;
}

void
catalog_each_value_of_key(const pg_uuid_t *key_id, VisitValue visit, void *arg)
{
	Walk walk = {.key_id = key_id, .visit = visit, .arg = arg, .more = true};
	Args args = {0};
	pg_uuid_t *rotations;
	uint64 count;

	arg_uuid(&args, key_id);
	count = run(&saved_verifiers_of_key, &args);
	rotations = uuid_column(count);
	for (uint64 i = 0; walk.more && i < count; i++)
		visit_value(&walk, false, &rotations[i]);
	if (walk.more)
		catalog_each_version_of_key(key_id, visit_version, &walk);
}

void
catalog_replace_value(const OwnedValue *owned, const SealedValue *value)
{
	Args args = {0};

	arg_uuid(&args, &owned->owner);
	arg_uuid(&args, &value->key_id);
	arg(&args, PointerGetDatum(value->sealed));
	run(owned->is_version ? &replace_version : &replace_saved_verifier, &args);
}

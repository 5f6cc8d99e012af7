/*
 * functions_keys.c - add_master_key(), remove_master_key(), rewrap_keys(), rotate_data_key(),
 * reseal(), retire_keys().
 *
 * What they do to the key file is not undone if the caller rolls back; so the audit row is written
 * before the file, and a line goes to the server log.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog.h"
#include "catalog_keys.h"
#include "catalog_read.h"
#include "compat.h"
#include "funcapi.h"
#include "functions.h"
#include "functions_keys.h"
#include "guc.h"
#include "keyring.h"
#include "lib/stringinfo.h"
#include "master_key.h"
#include "master_key_file.h"
#include "report.h"
#include "resealing.h"
#include "sealing.h"
#include "utils/builtins.h"

ROTOR_FUNCTION(rotor_add_master_key);
ROTOR_FUNCTION(rotor_remove_master_key);
ROTOR_FUNCTION(rotor_rewrap_keys);
ROTOR_FUNCTION(rotor_rotate_data_key);
ROTOR_FUNCTION(rotor_reseal);
ROTOR_FUNCTION(rotor_retire_keys);

void
keys_enter(const char *event, Actor *actor, AccessScope *scope)
{
	actor_current(actor);
	require_writable(psprintf("rotor.%s()", event));
	access_require_superuser(actor, event);
	access_enter(scope);
	catalog_lock_keys();
}

void
keys_require_master_keys(void)
{
	pg_uuid_t *ids;
	int count = catalog_data_keys(&ids, false);

	for (int i = 0; i < count; i++)
	{
		DataKeyRow row;

		if (catalog_find_data_key(&ids[i], &row))
			keyring_require_master_key(&row);
	}
}

/* {"master_key": id}; an id needs no quoting. */
static char *
master_key_detail(const char *id)
{
	return psprintf("{\"master_key\":\"%s\"}", id);
}

/* Adds a new random key under that id, or one of its own; returns the id. */
static char *
add_master_key(const char *id, const Actor *actor)
{
	pg_uuid_t *ids;
	bool first = catalog_data_keys(&ids, false) == 0;
	MasterKey key;
	char *added = NULL;
	RotorError err;

	keyring_protect_process();
	PG_TRY();
	{
		if ((id != NULL && !keyfile_check_id(id, &err)) || !keyfile_new(&key, &err))
			report_raise(&err);
		if (id != NULL)
			strlcpy(key.id, id, sizeof(key.id));
		if (catalog_count_data_keys(key.id) > 0)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_OBJECT), errmsg("master key \"%s\" exists", key.id),
					 errdetail("Data keys are wrapped by a key of this id."),
					 errhint("Give each key an id of its own, and never use one again.")));
		catalog_audit_event(actor, "master_key_added", NULL, master_key_detail(key.id));
		master_key_add(&key, first);
		added = pstrdup(key.id);
	}
	PG_FINALLY();
	{
		secret_wipe(&key, sizeof(key));
	}
	PG_END_TRY();
	return added;
}

Datum
rotor_add_master_key(PG_FUNCTION_ARGS)
{
	MemoryContext caller = CurrentMemoryContext;
	char *id = PG_ARGISNULL(0) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0));
	Actor actor;
	AccessScope scope;

	keys_enter("add_master_key", &actor, &scope);
	master_key_require_file("Add a key where the command finds it, so that it is the newest; then "
							"call rotor.rewrap_keys().");
	id = MemoryContextStrdup(caller, add_master_key(id, &actor));
	access_leave(&scope);
	audit_log_line(&actor, "add_master_key", NULL, "ok");
	ereport(NOTICE, (errmsg("master key \"%s\" was added to \"%s\"", id, master_key_file_path()),
					 errhint("Copy the file to every standby and to where a copy is kept, then "
							 "call rotor.rewrap_keys().")));
	PG_RETURN_TEXT_P(cstring_to_text(id));
}

/* Raises an error if the master key is needed, or if that cannot be told yet. */
static void
require_unneeded(const char *id)
{
	int64 count = catalog_count_data_keys(id);

	if (count > 0)
		ereport(ERROR, (errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
						errmsg("master key \"%s\" is needed", id),
						errdetail("Data keys that it wraps: " INT64_FORMAT
								  ", values that need them: " INT64_FORMAT ".",
								  count, catalog_count_values(id)),
						errhint("Call rotor.rewrap_keys() and commit first.")));
	if (catalog_data_keys_changed())
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("data keys were changed by this transaction"),
						errdetail("If it is rolled back, they need their former master key."),
						errhint("Commit first.")));
}

Datum
rotor_remove_master_key(PG_FUNCTION_ARGS)
{
	char *id = text_to_cstring(PG_GETARG_TEXT_PP(0));
	RotorError err;
	Actor actor;
	AccessScope scope;

	keys_enter("remove_master_key", &actor, &scope);
	master_key_require_file("Remove the key where the command finds it.");
	if (!keyfile_check_id(id, &err))
		report_raise(&err);
	require_unneeded(id);
	keyring_protect_process();
	catalog_audit_event(&actor, "master_key_removed", NULL, master_key_detail(id));
	master_key_remove(id);
	access_leave(&scope);
	audit_log_line(&actor, "remove_master_key", NULL, "ok");
	ereport(NOTICE,
			(errmsg("master key \"%s\" was removed from \"%s\"", id, master_key_file_path()),
			 errhint("Keep a copy as long as there is a backup from when it was in use.")));
	PG_RETURN_VOID();
}

Datum
rotor_rewrap_keys(PG_FUNCTION_ARGS)
{
	Actor actor;
	AccessScope scope;
	int64 moved = 0;
	int count;
	pg_uuid_t *ids;

	keys_enter("rewrap_keys", &actor, &scope);
	count = catalog_data_keys(&ids, false);
	for (int i = 0; i < count; i++)
	{
		DataKeyRow row;

		if (!catalog_find_data_key(&ids[i], &row) || !keyring_rewrap(&row))
			continue;
		catalog_rewrap_data_key(&row);
		moved++;
	}
	catalog_audit_event(&actor, "keys_rewrapped", NULL,
						psprintf("{\"moved\":" INT64_FORMAT ",\"total\":%d}", moved, count));
	access_leave(&scope);
	/* The old key may leave its file as soon as this is committed: it must not be lost then. */
	ForceSyncCommit();
	PG_RETURN_INT64(moved);
}

Datum
rotor_rotate_data_key(PG_FUNCTION_ARGS)
{
	pg_uuid_t *id = palloc(sizeof(pg_uuid_t));
	DataKeyRow row;
	Actor actor;
	AccessScope scope;
	bool made_file;

	keys_enter("rotate_data_key", &actor, &scope);
	keys_require_master_keys();
	sealing_make_data_key(&row, &made_file);
	*id = row.id;
	catalog_audit_event(
		&actor, "data_key_made", NULL,
		psprintf("{\"data_key\":\"%s\",\"master_key\":\"%s\"}", uuid_text(id), row.master_key_id));
	access_leave(&scope);
	if (made_file)
		notice_first_key();
	wake_workers_at_commit();
	PG_RETURN_UUID_P(id);
}

Datum
rotor_reseal(PG_FUNCTION_ARGS)
{
	int64 limit = PG_ARGISNULL(0) ? PG_INT64_MAX : PG_GETARG_INT64(0);
	Resealing result = {0};
	Actor actor;
	AccessScope scope;
	pg_uuid_t *ids;
	int count;

	actor_current(&actor);
	require_writable("rotor.reseal()");
	access_require_superuser(&actor, "reseal");
	if (limit < 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("max_values must not be negative"),
						errhint("Pass how many values to move at most, or null for all.")));
	access_enter(&scope);
	count = catalog_data_keys(&ids, true);
	for (int i = 0; i < count; i++)
		resealing_move(&ids[i], limit - result.moved, &result);
	if (result.moved > 0)
		catalog_audit_event(&actor, "values_resealed", NULL,
							psprintf("{\"moved\":" INT64_FORMAT "}", result.moved));
	access_leave(&scope);
	if (result.damaged > 0)
		ereport(WARNING,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("sealed values that are damaged stay under their data key: " INT64_FORMAT,
						result.damaged),
				 errhint("Restore the rows from a backup, or rotate to get new values.")));
	PG_RETURN_INT64(result.moved);
}

static void
put_key(FunctionCallInfo fcinfo, const char *kind, const char *id)
{
	ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum values[] = {CStringGetTextDatum(kind), CStringGetTextDatum(id)};
	bool nulls[] = {false, false};

	tuplestore_putvalues(set->setResult, set->setDesc, values, nulls);
}

/* {"data_keys": [id, ...]} */
static char *
retired_detail(const pg_uuid_t *ids, int count)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoString(&json, "{\"data_keys\":[");
	for (int i = 0; i < count; i++)
		appendStringInfo(&json, "%s\"%s\"", i ? "," : "", uuid_text(&ids[i]));
	appendStringInfoString(&json, "]}");
	return json.data;
}

Datum
rotor_retire_keys(PG_FUNCTION_ARGS)
{
	char(*master_keys)[KEYFILE_ID_MAX + 1];
	Actor actor;
	AccessScope scope;
	pg_uuid_t *ids;
	int count;

	InitMaterializedSRF(fcinfo, 0);
	keys_enter("retire_keys", &actor, &scope);
	count = catalog_retire_data_keys(&ids);
	keys_require_master_keys();
	catalog_audit_event(&actor, "keys_retired", NULL, retired_detail(ids, count));
	for (int i = 0; i < count; i++)
		put_key(fcinfo, "data_key", uuid_text(&ids[i]));
	/* What a key command knows cannot be listed. */
	count = rotor_key_command[0] == '\0' ? master_key_ids(&master_keys) : 0;
	for (int i = 0; i < count - 1; i++)
	{
		if (catalog_count_data_keys(master_keys[i]) == 0)
			put_key(fcinfo, "master_key", master_keys[i]);
	}
	access_leave(&scope);
	/* A master key that these needed may leave its file as soon as this is committed. */
	ForceSyncCommit();
	return (Datum) 0;
}

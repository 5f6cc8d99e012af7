/*
 * functions_upkeep.c - purge(), make_audit_partitions(), reconcile(): what keeps rotor fit for years.
 */
#include "postgres.h"

#include "catalog.h"
#include "catalog/pg_type.h"
#include "catalog_read.h"
#include "compat.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "functions.h"
#include "lib/stringinfo.h"
#include "reconcile.h"
#include "retention.h"
#include "utils/builtins.h"

ROTOR_FUNCTION(rotor_purge);
ROTOR_FUNCTION(rotor_make_audit_partitions);
ROTOR_FUNCTION(rotor_reconcile);

Datum
rotor_purge(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;
	bool dry_run = PG_GETARG_BOOL(0);
	int64 counts[RETENTION_KIND_COUNT];
	Actor actor;
	AccessScope scope;

	actor_current(&actor);
	require_writable("rotor.purge()");
	access_require_superuser(&actor, "purge");
	InitMaterializedSRF(fcinfo, 0);
	access_enter(&scope);
	for (int i = 0; i < RETENTION_KIND_COUNT; i++)
		counts[i] = dry_run ? retention_count(i) : retention_remove(i, PG_INT64_MAX);
	if (!dry_run)
		catalog_audit_event(&actor, "purged", NULL, retention_detail(counts));
	access_leave(&scope);
	for (int i = 0; i < RETENTION_KIND_COUNT; i++)
	{
		Datum values[] = {CStringGetTextDatum(retention_kind_name(i)), Int64GetDatum(counts[i])};
		bool nulls[] = {false, false};

		tuplestore_putvalues(set->setResult, set->setDesc, values, nulls);
	}
	return (Datum) 0;
}

Datum
rotor_make_audit_partitions(PG_FUNCTION_ARGS)
{
	Actor actor;
	AccessScope scope;
	int made;

	actor_current(&actor);
	require_writable("rotor.make_audit_partitions()");
	access_require_superuser(&actor, "make_audit_partitions");
	access_enter(&scope);
	made = retention_make_partitions();
	access_leave(&scope);
	PG_RETURN_INT32(made);
}

/* The secrets to look at, in order: one, or all. */
static uint64
secrets_to_reconcile(const char *name, int64 **ids)
{
	Oid types[] = {TEXTOID};
	Datum values[] = {name ? CStringGetTextDatum(name) : (Datum) 0};
	char nulls[] = {name ? ' ' : 'n'};
	uint64 count;
	bool null;

	count = catalog_execute("SELECT id FROM rotor.secret WHERE deleted_at IS NULL AND "
							"($1 IS NULL OR name = $1) ORDER BY name FOR UPDATE",
							1, types, values, nulls);
	*ids = palloc(Max(count, 1) * sizeof(int64));
	for (uint64 i = 0; i < count; i++)
		(*ids)[i] =
			DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &null));
	return count;
}

static char *
name_of(int64 id)
{
	Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum(id)};
	bool null;

	return TextDatumGetCString(
		catalog_datum("SELECT name FROM rotor.secret WHERE id = $1", 1, types, values, &null));
}

/* {"ok": 3, "bound": 1} */
static char *
reconcile_detail(const int64 counts[RECONCILE_FINDING_COUNT])
{
	StringInfoData json;

	initStringInfo(&json);
	for (int i = 0; i < RECONCILE_FINDING_COUNT; i++)
	{
		if (counts[i] > 0)
			appendStringInfo(&json, "%c\"%s\":" INT64_FORMAT, json.len == 0 ? '{' : ',',
							 reconcile_name(i), counts[i]);
	}
	appendStringInfoString(&json, json.len == 0 ? "{}" : "}");
	return json.data;
}

Datum
rotor_reconcile(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;
	char *name = PG_ARGISNULL(0) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0));
	int64 counts[RECONCILE_FINDING_COUNT] = {0};
	Actor actor;
	AccessScope scope;
	Secret secret;
	uint64 count;
	int64 *ids;

	actor_current(&actor);
	require_writable("rotor.reconcile()");
	if (name == NULL)
		access_require_superuser(&actor, "reconcile");
	else
	{
		require_secret(name, &secret, NULL);
		access_require(&actor, &secret, PRIVILEGE_MANAGE, "reconcile");
	}
	InitMaterializedSRF(fcinfo, 0);
	access_enter(&scope);
	count = secrets_to_reconcile(name, &ids);
	for (uint64 i = 0; i < count; i++)
	{
		char role[NAMEDATALEN];
		ReconcileFinding finding = reconcile_secret(ids[i], &actor, role);
		const char *remedy = reconcile_remedy(finding);
		Datum values[] = {CStringGetTextDatum(name_of(ids[i])), CStringGetTextDatum(role),
						  CStringGetTextDatum(reconcile_name(finding)),
						  remedy ? CStringGetTextDatum(remedy) : (Datum) 0};
		bool nulls[] = {false, false, false, remedy == NULL};

		counts[finding]++;
		tuplestore_putvalues(set->setResult, set->setDesc, values, nulls);
		CHECK_FOR_INTERRUPTS();
	}
	if (name == NULL)
		reconcile_unmanaged();
	catalog_audit_event(&actor, "reconciled", name, reconcile_detail(counts));
	access_leave(&scope);
	return (Datum) 0;
}

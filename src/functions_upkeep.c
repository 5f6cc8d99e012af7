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
#include "reconcile.h"
#include "retention.h"
#include "utils/builtins.h"

#define RECONCILE_PIECE 1000 /* secrets at a time */

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

/* One row of the answer. */
static void
tell(ReturnSetInfo *set, const char *secret, const char *role, ReconcileFinding finding)
{
	const char *remedy = reconcile_remedy(finding);
	Datum values[] = {CStringGetTextDatum(secret), CStringGetTextDatum(role),
					  CStringGetTextDatum(reconcile_name(finding)),
					  remedy ? CStringGetTextDatum(remedy) : (Datum) 0};
	bool nulls[] = {false, false, false, remedy == NULL};

	tuplestore_putvalues(set->setResult, set->setDesc, values, nulls);
	for (size_t i = 0; i < lengthof(values); i++)
	{
		if (!nulls[i])
			pfree(DatumGetPointer(values[i]));
	}
}

/* All secrets, in pieces: what agrees with its role, as nearly all do, is looked at and no more. */
static void
reconcile_all(ReturnSetInfo *set, const Actor *actor, int64 counts[RECONCILE_FINDING_COUNT])
{
	ReconcileItem *items = palloc(RECONCILE_PIECE * sizeof(ReconcileItem));
	int64 after = 0;
	int count;

	(void) reconcile_names(0, actor);
	do
	{
		count = reconcile_read(&after, items, RECONCILE_PIECE);
		for (int i = 0; i < count; i++)
		{
			ReconcileItem *item = &items[i];

			if (!item->is_settled)
				item->finding = reconcile_secret(item->id, actor, item->role);
			counts[item->finding]++;
			tell(set, item->secret, item->role, item->finding);
			CHECK_FOR_INTERRUPTS();
		}
	} while (after != RECONCILE_END);
	reconcile_unmanaged();
}

Datum
rotor_reconcile(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;
	char *name = PG_ARGISNULL(0) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0));
	int64 counts[RECONCILE_FINDING_COUNT] = {0};
	char role[USERNAME_SIZE];
	ReconcileFinding finding;
	Actor actor;
	AccessScope scope;
	Secret members[2];
	int count = 0;

	actor_current(&actor);
	require_writable("rotor.reconcile()");
	if (name == NULL)
		access_require_superuser(&actor, "reconcile");
	else
	{
		count = require_members(name, members);
		for (int i = 0; i < count; i++)
			access_require(&actor, &members[i], PRIVILEGE_MANAGE, "reconcile");
	}
	InitMaterializedSRF(fcinfo, 0);
	access_enter(&scope);
	if (name == NULL)
		reconcile_all(set, &actor, counts);
	for (int i = 0; i < count; i++)
	{
		finding = reconcile_secret(members[i].id, &actor, role);
		counts[finding]++;
		tell(set, members[i].name, role, finding);
	}
	catalog_audit_event(&actor, "reconciled", name, reconcile_detail(counts, NULL));
	access_leave(&scope);
	if (counts[RECONCILE_HEALING] > 0)
		wake_workers_at_commit();
	return (Datum) 0;
}

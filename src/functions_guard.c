/*
 * functions_guard.c - the triggers that keep configuration and audit honest, and the check of the
 * home database.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "commands/trigger.h"
#include "compat.h"
#include "executor/spi.h"
#include "functions.h"
#include "guc.h"
#include "policy.h"
#include "request.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

ROTOR_FUNCTION(rotor_guard_configuration);
ROTOR_FUNCTION(rotor_guard_audit);
ROTOR_FUNCTION(rotor_check_home_database);

static Datum
field(HeapTuple tuple, TupleDesc desc, const char *name, bool *null)
{
	Datum value = SPI_getbinval(tuple, desc, SPI_fnumber(desc, name), null);

	return *null ? (Datum) 0 : value;
}

static char *
text_field(HeapTuple tuple, TupleDesc desc, const char *name)
{
	bool null;
	Datum value = field(tuple, desc, name, &null);

	return null ? NULL : TextDatumGetCString(value);
}

static bool
bool_field(HeapTuple tuple, TupleDesc desc, const char *name)
{
	bool null;

	return DatumGetBool(field(tuple, desc, name, &null));
}

/* Nulls are left to the table's own constraints. */
static void
check_policy_row(HeapTuple tuple, TupleDesc desc)
{
	Policy policy = {{0}};
	char *type = text_field(tuple, desc, "type");
	char *strategy = text_field(tuple, desc, "strategy");
	char *exclude = text_field(tuple, desc, "exclude");
	bool null;

	for (int i = 0; i < desc->natts; i++)
	{
		if (TupleDescAttr(desc, i)->attnotnull && heap_attisnull(tuple, i + 1, desc))
			return;
	}
	strlcpy(policy.type, type, sizeof(policy.type));
	if (strlen(exclude) >= sizeof(policy.exclude))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("exclude is longer than %zu bytes", sizeof(policy.exclude) - 1),
						errhint("Name each character once.")));
	strlcpy(policy.exclude, exclude, sizeof(policy.exclude));
	policy.spec.exclude = policy.exclude;
	policy.spec.length = DatumGetInt32(field(tuple, desc, "length", &null));
	policy.spec.uppercase = bool_field(tuple, desc, "uppercase");
	policy.spec.lowercase = bool_field(tuple, desc, "lowercase");
	policy.spec.digits = bool_field(tuple, desc, "digits");
	policy.spec.symbols = bool_field(tuple, desc, "symbols");
	policy.spec.require_each_type = bool_field(tuple, desc, "require_each_type");
	policy.verify_query = text_field(tuple, desc, "verify_query");
	policy_check(&policy, strategy);
}

/* {"table": ..., "old": ..., "new": ...} */
static char *
change_detail(const TriggerData *trigger, HeapTuple old, HeapTuple new)
{
	TupleDesc desc = RelationGetDescr(trigger->tg_relation);
	Oid row_type = trigger->tg_relation->rd_rel->reltype;
	Oid types[] = {TEXTOID, row_type, row_type};
	Datum values[] = {CStringGetTextDatum(RelationGetRelationName(trigger->tg_relation)),
					  old ? heap_copy_tuple_as_datum(old, desc) : (Datum) 0,
					  new ? heap_copy_tuple_as_datum(new, desc) : (Datum) 0};
	char nulls[] = {' ', old ? ' ' : 'n', new ? ' ' : 'n'};

	if (SPI_execute_with_args("SELECT jsonb_strip_nulls(jsonb_build_object('table', $1, "
							  "'old', to_jsonb($2), 'new', to_jsonb($3)))::text",
							  3, types, values, nulls, true, 1) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "could not describe the change");
	return SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
}

static const char *
change_event(const TriggerData *trigger)
{
	if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		return "configuration_inserted";
	if (TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
		return "configuration_deleted";
	return TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? "configuration_updated"
													  : "configuration_truncated";
}

static TriggerData *
trigger_of(FunctionCallInfo fcinfo)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("this function is called by triggers only")));
	return (TriggerData *) fcinfo->context;
}

/* A new interval counts from each secret's last rotation; no interval: no schedule. */
static void
reschedule(HeapTuple old, HeapTuple new, TupleDesc desc)
{
	Oid types[] = {TEXTOID, INTERVALOID};
	bool null;
	bool name_null;
	Datum interval = field(new, desc, "rotation_interval", &null);
	Datum values[] = {field(old, desc, "name", &name_null), interval};
	char nulls[] = {name_null ? 'n' : ' ', null ? 'n' : ' '};

	if (SPI_execute_with_args("UPDATE rotor.secret SET next_rotation = "
							  "greatest(clock_timestamp() + $2 * 0, "
							  "coalesce(last_rotation, created_at) + $2) WHERE policy = $1",
							  2, types, values, nulls, false, 0) < 0)
		elog(ERROR, "could not schedule the policy's secrets");
}

static bool
interval_changed(HeapTuple old, HeapTuple new, TupleDesc desc)
{
	bool old_null;
	bool new_null;
	Datum old_interval = field(old, desc, "rotation_interval", &old_null);
	Datum new_interval = field(new, desc, "rotation_interval", &new_null);

	if (old_null || new_null)
		return old_null != new_null;
	return !DatumGetBool(DirectFunctionCall2(interval_eq, old_interval, new_interval));
}

Datum
rotor_guard_configuration(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = trigger_of(fcinfo);
	bool row = TRIGGER_FIRED_FOR_ROW(trigger->tg_event);
	TupleDesc desc = RelationGetDescr(trigger->tg_relation);
	HeapTuple old = NULL;
	HeapTuple new = NULL;
	bool is_policy = strcmp(RelationGetRelationName(trigger->tg_relation), "policy") == 0;
	Actor actor;
	AccessScope scope;

	actor_current(&actor);
	access_require_superuser(
		&actor, psprintf("a change of rotor.%s", RelationGetRelationName(trigger->tg_relation)));
	if (row)
	{
		new = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event)   ? trigger->tg_newtuple
			  : TRIGGER_FIRED_BY_INSERT(trigger->tg_event) ? trigger->tg_trigtuple
														   : NULL;
		old = TRIGGER_FIRED_BY_INSERT(trigger->tg_event) ? NULL : trigger->tg_trigtuple;
	}
	if (new != NULL && is_policy)
		check_policy_row(new, desc);
	/* Sessions remember a target, see catalog_find_target(). */
	CacheInvalidateRelcache(trigger->tg_relation);
	access_enter(&scope);
	if (new != NULL && old != NULL &&is_policy &&interval_changed(old, new, desc))
		reschedule(old, new, desc);
	audit_call(&actor, change_event(trigger), NULL, change_detail(trigger, old, new));
	access_leave(&scope);
	return PointerGetDatum(new ? new : old);
}

Datum
rotor_guard_audit(PG_FUNCTION_ARGS)
{
	(void) trigger_of(fcinfo);
	ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("the audit is append-only"),
					errdetail("UPDATE, DELETE and TRUNCATE are refused, for its owner too."),
					errhint("Write what you have to say as a row of its own.")));
}

Datum
rotor_check_home_database(PG_FUNCTION_ARGS)
{
	char *here = get_database_name(MyDatabaseId);

	if (strcmp(here, rotor_database) == 0)
		PG_RETURN_VOID();
	if (request_is_preloaded() || guc_database_was_chosen())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("rotor lives in database \"%s\" of this cluster", rotor_database),
				 errdetail("This database is \"%s\"; roles belong to the whole cluster, so one "
						   "database holds rotor's state.",
						   here),
				 errhint("Create the extension there, or set rotor.database = '%s' in "
						 "postgresql.conf and reload.",
						 here)));
	/* CREATE EXTENSION lets no NOTICE through. */
	ereport(WARNING,
			(errmsg("rotor is not preloaded and rotor.database is \"%s\"", rotor_database),
			 errhint("Before you add rotor to shared_preload_libraries, set rotor.database "
					 "= '%s'.",
					 here)));
	PG_RETURN_VOID();
}

/*
 * functions_guard.c - the triggers that keep configuration and audit honest, and the check of the
 * home database.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xlog.h"
#include "catalog.h"
#include "catalog/pg_type.h"
#include "catalog_read.h"
#include "commands/dbcommands.h"
#include "commands/event_trigger.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "compat.h"
#include "executor/spi.h"
#include "functions.h"
#include "guc.h"
#include "manage.h"
#include "policy.h"
#include "request.h"
#include "retention.h"
#include "schedule.h"
#include "tcop/pquery.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/inval.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "watch.h"

ROTOR_FUNCTION(rotor_guard_configuration);
ROTOR_FUNCTION(rotor_guard_audit);
ROTOR_FUNCTION(rotor_guard_restored);
ROTOR_FUNCTION(rotor_guard_drop);
ROTOR_FUNCTION(rotor_guard_update);
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

/* Is there a null where the table allows none? Its own constraint will say so. */
static bool
has_forbidden_null(HeapTuple tuple, TupleDesc desc)
{
	for (int i = 0; i < desc->natts; i++)
	{
		if (TupleDescAttr(desc, i)->attnotnull && heap_attisnull(tuple, i + 1, desc))
			return true;
	}
	return false;
}

static Interval *
interval_field(HeapTuple tuple, TupleDesc desc, const char *name)
{
	bool null;
	Datum value = field(tuple, desc, name, &null);

	return null ? NULL : DatumGetIntervalP(value);
}

/* What of the row says when to rotate. */
static void
read_schedule(HeapTuple tuple, TupleDesc desc, Policy *policy)
{
	strlcpy(policy->name, text_field(tuple, desc, "name"), sizeof(policy->name));
	policy->rotation_interval = interval_field(tuple, desc, "rotation_interval");
	policy->schedule = text_field(tuple, desc, "schedule");
	policy->time_zone = text_field(tuple, desc, "time_zone");
	policy->window_schedule = text_field(tuple, desc, "window_schedule");
	policy->window_duration = interval_field(tuple, desc, "window_duration");
	policy->jitter = interval_field(tuple, desc, "jitter");
}

static void
check_policy_row(HeapTuple tuple, TupleDesc desc, bool restored)
{
	Policy policy = {{0}};
	char *type = text_field(tuple, desc, "type");
	char *strategy = text_field(tuple, desc, "strategy");
	char *exclude = text_field(tuple, desc, "exclude");
	bool null;

	if (type == NULL || strategy == NULL || exclude == NULL || has_forbidden_null(tuple, desc))
		return;
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
	read_schedule(tuple, desc, &policy);
	schedule_check(&policy, restored);
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

/* Is the column's value the same in both rows? */
static bool
is_same(HeapTuple old, HeapTuple new, TupleDesc desc, const char *name)
{
	Form_pg_attribute column = TupleDescAttr(desc, SPI_fnumber(desc, name) - 1);
	bool old_null;
	bool new_null;
	Datum old_value = field(old, desc, name, &old_null);
	Datum new_value = field(new, desc, name, &new_null);

	if (old_null || new_null)
		return old_null == new_null;
	return datum_image_eq(old_value, new_value, column->attbyval, column->attlen);
}

/* A schedule that was changed counts for every secret of the policy at once. */
static void
plan_anew_if_changed(HeapTuple old, HeapTuple new, TupleDesc desc)
{
	static const char *const columns[] = {"rotation_interval", "schedule",		  "time_zone",
										  "window_schedule",   "window_duration", "jitter"};
	Policy policy = {{0}};
	bool same = true;

	for (size_t i = 0; i < lengthof(columns); i++)
		same &= is_same(old, new, desc, columns[i]);
	if (same)
		return;
	read_schedule(new, desc, &policy);
	manage_plan_anew(text_field(old, desc, "name"), &policy);
}

/* Secrets that have the policy must be able to follow it. */
static void
require_possible(HeapTuple new, TupleDesc desc)
{
	char *strategy = text_field(new, desc, "strategy");
	Policy policy = {{0}};
	Oid types[] = {TEXTOID};
	Datum values[] = {CStringGetTextDatum(text_field(new, desc, "name"))};
	bool null;
	Datum type;

	if (strategy == NULL || strcmp(strategy, policy_strategy_name(STRATEGY_DUAL_WRITE)) != 0)
		return;
	policy.strategy = STRATEGY_DUAL_WRITE;
	type =
		catalog_datum("SELECT t.type FROM rotor.secret s JOIN rotor.target t ON t.name = s.target "
					  "WHERE s.policy = $1 AND t.type <> 'mysql' LIMIT 1",
					  1, types, values, &null);
	if (!null)
		policy_require_possible(&policy, TextDatumGetCString(type));
}

static bool
asks_for_two_roles(HeapTuple policy, TupleDesc desc)
{
	char *strategy = text_field(policy, desc, "strategy");

	return strategy != NULL && strcmp(strategy, policy_strategy_name(STRATEGY_BLUE_GREEN)) == 0;
}

/* Whether secrets have one role or two is settled when they come under management. */
static void
require_same_nature(HeapTuple old, HeapTuple new, TupleDesc desc)
{
	char *name = text_field(old, desc, "name");
	Oid types[] = {TEXTOID};
	Datum values[] = {CStringGetTextDatum(name)};

	if (asks_for_two_roles(old, desc) == asks_for_two_roles(new, desc) ||
		catalog_execute("SELECT FROM rotor.secret WHERE policy = $1 LIMIT 1", 1, types, values,
						NULL) == 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("policy \"%s\" has secrets", name),
			 errdetail("With blue_green a secret has two roles, else one."),
			 errhint("Insert another policy, and give it to secrets that are managed anew.")));
}

/*
 * What the policy says of changes by others holds from the commit on. A secret that comes to the
 * policy in this very moment may be missed: the comparison that follows finds it.
 */
static void
watch_anew(HeapTuple new, HeapTuple old, TupleDesc desc)
{
	char *mode = text_field(new, desc, "outside_change");
	Oid types[] = {TEXTOID, INT8OID};
	Datum values[] = {(Datum) 0, Int64GetDatum((int64) GetSystemIdentifier())};
	uint64 count;
	bool null;

	if (!watch_is_on() || mode == NULL || has_forbidden_null(new, desc) ||
		is_same(old, new, desc, "outside_change"))
		return;
	values[0] = CStringGetTextDatum(text_field(old, desc, "name"));
	count = catalog_execute("SELECT role_oid FROM rotor.secret WHERE policy = $1 AND "
							"deleted_at IS NULL AND system_identifier = $2 AND role_oid <> 0",
							2, types, values, NULL);
	for (uint64 i = 0; i < count; i++)
		watch_role(
			DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &null)),
			watch_mode_of(mode));
	watch_compare_at_commit(WATCH_POLICY);
}

/* What a user writes is the user's own, and travels in dumps; an update script writes ours. */
static HeapTuple
not_builtin(HeapTuple tuple, TupleDesc desc)
{
	int number = SPI_fnumber(desc, "builtin");
	Datum value = BoolGetDatum(false);
	bool null = false;

	if (creating_extension)
		return tuple;
	return heap_modify_tuple_by_cols(tuple, desc, 1, &number, &value, &null);
}

/*
 * True for a COPY or an INSERT of what pg_dump wrote: it begins with check_function_bodies off.
 * Our own functions write under another identity, and a worker has no portal.
 */
static bool
is_restore(void)
{
	return !check_function_bodies && !creating_extension && !InLocalUserIdChange() &&
		   ActivePortal != NULL &&
		   (ActivePortal->commandTag == CMDTAG_COPY || ActivePortal->commandTag == CMDTAG_INSERT);
}

/*
 * A dump holds a built-in row only if it was changed, and CREATE EXTENSION has just made it anew:
 * what is restored takes its place.
 */
static void
replace_builtin(Relation relation, HeapTuple new)
{
	Oid types[] = {TEXTOID};
	Datum values[1];
	char *name = text_field(new, RelationGetDescr(relation), "name");

	if (name == NULL)
		return;
	values[0] = CStringGetTextDatum(name);
	(void) catalog_execute(psprintf("DELETE FROM rotor.%s WHERE name = $1 AND builtin",
									quote_identifier(RelationGetRelationName(relation))),
						   1, types, values, NULL);
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
	bool restored = row && TRIGGER_FIRED_BY_INSERT(trigger->tg_event) && is_restore();
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
		check_policy_row(new, desc, restored);
	/* Of the memory of SPI nothing stays, and the row is for the server. */
	if (new != NULL)
		new = not_builtin(new, desc);
	/* Sessions remember a target, see catalog_find_target(). */
	CacheInvalidateRelcache(trigger->tg_relation);
	access_enter(&scope);
	if (is_policy && new != NULL && old != NULL)
	{
		require_same_nature(old, new, desc);
		require_possible(new, desc);
		plan_anew_if_changed(old, new, desc);
		watch_anew(new, old, desc);
	}
	if (restored)
		replace_builtin(trigger->tg_relation, new);
	catalog_audit_event(&actor, change_event(trigger), NULL, change_detail(trigger, old, new));
	access_leave(&scope);
	return PointerGetDatum(new ? new : old);
}

/*
 * Restored secrets rest until reconcile(): those of another cluster by themselves, those of this
 * one (or of its copy, which has the same number) because roles and passwords may have changed
 * since the dump, and because the rest of the dump is still to come.
 */
Datum
rotor_guard_restored(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = trigger_of(fcinfo);
	TupleDesc desc = RelationGetDescr(trigger->tg_relation);
	int number = SPI_fnumber(desc, "system_identifier");
	Datum value = Int64GetDatum(NO_CLUSTER);
	bool null;
	Datum cluster = heap_getattr(trigger->tg_trigtuple, number, desc, &null);

	if (!is_restore() || null || (uint64) DatumGetInt64(cluster) != GetSystemIdentifier())
		return PointerGetDatum(trigger->tg_trigtuple);
	return PointerGetDatum(
		heap_modify_tuple_by_cols(trigger->tg_trigtuple, desc, 1, &number, &value, &null));
}

Datum
rotor_guard_audit(PG_FUNCTION_ARGS)
{
	(void) trigger_of(fcinfo);
	if (retention_is_removing())
		return PointerGetDatum(NULL);
	ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("the audit is append-only"),
					errdetail("UPDATE, DELETE and TRUNCATE are refused, for its owner too."),
					errhint("Write what you have to say as a row of its own.")));
}

static Node *
event_statement(FunctionCallInfo fcinfo)
{
	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("this function is called by an event trigger only")));
	return ((EventTriggerData *) fcinfo->context)->parsetree;
}

/* DROP OWNED takes the extension with it if one of the roles is its owner. */
static bool
drops_owned_rotor(List *roles)
{
	Oid owner = catalog_extension_owner();
	ListCell *cell;

	foreach(cell, roles)
	{
		if (get_rolespec_oid(lfirst(cell), true) == owner)
			return true;
	}
	return false;
}

static bool
drops_rotor(Node *statement)
{
	ListCell *cell;

	if (IsA(statement, DropOwnedStmt))
		return drops_owned_rotor(((DropOwnedStmt *) statement)->roles);
	if (!IsA(statement, DropStmt) || ((DropStmt *) statement)->removeType != OBJECT_EXTENSION)
		return false;
	foreach(cell, ((DropStmt *) statement)->objects)
	{
		if (strcmp(strVal(lfirst(cell)), "rotor") == 0)
			return true;
	}
	return false;
}

Datum
rotor_guard_drop(PG_FUNCTION_ARGS)
{
	Node *statement = event_statement(fcinfo);
	AccessScope scope;
	Datum lost;
	bool null;

	/* Who may not drop it gets the server's refusal; a copy's or another version's goes unsaid. */
	if (!superuser() || !catalog_is_ours() || !drops_rotor(statement))
		PG_RETURN_NULL();
	watch_no_role();
	access_enter(&scope);
	lost = catalog_datum(
		"SELECT format('%s secrets with %s sealed values, %s unfinished rotations, %s rows of "
		"audit.', (SELECT count(*) FROM rotor.secret), (SELECT count(*) FROM rotor.version), "
		"(SELECT count(*) FROM rotor.rotation WHERE status IN ('pending', 'in_progress', "
		"'verifying')), (SELECT count(*) FROM rotor.audit)) WHERE EXISTS (SELECT FROM rotor.secret)",
		0, NULL, NULL, &null);
	if (!null)
		ereport(WARNING,
				(errmsg("with extension rotor every value that it holds is forgotten"),
				 errdetail("%s", TextDatumGetCString(lost)),
				 errhint("Roles keep their passwords, but nobody can read them any more. To keep "
						 "them, ROLLBACK, or restore a dump made with rotor.dump_values = on.")));
	access_leave(&scope);
	PG_RETURN_NULL();
}

/* The SQL may become only what the loaded library can serve: half an update is none. */
Datum
rotor_guard_update(PG_FUNCTION_ARGS)
{
	Node *statement = event_statement(fcinfo);
	char *version;

	if (!IsA(statement, AlterExtensionStmt) ||
		strcmp(((AlterExtensionStmt *) statement)->extname, "rotor") != 0)
		PG_RETURN_NULL();
	catalog_version_changed();
	if (catalog_state(&version) == CATALOG_OTHER_VERSION)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("extension rotor cannot become version %s", version),
						errdetail("The library that is loaded has version %s.", ROTOR_VERSION),
						errhint("%s", strverscmp(version, ROTOR_VERSION) < 0
										  ? "Update to the library's version."
										  : catalog_version_remedy(version))));
	PG_RETURN_NULL();
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

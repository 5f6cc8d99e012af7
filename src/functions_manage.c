/*
 * functions_manage.c - manage(), unmanage(), restore(), enable(), disable().
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog.h"
#include "catalog/catalog.h"
#include "catalog/pg_type.h"
#include "catalog_read.h"
#include "clock.h"
#include "compat.h"
#include "executor/spi.h"
#include "functions.h"
#include "guc.h"
#include "manage.h"
#include "policy.h"
#include "reconcile.h"
#include "schedule.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

ROTOR_FUNCTION(rotor_manage);
ROTOR_FUNCTION(rotor_unmanage);
ROTOR_FUNCTION(rotor_restore);
ROTOR_FUNCTION(rotor_enable);
ROTOR_FUNCTION(rotor_disable);

#define ACTIVE_ROTATION                                            \
	"EXISTS (SELECT FROM rotor.rotation r WHERE r.secret_id = $1 " \
	"AND r.status IN ('pending', 'in_progress', 'verifying'))"

/* Runs a statement on one secret; how many rows it changed. */
static uint64
change_secret(const char *sql, int64 id)
{
	Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum(id)};

	return catalog_execute(sql, 1, types, values, NULL);
}

/* One role or two: that is settled when a secret comes under management. */
static void
require_same_nature(const Secret *secret, const Policy *policy)
{
	bool paired = catalog_is_paired(secret->id);

	if (paired == (policy->strategy == STRATEGY_BLUE_GREEN))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 paired ? errmsg("secret \"%s\" is one of two that are used in turn", secret->name)
					: errmsg("secret \"%s\" has one role", secret->name),
			 errdetail("The strategy of policy \"%s\" is %s.", policy->name,
					   policy_strategy_name(policy->strategy)),
			 paired
				 ? errhint("Name a policy whose strategy is blue_green, or unmanage the two.")
				 : errhint("Unmanage it first: its role stays as it is, and becomes the owner of "
						   "the two that rotor.manage() makes then.")));
}

static void
require_possible(const Policy *policy, const char *target)
{
	TargetAddress address;

	if (catalog_find_target(target, &address))
		policy_require_possible(policy, address.type);
}

/* The policy changes, unless none is named; the schedule begins anew from now. */
static void
change_policy(const Secret *secret, const char *policy, const Actor *actor)
{
	Oid types[] = {INT8OID, TEXTOID, TIMESTAMPTZOID};
	Datum values[] = {Int64GetDatum(secret->id), (Datum) 0, (Datum) 0};
	char nulls[] = "   ";
	Policy plan;
	TimestampTz next;

	if (policy == NULL)
		return;
	manage_load_policy(policy, &plan);
	if (strcmp(secret->policy, policy) == 0)
		return;
	require_same_nature(secret, &plan);
	require_possible(&plan, secret->target);
	/* Of two that are used in turn, the one that rests is planned. */
	next = plan.strategy == STRATEGY_BLUE_GREEN && !catalog_is_resting(secret->id)
			   ? DT_NOEND
			   : schedule_next(&plan, clock_now());
	values[1] = CStringGetTextDatum(policy);
	values[2] = TimestampTzGetDatum(next);
	nulls[2] = TIMESTAMP_IS_NOEND(next) ? 'n' : ' ';
	(void) catalog_execute("UPDATE rotor.secret SET policy = $2, next_rotation = $3 WHERE id = $1",
						   3, types, values, nulls);
	manage_watch(secret->id);
	catalog_audit_event(actor, "policy_assigned", secret->name,
						manage_detail(policy, secret->username));
}

/* What target and store need to know of it; only superusers say so. */
static void
change_options(const Secret *secret, const char *options, const Actor *actor)
{
	Oid types[] = {INT8OID, TEXTOID};
	Datum values[] = {Int64GetDatum(secret->id), (Datum) 0};

	if (options == NULL)
		return;
	access_require_superuser(actor, "manage");
	values[1] = CStringGetTextDatum(options);
	if (catalog_execute("UPDATE rotor.secret SET options = $2::jsonb WHERE id = $1 "
						"AND options <> $2::jsonb",
						2, types, values, NULL) > 0)
		catalog_audit_event(actor, "options_changed", secret->name, options);
}

/* Argument number, a JSON object; NULL if it is null. 22023 if it is something else. */
static char *
optional_jsonb(FunctionCallInfo fcinfo, int number)
{
	Jsonb *value;

	if (PG_ARGISNULL(number))
		return NULL;
	value = PG_GETARG_JSONB_P(number);
	if (!JB_ROOT_IS_OBJECT(value))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("options must be a JSON object"),
				 errhint("Such as '{\"key\": \"app/database\"}'.")));
	return JsonbToCString(NULL, &value->root, VARSIZE(value));
}

static void
require_unmanaged(Oid role, const char *username)
{
	Secret other;

	if (catalog_find_secret_of_role(role, &other))
		ereport(ERROR, (errcode(ERRCODE_DUPLICATE_OBJECT),
						errmsg("role \"%s\" is managed already", username),
						errdetail("Its secret is \"%s\".", other.name),
						errhint("A role has one secret.")));
}

/*
 * A secret of another cluster, after a restore or pg_upgrade: finds its role here by name and binds
 * the secret to it; the account of one outside is where it was. Only superusers come here.
 */
static void
resolve_anew(Secret *secret, const char *username, const Actor *actor)
{
	Oid role = secret->outside_target ? InvalidOid : get_role_oid(username, true);

	if (secret->outside_target)
	{
		reconcile_bind(secret, InvalidOid, actor);
		return;
	}
	if (!OidIsValid(role))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("role \"%s\" does not exist", username),
				 errdetail("Secret \"%s\" was made in another cluster.", secret->name),
				 errhint("Create the role, or name another one in username.")));
	require_unmanaged(role, username);
	reconcile_bind(secret, role, actor);
}

/* A secret stays where it is; the defaults of store and target say nothing. */
static void
require_same_place(const Secret *secret, const char *store, const char *target)
{
	Oid types[] = {INT8OID, TEXTOID, TEXTOID};
	Datum values[] = {Int64GetDatum(secret->id), CStringGetTextDatum(store),
					  CStringGetTextDatum(target)};

	manage_require_store_and_target(store, target);
	if (catalog_execute("SELECT FROM rotor.secret WHERE id = $1 AND $2 IN (store, 'local') "
						"AND $3 IN (target, 'self')",
						3, types, values, NULL) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("secret \"%s\" has another store or target", secret->name),
				 errdetail("Its values are there, and stay there."),
				 errhint("Unmanage it first, then take the account under management anew.")));
}

/* A new secret: a role of this cluster, or an account outside; or two that are used in turn. */
static void
manage_new(ManageOrder *order, const Actor *actor, Secret *secret, AccessScope *scope)
{
	bool turns;
	Policy policy;
	Pair pair;

	if (order->policy == NULL)
		order->policy = "default";
	access_enter(scope);
	manage_load_policy(order->policy, &policy);
	turns = policy.strategy == STRATEGY_BLUE_GREEN;
	require_possible(&policy, order->target);
	access_leave(scope);
	if (strcmp(order->target, "self") != 0)
	{
		access_require_superuser(actor, "manage");
		if (turns)
		{
			manage_pair_outside(order, actor, &pair);
			*secret = pair.resting;
			access_enter(scope);
			return;
		}
		access_enter(scope);
		manage_account(order, actor, secret);
		return;
	}
	order->role = get_role_oid(order->username, true);
	if (!OidIsValid(order->role))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("role \"%s\" does not exist", order->username),
						errhint("Create it, or name the secret's role in username.")));
	access_require_role(actor, order->role, order->username, "manage");
	if (strcmp(order->store, "local") != 0)
		access_require_superuser(actor, "manage");
	if (IsReservedName(order->username))
		ereport(ERROR, (errcode(ERRCODE_RESERVED_NAME),
						errmsg("role \"%s\" is a predefined role", order->username),
						errdetail("Its password cannot be changed."),
						errhint("Name a role that logs in.")));
	if (turns)
	{
		manage_pair(order, actor, &pair);
		*secret = pair.resting;
		access_enter(scope);
		return;
	}
	require_unmanaged(order->role, order->username);
	access_enter(scope);
	manage_secret(order, actor, secret);
}

/* Two that are managed already get another policy, or options. */
static void
manage_members(Pair *pair, const ManageOrder *order, bool has_username, const Actor *actor,
			   Secret *secret, AccessScope *scope)
{
	Secret *members[] = {&pair->in_use, &pair->resting};

	if (has_username &&
		(OidIsValid(pair->owner_oid) ? get_role_oid(order->username, true) != pair->owner_oid
									 : strcmp(order->username, pair->owner) != 0))
		ereport(ERROR, (errcode(ERRCODE_DUPLICATE_OBJECT),
						errmsg("secret \"%s\" already exists for another role", pair->name),
						errdetail("Its roles are \"%s\" and \"%s\".", pair->in_use.username,
								  pair->resting.username),
						errhint("Choose another name, or unmanage it first.")));
	for (int i = 0; i < 2; i++)
		access_require(actor, members[i], PRIVILEGE_MANAGE, "manage");
	access_enter(scope);
	for (int i = 0; i < 2; i++)
	{
		if (members[i]->system_identifier != GetSystemIdentifier())
			resolve_anew(members[i], members[i]->username, actor);
		require_same_place(members[i], order->store, order->target);
		change_policy(members[i], order->policy, actor);
		change_options(members[i], order->options, actor);
	}
	*secret = pair->resting;
}

Datum
rotor_manage(PG_FUNCTION_ARGS)
{
	char *name = required_text(fcinfo, 0, "secret");
	char *username = PG_ARGISNULL(1) ? name : text_to_cstring(PG_GETARG_TEXT_PP(1));
	char *policy = PG_ARGISNULL(2) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(2));
	char *store = required_text(fcinfo, 3, "store");
	char *target = required_text(fcinfo, 4, "target");
	ManageOrder order = {.name = name,
						 .username = username,
						 .policy = policy,
						 .store = store,
						 .target = target,
						 .options = optional_jsonb(fcinfo, 5)};
	Actor actor;
	AccessScope scope;
	Secret secret;
	Pair pair;
	Datum row;

	actor_current(&actor);
	require_writable("rotor.manage()");
	if (catalog_find_secret(name, &secret) && secret.system_identifier != GetSystemIdentifier())
	{
		access_require(&actor, &secret, PRIVILEGE_MANAGE, "manage");
		access_enter(&scope);
		resolve_anew(&secret, PG_ARGISNULL(1) ? secret.username : username, &actor);
		change_policy(&secret, policy, &actor);
	}
	else if (catalog_find_secret(name, &secret))
	{
		access_require(&actor, &secret, PRIVILEGE_MANAGE, "manage");
		if (!PG_ARGISNULL(1) &&
			(secret.outside_target ? strcmp(username, secret.username) != 0
								   : get_role_oid(username, true) != secret.role))
			ereport(ERROR, (errcode(ERRCODE_DUPLICATE_OBJECT),
							errmsg("secret \"%s\" already exists for another role", name),
							errdetail("Its role is \"%s\".", secret.username),
							errhint("Choose another name, or unmanage it first.")));
		access_enter(&scope);
		require_same_place(&secret, store, target);
		change_policy(&secret, policy, &actor);
		change_options(&secret, order.options, &actor);
	}
	else if (catalog_find_pair(name, &pair))
		manage_members(&pair, &order, !PG_ARGISNULL(1), &actor, &secret, &scope);
	else
		manage_new(&order, &actor, &secret, &scope);
	row = secret_datum(secret.id);
	access_leave(&scope);
	PG_RETURN_DATUM(row);
}

/* Finds the secret of argument 0, or two that are used in turn, requires manage, enters. */
static int
enter_managed(FunctionCallInfo fcinfo, const char *event, Actor *actor, Secret members[2],
			  AccessScope *scope)
{
	int count;

	actor_current(actor);
	require_writable(psprintf("rotor.%s()", event));
	count = require_members(text_to_cstring(PG_GETARG_TEXT_PP(0)), members);
	for (int i = 0; i < count; i++)
		access_require(actor, &members[i], PRIVILEGE_MANAGE, event);
	access_enter(scope);
	return count;
}

static Datum
finish_managed(const Secret *members, int count, const char *event, const Actor *actor,
			   const AccessScope *scope)
{
	Datum row;

	for (int i = 0; i < count; i++)
		catalog_audit_event(actor, event, members[i].name, NULL);
	row = secret_datum(members[0].id);
	access_leave(scope);
	return row;
}

/* One of two that are used in turn comes and goes with the other. */
static void
require_not_paired(const Secret *secret, const char *what)
{
	Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum(secret->id)};
	bool null;
	Datum name = catalog_datum("SELECT name FROM rotor.pair WHERE $1 IN (in_use, resting)", 1,
							   types, values, &null);

	if (!null)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("secret \"%s\" is one of two that are used in turn", secret->name),
						errhint("rotor.%s(%s) concerns both.", what,
								quote_literal_cstr(TextDatumGetCString(name)))));
}

Datum
rotor_unmanage(PG_FUNCTION_ARGS)
{
	Actor actor;
	Secret members[2];
	AccessScope scope;
	int count = enter_managed(fcinfo, "unmanage", &actor, members, &scope);

	if (count == 1)
		require_not_paired(&members[0], "unmanage");
	for (int i = 0; i < count; i++)
	{
		if (change_secret("UPDATE rotor.secret SET deleted_at = clock_timestamp() WHERE id = $1 "
						  "AND NOT " ACTIVE_ROTATION,
						  members[i].id) == 0)
			ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE), errmsg("a rotation is already active"),
							errhint("Cancel it, or let it end.")));
		manage_watch(members[i].id);
	}
	PG_RETURN_DATUM(finish_managed(members, count, "unmanaged", &actor, &scope));
}

/*
 * The secret of that name whose management ended last, or two that are used in turn under it, the one in
 * use first; returns how many. in_time: within rotor.recovery_window.
 */
static int
find_deleted(const char *name, Secret members[2], bool *in_time)
{
	Oid types[] = {TEXTOID, INT8OID};
	Datum values[] = {CStringGetTextDatum(name), Int64GetDatum(rotor_recovery_window)};
	int64 ids[2];
	Policy policy;
	bool null;
	int count = (int) catalog_execute(
		"WITH ended AS (SELECT s.id, s.deleted_at, s.id = p.in_use AS in_use, true AS paired "
		"FROM rotor.pair p JOIN rotor.secret s ON s.id IN (p.in_use, p.resting) "
		"WHERE p.name = $1 AND s.deleted_at IS NOT NULL UNION ALL SELECT id, deleted_at, false, "
		"false FROM rotor.secret WHERE name = $1 AND deleted_at IS NOT NULL) "
		"SELECT id, deleted_at >= clock_timestamp() - $2 * interval '1 second', paired FROM ended "
		"WHERE paired = (SELECT paired FROM ended ORDER BY deleted_at DESC LIMIT 1) "
		"ORDER BY in_use DESC, deleted_at DESC LIMIT 2",
		2, types, values, NULL);

	*in_time = false;
	if (count == 2 &&
		!DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3, &null)))
		count = 1;
	for (int i = 0; i < count; i++)
	{
		HeapTuple tuple = SPI_tuptable->vals[i];

		ids[i] = DatumGetInt64(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 1, &null));
		*in_time = DatumGetBool(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 2, &null));
	}
	for (int i = 0; i < count; i++)
	{
		if (!catalog_load_secret(ids[i], &members[i], &policy, CurrentMemoryContext))
			elog(ERROR, "the secret is gone");
	}
	return count;
}

/* Its role must be there and free; one of another cluster is looked for by reconcile(). */
static void
require_restorable(const Secret *secret)
{
	Secret other;

	if (secret->system_identifier != GetSystemIdentifier())
		return;
	if (secret->outside_target)
		return;
	if (GetUserNameFromId(secret->role, true) == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("the role of secret \"%s\" does not exist any more", secret->name),
						errhint("Make the role again and call rotor.manage().")));
	if (catalog_find_secret_of_role(secret->role, &other))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("the role of secret \"%s\" is managed under another name", secret->name),
				 errdetail("Its secret is \"%s\".", other.name),
				 errhint("Unmanage that one first.")));
}

/* One of two that were used in turn does not come back alone. */
static void
require_single(const Secret *secret)
{
	Secret found;
	Policy policy;

	require_not_paired(secret, "restore");
	if (!catalog_load_secret(secret->id, &found, &policy, CurrentMemoryContext))
		elog(ERROR, "the secret is gone");
	if (policy.strategy == STRATEGY_BLUE_GREEN)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("secret \"%s\" was one of two that were used in turn", secret->name),
						errdetail("Their common name stands for other roles now."),
						errhint("Call rotor.manage() with both roles in the option \"roles\".")));
}

Datum
rotor_restore(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Actor actor;
	AccessScope scope;
	Secret members[2];
	Pair pair;
	bool in_time;
	int count;

	actor_current(&actor);
	require_writable("rotor.restore()");
	if (catalog_find_secret(name, &members[0]) || catalog_find_pair(name, &pair))
		ereport(ERROR, (errcode(ERRCODE_DUPLICATE_OBJECT), errmsg("secret \"%s\" is managed", name),
						errhint("There is nothing to restore.")));
	access_enter(&scope);
	count = find_deleted(name, members, &in_time);
	if (count == 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("there is no unmanaged secret \"%s\"", name),
						errhint("rotor.manage() takes a role under management.")));
	if (count == 1)
		require_single(&members[0]);
	for (int i = 0; i < count; i++)
	{
		Secret other;

		if (count == 2 && (catalog_find_secret(members[i].name, &other) ||
						   catalog_find_pair(members[i].name, &pair)))
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_OBJECT),
					 errmsg("secret \"%s\" is managed", members[i].name),
					 errdetail("One of the two has that name."), errhint("Unmanage it first.")));
		require_restorable(&members[i]);
		access_require(&actor, &members[i], PRIVILEGE_MANAGE, "restore");
	}
	if (!in_time)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the recovery window of secret \"%s\" has passed", name),
				 errdetail("rotor.recovery_window counts from unmanage(); the secret waits "
						   "to be purged."),
				 errhint("rotor.manage() takes the role under management anew; a superuser "
						 "can raise rotor.recovery_window while the secret is still there.")));
	for (int i = 0; i < count; i++)
	{
		change_secret("UPDATE rotor.secret SET deleted_at = NULL WHERE id = $1", members[i].id);
		manage_watch(members[i].id);
	}
	PG_RETURN_DATUM(finish_managed(members, count, "restored", &actor, &scope));
}

/* Its schedule goes on; of two that are used in turn, that of the one that rests. */
static void
plan_if_unplanned(const Secret *secret)
{
	SecretPlan plan;

	if (catalog_load_plan(secret->id, &plan, CurrentMemoryContext) &&
		TIMESTAMP_IS_NOEND(plan.next_rotation) &&
		(plan.policy.strategy != STRATEGY_BLUE_GREEN || catalog_is_resting(secret->id)))
		(void) catalog_plan_secret(secret->id, &plan, NULL, DT_NOBEGIN,
								   schedule_next(&plan.policy, clock_now()));
}

Datum
rotor_enable(PG_FUNCTION_ARGS)
{
	Actor actor;
	Secret members[2];
	AccessScope scope;
	int count = enter_managed(fcinfo, "enable", &actor, members, &scope);

	for (int i = 0; i < count; i++)
	{
		change_secret("UPDATE rotor.secret SET enabled = true WHERE id = $1", members[i].id);
		plan_if_unplanned(&members[i]);
	}
	PG_RETURN_DATUM(finish_managed(members, count, "enabled", &actor, &scope));
}

Datum
rotor_disable(PG_FUNCTION_ARGS)
{
	Actor actor;
	Secret members[2];
	AccessScope scope;
	int count = enter_managed(fcinfo, "disable", &actor, members, &scope);

	for (int i = 0; i < count; i++)
		change_secret("UPDATE rotor.secret SET enabled = false WHERE id = $1", members[i].id);
	PG_RETURN_DATUM(finish_managed(members, count, "disabled", &actor, &scope));
}

/*
 * functions_manage.c - manage(), unmanage(), restore(), enable(), disable().
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog.h"
#include "catalog/catalog.h"
#include "catalog/pg_type.h"
#include "catalog_read.h"
#include "compat.h"
#include "executor/spi.h"
#include "functions.h"
#include "manage.h"
#include "utils/builtins.h"

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

	if (SPI_execute_with_args(sql, 1, types, values, NULL, false, 0) < 0)
		elog(ERROR, "could not run \"%s\"", sql);
	return SPI_processed;
}

/* The policy changes; the schedule begins anew from now. */
static void
change_policy(const Secret *secret, const char *policy, const Actor *actor)
{
	Oid types[] = {INT8OID, TEXTOID};
	Datum values[] = {Int64GetDatum(secret->id), CStringGetTextDatum(policy)};

	manage_require_policy(policy);
	if (strcmp(secret->policy, policy) == 0)
		return;
	if (SPI_execute_with_args("UPDATE rotor.secret s SET policy = p.name, next_rotation = "
							  "clock_timestamp() + p.rotation_interval FROM rotor.policy p "
							  "WHERE s.id = $1 AND p.name = $2",
							  2, types, values, NULL, false, 0) < 0)
		elog(ERROR, "could not change the policy");
	audit_call(actor, "policy_assigned", secret->name, manage_detail(policy, secret->username));
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
 * the secret to it. Only superusers come here.
 */
static void
resolve_anew(Secret *secret, const char *username, const Actor *actor)
{
	Oid types[] = {INT8OID, OIDOID, INT8OID, TEXTOID};
	Datum values[4];
	Oid role = get_role_oid(username, true);

	if (!OidIsValid(role))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("role \"%s\" does not exist", username),
				 errdetail("Secret \"%s\" was made in another cluster.", secret->name),
				 errhint("Create the role, or name another one in username.")));
	/* After pg_upgrade the oid is still the same. */
	if (role != secret->role)
		require_unmanaged(role, username);
	secret->role = role;
	strlcpy(secret->username, username, sizeof(secret->username));
	secret->system_identifier = GetSystemIdentifier();
	values[0] = Int64GetDatum(secret->id);
	values[1] = ObjectIdGetDatum(secret->role);
	values[2] = Int64GetDatum((int64) secret->system_identifier);
	values[3] = CStringGetTextDatum(username);
	if (SPI_execute_with_args("UPDATE rotor.secret SET role_oid = $2, system_identifier = $3, "
							  "username = $4 WHERE id = $1",
							  4, types, values, NULL, false, 0) < 0)
		elog(ERROR, "could not bind the secret");
	audit_call(actor, "resolved", secret->name, manage_detail(secret->policy, username));
}

Datum
rotor_manage(PG_FUNCTION_ARGS)
{
	char *name = required_text(fcinfo, 0, "secret");
	char *username = PG_ARGISNULL(1) ? name : text_to_cstring(PG_GETARG_TEXT_PP(1));
	char *policy = required_text(fcinfo, 2, "policy");
	char *store = required_text(fcinfo, 3, "store");
	char *target = required_text(fcinfo, 4, "target");
	Actor actor;
	AccessScope scope;
	Secret secret;
	Oid role;
	Datum row;

	actor_current(&actor);
	require_writable("rotor.manage()");
	if (catalog_find_secret(name, &secret, NULL) &&
		secret.system_identifier != GetSystemIdentifier())
	{
		access_require(&actor, &secret, PRIVILEGE_MANAGE, "manage");
		access_enter(&scope);
		resolve_anew(&secret, PG_ARGISNULL(1) ? secret.username : username, &actor);
		change_policy(&secret, policy, &actor);
	}
	else if (catalog_find_secret(name, &secret, NULL))
	{
		access_require(&actor, &secret, PRIVILEGE_MANAGE, "manage");
		if (!PG_ARGISNULL(1) && get_role_oid(username, true) != secret.role)
			ereport(ERROR, (errcode(ERRCODE_DUPLICATE_OBJECT),
							errmsg("secret \"%s\" already exists for another role", name),
							errdetail("Its role is \"%s\".", secret.username),
							errhint("Choose another name, or unmanage it first.")));
		access_enter(&scope);
		manage_require_store_and_target(store, target);
		change_policy(&secret, policy, &actor);
	}
	else
	{
		role = get_role_oid(username, true);
		if (!OidIsValid(role))
			ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
							errmsg("role \"%s\" does not exist", username),
							errhint("Create it, or name the secret's role in username.")));
		access_require_role(&actor, role, username, "manage");
		if (IsReservedName(username))
			ereport(ERROR, (errcode(ERRCODE_RESERVED_NAME),
							errmsg("role \"%s\" is a predefined role", username),
							errdetail("Its password cannot be changed."),
							errhint("Name a role that logs in.")));
		require_unmanaged(role, username);
		access_enter(&scope);
		manage_role(name, role, policy, store, target, &actor, &secret);
	}
	row = secret_datum(secret.id);
	access_leave(&scope);
	PG_RETURN_DATUM(row);
}

/* Finds the secret of argument 0, requires manage, enters. */
static void
enter_managed(FunctionCallInfo fcinfo, const char *event, Actor *actor, Secret *secret,
			  AccessScope *scope)
{
	actor_current(actor);
	require_writable(psprintf("rotor.%s()", event));
	require_secret(text_to_cstring(PG_GETARG_TEXT_PP(0)), secret, NULL);
	access_require(actor, secret, PRIVILEGE_MANAGE, event);
	access_enter(scope);
}

static Datum
finish_managed(const Secret *secret, const char *event, const Actor *actor,
			   const AccessScope *scope)
{
	Datum row;

	audit_call(actor, event, secret->name, NULL);
	row = secret_datum(secret->id);
	access_leave(scope);
	return row;
}

Datum
rotor_unmanage(PG_FUNCTION_ARGS)
{
	Actor actor;
	Secret secret;
	AccessScope scope;

	enter_managed(fcinfo, "unmanage", &actor, &secret, &scope);
	if (change_secret("UPDATE rotor.secret SET deleted_at = clock_timestamp() WHERE id = $1 "
					  "AND NOT " ACTIVE_ROTATION,
					  secret.id) == 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE), errmsg("a rotation is already active"),
						errhint("Cancel it, or let it end.")));
	PG_RETURN_DATUM(finish_managed(&secret, "unmanaged", &actor, &scope));
}

/* The secret of that name whose management ended last. */
static bool
find_deleted(const char *name, int64 *id, Oid *role)
{
	Oid types[] = {TEXTOID};
	Datum values[] = {CStringGetTextDatum(name)};
	bool null;

	if (SPI_execute_with_args("SELECT id, role_oid FROM rotor.secret WHERE name = $1 "
							  "AND deleted_at IS NOT NULL ORDER BY deleted_at DESC LIMIT 1",
							  1, types, values, NULL, false, 1) < 0 ||
		SPI_processed != 1)
		return false;
	*id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null));
	*role = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &null));
	return true;
}

Datum
rotor_restore(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Actor actor;
	AccessScope scope;
	Secret secret;
	Secret other;
	int64 id;
	Oid role;

	actor_current(&actor);
	require_writable("rotor.restore()");
	if (catalog_find_secret(name, &secret, NULL))
		ereport(ERROR, (errcode(ERRCODE_DUPLICATE_OBJECT), errmsg("secret \"%s\" is managed", name),
						errhint("There is nothing to restore.")));
	access_enter(&scope);
	if (!find_deleted(name, &id, &role))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("there is no unmanaged secret \"%s\"", name),
						errhint("rotor.manage() takes a role under management.")));
	if (GetUserNameFromId(role, true) == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("the role of secret \"%s\" does not exist any more", name),
						errhint("Make the role again and call rotor.manage().")));
	if (catalog_find_secret_of_role(role, &other))
		ereport(ERROR, (errcode(ERRCODE_DUPLICATE_OBJECT),
						errmsg("the role of secret \"%s\" is managed under another name", name),
						errdetail("Its secret is \"%s\".", other.name),
						errhint("Unmanage that one first.")));
	secret = (Secret){.id = id, .role = role, .system_identifier = GetSystemIdentifier()};
	strlcpy(secret.name, name, sizeof(secret.name));
	strlcpy(secret.username, GetUserNameFromId(role, false), sizeof(secret.username));
	access_require(&actor, &secret, PRIVILEGE_MANAGE, "restore");
	change_secret("UPDATE rotor.secret SET deleted_at = NULL WHERE id = $1", id);
	PG_RETURN_DATUM(finish_managed(&secret, "restored", &actor, &scope));
}

Datum
rotor_enable(PG_FUNCTION_ARGS)
{
	Actor actor;
	Secret secret;
	AccessScope scope;

	enter_managed(fcinfo, "enable", &actor, &secret, &scope);
	change_secret("UPDATE rotor.secret s SET enabled = true, next_rotation = "
				  "coalesce(s.next_rotation, clock_timestamp() + p.rotation_interval) "
				  "FROM rotor.policy p WHERE p.name = s.policy AND s.id = $1",
				  secret.id);
	PG_RETURN_DATUM(finish_managed(&secret, "enabled", &actor, &scope));
}

Datum
rotor_disable(PG_FUNCTION_ARGS)
{
	Actor actor;
	Secret secret;
	AccessScope scope;

	enter_managed(fcinfo, "disable", &actor, &secret, &scope);
	change_secret("UPDATE rotor.secret SET enabled = false WHERE id = $1", secret.id);
	PG_RETURN_DATUM(finish_managed(&secret, "disabled", &actor, &scope));
}

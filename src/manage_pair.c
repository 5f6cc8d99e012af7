/*
 * manage_pair.c - manage.h: two roles that are used in turn come under management.
 */
#include "postgres.h"

#include "access.h"
#include "access/xlog.h"
#include "catalog.h"
#include "catalog/catalog.h"
#include "catalog/pg_type.h"
#include "catalog_read.h"
#include "compat.h"
#include "executor/spi.h"
#include "manage.h"
#include "pair.h"
#include "utils/acl.h"
#include "utils/builtins.h"

/* Names of the two roles. */
typedef struct RoleNames
{
	int size; /* of a name, with its end */
	char name[2][USERNAME_SIZE];
} RoleNames;

static void
take_name(RoleNames *names, int number, const char *name)
{
	if ((int) strlen(name) >= names->size || name[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_NAME_TOO_LONG), errmsg("\"%s\" cannot be a role's name", name),
				 errdetail("A name has 1 to %d bytes.", names->size - 1),
				 errhint("Name both roles: options => "
						 "'{\"roles\": [\"app_one\", \"app_two\"]}'.")));
	strlcpy(names->name[number], name, USERNAME_SIZE);
}

/* In SPI. */
static void
read_names(const char *options, const char *owner, RoleNames *names)
{
	Oid types[] = {TEXTOID};
	Datum values[] = {CStringGetTextDatum(options ? options : "{}")};

	if (catalog_execute("SELECT FROM jsonb_object_keys($1::jsonb) k WHERE k = 'roles'", 1, types,
						values, NULL) == 0)
	{
		take_name(names, 0, psprintf("%s_blue", owner));
		take_name(names, 1, psprintf("%s_green", owner));
		return;
	}
	if (catalog_execute("SELECT r.name FROM jsonb_array_elements_text(CASE "
						"jsonb_typeof($1::jsonb -> 'roles') WHEN 'array' THEN $1::jsonb -> 'roles' "
						"ELSE '[]' END) r (name) WHERE r.name IS NOT NULL",
						1, types, values, NULL) != 2)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("option \"roles\" must name two roles"),
						errhint("options => '{\"roles\": [\"app_one\", \"app_two\"]}'")));
	for (int i = 0; i < 2; i++)
		take_name(names, i, SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1));
	if (strcmp(names->name[0], names->name[1]) == 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("the two roles are the same"), errhint("Name two roles.")));
}

static void
run_as_caller(const char *sql)
{
	int code = SPI_execute(sql, false, 0);

	if (code < 0)
		elog(ERROR, "could not run \"%s\": %s", sql, SPI_result_code_string(code));
}

/* With the caller's rights: the server says what is missing. */
static Oid
find_or_make_role(const Actor *actor, const char *name, Oid owner, const char *owner_name)
{
	Oid member = get_role_oid(name, true);

	if (member == owner)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("role \"%s\" cannot be its own owner", name),
						errhint("Name two other roles, or let rotor make them.")));
	if (!OidIsValid(member))
	{
		run_as_caller(psprintf("CREATE ROLE %s NOLOGIN INHERIT IN ROLE %s", quote_identifier(name),
							   quote_identifier(owner_name)));
		return get_role_oid(name, false);
	}
	access_require_role(actor, member, name, "manage");
	if (!compat_may_become(member, owner))
		run_as_caller(psprintf("GRANT %s TO %s" COMPAT_WITH_SET, quote_identifier(owner_name),
							   quote_identifier(name)));
	return member;
}

/* In SPI. */
static bool
can_log_in(Oid role)
{
	Oid types[] = {OIDOID};
	Datum values[] = {ObjectIdGetDatum(role)};

	return catalog_execute("SELECT FROM pg_catalog.pg_roles WHERE oid = $1 AND rolcanlogin", 1,
						   types, values, NULL) > 0;
}

static void
require_unmanaged(const char *name, Oid role)
{
	Secret other;

	if (catalog_find_secret_of_role(role, &other))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT), errmsg("role \"%s\" is managed already", name),
				 errdetail("Its secret is \"%s\".", other.name),
				 errhint("A role has one secret: unmanage that one first.")));
}

static void
require_free(const char *name, const char *pair_name)
{
	Secret other;
	Pair pair;

	if (strcmp(name, pair_name) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("two roles that are used in turn cannot have the name of one of them"),
				 errdetail("\"%s\" stands for both.", pair_name),
				 errhint("Give the two, or one role, another name.")));
	if (catalog_find_secret(name, &other) || catalog_find_pair(name, &pair))
		ereport(ERROR, (errcode(ERRCODE_DUPLICATE_OBJECT),
						errmsg("secret \"%s\" already exists for another role", name),
						errhint("Name other roles: options => "
								"'{\"roles\": [\"app_one\", \"app_two\"]}'.")));
}

/* In SPI, as superuser. */
static void
insert_pair(const ManageOrder *order, const char *owner_name, const Pair *pair)
{
	Oid types[] = {TEXTOID, INT8OID, INT8OID, TEXTOID, OIDOID};
	Datum values[] = {CStringGetTextDatum(order->name), Int64GetDatum(pair->in_use.id),
					  Int64GetDatum(pair->resting.id), CStringGetTextDatum(owner_name),
					  ObjectIdGetDatum(order->role)};

	/* Of an earlier one of that name whose secrets are not managed any more. */
	(void) catalog_execute("DELETE FROM rotor.pair WHERE name = $1", 1, types, values, NULL);
	(void) catalog_execute("INSERT INTO rotor.pair (name, in_use, resting, owner, owner_oid) "
						   "VALUES ($1, $2, $3, $4, $5)",
						   5, types, values, NULL);
	/* The one in use waits for its turn. */
	(void) catalog_execute("UPDATE rotor.secret SET next_rotation = NULL WHERE id = $1", 1,
						   types + 1, values + 1, NULL);
}

void
manage_pair(const ManageOrder *order, const Actor *actor, Pair *pair)
{
	char *owner_name = GetUserNameFromId(order->role, false);
	RoleNames names = {.size = NAMEDATALEN};
	Oid roles[2];
	int resting;
	AccessScope scope;

	access_enter(&scope);
	read_names(order->options, owner_name, &names);
	access_leave(&scope);
	SPI_connect();
	for (int i = 0; i < 2; i++)
		roles[i] = find_or_make_role(actor, names.name[i], order->role, owner_name);
	SPI_finish();
	access_enter(&scope);
	strlcpy(pair->name, order->name, sizeof(pair->name));
	strlcpy(pair->owner, owner_name, sizeof(pair->owner));
	pair->owner_oid = order->role;
	/* One that nobody can log in as is none that applications use. */
	resting = can_log_in(roles[0]) && !can_log_in(roles[1]) ? 1 : 0;
	for (int i = 0; i < 2; i++)
	{
		Secret *secret = i == resting ? &pair->resting : &pair->in_use;
		ManageOrder member = *order;

		require_unmanaged(names.name[i], roles[i]);
		require_free(names.name[i], order->name);
		member.name = names.name[i];
		member.role = roles[i];
		manage_secret(&member, actor, secret);
	}
	insert_pair(order, owner_name, pair);
	catalog_audit_event(actor, "pair_managed", order->name,
						manage_detail(order->policy, owner_name));
	access_leave(&scope);
}

/* Where two accounts can be made, locked and unlocked, and by whom. */
static void
require_turns(const char *target)
{
	Oid types[] = {TEXTOID};
	Datum values[] = {CStringGetTextDatum(target)};
	HeapTuple tuple;

	manage_require_store_and_target("local", target);
	if (catalog_execute("SELECT type, admin FROM rotor.target WHERE name = $1", 1, types, values,
						NULL) != 1)
		elog(ERROR, "the target is gone");
	tuple = SPI_tuptable->vals[0];
	if (strcmp(SPI_getvalue(tuple, SPI_tuptable->tupdesc, 1), "postgresql") != 0 &&
		strcmp(SPI_getvalue(tuple, SPI_tuptable->tupdesc, 1), "mysql") != 0)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("target \"%s\" has no roles that can be used in turn", target),
						errdetail("Its type is %s.", SPI_getvalue(tuple, SPI_tuptable->tupdesc, 1)),
						errhint("Name a policy whose strategy is staged or immediate.")));
	if (SPI_getvalue(tuple, SPI_tuptable->tupdesc, 2) == NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("target \"%s\" has no admin", target),
						errdetail("No account can unlock itself."),
						errhint("Name the secret of an administrator in rotor.target.")));
}

void
manage_pair_outside(const ManageOrder *order, const Actor *actor, Pair *pair)
{
	RoleNames names = {.size = USERNAME_SIZE};
	AccessScope scope;

	access_enter(&scope);
	require_turns(order->target);
	read_names(order->options, order->username, &names);
	strlcpy(pair->name, order->name, sizeof(pair->name));
	strlcpy(pair->owner, order->username, sizeof(pair->owner));
	pair->owner_oid = InvalidOid;
	for (int i = 0; i < 2; i++)
	{
		ManageOrder member = *order;

		/* Other targets may have accounts of the same name. */
		member.name = psprintf("%s/%s", order->name, names.name[i]);
		member.username = names.name[i];
		require_free(member.name, order->name);
		manage_account(&member, actor, i == 0 ? &pair->resting : &pair->in_use);
	}
	insert_pair(order, order->username, pair);
	catalog_audit_event(actor, "pair_managed", order->name,
						manage_detail(order->policy, order->username));
	access_leave(&scope);
}

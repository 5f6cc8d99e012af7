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
	char name[2][NAMEDATALEN];
} RoleNames;

static void
take_name(RoleNames *names, int number, const char *name)
{
	if (strlen(name) >= NAMEDATALEN || name[0] == '\0')
		ereport(ERROR, (errcode(ERRCODE_NAME_TOO_LONG),
						errmsg("\"%s\" cannot be a role's name", name),
						errdetail("A name has 1 to %d bytes.", NAMEDATALEN - 1),
						errhint("Name both roles: options => "
								"'{\"roles\": [\"app_one\", \"app_two\"]}'.")));
	strlcpy(names->name[number], name, NAMEDATALEN);
}

/* In SPI. */
static void
read_names(const char *options, const char *owner, RoleNames *names)
{
	Oid types[] = {TEXTOID};
	Datum values[] = {CStringGetTextDatum(options ? options : "{}")};

	take_name(names, 0, psprintf("%s_blue", owner));
	take_name(names, 1, psprintf("%s_green", owner));
	if (catalog_execute("SELECT FROM jsonb_object_keys($1::jsonb) k WHERE k = 'roles'", 1, types,
						values, NULL) == 0)
		return;
	if (catalog_execute("SELECT r.name FROM jsonb_array_elements_text(CASE "
						"jsonb_typeof($1::jsonb -> 'roles') WHEN 'array' THEN $1::jsonb -> 'roles' "
						"ELSE '[]' END) r (name) WHERE r.name IS NOT NULL",
						1, types, values, NULL) != 2)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("option \"roles\" must name two roles"),
						errhint("options => '{\"roles\": [\"app_one\", \"app_two\"]}'")));
	for (int i = 0; i < 2; i++)
		take_name(names, i, SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1));
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
	Oid role = get_role_oid(name, true);

	if (role == owner)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("role \"%s\" cannot be its own owner", name),
						errhint("Name two other roles, or let rotor make them.")));
	if (!OidIsValid(role))
	{
		run_as_caller(psprintf("CREATE ROLE %s NOLOGIN INHERIT IN ROLE %s", quote_identifier(name),
							   quote_identifier(owner_name)));
		return get_role_oid(name, false);
	}
	access_require_role(actor, role, name, "manage");
	if (!is_member_of_role_nosuper(role, owner))
		run_as_caller(psprintf("GRANT %s TO %s", quote_identifier(owner_name),
							   quote_identifier(name)));
	return role;
}

static void
require_free(const char *name, Oid role)
{
	Secret other;
	Pair pair;

	if (catalog_find_secret_of_role(role, &other))
		ereport(ERROR, (errcode(ERRCODE_DUPLICATE_OBJECT),
						errmsg("role \"%s\" is managed already", name),
						errdetail("Its secret is \"%s\".", other.name),
						errhint("A role has one secret: unmanage that one first.")));
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
	RoleNames names;
	Oid roles[2];
	AccessScope scope;

	access_enter(&scope);
	read_names(order->options, owner_name, &names);
	access_leave(&scope);
	SPI_connect();
	for (int i = 0; i < 2; i++)
		roles[i] = find_or_make_role(actor, names.name[i], order->role, owner_name);
	SPI_finish();
	if (roles[0] == roles[1])
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("the two roles are the same"), errhint("Name two roles.")));
	access_enter(&scope);
	strlcpy(pair->name, order->name, sizeof(pair->name));
	pair->owner = order->role;
	for (int i = 0; i < 2; i++)
	{
		Secret *secret = i == 0 ? &pair->resting : &pair->in_use;
		ManageOrder member = *order;

		require_free(names.name[i], roles[i]);
		member.name = names.name[i];
		member.role = roles[i];
		manage_secret(&member, actor, secret);
	}
	insert_pair(order, owner_name, pair);
	catalog_audit_event(actor, "pair_managed", order->name,
						manage_detail(order->policy, owner_name));
	access_leave(&scope);
}

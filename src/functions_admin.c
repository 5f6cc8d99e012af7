/*
 * functions_admin.c - grant_access(), revoke_access(), reset_statistics().
 */
#include "postgres.h"

#include "catalog.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "executor/spi.h"
#include "functions.h"
#include "grants.h"
#include "rotation.h"
#include "utils/builtins.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

ROTOR_FUNCTION(rotor_grant_access);
ROTOR_FUNCTION(rotor_revoke_access);
ROTOR_FUNCTION(rotor_reset_statistics);

/* The secrets that a right concerns: two, if they are used in turn. Whose rights are managed so? */
static int
enter_members(const char *name, const Actor *actor, const char *event, Secret members[2])
{
	int count = require_members(name, members);

	for (int i = 0; i < count; i++)
	{
		access_require(actor, &members[i], PRIVILEGE_MANAGE, event);
		/* Rights of another cluster's roles stand by oids that mean others here. */
		rotation_require_usable(&members[i]);
	}
	return count;
}

Datum
rotor_grant_access(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Oid role = PG_GETARG_OID(1);
	Privilege privilege = access_privilege_of(text_to_cstring(PG_GETARG_TEXT_PP(2)));
	char *role_name;
	Secret members[2];
	int count;
	Actor actor;
	AccessScope scope;

	actor_current(&actor);
	require_writable("rotor.grant_access()");
	count = enter_members(name, &actor, "grant_access", members);
	role_name = GetUserNameFromId(role, true);
	if (role_name == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("role %u does not exist", role),
						errhint("Name a role, for example 'app_user'::regrole.")));
	access_enter(&scope);
	for (int i = 0; i < count; i++)
		(void) grants_give(members[i].id, role, privilege, actor.name);
	catalog_audit_event(&actor, "access_granted", name,
						grants_detail(role_name, access_privilege_name(privilege)));
	access_leave(&scope);
	PG_RETURN_VOID();
}

Datum
rotor_revoke_access(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Oid role = PG_GETARG_OID(1);
	Privilege privilege = access_privilege_of(text_to_cstring(PG_GETARG_TEXT_PP(2)));
	char *role_name = GetUserNameFromId(role, true);
	Secret members[2];
	int count;
	bool taken = false;
	Actor actor;
	AccessScope scope;

	actor_current(&actor);
	require_writable("rotor.revoke_access()");
	count = enter_members(name, &actor, "revoke_access", members);
	access_enter(&scope);
	for (int i = 0; i < count; i++)
		taken |= grants_take(members[i].id, role, privilege);
	if (!taken)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("role \"%s\" has no right \"%s\" on secret \"%s\"",
							   role_name ? role_name : psprintf("%u", role),
							   access_privilege_name(privilege), name),
						errhint("rotor.access_grant lists the rights on single secrets.")));
	catalog_audit_event(&actor, "access_revoked", name,
						grants_detail(role_name ? role_name : psprintf("%u", role),
									  access_privilege_name(privilege)));
	access_leave(&scope);
	PG_RETURN_VOID();
}

Datum
rotor_reset_statistics(PG_FUNCTION_ARGS)
{
	Actor actor;
	AccessScope scope;
	Datum at;
	bool null;

	actor_current(&actor);
	require_writable("rotor.reset_statistics()");
	access_require_superuser(&actor, "reset_statistics");
	access_enter(&scope);
	(void) catalog_execute("UPDATE rotor.statistics_reset SET at = clock_timestamp()", 0, NULL,
						   NULL, NULL);
	at = catalog_datum("SELECT at FROM rotor.statistics_reset", 0, NULL, NULL, &null);
	catalog_audit_event(&actor, "statistics_reset", NULL, NULL);
	access_leave(&scope);
	PG_RETURN_DATUM(at);
}

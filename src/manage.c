/*
 * manage.c - see manage.h.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog.h"
#include "catalog_read.h"
#include "compat.h"
#include "lib/stringinfo.h"
#include "manage.h"
#include "mb/pg_wchar.h"
#include "utils/json.h"

void
manage_require_policy(const char *name)
{
	Policy policy;
	bool uncommitted;

	if (!catalog_load_policy(name, &policy, &uncommitted, CurrentMemoryContext))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("policy \"%s\" does not exist", name),
				 errhint("rotor.policy lists the policies; a superuser can insert one.")));
}

void
manage_require_store_and_target(const char *store, const char *target)
{
	TargetAddress address;

	if (strcmp(store, "local") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("store \"%s\" does not exist", store),
				 errhint("The only store so far is local.")));
	if (strcmp(target, "self") != 0 || !catalog_find_target(target, &address))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("target \"%s\" does not exist", target),
				 errhint("The only target so far is self, this cluster.")));
}

char *
manage_detail(const char *policy, const char *username)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoString(&json, "{\"policy\":");
	escape_json(&json, policy);
	appendStringInfoString(&json, ",\"role\":");
	escape_json(&json, username);
	appendStringInfoChar(&json, '}');
	return json.data;
}

void
manage_role(const char *name, Oid role, const char *policy, const char *store, const char *target,
			const Actor *actor, Secret *secret)
{
	int characters = pg_mbstrlen(name);
	Secret made = {0};

	if (characters < 1 || characters > 128)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a secret's name has 1 to 128 characters, this one has %d", characters)));
	manage_require_policy(policy);
	manage_require_store_and_target(store, target);
	strlcpy(made.name, name, sizeof(made.name));
	strlcpy(made.username, GetUserNameFromId(role, false), sizeof(made.username));
	strlcpy(made.policy, policy, sizeof(made.policy));
	made.role = role;
	made.system_identifier = GetSystemIdentifier();
	catalog_insert_secret(&made, store, target, actor);
	catalog_audit_event(actor, "managed", made.name, manage_detail(made.policy, made.username));
	/* Last: name and policy may be parts of *secret. */
	*secret = made;
}

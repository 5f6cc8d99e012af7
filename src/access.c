/*
 * access.c - see access.h.
 */
#include "postgres.h"

#include "access.h"
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/xlog.h"
#include "catalog/pg_authid.h"
#include "catalog_read.h"
#include "compat.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/syscache.h"

static const char *const privilege_names[PRIVILEGE_COUNT] = {"read", "rotate", "manage"};

/* A superuser touches what belongs to the extension, and nothing that took its place. */
static void
require_ours(void)
{
	catalog_require_version();
	if (!catalog_is_ours())
		ereport(
			ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("rotor's tables here are not its own"),
			 errdetail("This database is a copy of the one that rotor lives in, or somebody "
					   "renamed a table, took it out of the extension, or gave it to a role that "
					   "is no superuser."),
			 errhint("In a copy, DROP EXTENSION rotor; else undo the change.")));
}

void
access_enter(AccessScope *scope)
{
	require_ours();
	scope->guc_level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_SUSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	GetUserIdAndSecContext(&scope->user, &scope->security_context);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID,
						   scope->security_context | SECURITY_LOCAL_USERID_CHANGE);
	SPI_connect(); /* raises what goes wrong */
}

void
access_leave(const AccessScope *scope)
{
	SPI_finish();
	SetUserIdAndSecContext(scope->user, scope->security_context);
	AtEOXact_GUC(true, scope->guc_level);
}

bool
access_may_set_password(Oid caller, Oid role)
{
	HeapTuple tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
	Form_pg_authid form;
	bool allowed;

	if (!HeapTupleIsValid(tuple))
		return false;
	form = (Form_pg_authid) GETSTRUCT(tuple);
	allowed = superuser_arg(caller) ||
			  (!form->rolsuper && compat_may_set_password(caller, role, form->rolreplication));
	ReleaseSysCache(tuple);
	return allowed;
}

static void refuse(const Actor *actor, const char *event, const char *subject, const char *detail,
				   const char *hint) ROTOR_NORETURN;

static void
refuse(const Actor *actor, const char *event, const char *subject, const char *detail,
	   const char *hint)
{
	/* A rollback would take an audit row with it; the log keeps it. */
	audit_log_line(actor, event, subject, "refused");
	ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					errmsg("permission denied for secret \"%s\"", subject), errdetail("%s", detail),
					errhint("%s", hint)));
}

bool
access_may(const Actor *actor, const Secret *secret, Privilege privilege)
{
	if (superuser_arg(actor->role))
		return true;
	/* Oids of another cluster's roles mean strangers here. */
	return secret->system_identifier == GetSystemIdentifier() &&
		   (access_may_set_password(actor->role, secret->role) ||
			catalog_has_grant(secret->id, actor->role, privilege_names[privilege]));
}

void
access_require(const Actor *actor, const Secret *secret, Privilege privilege, const char *event)
{
	if (access_may(actor, secret, privilege))
		return;
	refuse(actor, event, secret->name,
		   psprintf("Role \"%s\" could not set the password of role \"%s\" itself and has no "
					"right \"%s\" on this secret.",
					actor->name, secret->username, privilege_names[privilege]),
		   psprintf("Somebody who manages it can call rotor.grant_access(%s, %s, '%s').",
					quote_literal_cstr(secret->name),
					quote_literal_cstr(quote_identifier(actor->name)), privilege_names[privilege]));
}

void
access_require_role(const Actor *actor, Oid role, const char *name, const char *event)
{
	if (access_may_set_password(actor->role, role))
		return;
	refuse(actor, event, name,
		   psprintf("Role \"%s\" could not set the password of role \"%s\" itself.", actor->name,
					name),
		   "Ask a superuser, or a role that may alter it, to take it under management and to grant "
		   "access.");
}

void
access_require_superuser(const Actor *actor, const char *event)
{
	if (superuser_arg(actor->role))
		return;
	audit_log_line(actor, event, NULL, "refused");
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("permission denied for %s", event),
			 errdetail("Only superusers may do this: it steers what rotor's worker does."),
			 errhint("Ask a superuser.")));
}

Privilege
access_privilege_of(const char *name)
{
	for (int i = 0; i < PRIVILEGE_COUNT; i++)
	{
		if (strcmp(name, privilege_names[i]) == 0)
			return (Privilege) i;
	}
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("unrecognized privilege \"%s\"", name),
					errhint("Privileges are read, rotate and manage.")));
}

const char *
access_privilege_name(Privilege privilege)
{
	return privilege_names[privilege];
}

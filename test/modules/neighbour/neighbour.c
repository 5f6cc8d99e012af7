/*
 * neighbour.c - a module for tests that does what credcheck and its like do: rules for passwords, a
 * history of what ALTER ROLE was given, a ban after failed logins, a log of who touched a role. It
 * hangs in five hooks, and is as strict and as short-sighted as such modules are: the history keeps
 * whatever text stands in the statement, a verifier too.
 */
#include "postgres.h"

#include <unistd.h>

#include "access/xact.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_authid.h"
#include "commands/user.h"
#include "common/cryptohash.h"
#include "common/sha2.h"
#include "fmgr.h"
#include "libpq/auth.h"
#include "libpq/crypt.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/formatting.h"
#include "utils/guc.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_init(void);

static int min_length;
static bool hashed_allowed;
static bool needs_valid_until;
static int max_failures; /* a role with so many failed logins is banned; 0: none is */
static char *folder;	 /* of the files "history" and "failures"; empty: none are kept */

static check_password_hook_type next_check;
static ProcessUtility_hook_type next_utility;
static object_access_hook_type next_access;
static ClientAuthentication_hook_type next_authentication;

/* --- lines in files: short ones, each written at once --- */

static void
note(const char *file, const char *line)
{
	FILE *handle = folder[0] ? fopen(psprintf("%s/%s", folder, file), "ae") : NULL;

	if (handle == NULL)
		return;
	(void) fprintf(handle, "%s\n", line);
	(void) fclose(handle);
}

static int
count(const char *file, const char *line)
{
	FILE *handle = folder[0] ? fopen(psprintf("%s/%s", folder, file), "re") : NULL;
	char buffer[256];
	int found = 0;

	if (handle == NULL)
		return 0;
	while (fgets(buffer, sizeof(buffer), handle) != NULL)
	{
		buffer[strcspn(buffer, "\n")] = '\0';
		found += strcmp(buffer, line) == 0;
	}
	(void) fclose(handle);
	return found;
}

/* --- passwords --- */

static void
check_password(const char *username, const char *password, PasswordType type, Datum validuntil_time,
			   bool validuntil_null)
{
	if (type != PASSWORD_TYPE_PLAINTEXT && !hashed_allowed)
		ereport(ERROR, (errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
						errmsg("password type is not a plain text")));
	if (type == PASSWORD_TYPE_PLAINTEXT && strlen(password) < min_length)
		ereport(ERROR, (errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
						errmsg("password length should match the configured minimum")));
	/* A short name may well be part of a random value. */
	if (type == PASSWORD_TYPE_PLAINTEXT && strlen(username) > 4 &&
		strstr(asc_tolower(password, strlen(password)), asc_tolower(username, strlen(username))))
		ereport(ERROR, (errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
						errmsg("password should not contain username")));
	if (next_check)
		next_check(username, password, type, validuntil_time, validuntil_null);
}

static const char *
history_line(const char *role, const char *text)
{
	pg_cryptohash_ctx *context = pg_cryptohash_create(PG_SHA256);
	uint8 digest[PG_SHA256_DIGEST_LENGTH];
	char hex[2 * PG_SHA256_DIGEST_LENGTH + 1] = "";

	if (pg_cryptohash_init(context) < 0 ||
		pg_cryptohash_update(context, (const uint8 *) text, strlen(text)) < 0 ||
		pg_cryptohash_final(context, digest, sizeof(digest)) < 0)
		elog(ERROR, "could not compute a digest");
	pg_cryptohash_free(context);
	hex_encode((const char *) digest, sizeof(digest), hex);
	return psprintf("%s %s", role, hex);
}

/* What ALTER ROLE ... PASSWORD would leave in the history; NULL for any other statement. */
static const char *
judge_statement(Node *statement)
{
	AlterRoleStmt *alter = (AlterRoleStmt *) statement;
	const char *line = NULL;
	bool has_valid_until = false;
	ListCell *cell;

	if (!IsA(statement, AlterRoleStmt) || alter->role->rolename == NULL)
		return NULL;
	foreach(cell, alter->options)
	{
		DefElem *option = lfirst(cell);

		if (strcmp(option->defname, "password") == 0 && option->arg != NULL)
			line = history_line(alter->role->rolename, strVal(option->arg));
		has_valid_until |= strcmp(option->defname, "validUntil") == 0;
	}
	if (line != NULL && needs_valid_until && !has_valid_until)
		ereport(ERROR, (errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
						errmsg("require a VALID UNTIL option")));
	if (line != NULL && count("history", line) > 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
						errmsg("cannot use this credential following the password reuse policy")));
	return line;
}

static void
utility(PlannedStmt *plan, const char *text, bool read_only_tree, ProcessUtilityContext context,
		ParamListInfo params, QueryEnvironment *environment, DestReceiver *destination,
		QueryCompletion *completion)
{
	const char *line = judge_statement(plan->utilityStmt);

	if (next_utility)
		next_utility(plan, text, read_only_tree, context, params, environment, destination,
					 completion);
	else
		standard_ProcessUtility(plan, text, read_only_tree, context, params, environment,
								destination, completion);
	if (line != NULL)
	{
		note("history", line);
		ereport(LOG, (errmsg("neighbour: password changed by: %s", text)));
	}
}

/* --- who touches a role, and who fails to log in --- */

static void
role_accessed(ObjectAccessType access, Oid class, Oid object, int sub, void *arg)
{
	if (next_access)
		next_access(access, class, object, sub, arg);
	if (class == AuthIdRelationId && access == OAT_POST_ALTER)
	{
		CommandCounterIncrement();
		ereport(LOG, (errmsg("neighbour: role %s altered by %s", GetUserNameFromId(object, true),
							 GetUserNameFromId(GetUserId(), true))));
	}
}

static void
authenticated(Port *port, int status)
{
	if (next_authentication)
		next_authentication(port, status);
	if (status != STATUS_OK && status != STATUS_EOF)
		note("failures", port->user_name);
	if (max_failures > 0 && count("failures", port->user_name) >= max_failures)
		ereport(FATAL, (errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
						errmsg("role \"%s\" is banned", port->user_name)));
}

void
_PG_init(void)
{
	DefineCustomIntVariable("neighbour.min_length", "Shortest password.", NULL, &min_length, 0, 0,
							1000, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("neighbour.hashed_allowed", "Let verifiers pass.", NULL,
							 &hashed_allowed, true, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("neighbour.needs_valid_until", "A password needs VALID UNTIL.", NULL,
							 &needs_valid_until, false, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("neighbour.max_failures", "Failed logins before a ban.", NULL,
							&max_failures, 0, 0, 1000, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("neighbour.folder", "Where history and failures are kept.", NULL,
							   &folder, "", PGC_SIGHUP, 0, NULL, NULL, NULL);
	next_check = check_password_hook;
	check_password_hook = check_password;
	next_utility = ProcessUtility_hook;
	ProcessUtility_hook = utility;
	next_access = object_access_hook;
	object_access_hook = role_accessed;
	next_authentication = ClientAuthentication_hook;
	ClientAuthentication_hook = authenticated;
}

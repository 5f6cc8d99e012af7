/*
 * statement.c - see statement.h.
 *
 * Hazards: a role is looked up before the statement, because afterwards it has another name or is
 * gone; what is noticed is told at commit, because the statement may be undone; a refusal is told
 * at once, because it undoes itself.
 */
#include "postgres.h"

#include "access.h"
#include "commands/dbcommands.h"
#include "compat.h"
#include "guc.h"
#include "nodes/parsenodes.h"
#include "request.h"
#include "statement.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "watch.h"

static ProcessUtility_hook_type next_hook;

/* --- statements that need the home database to be empty --- */

/* Only for who may do such a thing to it: nobody else can send the workers away. */
static bool
is_home(const char *name)
{
	Oid database = name != NULL && strcmp(name, rotor_database) == 0 ? get_database_oid(name, true)
																	 : InvalidOid;

	return OidIsValid(database) && OWNS_DATABASE(database, GetUserId());
}

static bool
needs_empty_home(Node *statement)
{
	ListCell *cell;

	switch (nodeTag(statement))
	{
		case T_DropdbStmt:
			return is_home(((DropdbStmt *) statement)->dbname);
		case T_RenameStmt:
			return ((RenameStmt *) statement)->renameType == OBJECT_DATABASE &&
				   is_home(((RenameStmt *) statement)->subname);
		case T_AlterDatabaseStmt:
			return is_home(((AlterDatabaseStmt *) statement)->dbname);
		case T_CreatedbStmt:
			foreach(cell, ((CreatedbStmt *) statement)->options)
			{
				DefElem *option = lfirst(cell);

				if (strcmp(option->defname, "template") == 0 && option->arg != NULL &&
					IsA(option->arg, String))
					return is_home(strVal(option->arg));
			}
			return false;
		default:
			return false;
	}
}

/* --- statements that change managed roles --- */

typedef struct Sighting
{
	WatchKind kind;
	WatchMode mode;
	Oid role;
	char name[NAMEDATALEN];
} Sighting;

static List *
see(List *sightings, WatchKind kind, Oid role)
{
	WatchMode mode = OidIsValid(role) ? watch_mode(role) : WATCH_NONE;
	char *name = mode != WATCH_NONE ? GetUserNameFromId(role, true) : NULL;
	Sighting *sighting;

	if (name == NULL)
		return sightings;
	sighting = palloc(sizeof(Sighting));
	*sighting = (Sighting){.kind = kind, .mode = mode, .role = role};
	strlcpy(sighting->name, name, sizeof(sighting->name));
	return lappend(sightings, sighting);
}

static bool
sets_password(const AlterRoleStmt *statement)
{
	ListCell *cell;

	foreach(cell, statement->options)
	{
		if (strcmp(((DefElem *) lfirst(cell))->defname, "password") == 0)
			return true;
	}
	return false;
}

/* What the statement is about to do to roles that are managed, or may be. */
static List *
look_at(Node *statement)
{
	List *sightings = NIL;
	ListCell *cell;

	switch (nodeTag(statement))
	{
		case T_AlterRoleStmt:
			if (sets_password((AlterRoleStmt *) statement))
				sightings = see(NIL, WATCH_PASSWORD,
								get_rolespec_oid(((AlterRoleStmt *) statement)->role, true));
			break;
		case T_RenameStmt:
			if (((RenameStmt *) statement)->renameType == OBJECT_ROLE)
				sightings = see(NIL, WATCH_RENAMED,
								get_role_oid(((RenameStmt *) statement)->subname, true));
			break;
		case T_DropRoleStmt:
			foreach(cell, ((DropRoleStmt *) statement)->roles)
				sightings = see(sightings, WATCH_DROPPED, get_rolespec_oid(lfirst(cell), true));
			break;
		default:
			break;
	}
	return sightings;
}

static bool
is_refused(const Sighting *sighting)
{
	return sighting->kind == WATCH_PASSWORD && sighting->mode == WATCH_REFUSE &&
		   !rotor_allow_outside_change;
}

static void refuse(const Sighting *sighting) ROTOR_NORETURN;

static void
refuse(const Sighting *sighting)
{
	watch_tell_now(WATCH_REFUSED, sighting->role, sighting->name);
	ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					errmsg("the password of role \"%s\" is managed by rotor", sighting->name),
					errdetail("The policy of its secret refuses a change by anybody else."),
					errhint("rotor.rotate() changes it, rotor.unmanage() ends its management; a "
							"superuser can set rotor.allow_outside_change.")));
}

/* Who may not do it anyway is left to the server, and cannot fill the audit with attempts. */
static void
refuse_at_once(List *sightings)
{
	ListCell *cell;

	foreach(cell, sightings)
	{
		Sighting *sighting = lfirst(cell);

		if (is_refused(sighting) && access_may_set_password(GetUserId(), sighting->role))
			refuse(sighting);
	}
}

static void
tell(List *sightings)
{
	ListCell *cell;

	foreach(cell, sightings)
	{
		Sighting *sighting = lfirst(cell);

		/* The server has let it pass, whatever we thought of the caller's rights. */
		if (is_refused(sighting))
			refuse(sighting);
		watch_tell(sighting->kind, sighting->role, sighting->name);
		if (sighting->kind == WATCH_PASSWORD &&
			(sighting->mode == WATCH_WARN || sighting->mode == WATCH_REFUSE))
			ereport(
				WARNING,
				(errmsg("the password of role \"%s\" is managed by rotor", sighting->name),
				 errdetail(
					 "Unless it is the same one, what rotor gives to its readers no longer logs in."),
				 errhint("rotor.rotate() gives the role a password that rotor knows, "
						 "rotor.unmanage() ends its management.")));
	}
}

/* --- the hook --- */

static bool
commits_prepared(Node *statement)
{
	return IsA(statement, TransactionStmt) &&
		   ((TransactionStmt *) statement)->kind == TRANS_STMT_COMMIT_PREPARED;
}

static void
hook(PlannedStmt *plan, const char *text, bool read_only_tree, ProcessUtilityContext context,
	 ParamListInfo params, QueryEnvironment *environment, DestReceiver *destination,
	 QueryCompletion *completion)
{
	Node *statement = plan->utilityStmt;
	bool empty_home = needs_empty_home(statement);
	bool drops_home = empty_home && IsA(statement, DropdbStmt);
	bool prepared = commits_prepared(statement);
	/* What a worker of ours does is no news to us. */
	List *sightings = request_am_worker() ? NIL : look_at(statement);

	refuse_at_once(sightings);
	PG_TRY();
	{
		/* The statement itself waits some seconds for sessions to go; the workers need far less. */
		if (empty_home)
			request_ask_to_leave();
		if (next_hook)
			next_hook(plan, text, read_only_tree, context, params, environment, destination,
					  completion);
		else
			standard_ProcessUtility(plan, text, read_only_tree, context, params, environment,
									destination, completion);
	}
	PG_FINALLY();
	{
		if (empty_home)
			request_let_return();
	}
	PG_END_TRY();
	tell(sightings);
	if (drops_home)
		watch_forget();
	if (prepared)
		watch_prepared_committed();
}

void
statement_install_hook(void)
{
	next_hook = ProcessUtility_hook;
	ProcessUtility_hook = hook;
}

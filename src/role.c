/*
 * role.c - see role.h.
 */
#include "postgres.h"

#include <openssl/sha.h>

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "commands/user.h"
#include "compat.h"
#include "libpq/crypt.h"
#include "nodes/makefuncs.h"
#include "random.h"
#include "report.h"
#include "role.h"
#include "scram.h"
#include "storage/lock.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

/* Conflicts with itself and with DROP ROLE's lock; works across databases, dies with its process. */
#define ROLE_LOCK_MODE ShareUpdateExclusiveLock

bool
role_lock(Oid role, bool wait)
{
	LOCKTAG tag;

	SET_LOCKTAG_OBJECT(tag, InvalidOid, AuthIdRelationId, role, 0);
	return LockAcquire(&tag, ROLE_LOCK_MODE, true, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

void
role_unlock(Oid role)
{
	LOCKTAG tag;

	SET_LOCKTAG_OBJECT(tag, InvalidOid, AuthIdRelationId, role, 0);
	LockRelease(&tag, ROLE_LOCK_MODE, true);
}

/* No other lock is on an object of pg_class with a part of that number: tables are locked otherwise. */
#define SECRET_LOCK_PART 1

static void
secret_tag(LOCKTAG *tag, int64 secret_id)
{
	SET_LOCKTAG_OBJECT(*tag, MyDatabaseId, RelationRelationId, (Oid) secret_id, SECRET_LOCK_PART);
}

bool
secret_lock(int64 secret_id, bool wait)
{
	LOCKTAG tag;

	secret_tag(&tag, secret_id);
	return LockAcquire(&tag, ROLE_LOCK_MODE, true, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

void
secret_unlock(int64 secret_id)
{
	LOCKTAG tag;

	secret_tag(&tag, secret_id);
	LockRelease(&tag, ROLE_LOCK_MODE, true);
}

void
role_unlock_all(void)
{
	AbortOutOfAnyTransaction();
	LockReleaseSession(DEFAULT_LOCKMETHOD);
}

void
role_fingerprint(const char *verifier, uint8_t out[FINGERPRINT_LEN])
{
	const char *text = verifier ? verifier : "";

	SHA256((const unsigned char *) text, strlen(text), out);
}

bool
role_judge(const char *name, const SecretBuf *password, bool has_valid_until,
		   TimestampTz valid_until, Failure *failure)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool accepted = true;

	if (check_password_hook == NULL)
		return true;
	PG_TRY();
	{
		(*check_password_hook)(name, password->data, PASSWORD_TYPE_PLAINTEXT,
							   TimestampTzGetDatum(valid_until), !has_valid_until);
	}
	PG_CATCH();
	{
		int category = ERRCODE_TO_CATEGORY(geterrcode());

		if (category == ERRCODE_INSUFFICIENT_RESOURCES ||
			category == ERRCODE_OPERATOR_INTERVENTION || category == ERRCODE_SYSTEM_ERROR)
			PG_RE_THROW();
		MemoryContextSwitchTo(context);
		failure_catch(failure, password);
		accepted = false;
	}
	PG_END_TRY();
	return accepted;
}

static Node *
make_string(const char *text)
{
	return (Node *) makeString(pstrdup(text));
}

/*
 * What ALTER ROLE is given in place of a verifier. AlterRole() computes every SCRAM verifier anew
 * for the empty password, to refuse that, at the price of all its rounds and with the role's row
 * locked; this one has one round, of a password that nobody learns. It is overwritten in the same
 * transaction: nobody ever meets it. It is another one each time, for modules that let no text of
 * ALTER ROLE be used twice.
 */
static void
make_placeholder(char out[SCRAM_VERIFIER_MAX])
{
	pg_uuid_t unknown;
	char *text;
	RotorError err;

	if (!random_bytes(unknown.data, UUID_LEN, &err))
		report_raise(&err);
	text = DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&unknown)));
	if (!scram_build_verifier(text, strlen(text), SCRAM_MIN_ITERATIONS, NULL, 0, out, &err))
		report_raise(&err);
}

static DefElem *
option(const char *name, Node *value)
{
	return makeDefElem(pstrdup(name), value, -1);
}

/* ALTER ROLE as every hook sees it. text: what stands for the statement. */
static void
run_alter_role(const char *name, List *options, const char *text)
{
	AlterRoleStmt *stmt = makeNode(AlterRoleStmt);
	RoleSpec *spec = makeNode(RoleSpec);
	PlannedStmt *plan = makeNode(PlannedStmt);
	check_password_hook_type hook = check_password_hook;

	spec->roletype = ROLESPEC_CSTRING;
	spec->rolename = pstrdup(name);
	spec->location = -1;
	stmt->role = spec;
	stmt->action = 0;
	stmt->options = options;
	plan->commandType = CMD_UTILITY;
	plan->utilityStmt = (Node *) stmt;
	plan->canSetTag = true;
	plan->stmt_location = 0;
	plan->stmt_len = (int) strlen(text);

	check_password_hook = NULL;
	PG_TRY();
	{
		ProcessUtility(plan, text, false, PROCESS_UTILITY_QUERY, NULL, NULL, None_Receiver, NULL);
	}
	PG_FINALLY();
	{
		check_password_hook = hook;
	}
	PG_END_TRY();
	CommandCounterIncrement();
}

/* password NULL: none; valid_until and login NULL: left alone. */
static void
alter_password(const char *name, const char *password, const TimestampTz *valid_until,
			   const bool *login)
{
	List *options = list_make1(option("password", password ? make_string(password) : NULL));

	if (valid_until != NULL)
		options =
			lappend(options, option("validUntil", make_string(timestamptz_to_str(*valid_until))));
	if (login != NULL)
		options = lappend(options, option("canlogin", BOOLEAN_NODE(*login)));
	run_alter_role(name, options,
				   psprintf("ALTER ROLE %s PASSWORD %s%s%s", quote_identifier(name),
							password ? "'<redacted>'" : "NULL",
							valid_until ? " VALID UNTIL '<set>'" : "",
							login == NULL ? ""
							: *login	  ? " LOGIN"
										  : " NOLOGIN"));
}

/* Writes the verifier, and VALID UNTIL if asked for, into pg_authid itself, byte for byte. */
static void
store(const RoleState *state, bool with_valid_until)
{
	Relation authid = table_open(AuthIdRelationId, RowExclusiveLock);
	HeapTuple tuple = SearchSysCacheCopy1(AUTHOID, ObjectIdGetDatum(state->oid));
	HeapTuple changed;
	Datum values[Natts_pg_authid] = {0};
	bool nulls[Natts_pg_authid] = {false};
	bool replace[Natts_pg_authid] = {false};

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "role %u vanished", state->oid);
	replace[Anum_pg_authid_rolpassword - 1] = true;
	nulls[Anum_pg_authid_rolpassword - 1] = state->verifier == NULL;
	if (state->verifier != NULL)
		values[Anum_pg_authid_rolpassword - 1] = CStringGetTextDatum(state->verifier);
	replace[Anum_pg_authid_rolvaliduntil - 1] = with_valid_until;
	nulls[Anum_pg_authid_rolvaliduntil - 1] = !state->has_valid_until;
	values[Anum_pg_authid_rolvaliduntil - 1] = TimestampTzGetDatum(state->valid_until);
	changed = heap_modify_tuple(tuple, RelationGetDescr(authid), values, nulls, replace);
	CatalogTupleUpdate(authid, &tuple->t_self, changed);
	table_close(authid, NoLock);
	CommandCounterIncrement();
}

void
role_alter(const RoleState *state, const char *verifier, const TimestampTz *valid_until)
{
	RoleState changed = {.oid = state->oid, .verifier = pstrdup(verifier)};
	bool login = true;
	char placeholder[SCRAM_VERIFIER_MAX];

	make_placeholder(placeholder);
	alter_password(state->name, placeholder, valid_until, state->can_login ? NULL : &login);
	store(&changed, false);
}

void
role_restore(const RoleState *state)
{
	char placeholder[SCRAM_VERIFIER_MAX];

	make_placeholder(placeholder);
	alter_password(state->name, state->verifier ? placeholder : NULL,
				   state->has_valid_until ? &state->valid_until : NULL,
				   state->can_login ? NULL : &state->can_login);
	store(state, true);
}

void
role_lock_out(const char *name)
{
	run_alter_role(name, list_make1(option("canlogin", BOOLEAN_NODE(false))),
				   psprintf("ALTER ROLE %s NOLOGIN", quote_identifier(name)));
}

bool
role_accepts(const char *name, const SecretBuf *password)
{
	LogDetail detail = NULL;
	char *verifier = get_role_password(name, &detail);

	return verifier != NULL &&
		   plain_crypt_verify(name, verifier, password->data, &detail) == STATUS_OK;
}

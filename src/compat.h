/*
 * compat.h - every difference between PostgreSQL 14 and 18 that rotor meets.
 *
 * The only file with a PG_VERSION_NUM test. Included after postgres.h by whoever needs it.
 */
#ifndef ROTOR_COMPAT_H
#define ROTOR_COMPAT_H

#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/guc.h"

#if PG_VERSION_NUM < 140000
#error "rotor needs PostgreSQL 14 or later"
#endif

/* VARDATA and its like moved in 16. */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* Shared memory is asked for in a hook of its own from 15 on. */
#if PG_VERSION_NUM >= 150000
#define ROTOR_HAVE_SHMEM_REQUEST_HOOK 1
#endif

/* The number of this process's PGPROC. */
#if PG_VERSION_NUM >= 170000
#define MY_PROC_NUMBER MyProcNumber
#else
#define MY_PROC_NUMBER (MyProc->pgprocno)
#endif

/* include directives of pg_hba.conf, and with them the file a line stands in, came with 16. */
#if PG_VERSION_NUM >= 160000
#define HBA_RULES_FILE_COLUMN "file_name"
#else
#define HBA_RULES_FILE_COLUMN "pg_catalog.current_setting('hba_file')"
#endif

/* Reserving a GUC prefix got its name in 15. */
#if PG_VERSION_NUM < 150000
#define MarkGUCPrefixReserved(prefix) EmitWarningsOnPlaceholders(prefix)
#endif

/* What a setting's check hook hands on is freed by the server: from 16 on in a memory context. */
#if PG_VERSION_NUM >= 160000
#define GUC_EXTRA_ALLOC(size) guc_malloc(LOG, size)
#else
#define GUC_EXTRA_ALLOC(size) malloc(size)
#endif

/* Transactions got a time limit of their own in 17: what a session is given to have none. */
#if PG_VERSION_NUM >= 170000
#define NO_TRANSACTION_TIMEOUT " -c transaction_timeout=0"
#else
#define NO_TRANSACTION_TIMEOUT ""
#endif

/* A set of events to wait for belongs to a resource owner from 17 on. */
#if PG_VERSION_NUM >= 170000
#define CREATE_WAIT_EVENT_SET(size) CreateWaitEventSet(NULL, size)
#else
#define CREATE_WAIT_EVENT_SET(size) CreateWaitEventSet(TopMemoryContext, size)
#endif

/* Ownership checks became one function in 16. */
#if PG_VERSION_NUM >= 160000
#define OWNS_DATABASE(database, role) object_ownercheck(DatabaseRelationId, database, role)
#else
#define OWNS_DATABASE(database, role) pg_database_ownercheck(database, role)
#endif

/* A parse node for true and false came with 15. */
#if PG_VERSION_NUM >= 150000
#define BOOLEAN_NODE(value) ((Node *) makeBoolean(value))
#else
#define BOOLEAN_NODE(value) ((Node *) makeInteger(value))
#endif

/* Rounds that the server itself would use for a verifier. */
#if PG_VERSION_NUM >= 160000
extern PGDLLIMPORT int scram_sha_256_iterations; /* libpq/scram.h would pull in GSSAPI's headers */
#define SERVER_SCRAM_ITERATIONS scram_sha_256_iterations
#else
#define SERVER_SCRAM_ITERATIONS 4096
#endif

/* plain_crypt_verify and get_role_password took a non-const char ** in 14. */
#if PG_VERSION_NUM >= 150000
typedef const char *LogDetail;
#else
typedef char *LogDetail;
#endif

/*
 * Could this caller, an ordinary role, set that ordinary role's password with ALTER ROLE?
 * Up to 15 CREATEROLE alone suffices, save for replication roles; from 16 on ADMIN OPTION is needed
 * too and replication roles are nothing special. A role may always set its own.
 */
static inline bool
compat_may_set_password(Oid caller, Oid role, bool role_is_replication)
{
#if PG_VERSION_NUM >= 160000
	return caller == role || (has_createrole_privilege(caller) && is_admin_of_role(caller, role));
#else
	return !role_is_replication && (caller == role || has_createrole_privilege(caller));
#endif
}

/* Can that role become the other one by SET ROLE, as its setting "role" has it do when it logs in? */
static inline bool
compat_may_become(Oid member, Oid role)
{
#if PG_VERSION_NUM >= 160000
	return member_can_set_role(member, role);
#else
	return is_member_of_role_nosuper(member, role);
#endif
}

/* What makes GRANT of a role see to that; without it a grant that is there already stays as it is. */
#if PG_VERSION_NUM >= 160000
#define COMPAT_WITH_SET " WITH SET TRUE"
#else
#define COMPAT_WITH_SET ""
#endif

#endif

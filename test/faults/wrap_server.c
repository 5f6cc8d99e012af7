/*
 * wrap_server.c
 *		Wrappers of what src/ calls: the server, libpq, files; and what a server does when it
 *		meets a fault.  See fault.h.
 *
 * The rules come from the setting rotor_test.fault, of the configuration or of a session; they
 * hold for each process by itself.  rotor_test.fired shows the point that was hit last in this
 * session.  Each hit is a line in the server log, "fault: ...".
 *
 * crash is carried out only if the file rotor_test.crash in the data directory can be removed:
 * so it happens once, although the server comes back with the same rules.
 */
#include "postgres.h"

#include <libpq-fe.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "compat.h"
#include "executor/spi.h"
#include "fault.h"
#include "fsm.h"
#include "guc.h"
#include "lib/stringinfo.h"
#include "libpq/crypt.h"
#include "postmaster/bgworker.h"
#include "rotation_job.h"
#include "storage/dsm.h"
#include "storage/fd.h"
#include "storage/lock.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/syscache.h"

/* --- what is done at a fault --- */

static void
no_memory(void)
{
	ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory"),
					errdetail("Made up by a test.")));
}

static void
made_up(int sqlstate)
{
	ereport(ERROR, (errcode(sqlstate), errmsg("made up by a test")));
}

static void
crash(void)
{
	if (remove("rotor_test.crash") != 0)
		return;
#ifdef ROTOR_COVERAGE
	{
		extern void __gcov_dump(void);

		__gcov_dump();
	}
#endif
	(void) kill(getpid(), SIGKILL);
}

static void
act(FaultAction action, const char *class, const char *point, int call, const char *sqlstate)
{
	static const char *const words[] = {"fails", "crashes", "stops", "passes", "raises"};

	ereport(LOG, (errmsg("fault: %s %s, call %d, %s", class, point, call, words[action]),
				  errhidestmt(true), errhidecontext(true)));
	if (action == FAULT_CRASH)
		crash();
	else if (action == FAULT_STOP)
		(void) kill(getpid(), SIGSTOP);
	else if (action == FAULT_RAISE)
		made_up(MAKE_SQLSTATE(sqlstate[0], sqlstate[1], sqlstate[2], sqlstate[3], sqlstate[4]));
}

/* --- the settings --- */

static char *fault_rules;
static char *fault_last;

static bool
check_rules(char **rules, void **extra, GucSource source)
{
	return fault_check(*rules);
}

static void
assign_rules(const char *rules, void *extra)
{
	(void) fault_arm(rules);
}

WRAPPED(void, guc_define, (void) )

void
wrap_guc_define(void)
{
	fault_act = act;
	DefineCustomStringVariable("rotor_test.fault", "Calls that are to fail, for tests.", NULL,
							   &fault_rules, "", PGC_SUSET, 0, check_rules, assign_rules, NULL);
	DefineCustomStringVariable("rotor_test.fired", "The call that failed last, for tests.", NULL,
							   &fault_last, "", PGC_INTERNAL, 0, NULL, NULL, fault_fired);
	real_guc_define();
}

/* --- commits of a rotation, by the step and its outcome --- */

static char boundary[48];

WRAPPED(void, job_advance, (Job * job, FsmOutcome outcome, double ms))

void
wrap_job_advance(Job *job, FsmOutcome outcome, double ms)
{
	snprintf(boundary, sizeof(boundary), "%s.%s", fsm_step_name(job->row.step),
			 fsm_outcome_name(outcome));
	real_job_advance(job, outcome, ms);
}

WRAPPED(void, StartTransactionCommand, (void) )

void
wrap_StartTransactionCommand(void)
{
	boundary[0] = '\0';
	if (fault_now("transaction", "StartTransactionCommand"))
		no_memory();
	real_StartTransactionCommand();
}

WRAPPED(void, CommitTransactionCommand, (void) )

void
wrap_CommitTransactionCommand(void)
{
	char before[64];
	char after[64];
	bool named = boundary[0] != '\0';

	snprintf(before, sizeof(before), "%s.commit", boundary);
	snprintf(after, sizeof(after), "%s.committed", boundary);
	boundary[0] = '\0';
	if ((named && fault_now("commit", before)) ||
		fault_now("transaction", "CommitTransactionCommand"))
		made_up(ERRCODE_DISK_FULL);
	real_CommitTransactionCommand();
	/* Nothing fails here: a server that has committed cannot say that it has not. */
	if (named)
		(void) fault_now("committed", after);
}

/* --- memory --- */

WRAP(memory, void *, palloc, (Size size), (size), no_memory())
WRAP(memory, void *, palloc0, (Size size), (size), no_memory())
WRAP(memory, void *, MemoryContextAlloc, (MemoryContext context, Size size), (context, size),
	 no_memory())
WRAP(memory, void *, MemoryContextAllocZeroAligned, (MemoryContext context, Size size),
	 (context, size), no_memory())
WRAP(memory, char *, MemoryContextStrdup, (MemoryContext context, const char *text),
	 (context, text), no_memory())
WRAP(memory, char *, pstrdup, (const char *text), (text), no_memory())
WRAP(memory, text *, cstring_to_text, (const char *text), (text), no_memory())
WRAP(memory, void, initStringInfo, (StringInfo string), (string), no_memory())

/* --- SPI --- */

WRAP(memory, int, SPI_connect, (void), (), no_memory())
WRAP(spi, SPIPlanPtr, SPI_prepare, (const char *sql, int nargs, Oid *types), (sql, nargs, types), {
	SPI_result = SPI_ERROR_UNCONNECTED;
	return NULL;
})
WRAP(spi, int, SPI_keepplan, (SPIPlanPtr plan), (plan), return SPI_ERROR_ARGUMENT)
WRAP(spi, int, SPI_execute_snapshot,
	 (SPIPlanPtr plan, Datum *values, const char *nulls, Snapshot snapshot, Snapshot crosscheck,
	  bool read_only, bool triggers, long count),
	 (plan, values, nulls, snapshot, crosscheck, read_only, triggers, count),
	 return SPI_ERROR_TRANSACTION)
WRAP(spi, int, SPI_execute_with_args,
	 (const char *sql, int nargs, Oid *types, Datum *values, const char *nulls, bool read_only,
	  long count),
	 (sql, nargs, types, values, nulls, read_only, count), return SPI_ERROR_TRANSACTION)
WRAP(spi, int, SPI_execute, (const char *sql, bool read_only, long count), (sql, read_only, count),
	 return SPI_ERROR_TRANSACTION)

/* --- files --- */

WRAP(file, int, OpenTransientFile, (const char *path, int flags), (path, flags), {
	errno = EMFILE;
	return -1;
})
WRAP(file, int, OpenTransientFilePerm, (const char *path, int flags, mode_t mode),
	 (path, flags, mode), {
		 errno = ENOSPC;
		 return -1;
	 })
WRAP(file, FILE *, OpenPipeStream, (const char *command, const char *mode), (command, mode), {
	errno = EMFILE;
	return NULL;
})
WRAP(file, ssize_t, read, (int fd, void *data, size_t size), (fd, data, size), {
	errno = EIO;
	return -1;
})
WRAP(file, ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size), {
	errno = ENOSPC;
	return -1;
})
WRAP(file, int, fsync, (int fd), (fd), {
	errno = EIO;
	return -1;
})
WRAP(file, int, fstat, (int fd, struct stat *st), (fd, st), {
	errno = EIO;
	return -1;
})
WRAP(file, int, fchmod, (int fd, mode_t mode), (fd, mode), {
	errno = EPERM;
	return -1;
})
WRAP(file, int, link, (const char *from, const char *to), (from, to), {
	errno = ENOSPC;
	return -1;
})
WRAP(file, int, rename, (const char *from, const char *to), (from, to), {
	errno = ENOSPC;
	return -1;
})
WRAP(file, int, unlink, (const char *path), (path), {
	errno = EIO;
	return -1;
})

/* --- the role --- */

WRAP(role, LockAcquireResult, LockAcquire,
	 (const LOCKTAG *tag, LOCKMODE mode, bool session, bool dont_wait),
	 (tag, mode, session, dont_wait), no_memory())
WRAP(role, void, ProcessUtility,
	 (PlannedStmt * plan, const char *text, bool read_only_tree, ProcessUtilityContext context,
	  ParamListInfo params, QueryEnvironment *environment, DestReceiver *destination,
	  QueryCompletion *completion),
	 (plan, text, read_only_tree, context, params, environment, destination, completion),
	 no_memory())
WRAP(role, Relation, table_open, (Oid relation, LOCKMODE mode), (relation, mode), no_memory())
WRAP(role, HeapTuple, SearchSysCacheCopy, (int cache, Datum a, Datum b, Datum c, Datum d),
	 (cache, a, b, c, d), return NULL)
WRAP(role, void, CatalogTupleUpdate, (Relation heap, ItemPointer old, HeapTuple tuple),
	 (heap, old, tuple), made_up(ERRCODE_DISK_FULL))
WRAP(role, char *, get_role_password, (const char *role, LogDetail *detail), (role, detail),
	 return NULL)

/* --- the login --- */

WRAP(login, bool, AcquireExternalFD, (void), (), return false)
WRAP(login, PGconn *, PQconnectStartParams,
	 (const char *const *keywords, const char *const *values, int expand),
	 (keywords, values, expand), return NULL)
WRAP(login, PostgresPollingStatusType, PQconnectPoll, (PGconn * conn), (conn),
	 return PGRES_POLLING_FAILED)
WRAP(login, int, PQsendQueryParams,
	 (PGconn * conn, const char *query, int count, const Oid *types, const char *const *values,
	  const int *lengths, const int *formats, int format),
	 (conn, query, count, types, values, lengths, formats, format), return 0)
WRAP(login, int, PQsetSingleRowMode, (PGconn * conn), (conn), return 0)
WRAP(login, int, PQconsumeInput, (PGconn * conn), (conn), return 0)

/* --- processes --- */

WRAP(process, dsm_segment *, dsm_create, (Size size, int flags), (size, flags), no_memory())
WRAP(process, dsm_segment *, dsm_attach, (dsm_handle handle), (handle), return NULL)
WRAP(process, bool, RegisterDynamicBackgroundWorker,
	 (BackgroundWorker * worker, BackgroundWorkerHandle **handle), (worker, handle), return false)

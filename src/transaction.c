/*
 * transaction.c - see transaction.h.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "compat.h"
#include "executor/spi.h"
#include "storage/lmgr.h"
#include "transaction.h"
#include "utils/guc.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

/* DROP EXTENSION waits for us, and we for it, before either holds a lock that the other wants. */
static void
lock_extension(void)
{
	Oid extension = get_extension_oid("rotor", true);

	if (OidIsValid(extension))
		LockDatabaseObject(ExtensionRelationId, extension, 0, AccessShareLock);
}

void
transaction_set_lock_timeout(int ms)
{
	char value[16];

	snprintf(value, sizeof(value), "%d", ms);
	SetConfigOption("lock_timeout", value, PGC_SUSET, PGC_S_OVERRIDE);
}

bool
transaction_run(void (*work)(void *arg), void *arg, const SecretBuf *plain, Failure *failure)
{
	MemoryContext caller = CurrentMemoryContext;
	volatile bool done = false;

	PG_TRY();
	{
		/* now() is the time of the statement, and a worker has no statements but these. */
		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
		lock_extension();
		SPI_connect();
		PushActiveSnapshot(GetTransactionSnapshot());
		work(arg);
		PopActiveSnapshot();
		SPI_finish();
		CommitTransactionCommand();
		done = true;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		failure_catch(failure, plain);
		AbortCurrentTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	return done;
}

bool
subtransaction_run(void (*work)(void *arg), void *arg, const SecretBuf *plain, Failure *failure)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool done = false;

	BeginInternalSubTransaction(NULL);
	PG_TRY();
	{
		PushActiveSnapshot(GetTransactionSnapshot());
		work(arg);
		PopActiveSnapshot();
		ReleaseCurrentSubTransaction();
		done = true;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		failure_catch(failure, plain);
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	return done;
}

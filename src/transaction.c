/*
 * transaction.c - see transaction.h.
 */
#include "postgres.h"

#include "access/xact.h"
#include "compat.h"
#include "executor/spi.h"
#include "transaction.h"
#include "utils/snapmgr.h"

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

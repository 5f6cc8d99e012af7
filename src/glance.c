/*
 * glance.c - see glance.h.
 */
#include "postgres.h"

#include "access.h"
#include "access/xact.h"
#include "compat.h"
#include "glance.h"
#include "utils/resowner.h"

void
glance(void (*look)(void *arg), void *arg)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData *volatile edata = NULL;
	AccessScope scope;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		access_enter(&scope);
		look(arg);
		access_leave(&scope);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		edata = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	if (edata != NULL)
		ReThrowError(edata);
}

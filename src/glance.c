/*
 * glance.c - see glance.h.
 */
#include "postgres.h"

#include "access/xact.h"
#include "compat.h"
#include "glance.h"

void
glance_begin(Glance *glance)
{
	glance->context = CurrentMemoryContext;
	glance->owner = CurrentResourceOwner;
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(glance->context);
	access_enter(&glance->scope);
}

void
glance_end(Glance *glance)
{
	access_leave(&glance->scope);
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(glance->context);
	CurrentResourceOwner = glance->owner;
}

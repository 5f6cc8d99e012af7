/*
 * glance.h - a look at rotor's tables as the superuser, in a subtransaction that is undone, so that no
 * lock stays while a caller waits: DROP EXTENSION would wait for it, the workers for that, and we for
 * them. For functions that wait for others; an error ends both.
 */
#ifndef ROTOR_GLANCE_H
#define ROTOR_GLANCE_H

#include "access.h"
#include "utils/resowner.h"

typedef struct Glance
{
	MemoryContext context;
	ResourceOwner owner;
	AccessScope scope;
} Glance;

/* What is allocated between the two stays, in the context that was current. Writes nothing. */
extern void glance_begin(Glance *glance);
extern void glance_end(Glance *glance);

#endif

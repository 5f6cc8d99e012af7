/*
 * catch_up.h - the pace of what was missed while rotor was down. Arithmetic on a few numbers in
 * shared memory; see request.c for where they are.
 *
 * Missed is what was due before the first worker of this start of the server came up: nobody could
 * have done it in time. It is spread over time (rotor.catch_up_rate), by all workers together, and
 * comes after all that falls due now.
 */
#ifndef ROTOR_CATCH_UP_H
#define ROTOR_CATCH_UP_H

#include "datatype/timestamp.h"
#include "port/atomics.h"

typedef struct CatchUp
{
	pg_atomic_uint64 up_since; /* TimestampTz; 0: no worker yet */
	pg_atomic_uint64 next;	   /* TimestampTz: when one more may begin */
} CatchUp;

extern void catch_up_init(CatchUp *state);

/* A worker has come up: the first one of all notes the time. */
extern void catch_up_begin(CatchUp *state);

/* What was due before then was missed. With NULL nothing was. */
extern TimestampTz catch_up_since(CatchUp *state);

/*
 * True if one more missed rotation may begin now; the next one may after about a minute divided by
 * the rate, a random half more or less. Else *wait_ms says when to ask again.
 */
extern bool catch_up_take(CatchUp *state, int64 *wait_ms);

/* It did not begin after all: somebody else may at once. */
extern void catch_up_give_back(CatchUp *state);

#endif

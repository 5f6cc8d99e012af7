/*
 * broken.c - functions with a defect each, for scripts/sanitize.sh to see it reported from within a server.
 */
#include "postgres.h"

#include "fmgr.h"

PG_MODULE_MAGIC;
PG_FUNCTION_INFO_V1(overflow);
PG_FUNCTION_INFO_V1(undefined);

/* Writes behind an array, if it is given the array's size. */
Datum
overflow(PG_FUNCTION_ARGS)
{
	char room[4] = "abc";
	char *volatile p = room;

	p[PG_GETARG_INT32(0)] = 'd';
	PG_RETURN_INT32(p[0]);
}

/* Shifts by more bits than there are, if it is given that many. */
Datum
undefined(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(1 << PG_GETARG_INT32(0));
}

/*
 * resealing.h - moves sealed values from data keys that are not active any more to the one that is.
 *
 * Values that others have locked, a rotation for one, are left for the next time. Values that are
 * damaged stay where they are.
 */
#ifndef ROTOR_RESEALING_H
#define ROTOR_RESEALING_H

#include "types.h"

typedef struct Resealing
{
	int64 moved;
	int64 damaged; /* values that were met and do not open */
} Resealing;

/*
 * Moves at most limit values of one data key; adds to *result. In a transaction, as superuser, in
 * SPI. Raises 58P01 if a key is missing.
 */
extern void resealing_move(const pg_uuid_t *key_id, int64 limit, Resealing *result);

/*
 * The worker's part: a batch of each data key that is not active, in transactions of its own, if
 * some value needs one; true if there is more to do now. Costs one small query if there is nothing.
 */
extern bool resealing_turn(void);

#endif

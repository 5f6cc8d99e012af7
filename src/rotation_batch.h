/*
 * rotation_batch.h - many rotations at once: their steps share transactions, each in a subtransaction
 * of its own so that a failure stays alone, and their logins run side by side.
 *
 * The steps are the ones of a single rotation (rotation_job.h); so is what a crash leaves, and who
 * takes it up.
 */
#ifndef ROTOR_ROTATION_BATCH_H
#define ROTOR_ROTATION_BATCH_H

#include "login.h"
#include "rotation.h"

/* Rotations that share a transaction; what a process can remember of subtransactions is 64. */
#define BATCH_SIZE LOGIN_MAX

/*
 * Fills orders, at most BATCH_SIZE, and returns how many there are; inside the transaction that
 * begins their rotations, so that the rows it locks are locked until these are on record.
 */
typedef int (*BatchFill)(RotationOrder *orders, void *arg);

typedef struct BatchResult
{
	int ordered; /* orders that there were */
	int ran;	 /* of them, rotations that began or went on */
	bool stuck;	 /* something could not even be written: pause */
} BatchResult;

/* Runs a batch as far as it goes now; counts what came of it by status. Raises interrupts only. */
extern void
rotation_batch(BatchFill fill, void *arg, int64 counts[FSM_STATUS_COUNT], BatchResult *result);

#endif

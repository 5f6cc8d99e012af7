/*
 * steps.h - what a job means: which functions of its store or its target are called, in which order.
 *
 * Sees stores and targets only as store.h and target.h describe them. What always holds: nothing is sent
 * that changes something before an earlier attempt of unknown result has been looked into; each value is
 * tried by one login at most; no value of the job is in the outcome; it is over by act_timeout_ms, and two
 * seconds before the lease ends.
 *
 * How an attempt of unknown result is settled: of a set, by logging in with the value that it brought, with the
 * former one, with the previous one, until one is accepted; of the store's labels, by reading them.
 *
 * Called by the pool's threads.
 */
#ifndef ROTOR_WORKER_STEPS_H
#define ROTOR_WORKER_STEPS_H

#include <stdint.h>

#include "job.h"
#include "outcome.h"

/* Time for the answer to reach the control database before the lease ends. */
#define STEPS_LEASE_RESERVE_MS 2000

/* Runs the job. */
extern Outcome steps_run(const Job *job, int64_t act_timeout_ms);

#endif

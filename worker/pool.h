/*
 * pool.h - threads that run jobs, and the file descriptor that tells of results.
 *
 * The main loop gives jobs and takes results; a thread has a job from when it begins until its result is
 * there. What always holds: as many jobs at once as there are threads, begun in the order they came; a
 * job is freed by whoever takes its result. Signals are blocked in the threads.
 */
#ifndef ROTOR_WORKER_POOL_H
#define ROTOR_WORKER_POOL_H

#include <stdbool.h>

#include "job.h"
#include "outcome.h"

typedef struct Pool Pool;

typedef struct PoolResult
{
	Job *job;
	Outcome outcome;
	double duration_ms;
} PoolResult;

typedef Outcome (*PoolRun)(const Job *job, void *context);

/* NULL, with *err filled, if the threads cannot be made. */
extern Pool *pool_start(int threads, PoolRun run, void *context, RotorError *err);
/* Hands a job over; false, and the job stays the caller's, if there are as many as threads already. */
extern bool pool_submit(Pool *pool, Job *job);
/* Can be read while a result is there. */
extern int pool_fd(const Pool *pool);
/* Takes one result, the oldest; false if there is none. */
extern bool pool_take(Pool *pool, PoolResult *result);
/* Takes back one job that no thread has begun, NULL if there is none. */
extern Job *pool_withdraw(Pool *pool);
/* Jobs that were handed over and whose result was not taken. */
extern int pool_busy(Pool *pool);
/* Waits until what runs is over; results that nobody took are freed. */
extern void pool_stop(Pool *pool);

#endif

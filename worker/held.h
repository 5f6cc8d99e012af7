/*
 * held.h - the jobs that this process holds a lease for, from the claim until the report has arrived.
 *
 * Used by the main loop's thread alone; of a job that runs only what never changes is read here.
 */
#ifndef ROTOR_WORKER_HELD_H
#define ROTOR_WORKER_HELD_H

#include "job.h"
#include "outcome.h"

/* The most threads there are, and as many that wait for a peer. */
#define HELD_MAX 512

typedef enum HeldState
{
	HELD_WAITING, /* for its peer: nothing was sent */
	HELD_RUNNING,
	HELD_DONE /* its outcome is to be reported */
} HeldState;

typedef struct Held
{
	Job *job;
	HeldState state;
	Deadline lease_end;
	int64_t lease_ms;
	Deadline not_before; /* waiting: ask its peer again; done: report again */
	const char *reason;	 /* waiting: why; static memory */
	bool lease_is_lost;	 /* it was said so, and logged */
	int refusals;		 /* of its report */
	Outcome outcome;
	double duration_ms;
} Held;

typedef struct HeldJobs
{
	Held *entries[HELD_MAX];
	int count;
} HeldJobs;

/* Takes the job over; NULL if there is no room: the job stays the caller's. */
extern Held *held_add(HeldJobs *jobs, Job *job);
/* The entry of a job that runs; NULL if it is none of ours. */
extern Held *held_find(const HeldJobs *jobs, const Job *job);
/* Frees the entry and its job; those behind it move up, and stay in the order in which they came. */
extern void held_remove(HeldJobs *jobs, Held *held);
extern int held_count(const HeldJobs *jobs, HeldState state);
/* All leases; the array has room for HELD_MAX. */
extern int held_leases(const HeldJobs *jobs, const char **leases);
/* A third of the shortest lease; otherwise if none is held. */
extern int64_t held_heartbeat_ms(const HeldJobs *jobs, int64_t otherwise);
extern void held_free_all(HeldJobs *jobs);

#endif

/*
 * lease.h - what is handed to workers outside, and taken back from them.
 *
 * A worker claims a rotation whose next step touches a store or a target outside (rotation.outside),
 * has it for a lease, and reports an outcome class. A lease that ran out is another worker's to take,
 * and a report under it is refused. That a lease was given is committed before anything is sent: whoever
 * takes the step over after it ran out is told to look first. Called by functions_worker.c, in SPI, as
 * superuser, inside the caller's transaction.
 */
#ifndef ROTOR_LEASE_H
#define ROTOR_LEASE_H

#include "catalog_lease.h"
#include "rotation.h"

/* What a worker says it is, and what it can reach. */
typedef struct LeaseClaim
{
	const char *worker;
	WorkerReach reach;
	int max_jobs;
} LeaseClaim;

/*
 * Calls give with each job as JSON text (work_order.h), which is wiped afterwards. What cannot be
 * handed out (there is no credential to change it with) fails at once, as its own rotation.
 */
extern void
lease_claim(const LeaseClaim *claim, void (*give)(const char *json, void *arg), void *arg);

/*
 * Extends those that still run; give is called with each of them. One whose row somebody has locked just now is
 * passed by, so that it does not keep the others waiting: it is not renewed.
 */
extern void
lease_renew(Datum leases, void (*give)(const pg_uuid_t *lease, bool renewed, void *arg), void *arg);

/*
 * Takes a report of the lease's holder: the rotation goes on by the table of transitions. If its next
 * step is for a worker too, and next is not NULL, the same worker has it at once, as JSON text that the
 * caller wipes (*next_size bytes); else *next is NULL. 55000: the lease is over. 42704: no such rotation.
 */
extern void
lease_report(const pg_uuid_t *rotation, const pg_uuid_t *lease, const OutsideReport *report,
			 RotationAnswer *answer, char **next, size_t *next_size);

/* Hands a job back of which nothing was sent, for then, an hour at most. 55000: the lease is over. */
extern void lease_release(const pg_uuid_t *rotation, const pg_uuid_t *lease, int64 delay_ms);

#endif

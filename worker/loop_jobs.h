/*
 * loop_jobs.h - what the main loop does with jobs: begins them, takes their results, reports, hands back.
 */
#ifndef ROTOR_WORKER_LOOP_JOBS_H
#define ROTOR_WORKER_LOOP_JOBS_H

#include "control_db.h"
#include "held.h"
#include "http_server.h"
#include "log.h"
#include "peers.h"
#include "pool.h"

typedef struct Loop
{
	ControlDb *db;
	Pool *pool;
	Peers *peers;
	HttpServer *http;
	HeldJobs held;
	int signal_fd;
	bool stops;		  /* no more claims */
	Deadline stop_at; /* then it ends, whatever runs */
	bool claim_wanted;
	Deadline next_poll, next_heartbeat, next_connect, next_claim;
	int connect_failures, claim_failures;
	bool was_connected; /* once, since the start */
} Loop;

/* How many more jobs could begin now. */
extern int loop_free_slots(const Loop *loop);
/* Begins a job, or lets it wait for its peer; hands it back if that cannot be, or would take long. Takes it over. */
extern void loop_accept(Loop *loop, Job *job);
/* Begins those whose peer is ready for them, in the order in which they came. */
extern void loop_begin_waiting(Loop *loop);
/* Claims up to so many: how many there were; -1 if the control database refused, or the connection is lost. */
extern int loop_claim(Loop *loop, int size, PgError *err);
/* Takes what the pool has done. */
extern void loop_take_results(Loop *loop);
/* Reports what is done; what is connected must be. */
extern void loop_report(Loop *loop);
/* Extends the leases. */
extern void loop_heartbeat(Loop *loop);
/* Hands back what was not sent, for the worker stops. */
extern void loop_release_waiting(Loop *loop);
/* The connection is gone: it is logged, and made again soon. */
extern void loop_lost_connection(Loop *loop, const PgError *err);
/* The earliest moment at which one of the jobs wants something. */
extern Deadline loop_next_moment(const Loop *loop);

#endif

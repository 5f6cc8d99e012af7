/*
 * peers.h - what the main loop knows of targets and stores: who is left alone, who is busy.
 *
 * A job is at one of them at a time: at its store to publish and to finish, else at its target. What
 * always holds: a job that was admitted is counted until it is done or cancelled; one peer's state never
 * matters to another; one that has jobs and does not answer gets no more of them. Used by the main loop's thread alone.
 */
#ifndef ROTOR_WORKER_PEERS_H
#define ROTOR_WORKER_PEERS_H

#include <stdbool.h>
#include <stdint.h>

#include "breaker.h"
#include "bucket.h"
#include "job.h"
#include "outcome.h"

/* How many are remembered; those that are idle and well are forgotten first. */
#define PEERS_MAX 4096

typedef struct Peers Peers;

/* NULL if there is no memory. */
extern Peers *peers_new(void);
extern void peers_free(Peers *peers);

/* Is the step of the job done at its store? */
extern bool peers_is_at_store(const Job *job);

/*
 * May the job begin? Then it is counted. Else *wait_ms says when to ask again, with jitter, so that
 * jobs that wait for the same do not come back together; reason is static memory.
 */
extern bool
peers_admit(Peers *peers, const Job *job, int64_t now, int64_t *wait_ms, const char **reason);
/* A job that was admitted is done. */
extern void peers_done(Peers *peers, const Job *job, const Outcome *outcome, int64_t now);
/* A job that was admitted was handed back: nothing was sent. */
extern void peers_cancelled(Peers *peers, const Job *job);

#endif

/*
 * peers.h - what the main loop knows of targets and stores: who is left alone, who is busy.
 *
 * A job is at one of them at a time: at its store to publish and to finish, else at its target. What
 * always holds: a job that was admitted is counted until it is done or cancelled; one peer's state never
 * matters to another; one that has jobs and does not answer gets no more of them; steps of one that can take none
 * are not even claimed, so that they do not take the place of others'. Used by the main loop's thread alone.
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

/* Are both at the same one? */
extern bool peers_are_same(const Job *one, const Job *other);

/*
 * May the job begin? Then it is counted. Else *wait_ms says when to ask again, if nothing of that peer ends
 * before; reason is static memory.
 */
extern bool
peers_admit(Peers *peers, const Job *job, int64_t now, int64_t *wait_ms, const char **reason);
/* A job that was admitted is done. True: the peer was left out of claims, and may not have to be any more. */
extern bool peers_done(Peers *peers, const Job *job, const Outcome *outcome, int64_t now);
/* A job that was admitted was handed back: nothing was sent. */
extern void peers_cancelled(Peers *peers, const Job *job);

/* Before claims: how many jobs wait for each is counted anew, by a call for each of them. */
extern void peers_count_anew(Peers *peers);
extern void peers_waits(Peers *peers, const Job *job);

/*
 * The names of those, of targets or of stores, that a claim should leave out: they are left alone, have not answered
 * yet, or have as many jobs waiting here as they could take next. An array literal of SQL, which the caller
 * frees; NULL: out of memory.
 */
extern char *peers_left_out(Peers *peers, bool stores, int64_t now);

#endif

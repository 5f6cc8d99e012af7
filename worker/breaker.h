/*
 * breaker.h - leaves a peer alone for a while after failures in succession.
 *
 * Closed, it lets everything pass. After so many failures it opens for a pause; when that is over it is half-open
 * and lets one job pass as a probe, whose result closes it or opens it for longer. Times are clock_ms(),
 * given by the caller; a zeroed struct is closed. Used by one thread.
 */
#ifndef ROTOR_WORKER_BREAKER_H
#define ROTOR_WORKER_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

typedef enum BreakerState
{
	BREAKER_CLOSED,
	BREAKER_HALF_OPEN,
	BREAKER_OPEN
} BreakerState;

typedef struct Breaker
{
	BreakerState state;
	int failures;	/* in succession */
	int openings;	/* in succession */
	bool is_probed; /* half-open: the one job runs */
	int64_t open_until;
} Breaker;

/* How often the pause doubles, at most: ten times as long is the rule of the settings' page. */
#define BREAKER_LONGEST 10

/* May a job begin now? If not, *wait_ms is how long to wait before asking again. */
extern bool breaker_allows(Breaker *breaker, int64_t now, int64_t *wait_ms);
/* A job that was allowed begins. */
extern void breaker_begin(Breaker *breaker);
/* It is over; failed: the peer could not be reached or did not answer. True if the state is another now. */
extern bool
breaker_end(Breaker *breaker, bool failed, int64_t now, int64_t limit, int64_t pause_ms);
/* It is over, and says nothing about the peer: it was handed back. */
extern void breaker_cancel(Breaker *breaker);

#endif

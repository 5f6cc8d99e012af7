/*
 * breaker.c - leaves a peer alone for a while; see breaker.h.
 */
#include "breaker.h"

#include "backoff.h"

/* While the one probe runs nobody knows how long it takes. */
#define PROBE_WAIT_MS 1000

bool
breaker_allows(Breaker *breaker, int64_t now, int64_t *wait_ms)
{
	*wait_ms = 0;
	if (breaker->state == BREAKER_OPEN && now >= breaker->open_until)
	{
		breaker->state = BREAKER_HALF_OPEN;
		breaker->is_probed = false;
	}
	switch (breaker->state)
	{
		case BREAKER_CLOSED:
			return true;
		case BREAKER_HALF_OPEN:
			*wait_ms = breaker->is_probed ? PROBE_WAIT_MS : 0;
			return !breaker->is_probed;
		case BREAKER_OPEN:
			*wait_ms = breaker->open_until - now;
			return false;
	}
	return false;
}

void
breaker_begin(Breaker *breaker)
{
	if (breaker->state == BREAKER_HALF_OPEN)
		breaker->is_probed = true;
}

void
breaker_cancel(Breaker *breaker)
{
	if (breaker->state == BREAKER_HALF_OPEN)
		breaker->is_probed = false;
}

static void
open_for_a_while(Breaker *breaker, int64_t now, int64_t pause_ms)
{
	int64_t longest = pause_ms * BREAKER_LONGEST;
	int64_t pause = pause_ms;

	for (int i = 0; i < breaker->openings && pause < longest; i++)
		pause *= 2;
	if (pause > longest)
		pause = longest;
	breaker->openings++;
	breaker->state = BREAKER_OPEN;
	/* Full jitter above half of it: a peer that is down is not to be asked again within moments. */
	breaker->open_until = now + pause / 2 + backoff_random(pause - pause / 2);
}

bool
breaker_end(Breaker *breaker, bool failed, int64_t now, int64_t limit, int64_t pause_ms)
{
	BreakerState before = breaker->state;

	if (!failed)
	{
		*breaker = (Breaker){.state = BREAKER_CLOSED};
		return before != BREAKER_CLOSED;
	}
	breaker->failures++;
	/* Those that began before it opened say nothing new. */
	if (before == BREAKER_OPEN)
		return false;
	if (before == BREAKER_CLOSED && breaker->failures < limit)
		return false;
	open_for_a_while(breaker, now, pause_ms);
	return true;
}

/*
 * backoff.c - how long to wait before something is tried again; see backoff.h.
 */
#include "backoff.h"

#include "random.h"

int64_t
backoff_random(int64_t most)
{
	RotorError err;
	uint64_t bits;

	if (most <= 0)
		return 0;
	/* Without randomness there is no jitter, which is no reason not to go on. */
	if (!random_bytes(&bits, sizeof(bits), &err))
		return most;
	return (int64_t) (bits % ((uint64_t) most + 1));
}

int64_t
backoff_ms(int failures, int64_t base_ms, int64_t cap_ms)
{
	int64_t most = base_ms;

	for (int i = 1; i < failures && most < cap_ms; i++)
		most *= 2;
	if (most > cap_ms)
		most = cap_ms;
	return 1 + backoff_random(most - 1);
}

/*
 * catch_up.c - see catch_up.h.
 */
#include "postgres.h"

#include "catch_up.h"
#include "clock.h"
#include "guc.h"
#include "random.h"
#include "report.h"
#include "utils/timestamp.h"

void
catch_up_init(CatchUp *state)
{
	pg_atomic_init_u64(&state->up_since, 0);
	pg_atomic_init_u64(&state->next, 0);
}

void
catch_up_begin(CatchUp *state)
{
	uint64 none = 0;

	(void) pg_atomic_compare_exchange_u64(&state->up_since, &none, (uint64) clock_now());
}

TimestampTz
catch_up_since(CatchUp *state)
{
	return state != NULL ? (TimestampTz) pg_atomic_read_u64(&state->up_since) : DT_NOBEGIN;
}

/* Microseconds to the next one: a minute divided by the rate, a random half more or less. */
static int64
step(void)
{
	double mean = (double) USECS_PER_MINUTE / rotor_catch_up_rate;
	uint32 random;
	RotorError err;

	if (!random_bytes(&random, sizeof(random), &err))
		report_raise(&err);
	return (int64) (mean * (0.5 + (double) random / PG_UINT32_MAX));
}

bool
catch_up_take(CatchUp *state, int64 *wait_ms)
{
	TimestampTz now = clock_now();
	uint64 seen = pg_atomic_read_u64(&state->next);

	*wait_ms = 0;
	if (rotor_catch_up_rate == 0)
		return true;
	for (;;)
	{
		TimestampTz next = (TimestampTz) seen;

		/* Further ahead than any step leads: the clock was set back, or the rate was raised. */
		if (next > now && next - now <= 3 * USECS_PER_MINUTE / (2 * (int64) rotor_catch_up_rate))
		{
			*wait_ms = (next - now) / 1000 + 1;
			return false;
		}
		if (pg_atomic_compare_exchange_u64(&state->next, &seen, (uint64) (now + step())))
			return true;
	}
}

void
catch_up_give_back(CatchUp *state)
{
	pg_atomic_write_u64(&state->next, 0);
}

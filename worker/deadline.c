/*
 * deadline.c - until when something may take; see deadline.h.
 */
#include "deadline.h"

#include <time.h>

int64_t
clock_ms(void)
{
	struct timespec now;

	/* Cannot fail: Linux has had the clock since 2.6.39. */
	(void) clock_gettime(CLOCK_BOOTTIME, &now);
	return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

Deadline
deadline_in(int64_t ms)
{
	Deadline deadline;

	if (__builtin_add_overflow(clock_ms(), ms, &deadline))
		return ms < 0 ? INT64_MIN : INT64_MAX;
	return deadline;
}

int64_t
deadline_left(Deadline deadline)
{
	int64_t now = clock_ms();

	return deadline > now ? deadline - now : 0;
}

Deadline
deadline_sooner(Deadline a, Deadline b)
{
	return a < b ? a : b;
}

/*
 * deadline.h - until when something may take, on the monotonic clock.
 */
#ifndef ROTOR_WORKER_DEADLINE_H
#define ROTOR_WORKER_DEADLINE_H

#include <stdbool.h>
#include <stdint.h>

/* Milliseconds of CLOCK_BOOTTIME: it goes on while the machine sleeps, as a lease does. */
typedef int64_t Deadline;

extern int64_t clock_ms(void);
extern Deadline deadline_in(int64_t ms);
/* Milliseconds left; 0 when it has passed. */
extern int64_t deadline_left(Deadline deadline);
/* The earlier of the two. */
extern Deadline deadline_sooner(Deadline a, Deadline b);

#endif

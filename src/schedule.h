/*
 * schedule.h - when: the pause after a failure, the end of a password's life. Pure arithmetic.
 */
#ifndef ROTOR_SCHEDULE_H
#define ROTOR_SCHEDULE_H

#include "types.h"

/*
 * Milliseconds to wait after the given failed attempt (1 is the first): uniform between 0 and
 * backoff * 2^(attempt - 1), at most backoff_max ("full jitter": many failures at once do not come
 * back at once).
 */
extern int64 schedule_backoff_ms(const Policy *policy, int attempt);

/* VALID UNTIL for a password set now; false if the policy leaves VALID UNTIL alone. */
extern bool schedule_valid_until(const Policy *policy, TimestampTz *valid_until);

#endif

/*
 * backoff.h - how long to wait before something is tried again: exponential, with full jitter.
 */
#ifndef ROTOR_WORKER_BACKOFF_H
#define ROTOR_WORKER_BACKOFF_H

#include <stdint.h>

/* A number from 0 to most, each as likely; 0 if most is not positive. */
extern int64_t backoff_random(int64_t most);

/* After `failures` (from 1) in succession: from 1 ms to base_ms doubled as often, at most cap_ms. */
extern int64_t backoff_ms(int failures, int64_t base_ms, int64_t cap_ms);

#endif

/*
 * bucket.h - a token bucket: so many a second, a second's worth at once.
 *
 * Times are clock_ms(), given by the caller; a zeroed struct is full. Used by one thread.
 */
#ifndef ROTOR_WORKER_BUCKET_H
#define ROTOR_WORKER_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

typedef struct Bucket
{
	double missing; /* tokens that are not there */
	int64_t counted_at;
} Bucket;

/* Takes a token; if there is none, *wait_ms is how long until there is. rate is tokens a second, from 1. */
extern bool bucket_take(Bucket *bucket, int64_t rate, int64_t now, int64_t *wait_ms);

#endif

/*
 * bucket.c - a token bucket; see bucket.h.
 */
#include "bucket.h"

bool
bucket_take(Bucket *bucket, int64_t rate, int64_t now, int64_t *wait_ms)
{
	double capacity = (double) rate;

	if (now > bucket->counted_at)
	{
		bucket->missing -= (double) (now - bucket->counted_at) * capacity / 1000;
		if (bucket->missing < 0)
			bucket->missing = 0;
		bucket->counted_at = now;
	}
	*wait_ms = 0;
	if (bucket->missing + 1 <= capacity)
	{
		bucket->missing += 1;
		return true;
	}
	*wait_ms = 1 + (int64_t) ((bucket->missing + 1 - capacity) * 1000 / capacity);
	return false;
}

/*
 * random.h
 *		Strong random bytes, cheap in small portions.
 *
 * OpenSSL's RAND_bytes behind a small pool for each thread: a call of RAND_bytes
 * costs about a microsecond however few bytes are wanted, so thousands are fetched
 * at a time.
 *
 * What always holds: a byte is handed out once and is wiped from the pool in the
 * same call; a pool does not survive fork(), so parent and child never draw the
 * same bytes; bytes that are not random are never handed out as if they were.  What a
 * thread leaves in its pool when it ends is lost, and was never used.
 *
 * Called by password, seal, scram and keyfile; nobody else of ours draws
 * randomness.
 */
#ifndef ROTOR_COMMON_RANDOM_H
#define ROTOR_COMMON_RANDOM_H

#include <stdbool.h>
#include <stddef.h>

#include "error.h"

/*
 * Where the bytes come from: RAND_bytes, which returns 1 on success.  Only unit
 * tests change it, and call random_discard() whenever they do.
 */
extern int (*random_source)(unsigned char *buf, int num);

/*
 * Fills out with len random bytes (len may be 0).
 * Error: CRYPTO if the source fails; out is then wiped.
 */
extern bool random_bytes(void *out, size_t len, RotorError *err);

/* Wipes this thread's pool; the next random_bytes draws from the source anew. */
extern void random_discard(void);

#endif /* ROTOR_COMMON_RANDOM_H */

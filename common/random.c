/*
 * random.c
 *		The pool of random bytes in front of OpenSSL; see random.h.
 *
 * The pool belongs to a thread.  fork() copies it, so the child empties its copy in a
 * handler that is registered before a pool is filled for the first time: that costs
 * nothing per call, where getpid() would be a system call.  Only the forking thread lives
 * on in the child, so its pool is the only one the child can reach.  OpenSSL's own
 * generator notices the fork by itself and reseeds.
 */
#include "random.h"

#include <pthread.h>
#include <string.h>

#include <openssl/rand.h>

#include "secret_buf.h"

/* Enough for about 80 passwords of 32 characters, so that RAND_bytes' fixed cost vanishes. */
#define RANDOM_POOL_SIZE 4096

typedef struct RandomPool
{
	size_t left; /* bytes not handed out yet: the last `left` of data */
	unsigned char data[RANDOM_POOL_SIZE];
} RandomPool;

int (*random_source)(unsigned char *buf, int num) = RAND_bytes;

static __thread RandomPool pool;

static pthread_once_t fork_once = PTHREAD_ONCE_INIT;
static int fork_result;

void
random_discard(void)
{
	secret_wipe(pool.data + RANDOM_POOL_SIZE - pool.left, pool.left);
	pool.left = 0;
}

static void
register_fork_handler(void)
{
	fork_result = pthread_atfork(NULL, NULL, random_discard);
}

static bool
pool_fill(RotorError *err)
{
	/* Without the handler a pool could be used twice, so rather have none. */
	if (pthread_once(&fork_once, register_fork_handler) != 0 || fork_result != 0)
		return error_set(err, ROTOR_ERROR_CRYPTO,
						 "could not register the fork handler of the random pool");

	if (random_source(pool.data, RANDOM_POOL_SIZE) != 1)
	{
		secret_wipe(pool.data, RANDOM_POOL_SIZE);
		return error_set_crypto(err, "draw random bytes");
	}
	pool.left = RANDOM_POOL_SIZE;
	return true;
}

bool
random_bytes(void *out, size_t len, RotorError *err)
{
	unsigned char *next = out;
	size_t missing = len;

	while (missing > 0)
	{
		unsigned char *source;
		size_t portion;

		if (pool.left == 0 && !pool_fill(err))
		{
			secret_wipe(out, len);
			return false;
		}
		portion = missing < pool.left ? missing : pool.left;
		source = pool.data + RANDOM_POOL_SIZE - pool.left;
		memcpy(next, source, portion);
		secret_wipe(source, portion);
		pool.left -= portion;
		next += portion;
		missing -= portion;
	}
	return true;
}

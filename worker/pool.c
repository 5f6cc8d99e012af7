/*
 * pool.c - threads that run jobs; see pool.h.
 */
#include "pool.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* Enough for TLS and the client libraries; what is not touched costs nothing. */
#define STACK_SIZE ((size_t) 1024 * 1024)

/* Jobs and results in the order they came: rings of as many as there are threads. */
typedef struct Ring
{
	PoolResult *entries; /* of waiting jobs only the job is filled */
	int first, count;
} Ring;

struct Pool
{
	pthread_mutex_t lock;
	pthread_cond_t work; /* waiting jobs, or the end */
	int size;
	int started;
	int running;
	bool stops;
	Ring waiting, done;
	int fd;
	PoolRun run;
	void *context;
	pthread_t threads[];
};

static void
ring_put(Ring *ring, int size, const PoolResult *entry)
{
	ring->entries[(ring->first + ring->count) % size] = *entry;
	ring->count++;
}

static bool
ring_take(Ring *ring, int size, PoolResult *entry)
{
	if (ring->count == 0)
		return false;
	*entry = ring->entries[ring->first];
	ring->first = (ring->first + 1) % size;
	ring->count--;
	return true;
}

static void
run_one(Pool *pool, PoolResult *result)
{
	struct timespec begin;
	struct timespec end;

	(void) clock_gettime(CLOCK_MONOTONIC, &begin);
	result->outcome = pool->run(result->job, pool->context);
	(void) clock_gettime(CLOCK_MONOTONIC, &end);
	result->duration_ms =
		(double) (end.tv_sec - begin.tv_sec) * 1000 + (double) (end.tv_nsec - begin.tv_nsec) / 1e6;
}

static void *
thread_main(void *arg)
{
	Pool *pool = arg;
	PoolResult result;
	const uint64_t one = 1;

	(void) pthread_mutex_lock(&pool->lock);
	for (;;)
	{
		while (!pool->stops && pool->waiting.count == 0)
			(void) pthread_cond_wait(&pool->work, &pool->lock);
		if (!ring_take(&pool->waiting, pool->size, &result))
			break;
		pool->running++;
		(void) pthread_mutex_unlock(&pool->lock);
		run_one(pool, &result);
		(void) pthread_mutex_lock(&pool->lock);
		pool->running--;
		ring_put(&pool->done, pool->size, &result);
		/* It cannot fail: the counter is far from full. */
		if (write(pool->fd, &one, sizeof(one)) < 0)
			abort();
	}
	(void) pthread_mutex_unlock(&pool->lock);
	return NULL;
}

static bool
start_threads(Pool *pool, RotorError *err)
{
	pthread_attr_t attributes;
	sigset_t all;
	sigset_t before;
	int failure = 0;

	(void) pthread_attr_init(&attributes);
	(void) pthread_attr_setstacksize(&attributes, STACK_SIZE);
	(void) sigfillset(&all);
	(void) pthread_sigmask(SIG_SETMASK, &all, &before);
	while (pool->started < pool->size && failure == 0)
	{
		failure = pthread_create(&pool->threads[pool->started], &attributes, thread_main, pool);
		if (failure == 0)
			pool->started++;
	}
	(void) pthread_sigmask(SIG_SETMASK, &before, NULL);
	(void) pthread_attr_destroy(&attributes);
	if (failure != 0)
		return error_set(err, ROTOR_ERROR_SPACE, "could not start a thread: %s",
						 strerrordesc_np(failure));
	return true;
}

Pool *
pool_start(int threads, PoolRun run, void *context, RotorError *err)
{
	Pool *pool = calloc(1, sizeof(*pool) + (size_t) threads * sizeof(pool->threads[0]));

	if (pool == NULL)
	{
		(void) error_set(err, ROTOR_ERROR_SPACE, "out of memory");
		return NULL;
	}
	(void) pthread_mutex_init(&pool->lock, NULL);
	(void) pthread_cond_init(&pool->work, NULL);
	pool->size = threads;
	pool->run = run;
	pool->context = context;
	pool->waiting.entries = calloc((size_t) threads, sizeof(PoolResult));
	pool->done.entries = calloc((size_t) threads, sizeof(PoolResult));
	pool->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (pool->waiting.entries == NULL || pool->done.entries == NULL || pool->fd < 0)
		(void) error_set(err, ROTOR_ERROR_SPACE, "could not make the pool of threads: %m");
	else if (start_threads(pool, err))
		return pool;
	pool_stop(pool);
	return NULL;
}

bool
pool_submit(Pool *pool, Job *job)
{
	PoolResult entry = {.job = job};
	bool taken;

	(void) pthread_mutex_lock(&pool->lock);
	taken = pool->waiting.count + pool->running + pool->done.count < pool->size;
	if (taken)
	{
		ring_put(&pool->waiting, pool->size, &entry);
		(void) pthread_cond_signal(&pool->work);
	}
	(void) pthread_mutex_unlock(&pool->lock);
	return taken;
}

int
pool_fd(const Pool *pool)
{
	return pool->fd;
}

bool
pool_take(Pool *pool, PoolResult *result)
{
	uint64_t count;
	bool taken;

	(void) pthread_mutex_lock(&pool->lock);
	taken = ring_take(&pool->done, pool->size, result);
	/* It stays readable while there are more; that there was nothing to read is no failure. */
	if (pool->done.count == 0 && read(pool->fd, &count, sizeof(count)) < 0)
		errno = 0;
	(void) pthread_mutex_unlock(&pool->lock);
	return taken;
}

Job *
pool_withdraw(Pool *pool)
{
	PoolResult entry = {0};

	(void) pthread_mutex_lock(&pool->lock);
	(void) ring_take(&pool->waiting, pool->size, &entry);
	(void) pthread_mutex_unlock(&pool->lock);
	return entry.job;
}

int
pool_busy(Pool *pool)
{
	int busy;

	(void) pthread_mutex_lock(&pool->lock);
	busy = pool->waiting.count + pool->running + pool->done.count;
	(void) pthread_mutex_unlock(&pool->lock);
	return busy;
}

static void
ring_free(Ring *ring, int size)
{
	PoolResult entry;

	while (ring->entries != NULL && ring_take(ring, size, &entry))
		job_free(entry.job);
	free(ring->entries);
}

void
pool_stop(Pool *pool)
{
	if (pool == NULL)
		return;
	(void) pthread_mutex_lock(&pool->lock);
	pool->stops = true;
	(void) pthread_cond_broadcast(&pool->work);
	(void) pthread_mutex_unlock(&pool->lock);
	for (int i = 0; i < pool->started; i++)
		(void) pthread_join(pool->threads[i], NULL);
	ring_free(&pool->waiting, pool->size);
	ring_free(&pool->done, pool->size);
	if (pool->fd >= 0)
		(void) close(pool->fd);
	(void) pthread_cond_destroy(&pool->work);
	(void) pthread_mutex_destroy(&pool->lock);
	free(pool);
}

/*
 * test_pool.c - tests of worker/pool.c and worker/held.c. Threads meet at gates: nothing depends on time.
 */
#include "support.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>

#include "held.h"
#include "pool.h"

#define THREADS 4

/* Jobs that run wait here until so many may pass; begun are counted in order. */
static struct
{
	pthread_mutex_t lock;
	pthread_cond_t changed;
	int begun;
	int may_pass;
	int attempts[64]; /* of the jobs, in the order they began */
} gate = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static Outcome
run(const Job *job, void *context)
{
	int place;

	assert_ptr_equal(context, &gate);
	(void) pthread_mutex_lock(&gate.lock);
	place = gate.begun++;
	gate.attempts[place] = job->attempt;
	(void) pthread_cond_broadcast(&gate.changed);
	while (gate.may_pass <= 0)
		(void) pthread_cond_wait(&gate.changed, &gate.lock);
	gate.may_pass--;
	(void) pthread_mutex_unlock(&gate.lock);
	return outcome_make(OUTCOME_OK, "", "%d", job->attempt);
}

static void
let_pass(int count)
{
	(void) pthread_mutex_lock(&gate.lock);
	gate.may_pass += count;
	(void) pthread_cond_broadcast(&gate.changed);
	(void) pthread_mutex_unlock(&gate.lock);
}

static void
wait_until_begun(int count)
{
	(void) pthread_mutex_lock(&gate.lock);
	while (gate.begun < count)
		(void) pthread_cond_wait(&gate.changed, &gate.lock);
	assert_int_equal(gate.begun, count);
	(void) pthread_mutex_unlock(&gate.lock);
}

static Pool *
start(int threads)
{
	RotorError err;
	Pool *pool;

	gate.begun = gate.may_pass = 0;
	pool = pool_start(threads, run, &gate, &err);
	assert_non_null(pool);
	return pool;
}

static Job *
job_number_of(int number)
{
	Job *job = calloc(1, sizeof(*job));

	if (job == NULL)
		abort();
	job->attempt = number;
	(void) snprintf(job->lease, sizeof(job->lease), "lease-%d", number);
	job->lease_end = deadline_in(3600000);
	return job;
}

/* Waits for a result by the file descriptor, takes it, and gives its job's number. */
static int
take(Pool *pool)
{
	struct pollfd readable = {.fd = pool_fd(pool), .events = POLLIN};
	PoolResult result;
	int number;

	assert_int_equal(poll(&readable, 1, -1), 1);
	assert_true(pool_take(pool, &result));
	assert_int_equal(result.outcome.class, OUTCOME_OK);
	assert_true(result.duration_ms >= 0);
	number = result.job->attempt;
	assert_int_equal(number, atoi(result.outcome.message));
	job_free(result.job);
	return number;
}

static bool
is_readable(const Pool *pool)
{
	struct pollfd readable = {.fd = pool_fd(pool), .events = POLLIN};

	return poll(&readable, 1, 0) == 1;
}

TEST(as_many_jobs_run_at_once_as_there_are_threads)
{
	Pool *pool = start(THREADS);
	Job *more = job_number_of(99);
	bool seen[THREADS] = {false};

	for (int i = 0; i < THREADS; i++)
		assert_true(pool_submit(pool, job_number_of(i)));
	/* All have begun, and none is done: they do run at once. */
	wait_until_begun(THREADS);
	assert_false(pool_submit(pool, more));
	assert_int_equal(pool_busy(pool), THREADS);
	assert_false(is_readable(pool));
	let_pass(THREADS);
	for (int i = 0; i < THREADS; i++)
		seen[take(pool)] = true;
	for (int i = 0; i < THREADS; i++)
		assert_true(seen[i]);
	assert_false(is_readable(pool));
	assert_int_equal(pool_busy(pool), 0);
	assert_true(pool_submit(pool, more));
	let_pass(1);
	assert_int_equal(take(pool), 99);
	pool_stop(pool);
}

TEST(a_place_is_free_again_only_when_the_result_was_taken)
{
	Pool *pool = start(1);
	Job *second = job_number_of(2);
	struct pollfd readable = {.fd = pool_fd(pool), .events = POLLIN};

	let_pass(1);
	assert_true(pool_submit(pool, job_number_of(1)));
	assert_int_equal(poll(&readable, 1, -1), 1);
	assert_false(pool_submit(pool, second));
	assert_int_equal(take(pool), 1);
	assert_true(pool_submit(pool, second));
	let_pass(1);
	assert_int_equal(take(pool), 2);
	pool_stop(pool);
}

TEST(jobs_begin_in_the_order_they_came)
{
	Pool *pool = start(1);

	for (int i = 0; i < 20; i++)
	{
		assert_true(pool_submit(pool, job_number_of(i)));
		let_pass(1);
		assert_int_equal(take(pool), i);
	}
	for (int i = 0; i < 20; i++)
		assert_int_equal(gate.attempts[i], i);
	pool_stop(pool);
}

TEST(nothing_is_taken_where_nothing_is_done)
{
	Pool *pool = start(2);
	PoolResult result;

	assert_false(pool_take(pool, &result));
	assert_null(pool_withdraw(pool));
	assert_int_equal(pool_busy(pool), 0);
	pool_stop(pool);
}

TEST(stopping_waits_for_what_runs_and_frees_what_nobody_took)
{
	Pool *pool = start(THREADS);

	for (int i = 0; i < THREADS; i++)
		assert_true(pool_submit(pool, job_number_of(i)));
	let_pass(THREADS);
	pool_stop(pool);
	assert_int_equal(gate.begun, THREADS);
	pool_stop(NULL);
}

TEST(many_jobs_through_few_threads_are_each_done_once)
{
	Pool *pool = start(THREADS);
	bool seen[60] = {false};
	int given = 0;
	int taken = 0;
	int number;

	let_pass(60);
	while (taken < 60)
	{
		while (given < 60 && pool_busy(pool) < THREADS)
			assert_true(pool_submit(pool, job_number_of(given++)));
		number = take(pool);
		assert_false(seen[number]);
		seen[number] = true;
		taken++;
	}
	assert_int_equal(gate.begun, 60);
	pool_stop(pool);
}

TEST(held_jobs_are_found_counted_and_freed)
{
	static HeldJobs jobs;
	const char *leases[HELD_MAX];
	Job *first = job_number_of(1);
	Job *second = job_number_of(2);
	Held *held;

	assert_int_equal(held_heartbeat_ms(&jobs, 20000), 20000);
	held = held_add(&jobs, first);
	assert_non_null(held_add(&jobs, second));
	assert_ptr_equal(held_find(&jobs, first), held);
	assert_null(held_find(&jobs, NULL));
	held->state = HELD_RUNNING;
	assert_int_equal(held_count(&jobs, HELD_RUNNING), 1);
	assert_int_equal(held_count(&jobs, HELD_WAITING), 1);
	assert_int_equal(held_leases(&jobs, leases), 2);
	assert_string_equal(leases[0], "lease-1");
	assert_string_equal(leases[1], "lease-2");
	held->lease_ms = 3000;
	assert_int_equal(held_heartbeat_ms(&jobs, 20000), 1000);
	held_remove(&jobs, held);
	assert_int_equal(jobs.count, 1);
	assert_ptr_equal(jobs.entries[0]->job, second);
	held_free_all(&jobs);
	assert_int_equal(jobs.count, 0);
}

TEST(more_than_can_be_held_stay_the_callers)
{
	static HeldJobs jobs;
	Job *more = job_number_of(0);

	for (int i = 0; i < HELD_MAX; i++)
		assert_non_null(held_add(&jobs, job_number_of(i)));
	assert_null(held_add(&jobs, more));
	job_free(more);
	held_free_all(&jobs);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(as_many_jobs_run_at_once_as_there_are_threads),
		cmocka_unit_test(a_place_is_free_again_only_when_the_result_was_taken),
		cmocka_unit_test(jobs_begin_in_the_order_they_came),
		cmocka_unit_test(nothing_is_taken_where_nothing_is_done),
		cmocka_unit_test(stopping_waits_for_what_runs_and_frees_what_nobody_took),
		cmocka_unit_test(many_jobs_through_few_threads_are_each_done_once),
		cmocka_unit_test(held_jobs_are_found_counted_and_freed),
		cmocka_unit_test(more_than_can_be_held_stay_the_callers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

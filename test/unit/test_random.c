/*
 * test_random.c
 *		Tests of common/random.c.
 */
#include "support.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include <openssl/rand.h>

#define POOL_SIZE 4096

TEST(the_source_is_openssl_unless_a_test_changes_it)
{
	assert_ptr_equal(random_source, RAND_bytes);
}

TEST(bytes_come_out_in_order_each_once)
{
	uint8_t out[1000];
	uint8_t expected = 0;
	RotorError err = fresh_error();

	use_counting_source();
	for (size_t len = 0; len < sizeof(out); len++)
	{
		assert_true(random_bytes(out, len, &err));
		for (size_t i = 0; i < len; i++)
			assert_int_equal(out[i], expected++);
	}
}

TEST(small_draws_share_one_call_of_the_source)
{
	uint8_t out[32];
	RotorError err = fresh_error();

	use_counting_source();
	for (size_t i = 0; i < POOL_SIZE / sizeof(out); i++)
		assert_true(random_bytes(out, sizeof(out), &err));
	assert_int_equal(source_calls(), 1);
	assert_true(random_bytes(out, 1, &err));
	assert_int_equal(source_calls(), 2);
}

TEST(a_draw_larger_than_the_pool_is_whole)
{
	static uint8_t out[3 * POOL_SIZE + 100];
	RotorError err = fresh_error();

	use_counting_source();
	assert_true(random_bytes(out, sizeof(out), &err));
	for (size_t i = 0; i < sizeof(out); i++)
		assert_int_equal(out[i], i & 0xff);
	assert_int_equal(source_calls(), 4);
}

TEST(drawing_nothing_needs_no_source)
{
	uint8_t out = 9;
	RotorError err = fresh_error();

	use_failing_source(1, 0);
	assert_true(random_bytes(&out, 0, &err));
	assert_true(random_bytes(NULL, 0, &err));
	assert_int_equal(out, 9);
	assert_int_equal(source_calls(), 0);
}

TEST(when_the_source_fails_at_any_call_the_draw_fails_and_is_wiped)
{
	static uint8_t out[3 * POOL_SIZE];

	for (int call = 1; call <= 3; call++)
	{
		RotorError err = fresh_error();

		use_failing_source(call, 10);
		memset(out, 'x', sizeof(out));
		assert_false(random_bytes(out, sizeof(out), &err));
		assert_error(&err, ROTOR_ERROR_CRYPTO);
		assert_string_equal(err.message, "could not draw random bytes");
		assert_zero(out, sizeof(out));
		assert_int_equal(source_calls(), call);
	}
}

TEST(what_a_failing_source_wrote_is_never_handed_out)
{
	uint8_t out[16];
	RotorError err = fresh_error();

	use_failing_source(1, 0);
	for (int i = 1; i <= 3; i++)
	{
		assert_false(random_bytes(out, sizeof(out), &err));
		assert_int_equal(source_calls(), i);
	}
}

TEST(a_source_that_answers_minus_one_has_failed)
{
	uint8_t out[16];
	RotorError err = fresh_error();

	/* RAND_bytes answers -1 where it is not supported: not a success, though not zero. */
	use_source_answering(-1);
	assert_false(random_bytes(out, sizeof(out), &err));
	assert_error(&err, ROTOR_ERROR_CRYPTO);
}

TEST(discarding_the_pool_makes_the_next_draw_ask_the_source)
{
	uint8_t out[2];
	RotorError err = fresh_error();

	use_counting_source();
	assert_true(random_bytes(out, 2, &err));
	random_discard();
	random_discard();
	assert_true(random_bytes(out, 2, &err));
	assert_int_equal(source_calls(), 2);
}

TEST(a_child_never_draws_what_its_parent_draws)
{
	uint8_t ours[16];
	uint8_t theirs[17] = {0};
	int ends[2];
	int status;
	pid_t child;
	RotorError err = fresh_error();

	/* The pool now holds the bytes that follow; a child that kept it would draw them too. */
	use_seeded_source(1);
	assert_true(random_bytes(ours, sizeof(ours), &err));
	assert_int_equal(pipe(ends), 0); /* NOLINT(android-cloexec-pipe): nothing is executed. */
	child = fork();
	assert_true(child >= 0);
	if (child == 0)
	{
		bool drawn = random_bytes(theirs, 16, &err);

		theirs[16] = (uint8_t) source_calls();
		_exit(drawn && write(ends[1], theirs, sizeof(theirs)) == sizeof(theirs) ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(read(ends[0], theirs, sizeof(theirs)), sizeof(theirs));
	assert_true(random_bytes(ours, sizeof(ours), &err));
	assert_int_equal(theirs[16], 2); /* the child asked the source itself */
	assert_memory_not_equal(ours, theirs, sizeof(ours));
	assert_int_equal(source_calls(), 1); /* the parent went on with its pool */
	(void) close(ends[0]);
	(void) close(ends[1]);
}

static void *
draw_one_byte(void *out)
{
	RotorError err = fresh_error();

	return random_bytes(out, 1, &err) ? out : NULL;
}

TEST(each_thread_has_a_pool_of_its_own)
{
	uint8_t ours;
	uint8_t theirs;
	pthread_t thread;
	void *result;
	RotorError err = fresh_error();

	use_counting_source();
	assert_true(random_bytes(&ours, 1, &err));
	assert_int_equal(pthread_create(&thread, NULL, draw_one_byte, &theirs), 0);
	assert_int_equal(pthread_join(thread, &result), 0);
	assert_ptr_equal(result, &theirs);
	assert_int_equal(source_calls(), 2);
}

TEST(real_draws_differ)
{
	uint8_t a[32];
	uint8_t b[32];
	RotorError err = fresh_error();

	assert_true(random_bytes(a, sizeof(a), &err));
	assert_true(random_bytes(b, sizeof(b), &err));
	assert_memory_not_equal(a, b, sizeof(a));
}

#define RANDOM_TEST(name) cmocka_unit_test_setup_teardown(name, use_real_source, use_real_source)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_source_is_openssl_unless_a_test_changes_it),
		RANDOM_TEST(bytes_come_out_in_order_each_once),
		RANDOM_TEST(small_draws_share_one_call_of_the_source),
		RANDOM_TEST(a_draw_larger_than_the_pool_is_whole),
		RANDOM_TEST(drawing_nothing_needs_no_source),
		RANDOM_TEST(when_the_source_fails_at_any_call_the_draw_fails_and_is_wiped),
		RANDOM_TEST(what_a_failing_source_wrote_is_never_handed_out),
		RANDOM_TEST(a_source_that_answers_minus_one_has_failed),
		RANDOM_TEST(discarding_the_pool_makes_the_next_draw_ask_the_source),
		RANDOM_TEST(a_child_never_draws_what_its_parent_draws),
		RANDOM_TEST(each_thread_has_a_pool_of_its_own),
		RANDOM_TEST(real_draws_differ),
	};

	return cmocka_run_group_tests_name("random", tests, NULL, NULL);
}

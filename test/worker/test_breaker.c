/*
 * test_breaker.c - tests of worker/breaker.c, bucket.c, backoff.c and peers.c. The clock is a number.
 */
#include "support.h"

#include <stdlib.h>

#include "backoff.h"
#include "breaker.h"
#include "bucket.h"
#include "options.h"
#include "peers.h"

#define LIMIT 3
#define PAUSE 1000

/* Lets a job pass and end; false if it was not let pass. */
static bool
pass(Breaker *breaker, bool failed, int64_t now)
{
	int64_t wait;

	if (!breaker_allows(breaker, now, &wait))
		return false;
	breaker_begin(breaker);
	(void) breaker_end(breaker, failed, now, LIMIT, PAUSE);
	return true;
}

TEST(a_breaker_opens_after_failures_in_succession)
{
	Breaker breaker = {0};

	assert_true(pass(&breaker, true, 1));
	assert_true(pass(&breaker, true, 2));
	assert_true(pass(&breaker, false, 3));
	assert_true(pass(&breaker, true, 4));
	assert_true(pass(&breaker, true, 5));
	assert_int_equal(breaker.state, BREAKER_CLOSED);
	assert_true(pass(&breaker, true, 6));
	assert_int_equal(breaker.state, BREAKER_OPEN);
	assert_false(pass(&breaker, false, 7));
}

static Breaker
open_breaker(int64_t now)
{
	Breaker breaker = {0};

	for (int i = 0; i < LIMIT; i++)
		assert_true(pass(&breaker, true, now));
	assert_int_equal(breaker.state, BREAKER_OPEN);
	return breaker;
}

TEST(an_open_breaker_says_how_long_to_wait)
{
	Breaker breaker = open_breaker(100);
	int64_t wait;

	assert_in_range(breaker.open_until, 100 + PAUSE / 2, 100 + PAUSE);
	assert_false(breaker_allows(&breaker, 200, &wait));
	assert_int_equal(wait, breaker.open_until - 200);
	assert_false(breaker_allows(&breaker, breaker.open_until - 1, &wait));
	assert_true(breaker_allows(&breaker, breaker.open_until, &wait));
	assert_int_equal(breaker.state, BREAKER_HALF_OPEN);
}

TEST(a_half_open_breaker_lets_one_probe_pass)
{
	Breaker breaker = open_breaker(0);
	int64_t now = breaker.open_until;
	int64_t wait;

	assert_true(breaker_allows(&breaker, now, &wait));
	breaker_begin(&breaker);
	assert_false(breaker_allows(&breaker, now, &wait));
	assert_true(wait > 0);
	assert_true(breaker_end(&breaker, false, now, LIMIT, PAUSE));
	assert_int_equal(breaker.state, BREAKER_CLOSED);
	assert_int_equal(breaker.failures, 0);
	assert_true(pass(&breaker, true, now));
	assert_int_equal(breaker.state, BREAKER_CLOSED);
}

TEST(a_probe_that_was_handed_back_makes_room_for_another)
{
	Breaker breaker = open_breaker(0);
	int64_t now = breaker.open_until;
	int64_t wait;

	assert_true(breaker_allows(&breaker, now, &wait));
	breaker_begin(&breaker);
	breaker_cancel(&breaker);
	assert_true(breaker_allows(&breaker, now, &wait));
}

TEST(each_probe_that_fails_makes_the_pause_longer_up_to_a_bound)
{
	Breaker breaker = open_breaker(0);
	int64_t longest = PAUSE * BREAKER_LONGEST;

	for (int64_t least = PAUSE; breaker.openings < 12;
		 least = least * 2 < longest ? least * 2 : longest)
	{
		int64_t now = breaker.open_until;
		int64_t pause;

		assert_true(pass(&breaker, true, now));
		assert_int_equal(breaker.state, BREAKER_OPEN);
		pause = breaker.open_until - now;
		assert_in_range(pause, (least * 2 < longest ? least * 2 : longest) / 2, longest);
		assert_true(pause <= least * 2);
	}
}

TEST(jobs_that_began_before_it_opened_neither_lengthen_nor_reopen)
{
	Breaker breaker = open_breaker(0);
	int64_t until = breaker.open_until;

	assert_false(breaker_end(&breaker, true, 10, LIMIT, PAUSE));
	assert_int_equal(breaker.open_until, until);
	/* One that succeeds proves that the peer is there. */
	assert_true(breaker_end(&breaker, false, 11, LIMIT, PAUSE));
	assert_int_equal(breaker.state, BREAKER_CLOSED);
}

TEST(a_bucket_gives_a_seconds_worth_at_once_and_then_at_its_rate)
{
	Bucket bucket = {0};
	int64_t wait;

	for (int i = 0; i < 10; i++)
		assert_true(bucket_take(&bucket, 10, 1000000, &wait));
	assert_false(bucket_take(&bucket, 10, 1000000, &wait));
	assert_in_range(wait, 100, 101);
	assert_true(bucket_take(&bucket, 10, 1000000 + wait, &wait));
	assert_false(bucket_take(&bucket, 10, 1000101, &wait));
	/* Never more than a second's worth, however long it was left alone. */
	for (int i = 0; i < 10; i++)
		assert_true(bucket_take(&bucket, 10, 2000000, &wait));
	assert_false(bucket_take(&bucket, 10, 2000000, &wait));
	/* A clock that stands or goes back gives nothing. */
	assert_false(bucket_take(&bucket, 10, 1, &wait));
}

TEST(a_bucket_holds_its_rate_over_time)
{
	Bucket bucket = {0};
	int64_t wait;
	int taken = 0;

	for (int64_t now = 0; now < 100000; now++)
		taken += bucket_take(&bucket, 7, now, &wait);
	assert_in_range(taken, 700, 708);
}

TEST(backoff_doubles_up_to_its_cap_with_full_jitter)
{
	int64_t least = INT64_MAX;
	int64_t most = 0;

	use_seeded_source(1);
	for (int i = 0; i < 1000; i++)
	{
		int64_t wait = backoff_ms(4, 100, 10000);

		assert_in_range(wait, 1, 800);
		least = wait < least ? wait : least;
		most = wait > most ? wait : most;
		assert_in_range(backoff_ms(1, 100, 10000), 1, 100);
		assert_in_range(backoff_ms(60, 100, 10000), 1, 10000);
	}
	assert_true(least < 80);
	assert_true(most > 720);
	assert_int_equal(backoff_random(0), 0);
	assert_int_equal(backoff_random(-5), 0);
}

TEST(without_randomness_backoff_waits_longest)
{
	use_failing_source(1, 0);
	assert_int_equal(backoff_ms(2, 100, 10000), 200);
}

/* ------------------------------------------------------------------------------------------------
 * Peers
 */

static Job
job_at(JobStep step, const char *target, const char *store)
{
	return (Job){.step = step, .target_name = target, .store_name = store};
}

static bool
admit(Peers *peers, const Job *job, int64_t now)
{
	const char *reason = NULL;
	int64_t wait = -1;
	bool admitted = peers_admit(peers, job, now, &wait, &reason);

	assert_true(admitted || (wait > 0 && reason != NULL));
	return admitted;
}

static void
done(Peers *peers, const Job *job, OutcomeClass class, int64_t now)
{
	Outcome outcome = {.class = class};

	(void) peers_done(peers, job, &outcome, now);
}

static void
assert_left_out(Peers *peers, bool stores, int64_t now, const char *expected)
{
	char *list = peers_left_out(peers, stores, now);

	assert_string_equal(list, expected);
	free(list);
}

TEST(a_step_is_at_its_store_or_at_its_target)
{
	static const bool at_store[STEP_COUNT] = {[STEP_PUBLISH] = true, [STEP_FINISH] = true};

	for (int i = 0; i < STEP_COUNT; i++)
	{
		Job job = job_at((JobStep) i, "t", "s");

		assert_int_equal(peers_is_at_store(&job), at_store[i]);
	}
}

TEST(a_target_has_no_more_jobs_than_its_limit_whatever_others_have)
{
	Peers *peers = peers_new();
	Job job = job_at(STEP_SET, "a", "s");
	Job other = job_at(STEP_SET, "b", "s");

	/* The default of per_target_limit is 4. */
	for (int i = 0; i < 4; i++)
		assert_true(admit(peers, &job, 0));
	assert_false(admit(peers, &job, 0));
	assert_true(admit(peers, &other, 0));
	done(peers, &job, OUTCOME_OK, 1);
	assert_true(admit(peers, &job, 1));
	assert_false(admit(peers, &job, 1));
	peers_cancelled(peers, &job);
	assert_true(admit(peers, &job, 1));
	peers_free(peers);
}

TEST(a_store_has_a_rate_and_no_limit)
{
	Peers *peers = peers_new();
	Job job = job_at(STEP_PUBLISH, "a", "s");
	Job other = job_at(STEP_FINISH, "a", "s2");

	/* The default of store_rate is 20. */
	for (int i = 0; i < 20; i++)
		assert_true(admit(peers, &job, 1000));
	assert_false(admit(peers, &job, 1000));
	assert_true(admit(peers, &other, 1000));
	assert_true(admit(peers, &job, 1051));
	peers_free(peers);
}

TEST(a_target_that_does_not_answer_is_left_alone_and_others_are_not)
{
	static const OutcomeClass failures[] = {OUTCOME_TRANSIENT, OUTCOME_UNKNOWN};
	Peers *peers = peers_new();
	Job job = job_at(STEP_SET, "a", "a");
	Job store = job_at(STEP_PUBLISH, "a", "a");
	Job other = job_at(STEP_TEST, "b", "a");

	/* The default of breaker_failures is 5. */
	for (int i = 0; i < 5; i++)
	{
		assert_true(admit(peers, &job, 1000));
		done(peers, &job, failures[i % 2], 1000);
	}
	assert_false(admit(peers, &job, 1001));
	assert_true(admit(peers, &other, 1001));
	/* A store of the same name is another peer. */
	assert_true(admit(peers, &store, 1001));
	/* The default of breaker_pause is 30 s. */
	assert_true(admit(peers, &job, 31000));
	assert_false(admit(peers, &job, 31000));
	done(peers, &job, OUTCOME_REFUSED, 31001);
	assert_true(admit(peers, &job, 31001));
	peers_free(peers);
}

TEST(a_peer_that_is_silent_gets_no_more_jobs_until_one_has_ended)
{
	Peers *peers = peers_new();
	Job job = job_at(STEP_SET, "a", "s");
	Job store = job_at(STEP_PUBLISH, "a", "s");
	Job other = job_at(STEP_SET, "b", "s");

	assert_true(admit(peers, &job, 5000));
	assert_true(admit(peers, &store, 5000));
	assert_true(admit(peers, &job, 5999));
	assert_false(admit(peers, &job, 6000));
	assert_false(admit(peers, &store, 6000));
	assert_true(admit(peers, &other, 6000));
	done(peers, &job, OUTCOME_OK, 8000);
	assert_true(admit(peers, &job, 8999));
	assert_false(admit(peers, &job, 9000));
	done(peers, &job, OUTCOME_OK, 9000);
	done(peers, &job, OUTCOME_OK, 9000);
	/* Nothing runs there: it is asked, however long ago it spoke. */
	assert_true(admit(peers, &job, 99000));
	assert_true(admit(peers, &job, 99000));
	peers_free(peers);
}

TEST(what_a_peer_says_is_an_answer_also_if_it_says_no)
{
	Peers *peers = peers_new();
	Job job = job_at(STEP_SET, "a", "s");

	for (int class = 0; class < OUTCOME_COUNT; class ++)
	{
		if (class == OUTCOME_TRANSIENT || class == OUTCOME_UNKNOWN)
			continue;
		for (int i = 0; i < 6; i++)
		{
			assert_true(admit(peers, &job, 0));
			done(peers, &job, (OutcomeClass) class, 0);
		}
	}
	for (int i = 0; i < 6; i++)
	{
		Outcome outcome = {.class = OUTCOME_TRANSIENT, .peer_answered = true};

		assert_true(admit(peers, &job, 0));
		(void) peers_done(peers, &job, &outcome, 0);
	}
	assert_true(admit(peers, &job, 0));
	peers_free(peers);
}

TEST(who_does_not_answer_is_left_out_of_claims_and_is_no_more_when_it_does)
{
	Peers *peers = peers_new();
	Job job = job_at(STEP_SET, "a", "s");
	Job other = job_at(STEP_SET, "b", "s");
	Outcome outcome = {.class = OUTCOME_TRANSIENT};

	assert_left_out(peers, false, 0, "{}");
	for (int i = 0; i < 5; i++)
	{
		assert_true(admit(peers, &job, 1000));
		assert_false(peers_done(peers, &job, &outcome, 1000));
	}
	assert_true(admit(peers, &other, 1000));
	assert_left_out(peers, false, 1000, "{\"a\"}");
	assert_left_out(peers, true, 1000, "{}");
	/* The pause is over: one may try, and while it does nobody else. */
	assert_left_out(peers, false, 31001, "{\"b\"}");
	done(peers, &other, OUTCOME_OK, 31001);
	assert_true(admit(peers, &job, 31001));
	assert_left_out(peers, false, 31001, "{\"a\"}");
	outcome.class = OUTCOME_OK;
	assert_true(peers_done(peers, &job, &outcome, 31002));
	assert_left_out(peers, false, 31002, "{}");
	assert_true(admit(peers, &job, 31002));
	assert_false(peers_done(peers, &job, &outcome, 31002));
	peers_free(peers);
}

TEST(who_has_enough_waiting_is_left_out_of_claims)
{
	Peers *peers = peers_new();
	Job job = job_at(STEP_SET, "a \"quoted\" \\ {name},", "s");
	Job store = job_at(STEP_FINISH, "t", "s");
	Outcome outcome = {.class = OUTCOME_OK};

	/* The defaults: per_target_limit is 4, store_rate is 20. */
	for (int i = 0; i < 4; i++)
		assert_true(admit(peers, &job, 0));
	peers_count_anew(peers);
	for (int i = 0; i < 3; i++)
		peers_waits(peers, &job);
	for (int i = 0; i < 19; i++)
		peers_waits(peers, &store);
	assert_left_out(peers, false, 0, "{}");
	assert_left_out(peers, true, 0, "{}");
	peers_waits(peers, &job);
	peers_waits(peers, &store);
	assert_left_out(peers, false, 0, "{\"a \\\"quoted\\\" \\\\ {name},\"}");
	assert_left_out(peers, true, 0, "{\"s\"}");
	/* One begins in the place of another: there is room for one more to wait. */
	assert_false(peers_done(peers, &job, &outcome, 0));
	assert_true(admit(peers, &job, 0));
	assert_true(peers_done(peers, &job, &outcome, 0));
	peers_count_anew(peers);
	assert_left_out(peers, true, 0, "{}");
	peers_free(peers);
}

TEST(more_peers_than_are_remembered_are_no_harm)
{
	Peers *peers = peers_new();
	char name[32];

	for (int i = 0; i < PEERS_MAX + 10; i++)
	{
		Job job = job_at(STEP_SET, name, "s");

		(void) snprintf(name, sizeof(name), "t%d", i);
		assert_true(admit(peers, &job, 0));
		done(peers, &job, OUTCOME_OK, 0);
	}
	peers_free(peers);
	peers_free(NULL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_breaker_opens_after_failures_in_succession),
		cmocka_unit_test(an_open_breaker_says_how_long_to_wait),
		cmocka_unit_test(a_half_open_breaker_lets_one_probe_pass),
		cmocka_unit_test(a_probe_that_was_handed_back_makes_room_for_another),
		cmocka_unit_test(each_probe_that_fails_makes_the_pause_longer_up_to_a_bound),
		cmocka_unit_test(jobs_that_began_before_it_opened_neither_lengthen_nor_reopen),
		cmocka_unit_test(a_bucket_gives_a_seconds_worth_at_once_and_then_at_its_rate),
		cmocka_unit_test(a_bucket_holds_its_rate_over_time),
		cmocka_unit_test_setup_teardown(backoff_doubles_up_to_its_cap_with_full_jitter,
										use_real_source, use_real_source),
		cmocka_unit_test_setup_teardown(without_randomness_backoff_waits_longest, use_real_source,
										use_real_source),
		cmocka_unit_test(a_step_is_at_its_store_or_at_its_target),
		cmocka_unit_test(a_target_has_no_more_jobs_than_its_limit_whatever_others_have),
		cmocka_unit_test(a_store_has_a_rate_and_no_limit),
		cmocka_unit_test(a_target_that_does_not_answer_is_left_alone_and_others_are_not),
		cmocka_unit_test(a_peer_that_is_silent_gets_no_more_jobs_until_one_has_ended),
		cmocka_unit_test(what_a_peer_says_is_an_answer_also_if_it_says_no),
		cmocka_unit_test(who_does_not_answer_is_left_out_of_claims_and_is_no_more_when_it_does),
		cmocka_unit_test(who_has_enough_waiting_is_left_out_of_claims),
		cmocka_unit_test(more_peers_than_are_remembered_are_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

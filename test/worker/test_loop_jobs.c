/*
 * test_loop_jobs.c - tests of worker/loop_jobs.c: no job is lost or reported twice, whatever the control
 * database says. It is a fake; the threads, the peers and the table of held jobs are real.
 */
#include "support.h"

#include <poll.h>
#include <stdlib.h>

#include "loop_jobs.h"
#include "options.h"

static struct
{
	bool connected;
	ControlResult answer; /* to reports */
	Job *next;			  /* given by the next report */
	int reports, releases, heartbeats;
	bool with_words; /* the last report */
	char reported[UUID_SIZE], released[UUID_SIZE];
	OutcomeClass class;
	int64_t waits;
	ControlResult release; /* the answer to what is handed back */
	LeaseState lease;	   /* what heartbeats say of each */
	Job *claimable[4];
	char except_targets[64], except_stores[64];
} control;

/* ------------------------------------------------------------------------------------------------
 * The fake control database, in the place of control_db.c
 */

bool
control_is_connected(const ControlDb *db)
{
	(void) db;
	return control.connected;
}

void
control_disconnect(ControlDb *db)
{
	(void) db;
	control.connected = false;
}

ControlResult
control_report(ControlDb *db, const Job *job, const Outcome *outcome, double duration_ms,
			   bool with_words, Job **next, PgError *err)
{
	(void) db;
	control.with_words = with_words;
	assert_true(control.connected);
	assert_true(duration_ms >= 0);
	/* No value outlives the thread that used it. */
	assert_int_equal(job->version.password.len, 0);
	control.reports++;
	control.class = outcome->class;
	(void) snprintf(control.reported, sizeof(control.reported), "%s", job->lease);
	*err = (PgError){.sqlstate = "XX000", .message = "said no"};
	*next = control.answer == CONTROL_DONE ? control.next : NULL;
	if (control.answer == CONTROL_DONE)
		control.next = NULL;
	return control.answer;
}

ControlResult
control_release(ControlDb *db, const Job *job, const char *reason, int64_t wait_ms, PgError *err)
{
	(void) db;
	assert_true(control.connected);
	assert_non_null(reason);
	control.releases++;
	control.waits = wait_ms;
	(void) snprintf(control.released, sizeof(control.released), "%s", job->lease);
	*err = (PgError){.sqlstate = "55P03", .message = "locked"};
	return control.release;
}

ControlResult
control_claim(ControlDb *db, int max, const char *except_targets, const char *except_stores,
			  Job **jobs, int *count, PgError *err)
{
	(void) db;
	*err = (PgError){.sqlstate = "XX000", .message = "said no"};
	(void) snprintf(control.except_targets, sizeof(control.except_targets), "%s", except_targets);
	(void) snprintf(control.except_stores, sizeof(control.except_stores), "%s", except_stores);
	*count = 0;
	if (control.answer != CONTROL_DONE)
		return control.answer;
	for (size_t i = 0; i < COUNT_OF(control.claimable); i++)
	{
		if (control.claimable[i] == NULL || *count == max)
			continue;
		jobs[(*count)++] = control.claimable[i];
		control.claimable[i] = NULL;
	}
	return CONTROL_DONE;
}

ControlResult
control_heartbeat(ControlDb *db, int count, const char *const *leases, LeaseState *states,
				  ControlQueue *queue, PgError *err)
{
	(void) db;
	(void) leases;
	(void) err;
	control.heartbeats++;
	*queue = (ControlQueue){0};
	for (int i = 0; i < count; i++)
		states[i] = control.lease;
	return CONTROL_DONE;
}

/* ------------------------------------------------------------------------------------------------
 * Support
 */

static Loop loop;

static Deadline begun_until; /* the end of the lease under which the last job began */

static Outcome
run(const Job *job, void *context)
{
	(void) context;
	assert_int_equal(job->version.password.len, 3);
	begun_until = job->lease_end;
	return outcome_make((OutcomeClass) job->attempt, "", "%s", job->lease);
}

/* Waits until the pool has as many results as jobs, and takes them. */
static void
take_all(void)
{
	struct pollfd readable = {.fd = pool_fd(loop.pool), .events = POLLIN};

	while (held_count(&loop.held, HELD_RUNNING) > 0)
	{
		assert_int_equal(poll(&readable, 1, -1), 1);
		loop_take_results(&loop);
	}
}

static int
begin_loop(void **state)
{
	RotorError err;

	(void) state;
	memset(&control, 0, sizeof(control));
	control.connected = true;
	control.release = CONTROL_DONE;
	loop = (Loop){.peers = peers_new(), .pool = pool_start(8, run, NULL, &err)};
	return loop.peers == NULL || loop.pool == NULL;
}

static int
end_loop(void **state)
{
	(void) state;
	take_all();
	pool_stop(loop.pool);
	held_free_all(&loop.held);
	peers_free(loop.peers);
	return 0;
}

static Job *
new_job(const char *lease, OutcomeClass class)
{
	Job *job = calloc(1, sizeof(*job));
	RotorError err;

	if (job == NULL)
		abort();
	(void) snprintf(job->lease, sizeof(job->lease), "%s", lease);
	job->attempt = (int) class;
	job->step = STEP_SET;
	job->secret = "s";
	job->target_name = "t";
	job->target_type = "model";
	job->store_name = "local";
	job->lease_end = deadline_in(3600000);
	assert_true(secret_buf_set(&job->version.password, "pw!", 3, &err));
	return job;
}

/* ------------------------------------------------------------------------------------------------
 * Tests
 */

TEST(a_job_is_run_reported_and_forgotten)
{
	loop_accept(&loop, new_job("a", OUTCOME_PROVED));
	assert_int_equal(loop.held.count, 1);
	take_all();
	assert_false(loop.claim_wanted);
	loop_report(&loop);
	assert_int_equal(control.reports, 1);
	assert_string_equal(control.reported, "a");
	assert_int_equal(control.class, OUTCOME_PROVED);
	assert_int_equal(loop.held.count, 0);
	loop_report(&loop);
	assert_int_equal(control.reports, 1);
}

TEST(the_next_job_of_the_rotation_is_run_at_once)
{
	loop_accept(&loop, new_job("a", OUTCOME_OK));
	take_all();
	control.next = new_job("b", OUTCOME_OK);
	loop_report(&loop);
	assert_int_equal(loop.held.count, 1);
	take_all();
	loop_report(&loop);
	assert_int_equal(control.reports, 2);
	assert_string_equal(control.reported, "b");
	assert_int_equal(loop.held.count, 0);
}

TEST(a_result_waits_for_the_connection)
{
	loop_accept(&loop, new_job("a", OUTCOME_OK));
	control.connected = false;
	take_all();
	loop_report(&loop);
	assert_int_equal(control.reports, 0);
	assert_int_equal(loop.held.count, 1);
	control.connected = true;
	loop_report(&loop);
	assert_int_equal(control.reports, 1);
	assert_int_equal(loop.held.count, 0);
}

TEST(a_result_is_dropped_when_its_lease_ends_before_there_is_a_connection)
{
	loop_accept(&loop, new_job("a", OUTCOME_OK));
	control.connected = false;
	take_all();
	loop.held.entries[0]->lease_end = clock_ms();
	assert_true(loop_next_moment(&loop) <= clock_ms());
	loop_report(&loop);
	assert_int_equal(loop.held.count, 0);
	assert_int_equal(control.reports, 0);
}

TEST(a_report_whose_answer_was_lost_is_made_again)
{
	loop_accept(&loop, new_job("a", OUTCOME_OK));
	take_all();
	control.answer = CONTROL_LOST;
	loop_report(&loop);
	assert_false(control.connected);
	assert_int_equal(loop.held.count, 1);
	control.connected = true;
	/* It had arrived: the lease is over. */
	control.answer = CONTROL_LATE;
	loop_report(&loop);
	assert_int_equal(control.reports, 2);
	assert_int_equal(loop.held.count, 0);
}

TEST(a_report_that_is_refused_is_made_again_a_little_later)
{
	loop_accept(&loop, new_job("a", OUTCOME_OK));
	take_all();
	control.answer = CONTROL_REFUSED;
	loop_report(&loop);
	assert_int_equal(control.reports, 1);
	assert_true(control.with_words);
	assert_int_equal(loop.held.count, 1);
	assert_in_range(deadline_left(loop.held.entries[0]->not_before), 0, 1001);
	loop.held.entries[0]->not_before = INT64_MAX;
	loop_report(&loop);
	assert_int_equal(control.reports, 1);
	loop.held.entries[0]->not_before = 0;
	control.answer = CONTROL_DONE;
	loop_report(&loop);
	assert_int_equal(control.reports, 2);
	/* It may have been the peer's words that the database could not bear. */
	assert_false(control.with_words);
	assert_int_equal(loop.held.count, 0);
}

TEST(a_report_that_is_always_refused_keeps_no_lease_for_ever)
{
	loop_accept(&loop, new_job("a", OUTCOME_OK));
	loop_accept(&loop, new_job("b", OUTCOME_OK));
	take_all();
	control.answer = CONTROL_REFUSED;
	for (int i = 0; i < 20; i++)
	{
		for (int j = 0; j < loop.held.count; j++)
			loop.held.entries[j]->not_before = 0;
		/* One at a time, for each may take as long as locks are waited for. */
		loop_report(&loop);
		assert_int_equal(control.reports, i + 1);
	}
	assert_int_equal(loop.held.count, 0);
}

TEST(several_results_are_each_reported_once)
{
	for (int i = 0; i < 4; i++)
		loop_accept(&loop, new_job("a", OUTCOME_OK));
	take_all();
	control.next = new_job("b", OUTCOME_OK);
	loop_report(&loop);
	assert_int_equal(control.reports, 4);
	take_all();
	loop_report(&loop);
	assert_int_equal(control.reports, 5);
	assert_int_equal(loop.held.count, 0);
}

TEST(a_job_whose_target_is_busy_waits_and_begins_when_there_is_room)
{
	/* The default of per_target_limit is 4. */
	for (int i = 0; i < 6; i++)
		loop_accept(&loop, new_job("a", OUTCOME_OK));
	/* Whatever the threads have done, results were not taken. */
	assert_int_equal(held_count(&loop.held, HELD_RUNNING), 4);
	assert_int_equal(held_count(&loop.held, HELD_WAITING), 2);
	assert_int_equal(control.releases, 0);
	take_all();
	loop_begin_waiting(&loop);
	assert_int_equal(held_count(&loop.held, HELD_WAITING), 0);
	take_all();
	loop_report(&loop);
	assert_int_equal(control.reports, 6);
}

TEST(who_stops_hands_back_what_waits_and_what_comes)
{
	for (int i = 0; i < 5; i++)
		loop_accept(&loop, new_job(i < 4 ? "a" : "w", OUTCOME_OK));
	take_all();
	control.next = new_job("n", OUTCOME_OK);
	loop.stops = true;
	loop_release_waiting(&loop);
	assert_int_equal(control.releases, 1);
	assert_string_equal(control.released, "w");
	assert_int_equal(held_count(&loop.held, HELD_DONE), 4);
	loop_begin_waiting(&loop);
	loop_report(&loop);
	assert_int_equal(control.reports, 4);
	assert_int_equal(control.releases, 2);
	assert_string_equal(control.released, "n");
	assert_int_equal(loop.held.count, 0);
}

TEST(more_than_can_be_held_are_handed_back)
{
	for (int i = 0; i < HELD_MAX; i++)
		loop_accept(&loop, new_job("a", OUTCOME_OK));
	loop_accept(&loop, new_job("z", OUTCOME_OK));
	assert_int_equal(control.releases, 1);
	assert_string_equal(control.released, "z");
	assert_int_equal(loop.held.count, HELD_MAX);
}

TEST(a_heartbeat_extends_what_is_held)
{
	Held *held;

	control.lease = LEASE_RENEWED;
	loop_accept(&loop, new_job("a", OUTCOME_OK));
	held = loop.held.entries[0];
	held->lease_end = 0;
	loop_heartbeat(&loop);
	assert_in_range(deadline_left(held->lease_end), 3500000, 3600000);
	assert_true(deadline_left(loop.next_heartbeat) <= 20000);
	take_all();
}

TEST(a_lease_that_is_over_is_not_begun_under)
{
	for (int i = 0; i < 5; i++)
		loop_accept(&loop, new_job("a", OUTCOME_OK));
	control.lease = LEASE_OVER;
	loop_heartbeat(&loop);
	/* What waits is dropped; what runs cannot be stopped, and its report tells. */
	assert_int_equal(held_count(&loop.held, HELD_WAITING), 0);
	assert_int_equal(held_count(&loop.held, HELD_RUNNING), 4);
	take_all();
	control.answer = CONTROL_LATE;
	loop_report(&loop);
	assert_int_equal(control.reports, 4);
	assert_int_equal(loop.held.count, 0);
}

TEST(what_has_waited_begins_under_the_renewed_lease)
{
	Held *last;

	control.lease = LEASE_RENEWED;
	for (int i = 0; i < 5; i++)
		loop_accept(&loop, new_job("a", OUTCOME_OK));
	last = loop.held.entries[4];
	last->lease_end = deadline_in(1000);
	take_all();
	loop_report(&loop);
	/* Too little is left to do anything under it, and the next heartbeat tells. */
	loop_begin_waiting(&loop);
	assert_int_equal(last->state, HELD_WAITING);
	loop_heartbeat(&loop);
	last->not_before = 0;
	loop_begin_waiting(&loop);
	assert_int_equal(last->state, HELD_RUNNING);
	take_all();
	assert_in_range(deadline_left(begun_until), 3500000, 3600000);
}

TEST(a_lease_whose_row_is_locked_is_neither_renewed_nor_over)
{
	Deadline former;

	for (int i = 0; i < 5; i++)
		loop_accept(&loop, new_job("a", OUTCOME_OK));
	former = loop.held.entries[4]->lease_end;
	control.lease = LEASE_LOCKED;
	loop_heartbeat(&loop);
	assert_int_equal(loop.held.count, 5);
	assert_true(loop.held.entries[4]->lease_end == former);
	assert_false(loop.held.entries[4]->lease_is_lost);
}

TEST(jobs_begin_in_the_order_in_which_they_came)
{
	for (int i = 0; i < 12; i++)
		loop_accept(&loop, new_job(i < 4 ? "first" : i < 8 ? "second" : "third", OUTCOME_OK));
	for (int round = 0; round < 3; round++)
	{
		static const char *const names[] = {"first", "second", "third"};

		for (int i = 0; i < loop.held.count; i++)
			assert_true((loop.held.entries[i]->state == HELD_RUNNING) ==
						(strcmp(loop.held.entries[i]->job->lease, names[round]) == 0));
		take_all();
		loop_report(&loop);
		loop_begin_waiting(&loop);
	}
	assert_int_equal(loop.held.count, 0);
}

TEST(who_stops_does_not_wait_for_each_refusal)
{
	for (int i = 0; i < 12; i++)
		loop_accept(&loop, new_job("a", OUTCOME_OK));
	control.release = CONTROL_REFUSED;
	loop.stops = true;
	loop_release_waiting(&loop);
	assert_int_equal(control.releases, 1);
	assert_int_equal(held_count(&loop.held, HELD_WAITING), 0);
}

TEST(a_claim_leaves_out_who_has_enough_waiting)
{
	PgError err;

	for (int i = 0; i < 8; i++)
		loop_accept(&loop, new_job("a", OUTCOME_OK));
	control.claimable[0] = new_job("b", OUTCOME_OK);
	control.claimable[0]->target_name = "other";
	assert_int_equal(loop_claim(&loop, 5, &err), 1);
	assert_string_equal(control.except_targets, "{\"t\"}");
	assert_string_equal(control.except_stores, "{}");
	assert_int_equal(held_count(&loop.held, HELD_RUNNING), 5);
	/* The first result makes room for another to wait. */
	take_all();
	loop_begin_waiting(&loop);
	loop.claim_wanted = false;
	take_all();
	assert_true(loop.claim_wanted);
	assert_int_equal(loop_claim(&loop, 5, &err), 0);
	assert_string_equal(control.except_targets, "{}");
	control.answer = CONTROL_REFUSED;
	assert_int_equal(loop_claim(&loop, 5, &err), -1);
	assert_true(control.connected);
	control.answer = CONTROL_LOST;
	assert_int_equal(loop_claim(&loop, 5, &err), -1);
	assert_false(control.connected);
}

TEST(a_target_that_fails_is_left_alone_while_others_go_on)
{
	Job *other;

	/* The default of breaker_failures is 5. */
	for (int i = 0; i < 5; i++)
	{
		loop_accept(&loop, new_job("a", OUTCOME_TRANSIENT));
		take_all();
		loop_report(&loop);
	}
	assert_int_equal(control.reports, 5);
	/* Others may reach it: what would wait as long as the pause is handed back. */
	loop_accept(&loop, new_job("w", OUTCOME_TRANSIENT));
	assert_int_equal(loop.held.count, 0);
	assert_string_equal(control.released, "w");
	assert_in_range(control.waits, 1000, 2000);
	other = new_job("b", OUTCOME_OK);
	other->target_name = "other";
	loop_accept(&loop, other);
	assert_int_equal(held_count(&loop.held, HELD_RUNNING), 1);
	take_all();
	loop_report(&loop);
	assert_string_equal(control.reported, "b");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define LOOP_TEST(test) cmocka_unit_test_setup_teardown(test, begin_loop, end_loop)
		LOOP_TEST(a_job_is_run_reported_and_forgotten),
		LOOP_TEST(the_next_job_of_the_rotation_is_run_at_once),
		LOOP_TEST(a_result_waits_for_the_connection),
		LOOP_TEST(a_result_is_dropped_when_its_lease_ends_before_there_is_a_connection),
		LOOP_TEST(a_report_whose_answer_was_lost_is_made_again),
		LOOP_TEST(a_report_that_is_refused_is_made_again_a_little_later),
		LOOP_TEST(a_report_that_is_always_refused_keeps_no_lease_for_ever),
		LOOP_TEST(several_results_are_each_reported_once),
		LOOP_TEST(a_job_whose_target_is_busy_waits_and_begins_when_there_is_room),
		LOOP_TEST(who_stops_hands_back_what_waits_and_what_comes),
		LOOP_TEST(more_than_can_be_held_are_handed_back),
		LOOP_TEST(a_heartbeat_extends_what_is_held),
		LOOP_TEST(a_lease_that_is_over_is_not_begun_under),
		LOOP_TEST(what_has_waited_begins_under_the_renewed_lease),
		LOOP_TEST(a_lease_whose_row_is_locked_is_neither_renewed_nor_over),
		LOOP_TEST(jobs_begin_in_the_order_in_which_they_came),
		LOOP_TEST(who_stops_does_not_wait_for_each_refusal),
		LOOP_TEST(a_claim_leaves_out_who_has_enough_waiting),
		LOOP_TEST(a_target_that_fails_is_left_alone_while_others_go_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

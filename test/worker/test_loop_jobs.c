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
	char reported[UUID_SIZE], released[UUID_SIZE];
	OutcomeClass class;
	int64_t waits;
	bool holds; /* heartbeats say that the leases run */
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
			   Job **next, PgError *err)
{
	(void) db;
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
	(void) err;
	assert_true(control.connected);
	assert_non_null(reason);
	control.releases++;
	control.waits = wait_ms;
	(void) snprintf(control.released, sizeof(control.released), "%s", job->lease);
	return CONTROL_DONE;
}

ControlResult
control_heartbeat(ControlDb *db, int count, const char *const *leases, bool *held,
				  ControlQueue *queue, PgError *err)
{
	(void) db;
	(void) leases;
	(void) err;
	control.heartbeats++;
	*queue = (ControlQueue){0};
	for (int i = 0; i < count; i++)
		held[i] = control.holds;
	return CONTROL_DONE;
}

/* ------------------------------------------------------------------------------------------------
 * Support
 */

static Loop loop;

static Outcome
run(const Job *job, void *context)
{
	(void) context;
	assert_int_equal(job->version.password.len, 3);
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
	loop_report(&loop);
	assert_int_equal(control.reports, 1);
	assert_int_equal(loop.held.count, 1);
	loop.held.entries[0]->not_before = 0;
	control.answer = CONTROL_DONE;
	loop_report(&loop);
	assert_int_equal(control.reports, 2);
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

	control.holds = true;
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
	control.holds = false;
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
	loop_accept(&loop, new_job("a", OUTCOME_TRANSIENT));
	assert_int_equal(held_count(&loop.held, HELD_WAITING), 1);
	assert_in_range(deadline_left(loop.held.entries[0]->not_before), 10000, 45000);
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
		LOOP_TEST(several_results_are_each_reported_once),
		LOOP_TEST(a_job_whose_target_is_busy_waits_and_begins_when_there_is_room),
		LOOP_TEST(who_stops_hands_back_what_waits_and_what_comes),
		LOOP_TEST(more_than_can_be_held_are_handed_back),
		LOOP_TEST(a_heartbeat_extends_what_is_held),
		LOOP_TEST(a_lease_that_is_over_is_not_begun_under),
		LOOP_TEST(a_target_that_fails_is_left_alone_while_others_go_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

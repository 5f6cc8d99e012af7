/*
 * test_fsm.c - the table of transitions (src/fsm.c) keeps its promises on every path.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "fsm.h"

static bool
ends(const FsmTransition *row)
{
	return fsm_is_over(row->status);
}

static void
each_step_and_outcome_has_one_row(void **state)
{
	(void) state;
	for (size_t i = 0; fsm_row(i) != NULL; i++)
	{
		assert_ptr_equal(fsm_next(fsm_row(i)->step, fsm_row(i)->outcome), fsm_row(i));
		for (size_t k = i + 1; fsm_row(k) != NULL; k++)
			assert_false(fsm_row(i)->step == fsm_row(k)->step &&
						 fsm_row(i)->outcome == fsm_row(k)->outcome);
	}
}

static void
each_row_has_an_event_and_a_sentence(void **state)
{
	(void) state;
	for (size_t i = 0; fsm_row(i) != NULL; i++)
	{
		assert_true(strlen(fsm_row(i)->event) > 0);
		assert_true(strlen(fsm_row(i)->meaning) > 10);
	}
}

/* Marks what can be reached from a step by rows that a running rotation takes. */
static void
/* NOLINTNEXTLINE(misc-no-recursion): no deeper than there are steps. */
reach(FsmStep step, bool *steps, bool *statuses)
{
	if (steps[step])
		return;
	steps[step] = true;
	for (size_t i = 0; fsm_row(i) != NULL; i++)
	{
		if (fsm_row(i)->step != step)
			continue;
		statuses[fsm_row(i)->status] = true;
		reach(fsm_row(i)->next, steps, statuses);
	}
}

static void
every_step_and_every_status_is_reachable_from_create_or_is_a_rotation_of_its_own(void **state)
{
	bool steps[FSM_STEP_COUNT] = {false};
	bool statuses[FSM_STATUS_COUNT] = {false};

	(void) state;
	reach(FSM_STEP_CREATE, steps, statuses);
	for (int i = 0; i < FSM_STEP_COUNT; i++)
		assert_int_equal(steps[i], i != FSM_STEP_RETIRE);
	for (int i = 0; i < FSM_STATUS_COUNT; i++)
		assert_true(statuses[i]);
}

static void
what_is_retired_is_not_rotated(void **state)
{
	bool steps[FSM_STEP_COUNT] = {false};
	bool statuses[FSM_STATUS_COUNT] = {false};

	(void) state;
	reach(FSM_STEP_RETIRE, steps, statuses);
	for (int i = 0; i < FSM_STEP_COUNT; i++)
		assert_int_equal(steps[i], i == FSM_STEP_RETIRE || i == FSM_STEP_DONE);
}

/* True if some path of other rows than retries leads from step to an end. */
static bool
/* NOLINTNEXTLINE(misc-no-recursion): no deeper than there are steps. */
can_end(FsmStep step, int depth)
{
	if (depth > FSM_STEP_COUNT)
		return false;
	for (size_t i = 0; fsm_row(i) != NULL; i++)
	{
		const FsmTransition *row = fsm_row(i);

		if (row->step == step && !row->retry && (ends(row) || can_end(row->next, depth + 1)))
			return true;
	}
	return false;
}

static void
every_step_that_is_not_the_last_has_an_exit(void **state)
{
	(void) state;
	for (int step = 0; step < FSM_STEP_DONE; step++)
		assert_true(can_end((FsmStep) step, 0));
}

static void
every_step_knows_what_to_do_when_it_works_may_work_later_or_has_a_defect(void **state)
{
	(void) state;
	for (int step = 0; step < FSM_STEP_DONE; step++)
	{
		assert_non_null(fsm_next((FsmStep) step, FSM_OUTCOME_OK));
		assert_non_null(fsm_next((FsmStep) step, FSM_OUTCOME_TRANSIENT));
		assert_non_null(fsm_next((FsmStep) step, FSM_OUTCOME_EXHAUSTED));
		assert_non_null(fsm_next((FsmStep) step, FSM_OUTCOME_PERMANENT));
		assert_non_null(fsm_next((FsmStep) step, FSM_OUTCOME_INTERNAL));
	}
}

static void
a_row_ends_the_rotation_exactly_when_no_step_is_left(void **state)
{
	(void) state;
	for (size_t i = 0; fsm_row(i) != NULL; i++)
		assert_int_equal(fsm_row(i)->next == FSM_STEP_DONE, ends(fsm_row(i)));
}

static void
a_retry_runs_the_same_step_again(void **state)
{
	(void) state;
	for (size_t i = 0; fsm_row(i) != NULL; i++)
	{
		assert_int_equal(fsm_row(i)->retry, fsm_row(i)->outcome == FSM_OUTCOME_TRANSIENT);
		if (fsm_row(i)->retry)
			assert_int_equal(fsm_row(i)->next, fsm_row(i)->step);
	}
}

static void
a_failure_is_a_dead_letter_and_nothing_else_is(void **state)
{
	(void) state;
	for (size_t i = 0; fsm_row(i) != NULL; i++)
		assert_int_equal(fsm_row(i)->dead_letter, fsm_row(i)->status == FSM_STATUS_FAILED);
}

static void
every_dead_letter_can_be_requeued_in_the_step_it_died_in(void **state)
{
	(void) state;
	for (size_t i = 0; fsm_row(i) != NULL; i++)
	{
		const FsmTransition *again;

		if (!fsm_row(i)->dead_letter)
			continue;
		again = fsm_next(fsm_row(i)->step, FSM_OUTCOME_REQUEUED);
		assert_non_null(again);
		assert_int_equal(again->next, fsm_row(i)->step);
		assert_false(ends(again));
	}
}

static void
only_set_and_undo_change_which_password_is_live(void **state)
{
	(void) state;
	for (size_t i = 0; fsm_row(i) != NULL; i++)
	{
		const FsmTransition *row = fsm_row(i);
		bool before_set = row->step == FSM_STEP_CREATE || row->step == FSM_STEP_PUBLISH ||
						  row->step == FSM_STEP_SET || row->step == FSM_STEP_RETIRE;
		FsmLive before = before_set ? FSM_LIVE_FORMER : FSM_LIVE_NEW;

		/* What is unsettled in finish is where labels stand, not which password is live. */
		if (row->outcome == FSM_OUTCOME_UNSETTLED && row->step != FSM_STEP_FINISH)
			assert_int_equal(row->live, FSM_LIVE_UNKNOWN);
		else if (row->outcome == FSM_OUTCOME_SUPERSEDED && !before_set)
			assert_int_equal(row->live, FSM_LIVE_OTHERS);
		else if (row->outcome == FSM_OUTCOME_OK && row->step == FSM_STEP_SET)
			assert_int_equal(row->live, FSM_LIVE_NEW);
		else if (row->outcome == FSM_OUTCOME_OK && row->step == FSM_STEP_UNDO)
			assert_int_equal(row->live, FSM_LIVE_FORMER);
		else
			assert_int_equal(row->live, before);
	}
}

/*
 * Walks every path; refused: the server is known to refuse the new password. At an end the role
 * must accept a password that is not known to be refused, unless the way back itself failed for
 * good, which is a dead letter.
 */
static void
/* NOLINTNEXTLINE(misc-no-recursion): no deeper than there are steps. */
walk(FsmStep step, bool refused, int depth)
{
	for (size_t i = 0; fsm_row(i) != NULL; i++)
	{
		const FsmTransition *row = fsm_row(i);
		bool now_refused = refused || row->outcome == FSM_OUTCOME_REFUSED;

		if (row->step != step || row->retry || row->outcome == FSM_OUTCOME_REQUEUED ||
			row->outcome == FSM_OUTCOME_REFUSED_BY_HOOK || row->outcome == FSM_OUTCOME_LEAKED)
			continue;
		assert_true(depth < FSM_STEP_COUNT);
		if (!ends(row))
			walk(row->next, now_refused, depth + 1);
		else if (row->status == FSM_STATUS_SUCCESS)
			assert_true(row->live == FSM_LIVE_NEW && !now_refused);
		else if (row->status == FSM_STATUS_CANCELLED || row->status == FSM_STATUS_ROLLED_BACK)
			assert_int_equal(row->live, FSM_LIVE_FORMER);
		else
			assert_true(row->dead_letter);
		if (ends(row) && row->live == FSM_LIVE_NEW && now_refused)
			assert_true(row->step == FSM_STEP_UNDO && row->dead_letter);
	}
}

static void
every_path_from_a_set_ends_in_a_login_that_works_or_calls_for_a_human(void **state)
{
	(void) state;
	walk(FSM_STEP_CREATE, false, 0);
}

static void
a_refused_or_unproved_password_is_always_given_back(void **state)
{
	(void) state;
	assert_int_equal(fsm_next(FSM_STEP_TEST, FSM_OUTCOME_REFUSED)->next, FSM_STEP_UNDO);
	assert_int_equal(fsm_next(FSM_STEP_TEST, FSM_OUTCOME_INCONCLUSIVE)->next, FSM_STEP_UNDO);
	assert_int_equal(fsm_next(FSM_STEP_UNDO, FSM_OUTCOME_OK)->status, FSM_STATUS_ROLLED_BACK);
}

static void
in_an_emergency_another_value_is_made_and_the_former_never_given_back(void **state)
{
	(void) state;
	for (size_t i = 0; fsm_row(i) != NULL; i++)
	{
		const FsmTransition *row = fsm_row(i);

		if (row->outcome != FSM_OUTCOME_LEAKED)
			continue;
		assert_int_equal(row->next, FSM_STEP_CREATE);
		assert_int_equal(row->live, row->step == FSM_STEP_TEST ? FSM_LIVE_NEW : FSM_LIVE_FORMER);
	}
	assert_non_null(fsm_next(FSM_STEP_CREATE, FSM_OUTCOME_LEAKED));
	assert_non_null(fsm_next(FSM_STEP_SET, FSM_OUTCOME_LEAKED));
	assert_non_null(fsm_next(FSM_STEP_TEST, FSM_OUTCOME_LEAKED));
	/* When no value is accepted, the last one stays. */
	assert_int_equal(fsm_next(FSM_STEP_TEST, FSM_OUTCOME_EXHAUSTED)->live, FSM_LIVE_NEW);
}

static void
success_is_reached_only_through_a_proof(void **state)
{
	(void) state;
	for (size_t i = 0; fsm_row(i) != NULL; i++)
	{
		const FsmTransition *row = fsm_row(i);

		if (row->next == FSM_STEP_FINISH && row->step != FSM_STEP_FINISH)
			assert_true(row->step == FSM_STEP_TEST &&
						(row->outcome == FSM_OUTCOME_OK || row->outcome == FSM_OUTCOME_PROVED));
		if (row->status == FSM_STATUS_SUCCESS)
			assert_true(row->step == FSM_STEP_FINISH || row->step == FSM_STEP_RETIRE);
	}
}

static void
a_rotation_can_be_cancelled_only_before_the_role_is_changed(void **state)
{
	(void) state;
	for (int step = 0; step < FSM_STEP_DONE; step++)
	{
		bool allowed = fsm_next((FsmStep) step, FSM_OUTCOME_CANCELLED) != NULL;

		assert_int_equal(allowed, step == FSM_STEP_CREATE || step == FSM_STEP_PUBLISH ||
									  step == FSM_STEP_SET || step == FSM_STEP_RETIRE);
	}
}

static void
names_are_read_back_as_the_values_they_stand_for(void **state)
{
	(void) state;
	for (int i = 0; i < FSM_STEP_COUNT; i++)
		assert_int_equal(fsm_step_of(fsm_step_name((FsmStep) i)), i);
	for (int i = 0; i < FSM_STATUS_COUNT; i++)
		assert_int_equal(fsm_status_of(fsm_status_name((FsmStatus) i)), i);
	for (int i = 0; i < FSM_OUTCOME_COUNT; i++)
		assert_non_null(fsm_outcome_name((FsmOutcome) i));
	for (int i = 0; i < FSM_LIVE_COUNT; i++)
		assert_non_null(fsm_live_name((FsmLive) i));
	assert_int_equal(fsm_step_of("no such step"), FSM_STEP_COUNT);
	assert_int_equal(fsm_status_of(""), FSM_STATUS_COUNT);
}

static void
what_cannot_happen_has_no_row(void **state)
{
	(void) state;
	assert_null(fsm_next(FSM_STEP_DONE, FSM_OUTCOME_OK));
	assert_null(fsm_next(FSM_STEP_CREATE, FSM_OUTCOME_REFUSED));
	assert_null(fsm_next(FSM_STEP_UNDO, FSM_OUTCOME_CANCELLED));
	assert_null(fsm_row(1000));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_step_and_outcome_has_one_row),
		cmocka_unit_test(each_row_has_an_event_and_a_sentence),
		cmocka_unit_test(
			every_step_and_every_status_is_reachable_from_create_or_is_a_rotation_of_its_own),
		cmocka_unit_test(what_is_retired_is_not_rotated),
		cmocka_unit_test(every_step_that_is_not_the_last_has_an_exit),
		cmocka_unit_test(every_step_knows_what_to_do_when_it_works_may_work_later_or_has_a_defect),
		cmocka_unit_test(a_row_ends_the_rotation_exactly_when_no_step_is_left),
		cmocka_unit_test(a_retry_runs_the_same_step_again),
		cmocka_unit_test(a_failure_is_a_dead_letter_and_nothing_else_is),
		cmocka_unit_test(every_dead_letter_can_be_requeued_in_the_step_it_died_in),
		cmocka_unit_test(only_set_and_undo_change_which_password_is_live),
		cmocka_unit_test(every_path_from_a_set_ends_in_a_login_that_works_or_calls_for_a_human),
		cmocka_unit_test(a_refused_or_unproved_password_is_always_given_back),
		cmocka_unit_test(in_an_emergency_another_value_is_made_and_the_former_never_given_back),
		cmocka_unit_test(success_is_reached_only_through_a_proof),
		cmocka_unit_test(a_rotation_can_be_cancelled_only_before_the_role_is_changed),
		cmocka_unit_test(names_are_read_back_as_the_values_they_stand_for),
		cmocka_unit_test(what_cannot_happen_has_no_row),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * test_steps.c - tests of worker/steps.c with a target and a store that are models.
 *
 * A model has a state that outlives attempts, and a script that says of each call what becomes of it: it
 * works, was not sent, was lost before or after it took effect, or the worker dies before or after it. The
 * driver does with outcomes what the extension does. All scripts of a few faults are tried.
 */
#include "support.h"

#include <setjmp.h>
#include <stdlib.h>

#include "steps.h"
#include "store.h"
#include "target.h"

typedef enum Fault
{
	WORKS,
	NOT_SENT,
	LOST_BEFORE, /* the answer is missing, and nothing was changed */
	LOST_AFTER,	 /* the answer is missing, and it was changed */
	DIES_BEFORE,
	DIES_AFTER,
	FAULT_COUNT
} Fault;

#define SCRIPT_LENGTH 4 /* calls; later ones work */

#define VERSION_ID	"00000000-0000-4000-8000-000000000001"
#define FORMER_ID	"00000000-0000-4000-8000-000000000002"
#define PREVIOUS_ID "00000000-0000-4000-8000-000000000003"
#define ADMIN_ID	"00000000-0000-4000-8000-000000000004"
#define OTHER_ID	"00000000-0000-4000-8000-000000000005"

static struct
{
	char live[UUID_SIZE]; /* which value the account has */
	StoreLabels labels;
	Fault script[SCRIPT_LENGTH];
	int calls;
	int logins[8];	/* of this attempt, by the last digit of the value's id */
	int refused[8]; /* the same of logins that were refused, those to change the account too */
	int sets, promotes, looks, publishes, ended;
	bool locked;
	bool is_adopted;	/* what is current is the former value, whatever its id is */
	const JobValue *by; /* of the last set */
	bool query;			/* of the last login */
	Outcome login_answer, set_answer, promote_answer,
		look_answer; /* instead, if they have a message */
	jmp_buf death;
} world;

static Job *
new_job(JobStep step)
{
	Job *job = calloc(1, sizeof(*job));
	RotorError err;

	if (job == NULL)
		abort();
	memset(&world, 0, sizeof(world));
	job->step = step;
	job->secret = "secret";
	job->target_type = "model";
	job->target_name = "t";
	job->store_type = "model";
	job->store_name = "s";
	job->lease_end = deadline_in(3600000);
	(void) snprintf(job->version.id, sizeof(job->version.id), "%s", VERSION_ID);
	(void) snprintf(job->former.id, sizeof(job->former.id), "%s", FORMER_ID);
	(void) snprintf(job->previous.id, sizeof(job->previous.id), "%s", PREVIOUS_ID);
	(void) snprintf(job->admin.id, sizeof(job->admin.id), "%s", ADMIN_ID);
	assert_true(secret_buf_set(&job->version.password, "version-pw", 10, &err));
	assert_true(secret_buf_set(&job->former.password, "former-pw", 9, &err));
	assert_true(secret_buf_set(&job->previous.password, "previous-pw", 11, &err));
	assert_true(secret_buf_set(&job->admin.password, "admin-pw", 8, &err));
	(void) snprintf(world.live, sizeof(world.live), "%s", FORMER_ID);
	world.labels.exists = true;
	(void) snprintf(world.labels.current, sizeof(world.labels.current), "%s", FORMER_ID);
	(void) snprintf(world.labels.pending, sizeof(world.labels.pending), "%s", VERSION_ID);
	return job;
}

static Fault
next_fault(void)
{
	Fault fault = world.calls < SCRIPT_LENGTH ? world.script[world.calls] : WORKS;

	world.calls++;
	if (fault == DIES_BEFORE)
		longjmp(world.death, 1);
	return fault;
}

/* What the caller sees of a call that took effect or would have. */
static Outcome
answer(Fault fault)
{
	switch (fault)
	{
		case NOT_SENT:
			return outcome_make(OUTCOME_TRANSIENT, "08001", "not sent");
		case LOST_BEFORE:
		case LOST_AFTER:
			return outcome_make(OUTCOME_UNKNOWN, "08006", "lost");
		case DIES_AFTER:
			longjmp(world.death, 1);
		default:
			return outcome_make(OUTCOME_OK, NULL, NULL);
	}
}

static bool
takes_effect(Fault fault)
{
	return fault == WORKS || fault == LOST_AFTER || fault == DIES_AFTER;
}

/* ------------------------------------------------------------------------------------------------
 * The models
 */

static Outcome
model_set(const Job *job, const JobValue *value, const JobValue *by, Deadline deadline)
{
	Fault fault = next_fault();

	assert_true(deadline <= job->lease_end - STEPS_LEASE_RESERVE_MS);
	world.sets++;
	world.by = by;
	if (world.set_answer.message[0] != '\0')
		return world.set_answer;
	if (fault != NOT_SENT && by != &job->admin && strcmp(world.live, by->id) != 0)
	{
		/* As the targets say it: the credential may be newer next time. */
		Outcome outcome = outcome_make(OUTCOME_TRANSIENT, "28P01", "login refused");

		world.refused[by->id[35] - '0']++;
		outcome.peer_answered = outcome.by_refused = true;
		return outcome;
	}
	if (takes_effect(fault))
		(void) snprintf(world.live, sizeof(world.live), "%s", value->id);
	return answer(fault);
}

static Outcome
model_login(const Job *job, const JobValue *value, bool query, Deadline deadline)
{
	Fault fault = next_fault();

	assert_true(deadline <= job->lease_end - STEPS_LEASE_RESERVE_MS);
	world.logins[value->id[35] - '0']++;
	world.query = query;
	if (world.login_answer.message[0] != '\0')
		return world.login_answer;
	if (fault != WORKS && fault != DIES_AFTER)
		return outcome_make(OUTCOME_TRANSIENT, "08001", "not asked");
	if (fault == DIES_AFTER)
		longjmp(world.death, 1);
	if (strcmp(world.live, value->id) == 0)
		return outcome_make(OUTCOME_OK, NULL, NULL);
	world.refused[value->id[35] - '0']++;
	return outcome_make(OUTCOME_REFUSED, "28P01", "password authentication failed");
}

static Outcome
model_retire(const Job *job, const JobValue *by, Deadline deadline)
{
	Fault fault = next_fault();

	(void) deadline;
	assert_ptr_equal(by, &job->admin);
	world.locked |= takes_effect(fault);
	return answer(fault);
}

static Outcome
model_end_sessions(const Job *job, const JobValue *by, Deadline deadline)
{
	(void) deadline;
	assert_ptr_equal(by, &job->admin);
	world.ended++;
	return outcome_make(OUTCOME_PERMANENT, "42501", "not allowed, admin-pw");
}

static Outcome
model_publish(const Job *job, Deadline deadline)
{
	Fault fault = next_fault();

	(void) deadline;
	world.publishes++;
	if (takes_effect(fault))
		(void) snprintf(world.labels.pending, sizeof(world.labels.pending), "%s", job->version.id);
	return answer(fault);
}

static Outcome
model_promote(const Job *job, Deadline deadline)
{
	Fault fault = next_fault();

	(void) deadline;
	world.promotes++;
	if (world.promote_answer.message[0] != '\0')
		return world.promote_answer;
	if (fault != NOT_SENT && strcmp(world.labels.current, job->version.id) != 0 &&
		strcmp(world.labels.current, job->former.id) != 0 && job->former.id[0] != '\0' &&
		!world.is_adopted)
		return outcome_make(OUTCOME_SUPERSEDED, NULL, "compare-and-swap failed");
	if (takes_effect(fault) && strcmp(world.labels.current, job->version.id) != 0)
	{
		(void) snprintf(world.labels.previous, sizeof(world.labels.previous), "%s",
						world.labels.current);
		(void) snprintf(world.labels.current, sizeof(world.labels.current), "%s", job->version.id);
	}
	/* The label pending is moved by a call of its own, which may be missing. */
	if (fault == WORKS)
		world.labels.pending[0] = '\0';
	return answer(fault);
}

static Outcome
model_look(const Job *job, StoreLabels *labels, Deadline deadline)
{
	Fault fault = next_fault();

	(void) job;
	(void) deadline;
	world.looks++;
	if (world.look_answer.message[0] != '\0')
		return world.look_answer;
	if (fault != WORKS && fault != DIES_AFTER)
		return outcome_make(OUTCOME_TRANSIENT, "503", "not asked");
	if (fault == DIES_AFTER)
		longjmp(world.death, 1);
	*labels = world.labels;
	return outcome_make(OUTCOME_OK, NULL, NULL);
}

static const TargetClass model_target = {.type = "model",
										 .set = model_set,
										 .login = model_login,
										 .retire = model_retire,
										 .end_sessions = model_end_sessions};
static const StoreClass model_store = {
	.type = "model", .publish = model_publish, .promote = model_promote, .look = model_look};

const TargetClass *
target_find(const char *type)
{
	return strcmp(type, "model") == 0 ? &model_target : NULL;
}

const StoreClass *
store_find(const char *type)
{
	return strcmp(type, "model") == 0 ? &model_store : NULL;
}

/* ------------------------------------------------------------------------------------------------
 * The driver
 */

/* One attempt; false if the worker died. */
static bool
attempt(Job *job, Outcome *outcome)
{
	volatile bool alive = false; /* survives longjmp() */

	memset(world.logins, 0, sizeof(world.logins));
	memset(world.refused, 0, sizeof(world.refused));
	if (setjmp(world.death) == 0)
	{
		*outcome = steps_run(job, 60000);
		alive = true;
	}
	for (size_t i = 0; i < COUNT_OF(world.logins); i++)
	{
		assert_in_range(world.logins[i], 0, 1);
		assert_in_range(world.refused[i], 0, 1);
	}
	return alive;
}

/* Attempts as the extension asks for them, until the step is over; its last outcome. */
static Outcome
drive(Job *job)
{
	Outcome outcome = {0};

	for (int i = 0; i < 2 * SCRIPT_LENGTH + 2; i++)
	{
		if (!attempt(job, &outcome) || outcome.class == OUTCOME_UNKNOWN)
			job->look = true;
		else if (outcome.class == OUTCOME_TRANSIENT)
			job->look = false;
		else
			return outcome;
	}
	/* Attempts are exhausted; that is an end only for an account that lets nobody change it. */
	if (!outcome.by_refused)
		fail_msg("the step does not come to an end");
	return outcome;
}

/* All scripts, one after the other: false when they are over. */
static bool
next_script(Fault script[SCRIPT_LENGTH])
{
	for (int i = 0; i < SCRIPT_LENGTH; i++)
	{
		if (++script[i] < FAULT_COUNT)
			return true;
		script[i] = WORKS;
	}
	return false;
}

static void
without(JobValue *value)
{
	value->id[0] = '\0';
	secret_buf_wipe(&value->password);
}

/* ------------------------------------------------------------------------------------------------
 * Whatever happens, the protocol converges
 */

static void
converge_set(const char *live, bool has_admin)
{
	Fault script[SCRIPT_LENGTH] = {WORKS};

	do
	{
		Job *job = new_job(STEP_SET);
		Outcome outcome;

		if (!has_admin)
			without(&job->admin);
		(void) snprintf(world.live, sizeof(world.live), "%s", live);
		memcpy(world.script, script, sizeof(script));
		outcome = drive(job);
		if (outcome.class == OUTCOME_OK)
			assert_string_equal(world.live, VERSION_ID);
		else
		{
			/* Given up, and truly so: the account is as it was, and could not be changed by itself. */
			assert_true(outcome.by_refused || outcome.class == OUTCOME_PERMANENT);
			assert_string_equal(world.live, live);
			assert_false(has_admin);
			assert_string_not_equal(live, FORMER_ID);
		}
		job_free(job);
	} while (next_script(script));
}

TEST(set_by_an_admin_ends_with_the_version_in_force)
{
	converge_set(FORMER_ID, true);
	converge_set(PREVIOUS_ID, true);
	converge_set(OTHER_ID, true);
	converge_set(VERSION_ID, true);
}

TEST(set_by_the_account_itself_ends_with_the_version_in_force_or_changes_nothing)
{
	converge_set(FORMER_ID, false);
	converge_set(PREVIOUS_ID, false);
	converge_set(OTHER_ID, false);
	converge_set(VERSION_ID, false);
}

static void
converge_undo(const char *live, bool has_admin)
{
	Fault script[SCRIPT_LENGTH] = {WORKS};

	do
	{
		Job *job = new_job(STEP_UNDO);
		Outcome outcome;

		if (!has_admin)
			without(&job->admin);
		(void) snprintf(world.live, sizeof(world.live), "%s", live);
		memcpy(world.script, script, sizeof(script));
		outcome = drive(job);
		if (outcome.class == OUTCOME_OK)
			assert_string_equal(world.live, FORMER_ID);
		else
		{
			assert_true(outcome.by_refused);
			assert_string_equal(world.live, live);
			assert_false(has_admin);
			assert_string_equal(live, OTHER_ID);
		}
		job_free(job);
	} while (next_script(script));
}

TEST(undo_ends_with_the_former_value_in_force)
{
	converge_undo(VERSION_ID, true);
	converge_undo(FORMER_ID, true);
	converge_undo(OTHER_ID, true);
	converge_undo(VERSION_ID, false);
	converge_undo(FORMER_ID, false);
	converge_undo(OTHER_ID, false);
}

static void
converge_finish(const char *current, bool has_former, bool is_adopted)
{
	Fault script[SCRIPT_LENGTH] = {WORKS};

	do
	{
		Job *job = new_job(STEP_FINISH);
		Outcome outcome;

		if (!has_former)
			without(&job->former);
		(void) snprintf(world.labels.current, sizeof(world.labels.current), "%s", current);
		world.is_adopted = is_adopted;
		memcpy(world.script, script, sizeof(script));
		outcome = drive(job);
		if (outcome.class == OUTCOME_OK)
			assert_string_equal(world.labels.current, VERSION_ID);
		else
		{
			assert_int_equal(outcome.class, OUTCOME_SUPERSEDED);
			assert_string_equal(world.labels.current, OTHER_ID);
			assert_true(has_former && !is_adopted);
		}
		job_free(job);
	} while (next_script(script));
}

TEST(finish_ends_with_the_version_labelled_current_or_is_superseded)
{
	converge_finish(FORMER_ID, true, false);
	converge_finish(VERSION_ID, true, false);
	converge_finish(OTHER_ID, true, false);
	converge_finish(OTHER_ID, false, false);
	converge_finish("", false, false);
}

TEST(finish_replaces_a_former_value_that_was_adopted_under_a_foreign_id)
{
	converge_finish(OTHER_ID, true, true);
	converge_finish("", true, true);
}

TEST(publish_ends_with_the_version_labelled_pending)
{
	Fault script[SCRIPT_LENGTH] = {WORKS};

	do
	{
		Job *job = new_job(STEP_PUBLISH);

		world.labels.pending[0] = '\0';
		memcpy(world.script, script, sizeof(script));
		assert_int_equal(drive(job).class, OUTCOME_OK);
		assert_string_equal(world.labels.pending, VERSION_ID);
		assert_string_equal(world.labels.current, FORMER_ID);
		job_free(job);
	} while (next_script(script));
}

TEST(test_ends_with_what_the_target_says_of_the_version)
{
	Fault script[SCRIPT_LENGTH] = {WORKS};

	do
	{
		Job *job = new_job(STEP_TEST);

		(void) snprintf(world.live, sizeof(world.live), "%s",
						script[0] % 2 == 0 ? VERSION_ID : FORMER_ID);
		memcpy(world.script, script, sizeof(script));
		assert_int_equal(drive(job).class, script[0] % 2 == 0 ? OUTCOME_OK : OUTCOME_REFUSED);
		assert_true(world.query);
		job_free(job);
	} while (next_script(script));
}

/* ------------------------------------------------------------------------------------------------
 * What is called, and what is said
 */

TEST(a_first_attempt_sets_without_a_probe)
{
	Job *job = new_job(STEP_SET);

	assert_int_equal(steps_run(job, 60000).class, OUTCOME_OK);
	assert_int_equal(world.calls, 1);
	assert_ptr_equal(world.by, &job->admin);
	job_free(job);
}

TEST(an_account_without_an_admin_is_changed_by_its_former_value)
{
	Job *job = new_job(STEP_SET);

	without(&job->admin);
	assert_int_equal(steps_run(job, 60000).class, OUTCOME_OK);
	assert_ptr_equal(world.by, &job->former);
	job_free(job);
}

TEST(an_account_that_nobody_can_change_is_a_permanent_failure)
{
	Job *job = new_job(STEP_SET);
	Outcome outcome;

	without(&job->admin);
	without(&job->former);
	outcome = steps_run(job, 60000);
	assert_int_equal(outcome.class, OUTCOME_PERMANENT);
	assert_non_null(strstr(outcome.message, "neither an admin credential nor a former value"));
	assert_int_equal(world.calls, 0);
	job_free(job);
}

TEST(a_lost_set_that_took_effect_is_not_repeated)
{
	Job *job = new_job(STEP_SET);

	job->look = true;
	(void) snprintf(world.live, sizeof(world.live), "%s", VERSION_ID);
	assert_int_equal(steps_run(job, 60000).class, OUTCOME_OK);
	assert_int_equal(world.sets, 0);
	assert_int_equal(world.logins[1], 1);
	assert_false(world.query);
	job_free(job);
}

TEST(a_password_that_is_proved_settles_a_lost_set)
{
	Job *job = new_job(STEP_SET);

	job->look = true;
	world.login_answer = outcome_make(OUTCOME_PROVED, "53300", "too many connections");
	assert_int_equal(steps_run(job, 60000).class, OUTCOME_OK);
	assert_int_equal(world.sets, 0);
	job_free(job);
}

TEST(an_account_with_its_previous_value_is_set_and_it_is_said)
{
	Job *job = new_job(STEP_SET);
	Outcome outcome;

	job->look = true;
	without(&job->admin);
	(void) snprintf(world.live, sizeof(world.live), "%s", PREVIOUS_ID);
	outcome = steps_run(job, 60000);
	assert_int_equal(outcome.class, OUTCOME_OK);
	assert_string_equal(outcome.message, "the account had the previous value, not the current one");
	assert_ptr_equal(world.by, &job->previous);
	assert_string_equal(world.live, VERSION_ID);
	job_free(job);
}

TEST(an_account_with_a_foreign_value_is_set_by_the_admin_and_it_is_said)
{
	Job *job = new_job(STEP_SET);
	Outcome outcome;

	job->look = true;
	(void) snprintf(world.live, sizeof(world.live), "%s", OTHER_ID);
	outcome = steps_run(job, 60000);
	assert_int_equal(outcome.class, OUTCOME_OK);
	assert_string_equal(outcome.message, "the account accepted none of the values that are known");
	assert_string_equal(world.live, VERSION_ID);
	job_free(job);
}

TEST(an_account_with_a_foreign_value_cannot_change_itself)
{
	Job *job = new_job(STEP_SET);
	Outcome outcome;

	job->look = true;
	without(&job->admin);
	(void) snprintf(world.live, sizeof(world.live), "%s", OTHER_ID);
	outcome = steps_run(job, 60000);
	assert_int_equal(outcome.class, OUTCOME_PERMANENT);
	assert_string_equal(outcome.code, "28P01");
	assert_int_equal(world.sets, 0);
	assert_int_equal(world.logins[1] + world.logins[2] + world.logins[3], 3);
	job_free(job);
}

TEST(a_value_that_is_former_and_previous_is_tried_once)
{
	Job *job = new_job(STEP_SET);

	job->look = true;
	(void) snprintf(job->previous.id, sizeof(job->previous.id), "%s", FORMER_ID);
	(void) snprintf(world.live, sizeof(world.live), "%s", OTHER_ID);
	assert_int_equal(steps_run(job, 60000).class, OUTCOME_OK);
	assert_int_equal(world.logins[1], 1);
	assert_int_equal(world.logins[2], 1);
	job_free(job);
}

TEST(a_value_that_is_rolled_back_to_is_tried_once)
{
	for (int i = 0; i < 2; i++)
	{
		Job *job = new_job(STEP_SET);
		JobValue *same = i == 0 ? &job->former : &job->previous;

		job->look = true;
		(void) snprintf(same->id, sizeof(same->id), "%s", VERSION_ID);
		(void) snprintf(world.live, sizeof(world.live), "%s", OTHER_ID);
		assert_int_equal(steps_run(job, 60000).class, OUTCOME_OK);
		assert_int_equal(world.logins[1], 1);
		assert_int_equal(world.logins[2] + world.logins[3], 1);
		job_free(job);
	}
}

/* Makes other a version of its own with the same password. */
static void
give_same_value(JobValue *other, const JobValue *value)
{
	RotorError err;

	assert_true(secret_buf_set(&other->password, value->password.data, value->password.len, &err));
}

TEST(versions_with_one_password_are_tried_once)
{
	Job *job = new_job(STEP_SET);
	Outcome outcome;

	job->look = true;
	give_same_value(&job->former, &job->version);
	(void) snprintf(world.live, sizeof(world.live), "%s", OTHER_ID);
	assert_int_equal(steps_run(job, 60000).class, OUTCOME_OK);
	assert_int_equal(world.logins[1], 1);
	assert_int_equal(world.logins[2], 0);
	assert_int_equal(world.logins[3], 1);
	/* The same password of another account is another login. */
	job->former.username = "other";
	(void) snprintf(world.live, sizeof(world.live), "%s", OTHER_ID);
	assert_true(attempt(job, &outcome));
	assert_int_equal(world.logins[2], 1);
	job_free(job);
}

TEST(undo_does_not_try_a_password_again_that_was_refused_as_the_new_one)
{
	Job *job = new_job(STEP_UNDO);
	Outcome outcome;

	give_same_value(&job->former, &job->version);
	(void) snprintf(world.live, sizeof(world.live), "%s", OTHER_ID);
	job->look = true;
	job->tree = cJSON_Parse("{\"strategy\":\"dual_write\"}");
	job->policy = job->tree;
	assert_true(attempt(job, &outcome));
	assert_int_equal(world.logins[1], 1);
	assert_int_equal(world.logins[2], 0);
	assert_int_equal(world.sets, 1);
	job->look = false;
	without(&job->admin);
	(void) snprintf(world.live, sizeof(world.live), "%s", OTHER_ID);
	assert_true(attempt(job, &outcome));
	assert_true(outcome.by_refused);
	assert_int_equal(world.logins[2], 0);
	job_free(job);
}

TEST(a_second_password_that_is_the_new_one_is_no_proof_that_it_was_set)
{
	Job *job = new_job(STEP_SET);

	job->look = true;
	job->tree = cJSON_Parse("{\"strategy\":\"dual_write\"}");
	job->policy = job->tree;
	give_same_value(&job->previous, &job->version);
	(void) snprintf(world.live, sizeof(world.live), "%s", VERSION_ID);
	assert_int_equal(steps_run(job, 60000).class, OUTCOME_OK);
	assert_int_equal(world.sets, 1);
	job_free(job);
}

TEST(a_target_that_asks_for_no_password_is_set_again)
{
	Job *job = new_job(STEP_SET);

	job->look = true;
	world.login_answer = outcome_make(OUTCOME_INCONCLUSIVE, "", "trust");
	assert_int_equal(steps_run(job, 60000).class, OUTCOME_OK);
	assert_int_equal(world.logins[1], 1);
	assert_int_equal(world.sets, 1);
	/* Nothing was proved, so a failure leaves it unknown. */
	world.set_answer = outcome_make(OUTCOME_TRANSIENT, "08001", "no connection");
	assert_int_equal(steps_run(job, 60000).class, OUTCOME_UNKNOWN);
	job_free(job);
}

TEST(what_cannot_be_looked_into_stays_unknown)
{
	static const JobStep steps[] = {STEP_SET, STEP_UNDO, STEP_FINISH};
	static const OutcomeClass classes[] = {OUTCOME_TRANSIENT, OUTCOME_PERMANENT, OUTCOME_INTERNAL};

	for (size_t i = 0; i < COUNT_OF(steps); i++)
	{
		for (size_t j = 0; j < COUNT_OF(classes); j++)
		{
			Job *job = new_job(steps[i]);
			Outcome outcome;

			job->look = true;
			world.login_answer = outcome_make(classes[j], "XX", "no answer");
			world.look_answer = world.login_answer;
			outcome = steps_run(job, 60000);
			assert_int_equal(outcome.class, OUTCOME_UNKNOWN);
			assert_string_equal(outcome.code, "XX");
			assert_int_equal(world.calls, 1);
			job_free(job);
		}
	}
}

TEST(once_settled_a_failed_set_is_told_as_what_it_is)
{
	static const OutcomeClass classes[] = {OUTCOME_TRANSIENT, OUTCOME_PERMANENT, OUTCOME_UNKNOWN,
										   OUTCOME_INTERNAL};

	for (size_t i = 0; i < COUNT_OF(classes); i++)
	{
		Job *job = new_job(STEP_SET);

		job->look = true;
		world.set_answer = outcome_make(classes[i], "XX", "as told");
		assert_int_equal(steps_run(job, 60000).class, classes[i]);
		job_free(job);
	}
}

TEST(each_outcome_of_a_test_is_told_unchanged)
{
	for (int class = 0; class < OUTCOME_COUNT; class ++)
	{
		Job *job = new_job(STEP_TEST);
		Outcome outcome;

		job->look = true;
		world.login_answer = outcome_make((OutcomeClass) class, "XX", "as told");
		world.login_answer.retry_after_ms = 77;
		outcome = steps_run(job, 60000);
		assert_int_equal(outcome.class, class);
		assert_string_equal(outcome.code, "XX");
		assert_string_equal(outcome.message, "as told");
		assert_int_equal(outcome.retry_after_ms, 77);
		job_free(job);
	}
}

TEST(sessions_are_ended_after_a_test_that_passed_if_the_policy_says_so)
{
	Job *job = new_job(STEP_TEST);

	(void) snprintf(world.live, sizeof(world.live), "%s", VERSION_ID);
	assert_int_equal(steps_run(job, 60000).class, OUTCOME_OK);
	assert_int_equal(world.ended, 0);
	job->tree = cJSON_Parse("{\"terminate_sessions\":true}");
	job->policy = job->tree;
	/* That it fails is logged only. */
	assert_int_equal(steps_run(job, 60000).class, OUTCOME_OK);
	assert_int_equal(world.ended, 1);
	(void) snprintf(world.live, sizeof(world.live), "%s", OTHER_ID);
	assert_int_equal(steps_run(job, 60000).class, OUTCOME_REFUSED);
	assert_int_equal(world.ended, 1);
	job_free(job);
}

/* A job of an account that is used in turn. */
static Job *
turn_job(JobStep step)
{
	Job *job = new_job(step);

	job->tree = cJSON_Parse("{\"owner\":\"o\",\"terminate_sessions\":true}");
	job->pair = job->policy = job->tree;
	return job;
}

TEST(an_account_that_was_in_use_before_is_locked_and_then_its_sessions_end)
{
	Fault script[SCRIPT_LENGTH] = {WORKS};
	Job *job;

	do
	{
		job = turn_job(STEP_RETIRE);
		job->policy = NULL;
		memcpy(world.script, script, sizeof(script));
		assert_int_equal(drive(job).class, OUTCOME_OK);
		assert_true(world.locked);
		assert_int_equal(world.ended, 0);
		job_free(job);
	} while (next_script(script));
	job = turn_job(STEP_RETIRE);
	assert_int_equal(steps_run(job, 60000).class, OUTCOME_OK);
	assert_int_equal(world.ended, 1);
	job_free(job);
}

/* What becomes of the account that rests when the one in use logs in so. */
static Outcome
retire_beside(Outcome login, bool expected)
{
	Job *job = turn_job(STEP_RETIRE);
	Outcome outcome;

	world.login_answer = login;
	outcome = steps_run(job, 60000);
	assert_int_equal(world.logins[2], 1);
	assert_false(world.query);
	assert_int_equal(world.locked, expected);
	job_free(job);
	return outcome;
}

TEST(an_account_is_locked_only_while_the_one_in_use_logs_in)
{
	static const OutcomeClass others[] = {OUTCOME_REFUSED, OUTCOME_INCONCLUSIVE, OUTCOME_PERMANENT,
										  OUTCOME_UNKNOWN};
	Outcome outcome = retire_beside(outcome_make(OUTCOME_OK, NULL, "in"), true);

	assert_int_equal(outcome.class, OUTCOME_OK);
	outcome = retire_beside(outcome_make(OUTCOME_PROVED, "3D000", "in"), true);
	assert_int_equal(outcome.class, OUTCOME_OK);
	outcome = retire_beside(outcome_make(OUTCOME_TRANSIENT, "53300", "full"), false);
	assert_int_equal(outcome.class, OUTCOME_TRANSIENT);
	assert_string_equal(outcome.message, "full");
	for (size_t i = 0; i < COUNT_OF(others); i++)
	{
		outcome = retire_beside(outcome_make(others[i], "XX", "its words, former-pw"), false);
		assert_int_equal(outcome.class, OUTCOME_PERMANENT);
		assert_string_equal(outcome.code, "XX");
		assert_string_equal(outcome.message, "the account in use does not log in, so the other one "
											 "is not locked: its words, ***");
	}
}

TEST(an_account_is_locked_without_a_look_if_nobody_knows_the_value_in_use)
{
	Job *job = turn_job(STEP_RETIRE);

	without(&job->former);
	assert_int_equal(steps_run(job, 60000).class, OUTCOME_OK);
	assert_int_equal(world.calls, 1);
	assert_true(world.locked);
	job_free(job);
}

TEST(a_former_password_ends_without_a_login)
{
	Job *job = new_job(STEP_RETIRE);

	assert_int_equal(steps_run(job, 60000).class, OUTCOME_OK);
	assert_int_equal(world.calls, 1);
	job_free(job);
}

TEST(of_two_accounts_in_turn_the_new_ones_sessions_stay)
{
	Job *job = turn_job(STEP_TEST);

	(void) snprintf(world.live, sizeof(world.live), "%s", VERSION_ID);
	assert_int_equal(steps_run(job, 60000).class, OUTCOME_OK);
	assert_int_equal(world.ended, 0);
	job_free(job);
}

TEST(undo_of_an_account_that_never_had_a_value_locks_it)
{
	Job *job = turn_job(STEP_UNDO);

	without(&job->former);
	assert_int_equal(steps_run(job, 60000).class, OUTCOME_OK);
	assert_true(world.locked);
	without(&job->admin);
	assert_int_equal(steps_run(job, 60000).class, OUTCOME_PERMANENT);
	job_free(job);
}

TEST(labels_that_stand_are_not_moved_again)
{
	Job *job = new_job(STEP_FINISH);

	job->look = true;
	(void) snprintf(world.labels.current, sizeof(world.labels.current), "%s", VERSION_ID);
	world.labels.pending[0] = '\0';
	assert_int_equal(steps_run(job, 60000).class, OUTCOME_OK);
	assert_int_equal(world.promotes, 0);
	job_free(job);
}

TEST(a_label_pending_that_stays_behind_does_not_undo_a_rotation)
{
	Job *job = new_job(STEP_FINISH);
	Outcome outcome;

	job->look = true;
	(void) snprintf(world.labels.current, sizeof(world.labels.current), "%s", VERSION_ID);
	world.promote_answer = outcome_make(OUTCOME_PERMANENT, "AccessDenied", "no");
	outcome = steps_run(job, 60000);
	assert_int_equal(outcome.class, OUTCOME_OK);
	assert_non_null(strstr(outcome.message, "the label pending stayed"));
	job_free(job);
}

TEST(a_secret_that_is_gone_from_the_store_is_superseded)
{
	Job *job = new_job(STEP_FINISH);
	Outcome outcome;

	job->look = true;
	memset(&world.labels, 0, sizeof(world.labels));
	outcome = steps_run(job, 60000);
	assert_int_equal(outcome.class, OUTCOME_SUPERSEDED);
	assert_string_equal(outcome.message, "the secret is no longer at the store");
	job_free(job);
}

TEST(undo_without_a_former_value_is_a_permanent_failure)
{
	Job *job = new_job(STEP_UNDO);

	without(&job->former);
	assert_int_equal(steps_run(job, 60000).class, OUTCOME_PERMANENT);
	assert_int_equal(world.calls, 0);
	job_free(job);
}

TEST(undo_that_was_done_already_is_not_repeated)
{
	Job *job = new_job(STEP_UNDO);

	job->look = true;
	assert_int_equal(steps_run(job, 60000).class, OUTCOME_OK);
	assert_int_equal(world.sets, 0);
	job_free(job);
}

TEST(undo_by_the_account_itself_uses_the_new_value)
{
	Job *job = new_job(STEP_UNDO);

	without(&job->admin);
	(void) snprintf(world.live, sizeof(world.live), "%s", VERSION_ID);
	assert_int_equal(steps_run(job, 60000).class, OUTCOME_OK);
	assert_ptr_equal(world.by, &job->version);
	assert_int_equal(world.calls, 1);
	job_free(job);
}

TEST(undo_by_the_account_itself_finds_that_it_has_its_former_value_still)
{
	Job *job = new_job(STEP_UNDO);
	Outcome outcome;

	without(&job->admin);
	assert_true(attempt(job, &outcome));
	assert_int_equal(outcome.class, OUTCOME_OK);
	assert_string_equal(outcome.message, "the account had its former value still");
	assert_int_equal(world.logins[1], 0);
	assert_int_equal(world.logins[2], 1);
	/* Neither of them: that is said as it was. */
	(void) snprintf(world.live, sizeof(world.live), "%s", OTHER_ID);
	assert_true(attempt(job, &outcome));
	assert_int_equal(outcome.class, OUTCOME_TRANSIENT);
	assert_string_equal(outcome.message, "login refused");
	/* What is only not there at the moment says nothing of the value. */
	world.set_answer = outcome_make(OUTCOME_TRANSIENT, "08001", "not there");
	assert_true(attempt(job, &outcome));
	assert_int_equal(outcome.class, OUTCOME_TRANSIENT);
	assert_int_equal(world.logins[2], 0);
	job_free(job);
}

TEST(a_kind_that_is_not_compiled_in_is_a_permanent_failure)
{
	for (int step = 0; step < STEP_COUNT; step++)
	{
		Job *job = new_job((JobStep) step);

		job->target_type = "x";
		job->store_type = "x";
		assert_int_equal(steps_run(job, 60000).class, OUTCOME_PERMANENT);
		assert_int_equal(world.calls, 0);
		job_free(job);
	}
}

TEST(a_step_that_is_none_is_a_defect)
{
	Job *job = new_job((JobStep) 99);

	assert_int_equal(steps_run(job, 60000).class, OUTCOME_INTERNAL);
	job_free(job);
}

TEST(nothing_is_sent_when_the_lease_is_about_to_end)
{
	for (int step = 0; step < STEP_COUNT; step++)
	{
		Job *job = new_job((JobStep) step);
		Outcome outcome;

		job->lease_end = deadline_in(STEPS_LEASE_RESERVE_MS);
		outcome = steps_run(job, 60000);
		assert_int_equal(outcome.class, OUTCOME_TRANSIENT);
		/* It is no failure of the peer. */
		assert_true(outcome.peer_answered);
		job->look = true;
		assert_int_equal(steps_run(job, 60000).class, OUTCOME_UNKNOWN);
		assert_int_equal(world.calls, 0);
		job_free(job);
	}
}

TEST(no_outcome_holds_a_value_of_the_job)
{
	Job *job = new_job(STEP_SET);
	Outcome outcome;

	world.set_answer = outcome_make(OUTCOME_UNKNOWN, "admin-pw",
									"version-pw former-pw previous-pw admin-pw version%%2dpw");
	outcome = steps_run(job, 60000);
	assert_string_equal(outcome.message, "*** *** *** *** ***");
	assert_string_equal(outcome.code, "***");
	job_free(job);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(set_by_an_admin_ends_with_the_version_in_force),
		cmocka_unit_test(
			set_by_the_account_itself_ends_with_the_version_in_force_or_changes_nothing),
		cmocka_unit_test(undo_ends_with_the_former_value_in_force),
		cmocka_unit_test(finish_ends_with_the_version_labelled_current_or_is_superseded),
		cmocka_unit_test(finish_replaces_a_former_value_that_was_adopted_under_a_foreign_id),
		cmocka_unit_test(publish_ends_with_the_version_labelled_pending),
		cmocka_unit_test(test_ends_with_what_the_target_says_of_the_version),
		cmocka_unit_test(a_first_attempt_sets_without_a_probe),
		cmocka_unit_test(an_account_without_an_admin_is_changed_by_its_former_value),
		cmocka_unit_test(an_account_that_nobody_can_change_is_a_permanent_failure),
		cmocka_unit_test(a_lost_set_that_took_effect_is_not_repeated),
		cmocka_unit_test(a_password_that_is_proved_settles_a_lost_set),
		cmocka_unit_test(an_account_with_its_previous_value_is_set_and_it_is_said),
		cmocka_unit_test(an_account_with_a_foreign_value_is_set_by_the_admin_and_it_is_said),
		cmocka_unit_test(an_account_with_a_foreign_value_cannot_change_itself),
		cmocka_unit_test(a_value_that_is_former_and_previous_is_tried_once),
		cmocka_unit_test(a_value_that_is_rolled_back_to_is_tried_once),
		cmocka_unit_test(versions_with_one_password_are_tried_once),
		cmocka_unit_test(undo_does_not_try_a_password_again_that_was_refused_as_the_new_one),
		cmocka_unit_test(a_second_password_that_is_the_new_one_is_no_proof_that_it_was_set),
		cmocka_unit_test(a_target_that_asks_for_no_password_is_set_again),
		cmocka_unit_test(what_cannot_be_looked_into_stays_unknown),
		cmocka_unit_test(once_settled_a_failed_set_is_told_as_what_it_is),
		cmocka_unit_test(each_outcome_of_a_test_is_told_unchanged),
		cmocka_unit_test(sessions_are_ended_after_a_test_that_passed_if_the_policy_says_so),
		cmocka_unit_test(an_account_that_was_in_use_before_is_locked_and_then_its_sessions_end),
		cmocka_unit_test(an_account_is_locked_only_while_the_one_in_use_logs_in),
		cmocka_unit_test(an_account_is_locked_without_a_look_if_nobody_knows_the_value_in_use),
		cmocka_unit_test(a_former_password_ends_without_a_login),
		cmocka_unit_test(of_two_accounts_in_turn_the_new_ones_sessions_stay),
		cmocka_unit_test(undo_of_an_account_that_never_had_a_value_locks_it),
		cmocka_unit_test(labels_that_stand_are_not_moved_again),
		cmocka_unit_test(a_label_pending_that_stays_behind_does_not_undo_a_rotation),
		cmocka_unit_test(a_secret_that_is_gone_from_the_store_is_superseded),
		cmocka_unit_test(undo_without_a_former_value_is_a_permanent_failure),
		cmocka_unit_test(undo_that_was_done_already_is_not_repeated),
		cmocka_unit_test(undo_by_the_account_itself_uses_the_new_value),
		cmocka_unit_test(undo_by_the_account_itself_finds_that_it_has_its_former_value_still),
		cmocka_unit_test(a_kind_that_is_not_compiled_in_is_a_permanent_failure),
		cmocka_unit_test(a_step_that_is_none_is_a_defect),
		cmocka_unit_test(nothing_is_sent_when_the_lease_is_about_to_end),
		cmocka_unit_test(no_outcome_holds_a_value_of_the_job),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * steps.c - what a job means; see steps.h.
 */
#include "steps.h"

#include <stdio.h>
#include <string.h>

#include "log.h"
#include "store.h"
#include "target.h"

/*
 * One run of a job. settled: no attempt before this one has an effect that we do not know of, so what the
 * last call says is true of the step.
 */
typedef struct Run
{
	const Job *job;
	const StoreClass *store;
	const TargetClass *target;
	Deadline deadline;
	bool settled;
} Run;

static bool
exists(const JobValue *value)
{
	return value->id[0] != '\0';
}

static bool
is_same(const char *id, const JobValue *value)
{
	return exists(value) && strcmp(id, value->id) == 0;
}

/* Would a login with the one be a login with the other? Two versions may have one password. */
static bool
is_same_login(const Job *job, const JobValue *one, const JobValue *other)
{
	const char *name = job_username(job, one);
	const char *other_name = job_username(job, other);

	if (!exists(one) || !exists(other))
		return false;
	return strcmp(one->id, other->id) == 0 ||
		   (strcmp(name != NULL ? name : "", other_name != NULL ? other_name : "") == 0 &&
			one->password.len == other->password.len &&
			memcmp(one->password.data, other->password.data, one->password.len) == 0);
}

/* Does the account have the value that logged in so? */
static bool
is_accepted(const Outcome *login)
{
	return login->class == OUTCOME_OK || login->class == OUTCOME_PROVED;
}

/* Adds to an outcome that says nothing yet what an operator should know. */
static void
note(Outcome *outcome, const char *words)
{
	if (outcome->message[0] == '\0')
		(void) snprintf(outcome->message, sizeof(outcome->message), "%s", words);
}

/* The credential that changes the account: the admin's, or else one of its own. */
static const JobValue *
changer(const Job *job, const JobValue *own)
{
	return exists(&job->admin) ? &job->admin : own;
}

static Outcome
change(const Run *run, const JobValue *value, const JobValue *by)
{
	if (!exists(by))
		return outcome_make(
			OUTCOME_PERMANENT, NULL,
			"there is neither an admin credential nor a former value to change the account with");
	return run->target->set(run->job, value, by, run->deadline);
}

/* ------------------------------------------------------------------------------------------------
 * set
 */

/*
 * Which of the account's values is in force: NULL if none is known to be. *login is what came of the last
 * value that was tried. Nothing more is tried after an answer that says nothing about the value.
 */
static const JobValue *
find_value_in_force(const Run *run, Outcome *login)
{
	const Job *job = run->job;
	const JobValue *const values[] = {&job->version, &job->former, &job->previous};

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
	{
		bool was_tried = false;

		for (size_t j = 0; j < i; j++)
			was_tried = was_tried || is_same_login(job, values[i], values[j]);
		if (!exists(values[i]) || was_tried)
			continue;
		*login = run->target->login(job, values[i], false, run->deadline);
		if (is_accepted(login))
			return values[i];
		if (login->class != OUTCOME_REFUSED)
			return NULL;
	}
	return NULL;
}

/*
 * Does a login with the version not say that it was set? As the second password it logged in before, and in
 * an emergency that second one may not have been discarded.
 */
static bool
must_be_sent_again(const Job *job)
{
	return job->emergency ||
		   (job_has_two_passwords(job) && (is_same_login(job, &job->version, &job->former) ||
										   is_same_login(job, &job->version, &job->previous)));
}

static Outcome
set_after_looking(Run *run)
{
	const Job *job = run->job;
	Outcome login = {0};
	Outcome outcome;
	const JobValue *found = find_value_in_force(run, &login);

	if (found == &job->version && !must_be_sent_again(job))
	{
		login.class = OUTCOME_OK;
		return login;
	}
	if (found == NULL && login.class == OUTCOME_INCONCLUSIVE)
		return change(run, &job->version, changer(job, &job->former));
	if (found == NULL && login.class != OUTCOME_REFUSED)
		return login;

	/* What is sent again may have been done before. */
	run->settled = found != &job->version;
	if (found == NULL && !exists(&job->admin))
		return outcome_make(OUTCOME_PERMANENT, login.code,
							"the account accepts none of the values that are known: %.300s",
							login.message);
	outcome = change(run, &job->version, changer(job, found));
	if (outcome.class == OUTCOME_OK && found == NULL)
		note(&outcome, "the account accepted none of the values that are known");
	if (outcome.class == OUTCOME_OK && found == &job->previous)
		note(&outcome, "the account had the previous value, not the current one");
	return outcome;
}

static Outcome
run_set(Run *run)
{
	if (run->job->look)
		return set_after_looking(run);
	return change(run, &run->job->version, changer(run->job, &run->job->former));
}

/* ------------------------------------------------------------------------------------------------
 * test
 */

/* Who still has the former value in a session is sent away; that it fails is no reason to fail the rotation. */
static void
end_sessions(const Run *run, const JobValue *by)
{
	const Job *job = run->job;
	Outcome outcome;

	if (run->target->end_sessions == NULL || !job_flag(job->policy, "terminate_sessions", false))
		return;
	outcome = run->target->end_sessions(job, by, run->deadline);
	outcome_scrub(&outcome, &job->version.password);
	outcome_scrub(&outcome, &job->admin.password);
	if (outcome.class != OUTCOME_OK)
		log_event(LOG_WARNING,
				  &(LogEvent){.rotation = job->rotation,
							  .secret = job->secret,
							  .target = job->target_name,
							  .attempt = -1,
							  .duration_ms = -1,
							  .class = outcome_name(outcome.class),
							  .code = outcome.code,
							  .detail = outcome.message},
				  "could not end the account's sessions");
}

static Outcome
run_test(Run *run)
{
	Outcome outcome = run->target->login(run->job, &run->job->version, true, run->deadline);

	/* A login changes nothing, whatever became of the one before. */
	run->settled = true;
	/* Of two accounts that are used in turn, the other one has the former value, and is locked later. */
	if (is_accepted(&outcome) && (run->job->pair == NULL || run->job->emergency))
		end_sessions(run, changer(run->job, &run->job->version));
	return outcome;
}

/* ------------------------------------------------------------------------------------------------
 * publish, finish
 */

static Outcome
run_publish(Run *run)
{
	/* Publishing the same version again is no change, so there is nothing to look at first. */
	return run->store->publish(run->job, run->deadline);
}

static Outcome
run_finish(Run *run)
{
	const Job *job = run->job;
	StoreLabels labels = {0};
	Outcome outcome;

	if (!job->look)
		return run->store->promote(job, run->deadline);

	outcome = run->store->look(job, &labels, run->deadline);
	if (outcome.class != OUTCOME_OK)
		return outcome;
	run->settled = true;
	if (is_same(labels.current, &job->version))
	{
		if (is_same(labels.pending, &job->version))
		{
			/* It is current, which is what counts: the rotation must not be undone any more. */
			outcome = run->store->promote(job, run->deadline);
			if (outcome.class != OUTCOME_OK)
				return outcome_make(OUTCOME_OK, NULL,
									"the version is current, but the label pending stayed at it");
		}
		return outcome;
	}
	if (exists(&job->former) && !labels.exists)
		return outcome_make(OUTCOME_SUPERSEDED, NULL, "the secret is no longer at the store");
	/* It compares by itself, and knows a former value that was adopted under a foreign id. */
	return run->store->promote(job, run->deadline);
}

/* ------------------------------------------------------------------------------------------------
 * undo
 */

/* What an attempt before this one has done is the same. */
static Outcome
retire(Run *run)
{
	const Job *job = run->job;

	run->settled = true;
	if (run->target->retire == NULL || !exists(&job->admin))
		return outcome_make(OUTCOME_PERMANENT, NULL,
							"what was in use before cannot be ended at this target");
	return run->target->retire(job, &job->admin, run->deadline);
}

/*
 * Who cannot log in with the new value to change it back may have the former one still. Where the two are one
 * value, that has just been refused.
 */
static Outcome
try_former_value(const Run *run, Outcome outcome)
{
	const Job *job = run->job;
	bool may_have_it = outcome.by_refused
						   ? !is_same_login(job, &job->version, &job->former)
						   : outcome.class == OUTCOME_PERMANENT || outcome.class == OUTCOME_REFUSED;
	Outcome login;

	if (!may_have_it)
		return outcome;
	login = run->target->login(job, &job->former, false, run->deadline);
	if (is_accepted(&login))
		return outcome_make(OUTCOME_OK, NULL, "the account had its former value still");
	return login.class == OUTCOME_TRANSIENT ? login : outcome;
}

static Outcome
run_undo(Run *run)
{
	const Job *job = run->job;
	Outcome outcome;
	Outcome login;
	/* An account that is to be locked again has to be. */
	bool says_nothing = job_flag(job->pair, "locked", false);

	if (!exists(&job->former) && job->pair != NULL)
		return retire(run);
	if (!exists(&job->former))
		return outcome_make(OUTCOME_PERMANENT, NULL, "there is no former value to give back");
	/* With two passwords the former one logs in beside the new one, until that one does not. */
	if (job->look && job_has_two_passwords(job))
	{
		login = run->target->login(job, &job->version, false, run->deadline);
		if (login.class != OUTCOME_REFUSED && !is_accepted(&login))
			return login;
		says_nothing = is_accepted(&login) || is_same_login(job, &job->version, &job->former);
	}
	if (job->look && !says_nothing)
	{
		login = run->target->login(job, &job->former, false, run->deadline);
		if (is_accepted(&login))
		{
			login.class = OUTCOME_OK;
			return login;
		}
		if (login.class != OUTCOME_REFUSED && login.class != OUTCOME_INCONCLUSIVE)
			return login;
		run->settled = login.class == OUTCOME_REFUSED;
	}
	outcome = change(run, &job->former, changer(job, &job->version));
	return job->look || exists(&job->admin) ? outcome : try_former_value(run, outcome);
}

/* ------------------------------------------------------------------------------------------------
 * retire
 */

/* Of two accounts that are used in turn one is locked only while the other, whose value is former, logs in. */
static Outcome
try_value_in_use(const Run *run)
{
	Outcome login;

	if (run->job->pair == NULL || !exists(&run->job->former))
		return outcome_make(OUTCOME_OK, NULL, NULL);
	login = run->target->login(run->job, &run->job->former, false, run->deadline);
	if (is_accepted(&login) || login.class == OUTCOME_TRANSIENT)
		return login;
	return outcome_make(
		OUTCOME_PERMANENT, login.code,
		"the account in use does not log in, so the other one is not locked: %.300s",
		login.message);
}

static Outcome
run_retire(Run *run)
{
	Outcome outcome = try_value_in_use(run);

	if (!is_accepted(&outcome))
		return outcome;
	outcome = retire(run);
	if (outcome.class == OUTCOME_OK && run->job->pair != NULL)
		end_sessions(run, &run->job->admin);
	return outcome;
}

/* ------------------------------------------------------------------------------------------------
 * All of them
 */

typedef struct StepAct
{
	Outcome (*run)(Run *run);
	bool at_store; /* else at the target */
} StepAct;

static const StepAct acts[STEP_COUNT] = {
	[STEP_PUBLISH] = {run_publish, true}, [STEP_SET] = {run_set, false},
	[STEP_TEST] = {run_test, false},	  [STEP_FINISH] = {run_finish, true},
	[STEP_UNDO] = {run_undo, false},	  [STEP_RETIRE] = {run_retire, false},
};

/* The peer was not even asked, so it has not failed. */
static Outcome
too_late(void)
{
	Outcome outcome =
		outcome_make(OUTCOME_TRANSIENT, NULL, "the lease ended before anything was sent");

	outcome.peer_answered = true;
	return outcome;
}

static Outcome
run_step(Run *run)
{
	const Job *job = run->job;

	if ((unsigned) job->step >= STEP_COUNT)
		return outcome_make(OUTCOME_INTERNAL, NULL, "there is no step %d", (int) job->step);
	run->store = store_find(job->store_type);
	run->target = target_find(job->target_type);
	if (acts[job->step].at_store && run->store == NULL)
		return outcome_make(OUTCOME_PERMANENT, NULL, "this program has no store of type \"%.64s\"",
							job->store_type);
	if (!acts[job->step].at_store && run->target == NULL)
		return outcome_make(OUTCOME_PERMANENT, NULL, "this program has no target of type \"%.64s\"",
							job->target_type);
	return deadline_left(run->deadline) == 0 ? too_late() : acts[job->step].run(run);
}

Outcome
steps_run(const Job *job, int64_t act_timeout_ms)
{
	Run run = {
		.job = job,
		.deadline =
			deadline_sooner(deadline_in(act_timeout_ms), job->lease_end - STEPS_LEASE_RESERVE_MS),
		.settled = !job->look,
	};
	Outcome outcome = run_step(&run);

	/*
	 * "Nothing was changed" is true of this attempt, and not known of the one before. That goes for a defect
	 * too: told as one it would end the rotation as if the account had its former value for certain.
	 */
	if (!run.settled && (outcome.class == OUTCOME_TRANSIENT || outcome.class == OUTCOME_PERMANENT ||
						 outcome.class == OUTCOME_INTERNAL))
		outcome.class = OUTCOME_UNKNOWN;
	outcome_scrub(&outcome, &job->version.password);
	outcome_scrub(&outcome, &job->former.password);
	outcome_scrub(&outcome, &job->previous.password);
	outcome_scrub(&outcome, &job->admin.password);
	return outcome;
}

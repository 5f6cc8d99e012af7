/*
 * rotation_state.c - the one place where a rotation's state changes; see job_advance() in
 * rotation_job.h. What class an error is of; what follows is the table's to say.
 */
#include "postgres.h"

#include "clock.h"
#include "commands/async.h"
#include "compat.h"
#include "lib/stringinfo.h"
#include "pair.h"
#include "policy.h"
#include "rotation_job.h"
#include "schedule.h"
#include "utils/json.h"
#include "utils/memutils.h"

FsmOutcome
outcome_of_sqlstate(int sqlstate)
{
	switch (sqlstate)
	{
		case ERRCODE_LOCK_NOT_AVAILABLE:
		case ERRCODE_QUERY_CANCELED:
		case ERRCODE_UNDEFINED_FILE:   /* the key is away */
		case ERRCODE_UNIQUE_VIOLATION: /* somebody took the role under management meanwhile */
			return FSM_OUTCOME_TRANSIENT;
		case ERRCODE_INTERNAL_ERROR:
		case ERRCODE_DATA_CORRUPTED:
		case ERRCODE_INDEX_CORRUPTED:
			return FSM_OUTCOME_INTERNAL;
	}
	switch (ERRCODE_TO_CATEGORY(sqlstate))
	{
		case ERRCODE_CONNECTION_EXCEPTION:
		case ERRCODE_TRANSACTION_ROLLBACK:
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_OPERATOR_INTERVENTION:
		case ERRCODE_SYSTEM_ERROR:
		case ERRCODE_CONFIG_FILE_ERROR: /* the key file is unfit */
			return FSM_OUTCOME_TRANSIENT;
		default:
			return FSM_OUTCOME_PERMANENT;
	}
}

FsmOutcome
job_without_way_back(Job *job, FsmOutcome outcome)
{
	if (!job->row.in_emergency)
		return outcome;
	if (outcome == FSM_OUTCOME_REFUSED && ++job->refused_values < MAX_REFUSED_VALUES)
		return FSM_OUTCOME_LEAKED;
	if (outcome == FSM_OUTCOME_REFUSED || outcome == FSM_OUTCOME_INCONCLUSIVE ||
		outcome == FSM_OUTCOME_PERMANENT)
		return FSM_OUTCOME_EXHAUSTED;
	return outcome;
}

static void
append_field(StringInfo json, const char *key, const char *value)
{
	if (value == NULL || value[0] == '\0')
		return;
	appendStringInfo(json, "%s\"%s\":", json->len > 1 ? "," : "", key);
	escape_json(json, value);
}

/* What the audit row says beyond its columns; NULL if nothing. */
static char *
audit_detail(const Job *job, FsmOutcome outcome, FsmStep step)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	if (outcome != FSM_OUTCOME_OK && outcome != FSM_OUTCOME_TO_STORE)
	{
		append_field(&json, "sqlstate",
					 job->failure.sqlstate ? unpack_sql_state(job->failure.sqlstate) : NULL);
		append_field(&json, "message", job->failure.message);
		append_field(&json, "detail", job->failure.detail);
	}
	append_field(&json, "worker", job->worker);
	append_field(&json, "reason", step == FSM_STEP_CREATE ? job->row.reason : NULL);
	if ((step == FSM_STEP_FINISH || step == FSM_STEP_RETIRE) && job->sessions_ended >= 0)
		append_field(&json, "sessions_ended", psprintf("%d", job->sessions_ended));
	appendStringInfoChar(&json, '}');
	return json.len > 2 ? json.data : NULL;
}

static void
audit_step(Job *job, const FsmTransition *transition, FsmOutcome outcome, double ms)
{
	AuditRow audit = {
		.actor = &job->row.actor,
		.event = transition->event,
		.secret = job->secret.name,
		.rotation = &job->row.id,
		.version = job->row.has_version ? &job->row.version : NULL,
		.result = fsm_outcome_name(outcome == FSM_OUTCOME_TO_STORE ? FSM_OUTCOME_OK : outcome),
		.duration_ms = ms,
		.detail = audit_detail(job, outcome, transition->step),
	};

	catalog_audit(&audit);
}

/* Notes what went wrong, and what a "proved" login was barred by, in the row. */
static void
note_outcome(Job *job, const FsmTransition *transition, FsmOutcome outcome)
{
	/* What only delays the way back is in the audit: the row keeps the reason to go back. */
	if (outcome == FSM_OUTCOME_OK || outcome == FSM_OUTCOME_TO_STORE ||
		(transition->step == FSM_STEP_UNDO && transition->retry))
		return;
	job->row.outcome = fsm_outcome_name(outcome);
	if (outcome == FSM_OUTCOME_PROVED)
	{
		job->row.note = MemoryContextStrdup(job->context, job->failure.message);
		return;
	}
	job->row.error_code =
		job->failure.sqlstate
			? MemoryContextStrdup(job->context, unpack_sql_state(job->failure.sqlstate))
			: NULL;
	job->row.error_message = MemoryContextStrdup(
		job->context, psprintf("%s%s%s", job->failure.message, job->failure.detail[0] ? ": " : "",
							   job->failure.detail));
}

/* A secret that keeps failing comes back after growing pauses, so that it takes no time of others. */
static void
note_failure(const Job *job, int failures, TimestampTz until)
{
	StringInfoData detail;
	AuditRow audit = {.actor = &job->row.actor,
					  .event = "quarantined",
					  .secret = job->secret.name,
					  .rotation = &job->row.id,
					  .result = "ok",
					  .duration_ms = -1};

	catalog_note_failures(job->row.secret_id, failures, until);
	if (TIMESTAMP_IS_NOEND(until))
		return;
	initStringInfo(&detail);
	appendStringInfo(&detail, "{\"failures\":%d", failures);
	append_field(&detail, "until", timestamptz_to_str(until));
	appendStringInfoChar(&detail, '}');
	audit.detail = detail.data;
	catalog_audit(&audit);
}

/*
 * Plans the secret's next rotation, by the policy that it has by now. What somebody asked for by hand
 * counts its failures from the beginning.
 */
static void
plan_next(Job *job, FsmStatus status)
{
	bool success = status == FSM_STATUS_SUCCESS;
	bool failed = status == FSM_STATUS_FAILED || status == FSM_STATUS_ROLLED_BACK;
	bool scheduled = strcmp(job->row.trigger, "schedule") == 0;
	bool put_off;
	int failures;
	SecretPlan plan;
	TimestampTz now = clock_now();
	TimestampTz next;

	do
	{
		if (!catalog_load_plan(job->row.secret_id, &plan, job->context))
			return;
		failures = !failed ? Max(plan.failures, 1) : scheduled ? plan.failures + 1 : 1;
		put_off = scheduled || plan.next_rotation <= now || (failed && plan.quarantined);
		if (success)
			/* From when the password was set: what falls due while it is proved is not left out. */
			next = schedule_next(&plan.policy, Min(clock_shown_at(plan.set_at), now));
		else if (put_off)
			next = schedule_again(&plan.policy, now, failures);
		else
			next = plan.next_rotation;
	} while (!catalog_plan_secret(job->row.secret_id, &plan, job->secret.username,
								  success ? now : DT_NOBEGIN,
								  success && job_takes_turns(job) ? DT_NOEND : next));
	if (success && job_takes_turns(job))
		pair_plan(job->row.secret_id, next);
	if (failed)
		note_failure(job, failures, put_off ? next : DT_NOEND);
}

bool
job_waits_for_window(Job *job)
{
	TimestampTz then;

	if (job->exists && (strcmp(job->row.trigger, "schedule") != 0 ||
						(job->row.step != FSM_STEP_CREATE && job->row.step != FSM_STEP_SET)))
		return false;
	if (schedule_may_begin(&job->policy, clock_now(), &then))
		return false;
	if (job->exists)
		catalog_postpone_rotation(&job->row.id, then);
	else
		catalog_postpone_secret(job->secret.id, then);
	return true;
}

bool
job_has_strategy(const Job *job, Strategy strategy)
{
	return strcmp(job->row.strategy, policy_strategy_name(strategy)) == 0;
}

bool
job_takes_turns(const Job *job)
{
	return job_has_strategy(job, STRATEGY_BLUE_GREEN);
}

bool
job_is_outside(const Job *job)
{
	switch (job->row.step)
	{
		case FSM_STEP_PUBLISH:
		case FSM_STEP_FINISH:
			return job->secret.outside_store;
		case FSM_STEP_SET:
		case FSM_STEP_TEST:
		case FSM_STEP_UNDO:
		case FSM_STEP_RETIRE:
			return job->secret.outside_target;
		default:
			return false;
	}
}

/* The outcome as the table has it: attempts run out, and what is outside has cases of its own. */
static FsmOutcome
refine_outcome(const Job *job, FsmOutcome outcome)
{
	FsmStep step = job->row.step;
	bool store_keeps = job->secret.outside_store && !job->row.in_emergency &&
					   (step == FSM_STEP_TEST || step == FSM_STEP_FINISH);

	if (outcome == FSM_OUTCOME_OK && step == FSM_STEP_CREATE && job->secret.outside_store)
		return FSM_OUTCOME_TO_STORE;
	if (outcome == FSM_OUTCOME_PERMANENT && step == FSM_STEP_FINISH && store_keeps &&
		!job->labels_moved)
		return FSM_OUTCOME_GIVEN_UP;
	if (outcome != FSM_OUTCOME_TRANSIENT || job->row.attempt + 1 < job->policy.max_attempts)
		return outcome;
	if (job->row.unsettled && fsm_next(step, FSM_OUTCOME_UNSETTLED) != NULL)
		return FSM_OUTCOME_UNSETTLED;
	return store_keeps ? FSM_OUTCOME_GIVEN_UP : FSM_OUTCOME_EXHAUSTED;
}

/* What was in use before is locked, or discarded; or that came to nothing. */
static void
retired(const Job *job, const FsmTransition *transition)
{
	if (transition->status == FSM_STATUS_SUCCESS)
		catalog_settle_retirement(job->row.secret_id);
	/* One that gave way comes back, unless its role is in use by then. */
	if (transition->outcome != FSM_OUTCOME_CANCELLED)
		catalog_plan_retirement(job->row.secret_id, DT_NOEND);
}

/* A role that is used in turn, and whose rotation has failed, is locked again, or for good. */
static void
lock_what_rests(const Job *job, const FsmTransition *transition)
{
	if (!job_takes_turns(job) || transition->status == FSM_STATUS_SUCCESS)
		return;
	/* Where labels of a store stand must be known: it may have the role in use. */
	if (transition->dead_letter && transition->live == FSM_LIVE_NEW && !job->row.unsettled &&
		transition->outcome != FSM_OUTCOME_INTERNAL)
		pair_lock_again(job->row.secret_id);
	/* It has what leaked, and did not get anything else. */
	if (transition->live == FSM_LIVE_FORMER && job->row.in_emergency)
		pair_lock_out(job->row.secret_id);
}

/* The rotation is over: what follows for its secret. */
static void
end_rotation(Job *job, const FsmTransition *transition)
{
	if (transition->status == FSM_STATUS_SUCCESS)
	{
		/* What failed on the way is in the audit; the row tells how it ended. */
		job->row.error_code = job->row.error_message = NULL;
		if (job->row.note == NULL)
			job->row.outcome = NULL;
	}
	if (transition->step == FSM_STEP_RETIRE)
	{
		retired(job, transition);
		return;
	}
	if (transition->status == FSM_STATUS_SUCCESS)
		catalog_settle_dead_letters(job->row.secret_id);
	lock_what_rests(job, transition);
	if (!job->enrol)
		plan_next(job, transition->status);
}

void
job_advance(Job *job, FsmOutcome outcome, double ms)
{
	const FsmTransition *transition;

	outcome = refine_outcome(job, outcome);
	transition = fsm_next(job->row.step, outcome);
	if (transition == NULL)
		transition = fsm_next(job->row.step, outcome = FSM_OUTCOME_INTERNAL);
	if (transition == NULL)
		elog(ERROR, "nothing follows step %s", fsm_step_name(job->row.step));

	note_outcome(job, transition, outcome);
	job->row.step_ms[job->row.step] = ms;
	audit_step(job, transition, outcome, ms);

	job->row.attempt = transition->retry || transition->dead_letter ? job->row.attempt + 1 : 0;
	job->row.delay_ms = transition->retry ? schedule_backoff_ms(&job->policy, job->row.attempt) : 0;
	if (outcome == FSM_OUTCOME_REFUSED_BY_HOOK || outcome == FSM_OUTCOME_LEAKED)
	{
		job->row.has_version = job->has_fingerprint = false;
		secret_buf_wipe(&job->value);
	}
	/* A dead letter keeps the step it died in: requeue() goes on there. */
	if (!(transition->dead_letter && transition->next == FSM_STEP_DONE))
	{
		job->row.unsettled &= transition->next == job->row.step;
		job->row.step = transition->next;
	}
	job->row.status = transition->status;
	job->row.dead_letter = transition->dead_letter;
	if (outcome == FSM_OUTCOME_REQUEUED)
		catalog_end_quarantine(job->row.secret_id);
	/* One that goes on trying, or elsewhere, is not in the way of those that are due. */
	if ((transition->retry || (transition->step == FSM_STEP_CREATE && job_is_outside(job))) &&
		!fsm_is_over(transition->status) && strcmp(job->row.trigger, "schedule") == 0)
		plan_next(job, transition->status);
	if (fsm_is_over(transition->status))
		end_rotation(job, transition);
}

void
job_save(Job *job)
{
	job->row.outside = !fsm_is_over(job->row.status) && job_is_outside(job);
	catalog_save_rotation(&job->row);
	/* Only shortens the worker's wait: it looks anyway. */
	if (job->row.outside && job->row.delay_ms == 0 && !job->worker_goes_on)
		Async_Notify(WORKER_CHANNEL, "");
}

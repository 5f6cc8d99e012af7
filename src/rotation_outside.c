/*
 * rotation_outside.c - rotation.h: what a worker outside reports of its step becomes the rotation's
 * next state, in the caller's transaction. What belongs together here commits together: the labels move
 * with the report that the target has the new password, as they do with ALTER ROLE.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "report.h"
#include "rotation_job.h"
#include "utils/builtins.h"

/* The target has the new password: labels and report in one transaction. */
static void
move_labels(Job *job)
{
	SavedVerifier saved = {0};

	catalog_promote_version(job->secret.id, &job->row.version, NULL, &saved,
							!job->row.in_emergency);
	/* What has leaked is not given back. */
	if (!job->row.in_emergency)
		catalog_save_verifier(&job->row.id, &saved);
}

/* The target has its former password back. */
static void
move_labels_back(Job *job)
{
	SavedVerifier saved;

	if (!catalog_load_verifier(&job->row.id, &saved))
		elog(ERROR, "the former labels are gone");
	catalog_demote_version(&job->row.version, &saved);
	catalog_drop_verifier(&job->row.id);
}

/* A report is a run of its own: how many values were refused before it is in the audit. */
static void
count_refused_values(Job *job)
{
	Oid types[] = {UUIDOID};
	Datum values[] = {UUIDPGetDatum(&job->row.id)};
	bool null;

	job->refused_values = (int) DatumGetInt64(catalog_datum(
		"SELECT count(*) FROM rotor.audit WHERE rotation = $1 AND event = 'rolled_forward'", 1,
		types, values, &null));
}

static void
finish(Job *job, double ms)
{
	FsmOutcome outcome = step_finish(job);

	job_advance(job, outcome, ms);
}

static void
done_as_meant(Job *job, FsmOutcome outcome, double ms)
{
	switch (job->row.step)
	{
		case FSM_STEP_FINISH:
			/* Applications have the value: it is not taken back any more. */
			job->labels_moved = job->secret.outside_store;
			finish(job, ms);
			return;
		case FSM_STEP_SET:
			move_labels(job);
			break;
		case FSM_STEP_UNDO:
			move_labels_back(job);
			break;
		default:
			break;
	}
	job_advance(job, outcome, ms);
	if (job->row.step == FSM_STEP_FINISH && !job_is_outside(job))
		finish(job, -1);
}

void
rotation_report(RotationRow *row, const Secret *secret, const Policy *policy,
				const OutsideReport *report, RotationAnswer *answer)
{
	Job *job = job_for_row(row, secret, policy, &row->actor);
	/* Only a login can be proved and barred all the same. */
	FsmOutcome outcome = report->outcome == FSM_OUTCOME_PROVED && row->step != FSM_STEP_TEST
							 ? FSM_OUTCOME_OK
							 : report->outcome;

	job->answer = answer;
	job->exists = true;
	job->worker = report->worker;
	job->worker_goes_on = report->goes_on;
	job->row.unsettled = report->unsettled;
	failure_set(&job->failure, report->sqlstate, report->message, NULL, NULL);
	if (outcome == FSM_OUTCOME_OK || outcome == FSM_OUTCOME_PROVED)
		done_as_meant(job, outcome, report->ms);
	else
	{
		if (job->row.step == FSM_STEP_TEST)
		{
			count_refused_values(job);
			outcome = job_without_way_back(job, outcome);
		}
		job_advance(job, outcome, report->ms);
		if (job->row.delay_ms > 0)
			job->row.delay_ms =
				Max(job->row.delay_ms, Min(report->retry_after_ms, policy->backoff_max_ms));
	}
	job_save(job);
	*row = job->row;
	job_answer(job);
}

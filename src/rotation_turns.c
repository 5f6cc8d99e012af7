/*
 * rotation_turns.c - rotation_job.h: what a rotation has to see to if its secret is one of two that are used
 * in turn, before it begins.
 */
#include "postgres.h"

#include "catalog_read.h"
#include "clock.h"
#include "report.h"
#include "role.h"
#include "rotation_job.h"

void
job_pass_over_retirement(Job *job)
{
	if (!job->exists || job->row.step != FSM_STEP_RETIRE || job->row.outside ||
		job->order->scheduled)
		return;
	failure_set(&job->failure, 0, "the role is rotated", NULL, NULL);
	job_advance(job, FSM_OUTCOME_CANCELLED, -1);
	job_save(job);
	job->exists = false;
}

bool
job_waits_for_grace(Job *job)
{
	TimestampTz then;

	if (job->exists || !catalog_is_resting(job->secret.id))
		return false;
	then = catalog_retirement(job->secret.id);
	if (then <= clock_now() || TIMESTAMP_IS_NOEND(then))
		return false;
	catalog_postpone_secret(job->secret.id, then);
	return true;
}

bool
job_take_turn(Job *job)
{
	const RotationOrder *order = job->order;
	int64 other = catalog_pair_other(job->secret.id);
	bool is_free;
	bool begun;

	if (other == 0)
		return true;
	is_free = secret_lock(Min(other, job->secret.id), false);
	if (is_free)
		job->turn_lock = Min(other, job->secret.id);
	/* What has begun goes on; in an emergency only a store's one entry for both is a reason to wait. */
	begun = job->exists && !job->unsettled && job->row.status != FSM_STATUS_PENDING;
	is_free = is_free && (begun || (order->in_emergency && !job->secret.outside_store) ||
						  !catalog_is_rotating(other));
	if (is_free && order->by_pair && !job->exists && !catalog_is_resting(job->secret.id))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE), errmsg("a rotation has just ended"),
						errdetail("The two roles have changed places meanwhile."),
						errhint("Rotate once more if that is still wanted.")));
	if (!is_free && !order->scheduled && !order->in_emergency)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE), errmsg("a rotation is already active"),
						errdetail("Of two roles that are used in turn, the other one is rotated."),
						errhint("Wait until it has ended; rotor.rotations shows it.")));
	return is_free;
}

/*
 * rotation_queue.c - rotation.h: what a caller changes of a rotation in a transaction of its own,
 * without running it: queue, cancel, requeue.
 */
#include "postgres.h"

#include "catalog_read.h"
#include "report.h"
#include "rotation_job.h"
#include "utils/builtins.h"

Job *
job_for_row(const RotationRow *row, const Secret *secret, const Policy *policy, const Actor *actor)
{
	Job *job = palloc0(sizeof(Job));

	job->context = CurrentMemoryContext;
	job->row = *row;
	job->row.actor = *actor; /* of the audit row; the rotation keeps its own */
	job->secret = *secret;
	job->policy = *policy;
	job->sessions_ended = -1;
	return job;
}

/* What is taken up again goes on from the middle: the other of two that are used in turn must not. */
static void
require_turn(const Secret *secret)
{
	int64 other = catalog_pair_other(secret->id);

	if (other != 0 && catalog_is_rotating(other))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE), errmsg("a rotation is already active"),
						errdetail("Of two roles that are used in turn, the other one is rotated."),
						errhint("Wait until it has ended; rotor.rotations shows it.")));
}

/*
 * What the last rotation left outside is found out before another one begins: it is taken up again,
 * and that is the answer. False if there is nothing of the kind.
 */
static bool
requeue_unsettled(const RotationOrder *order, const Secret *secret, const Policy *policy,
				  pg_uuid_t *id)
{
	RotationRow row;
	Job *job;

	if ((!secret->outside_target && !secret->outside_store) ||
		!catalog_unsettled_rotation(secret->id, id))
		return false;
	if (order->has_version)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("what the last rotation left outside is not known yet"),
				 errdetail("Rotation %s.",
						   DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(id)))),
				 errhint("Call rotor.requeue() for it, and try again when it has ended.")));
	if (!catalog_load_rotation(id, &row, CurrentMemoryContext))
		elog(ERROR, "the rotation is gone");
	job = job_for_row(&row, secret, policy, &order->actor);
	require_turn(secret);
	job_advance(job, FSM_OUTCOME_REQUEUED, -1);
	job_save(job);
	ereport(NOTICE, (errmsg("an earlier rotation of this secret was taken up"),
					 errdetail("What became of it outside is found out first.")));
	return true;
}

void
job_audit_queued(const Job *job)
{
	AuditRow audit = {.actor = &job->row.actor,
					  .event = "rotation_queued",
					  .secret = job->secret.name,
					  .rotation = &job->row.id,
					  .result = "ok",
					  .duration_ms = -1};

	catalog_audit(&audit);
}

pg_uuid_t
rotation_queue(const RotationOrder *order, const Secret *secret, const Policy *policy)
{
	Job *job = palloc0(sizeof(Job));
	pg_uuid_t active;

	if (catalog_active_rotation(secret->id, &active))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE), errmsg("a rotation is already active"),
				 errdetail("Rotation %s.",
						   DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&active)))),
				 errhint("Wait until it has ended; rotor.rotations shows it.")));
	if (requeue_unsettled(order, secret, policy, &active))
		return active;
	job->order = order;
	job->secret = *secret;
	job->policy = *policy;
	job_new_rotation(job);
	job->row.status = FSM_STATUS_PENDING;
	catalog_save_rotation(&job->row);
	job_audit_queued(job);
	return job->row.id;
}

void
rotation_cancel(RotationRow *row, const Secret *secret, const Policy *policy, const Actor *actor)
{
	Job *job = job_for_row(row, secret, policy, actor);
	bool retires = row->step == FSM_STEP_RETIRE;

	if (row->outside && (row->step == FSM_STEP_SET || retires) && (row->leased || row->unsettled))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the rotation cannot be cancelled now"),
						retires ? errdetail("A worker is locking what was in use before, or may "
											"have locked it.")
								: errdetail("A worker is setting the new password, or may have "
											"set it."),
						errhint("Let it end; rotor.rollback() goes back.")));
	if (fsm_is_over(row->status) || fsm_next(row->step, FSM_OUTCOME_CANCELLED) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the rotation cannot be cancelled"),
				 errdetail("Its status is %s, its next step %s.", fsm_status_name(row->status),
						   fsm_step_name(row->step)),
				 errhint(fsm_is_over(row->status)
							 ? "It is over."
							 : "The new password is set already; rotor.rollback() goes back.")));
	failure_set(&job->failure, ERRCODE_QUERY_CANCELED, "cancelled by request", NULL, NULL);
	job_advance(job, FSM_OUTCOME_CANCELLED, -1);
	/* By request: it does not come back, as it does when it only gives way. */
	if (retires)
		catalog_plan_retirement(row->secret_id, DT_NOEND);
	job_save(job);
}

void
rotation_requeue(RotationRow *row, const Secret *secret, const Policy *policy, const Actor *actor)
{
	Job *job = job_for_row(row, secret, policy, actor);
	pg_uuid_t active;

	if (!row->dead_letter)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the rotation is not a dead letter"),
						errdetail("Its status is %s.", fsm_status_name(row->status)),
						errhint("rotor.dead_letter lists what can be requeued.")));
	rotation_require_usable(secret);
	if (catalog_active_rotation(row->secret_id, &active))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE), errmsg("a rotation is already active"),
						errhint("Wait until it has ended; rotor.rotations shows it.")));
	require_turn(secret);
	job_advance(job, FSM_OUTCOME_REQUEUED, -1);
	job_save(job);
}

/*
 * rotation.c - see rotation.h. What runs when; rotation_steps.c has what a step does.
 *
 * Three commits in the good case: create; set; test and finish. rotation_state.c has the one function
 * that changes a rotation's state.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog_emergency.h"
#include "catalog_read.h"
#include "compat.h"
#include "guc.h"
#include "manage.h"
#include "pair.h"
#include "policy.h"
#include "portability/instr_time.h"
#include "random.h"
#include "report.h"
#include "role.h"
#include "rotation.h"
#include "rotation_job.h"
#include "transaction.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "access/xlog.h"

pg_uuid_t
rotation_new_uuid(void)
{
	pg_uuid_t id;
	RotorError err;

	if (!random_bytes(id.data, UUID_LEN, &err))
		report_raise(&err);
	/* RFC 9562, 5.4: version 4, variant 10. */
	id.data[6] = (id.data[6] & 0x0f) | 0x40;
	id.data[8] = (id.data[8] & 0x3f) | 0x80;
	return id;
}

/* What transaction_run() is to call. */
typedef struct JobWork
{
	Job *job;
	void (*work)(Job *job, void *arg);
	void *arg;
} JobWork;

static void
do_work(void *arg)
{
	JobWork *work = arg;

	work->work(work->job, work->arg);
}

/* A role is locked for all databases; an account at a target outside by its secret. */
static bool
lock_subject(const RotationOrder *order, bool wait)
{
	return OidIsValid(order->role) ? role_lock(order->role, wait)
								   : secret_lock(order->secret_id, wait);
}

static void
unlock_subject(const RotationOrder *order)
{
	if (OidIsValid(order->role))
		role_unlock(order->role);
	else
		secret_unlock(order->secret_id);
}

void
job_lock_again(Job *job)
{
	if (!job->locked)
		return;
	job->locked = lock_subject(job->order, false);
	if (job->locked && job->turn_lock != 0 && !secret_lock(job->turn_lock, false))
	{
		unlock_subject(job->order);
		job->locked = false;
	}
}

bool
job_transaction(Job *job, void (*work)(Job *job, void *arg), void *arg)
{
	JobWork all = {job, work, arg};
	bool in_batch = IsTransactionState();

	if (in_batch ? subtransaction_run(do_work, &all, &job->value, &job->failure)
				 : transaction_run(do_work, &all, &job->value, &job->failure))
		return true;
	if (!in_batch)
		job_lock_again(job);
	if (job->failure.sqlstate == ERRCODE_LOCK_NOT_AVAILABLE)
		failure_set(&job->failure, ERRCODE_LOCK_NOT_AVAILABLE,
					"the role, or a row that its rotation needs, is locked",
					psprintf("Waited for %d ms, rotor.lock_timeout.", rotor_lock_timeout),
					"End the transaction that holds the lock; pg_locks shows which.");
	return false;
}

static double
ms_since(instr_time start)
{
	instr_time now;

	INSTR_TIME_SET_CURRENT(now);
	INSTR_TIME_SUBTRACT(now, start);
	return INSTR_TIME_GET_MILLISEC(now);
}

/* --- before the first step --- */

/*
 * Takes the role's lock. False if somebody else is at it and we should leave it alone; 55006 if a
 * rotation is running, 55P03 after lock_timeout if the role is locked otherwise.
 */
static bool
lock_role_for(Job *job)
{
	if (lock_subject(job->order, false))
		return true;
	if (job->order->scheduled || job->order->in_emergency)
		return false;
	if (catalog_role_is_being_rotated(job->order->role))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE), errmsg("a rotation is already active"),
						errhint("Wait until it has ended; rotor.rotations shows it.")));
	return lock_subject(job->order, true);
}

void
job_new_rotation(Job *job)
{
	const RotationOrder *order = job->order;
	RotationRow *row = &job->row;
	Strategy strategy = job->policy.strategy;

	/* Whether there are two roles is the secret's nature, and nobody's choice. */
	if (order->strategy >= 0 && strategy != STRATEGY_BLUE_GREEN)
		strategy = (Strategy) order->strategy;

	memset(row, 0, sizeof(*row));
	row->id = rotation_new_uuid();
	row->secret_id = job->secret.id;
	row->trigger = order->retire		 ? "grace_period"
				   : order->rollback	 ? "rollback"
				   : order->has_version	 ? "value"
				   : order->in_emergency ? "emergency"
				   : order->scheduled	 ? "schedule"
										 : "manual";
	row->has_version = order->has_version;
	row->version = order->version;
	row->in_emergency = order->in_emergency;
	row->emergency = order->emergency;
	row->strategy = policy_strategy_name(strategy);
	row->step = order->retire ? FSM_STEP_RETIRE : FSM_STEP_CREATE;
	row->status = FSM_STATUS_IN_PROGRESS;
	row->reason = order->reason[0] ? order->reason : NULL;
	row->terminate_sessions =
		order->terminate_sessions >= 0 ? order->terminate_sessions : job->policy.terminate_sessions;
	if (order->retire)
		row->terminate_sessions |= pair_ends_sessions(job->secret.id);
	row->actor = order->actor;
	for (int i = 0; i < FSM_STEP_COUNT; i++)
		row->step_ms[i] = -1;
}

/* Fills secret and policy for a role that is not managed yet. */
static void
prepare_enrolment(Job *job)
{
	bool uncommitted;
	RoleState role;

	job->enrol = true;
	if (!catalog_load_policy("default", &job->policy, &uncommitted, job->context))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("there is no policy \"default\""),
						errhint("Make it again, or name another one in rotor.manage().")));
	if (!catalog_load_role(job->order->role, false, &role))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("the role does not exist"),
						errdetail("It was dropped, or the transaction that made it is open."),
						errhint("Commit first.")));
	strlcpy(job->secret.name, role.name, sizeof(job->secret.name));
	strlcpy(job->secret.username, role.name, sizeof(job->secret.username));
	strlcpy(job->secret.policy, job->policy.name, sizeof(job->secret.policy));
	strlcpy(job->secret.target, "self", sizeof(job->secret.target));
	job->secret.role = role.oid;
	job->secret.system_identifier = GetSystemIdentifier();
}

void
rotation_require_usable(const Secret *secret)
{
	if (secret->deleted)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("secret \"%s\" is no longer managed", secret->name),
						errhint("rotor.restore() takes it up again.")));
	if (secret->system_identifier == NO_CLUSTER)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("secret \"%s\" came out of a dump", secret->name),
				 errdetail("Roles and passwords may have changed since the dump was made."),
				 errhint("rotor.reconcile() binds it to the role of its name, and says whether its "
						 "value is still that role's password.")));
	if (secret->system_identifier != GetSystemIdentifier())
		ereport(
			ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("secret \"%s\" belongs to another cluster", secret->name),
			 errdetail("It was made in cluster " UINT64_FORMAT ", this one is " UINT64_FORMAT ".",
					   secret->system_identifier, GetSystemIdentifier()),
			 errhint(
				 "If this cluster is to rotate it, rotor.reconcile() binds it to the role of its "
				 "name here.")));
}

const char *
rotation_back_to(int64 secret_id)
{
	return catalog_is_resting(secret_id) ? "current" : "previous";
}

/* What went wrong before a rotation was taken up again. */
static void
recall_failure(Job *job)
{
	const char *code = job->row.error_code;

	if (code != NULL && strlen(code) == 5)
		failure_set(&job->failure, MAKE_SQLSTATE(code[0], code[1], code[2], code[3], code[4]),
					job->row.error_message ? job->row.error_message : "it failed before", NULL,
					NULL);
}

/*
 * Is the secret still to be rotated in the emergency? Takes it off the list if it begins now. A
 * rotation that has not touched the role yet becomes the emergency's, with another value; one that
 * has is left to end first.
 */
static bool
takes_part(Job *job)
{
	if (job->exists &&
		(job->row.outside || (job->row.step != FSM_STEP_CREATE && job->row.step != FSM_STEP_SET)))
		return false;
	if (!catalog_take_from_emergency(&job->order->emergency, job->secret.id))
		return false;
	if (!job->exists)
		return true;
	job->row.trigger = "emergency";
	job->row.in_emergency = true;
	job->row.emergency = job->order->emergency;
	job->row.terminate_sessions |= job->order->terminate_sessions > 0;
	failure_set(&job->failure, 0, "an emergency began meanwhile", NULL, NULL);
	job_advance(job, FSM_OUTCOME_LEAKED, -1);
	job_save(job);
	return true;
}

/*
 * Loads the rotation that is open. If it is with a worker outside, it goes on there: false. If nobody
 * knows what the last one left outside, that is found out before anything else is begun.
 */
static bool
find_open_rotation(Job *job)
{
	const RotationOrder *order = job->order;
	pg_uuid_t id;

	if (catalog_active_rotation(job->secret.id, &id))
	{
		if (order->rollback)
			ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE), errmsg("a rotation is already active"),
							errhint("Cancel it, or let it end.")));
		job->exists = catalog_load_rotation(&id, &job->row, job->context);
		recall_failure(job);
		if (!job->row.outside || order->in_emergency)
			return true;
		if (order->scheduled)
			return false;
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE), errmsg("a rotation is already active"),
				 errdetail("Its next step, %s, is for rotor worker.", fsm_step_name(job->row.step)),
				 errhint("Wait until it has ended; rotor.rotations shows it.")));
	}
	if ((job->secret.outside_target || job->secret.outside_store) &&
		catalog_unsettled_rotation(job->secret.id, &id))
	{
		job->exists = catalog_load_rotation(&id, &job->row, job->context);
		job->unsettled = true;
	}
	return true;
}

/* A dead letter that must be settled first is taken up again. */
static void
take_up_unsettled(Job *job)
{
	if (!job->unsettled)
		return;
	failure_set(&job->failure, 0, "what became of it outside is found out first", NULL, NULL);
	job_advance(job, FSM_OUTCOME_REQUEUED, -1);
	job_save(job);
}

/* Somebody else may have seen to it meanwhile. */
static bool
is_wanted(Job *job)
{
	const RotationOrder *order = job->order;

	if (order->retire)
		return !job->exists && job->secret.retiring;
	if (order->in_emergency)
		return takes_part(job);
	if (order->scheduled)
		return job->exists && !job->unsettled ? job->row.due : job->secret.due;
	return true;
}

/* The rotation brings no new value, but one that the secret had. */
static void
go_back(Job *job)
{
	pg_uuid_t previous;
	SealedValue value;

	if (!catalog_find_version(job->secret.id, rotation_back_to(job->secret.id), &previous, &value))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("secret \"%s\" has no previous version", job->secret.name)));
	job->row.has_version = true;
	job->row.version = previous;
}

/* What is due by a schedule may have to wait. */
static bool
is_put_off(Job *job)
{
	if (!job->order->scheduled || job->order->retire)
		return false;
	return job_waits_for_window(job) || job_waits_for_grace(job);
}

/* Locks the role and finds out where to begin. */
static void
prepare(Job *job, void *arg)
{
	const RotationOrder *order = job->order;
	int64 secret_id = order->secret_id;
	Secret found;

	job->locked = lock_role_for(job);
	if (!job->locked)
		return;
	/* What happened while we waited must be seen. */
	PopActiveSnapshot();
	PushActiveSnapshot(GetTransactionSnapshot());

	if (secret_id == 0 && catalog_find_secret_of_role(order->role, &found))
		secret_id = found.id;
	if (secret_id == 0)
		prepare_enrolment(job);
	else
	{
		if (!catalog_load_secret(secret_id, &job->secret, &job->policy, job->context))
			ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("the secret does not exist"),
							errhint("Commit first.")));
		if (!find_open_rotation(job))
			return;
		rotation_require_usable(&job->secret);
		job_pass_over_retirement(job);
		if (!job_take_turn(job))
			return;
	}
	if (!is_wanted(job))
		return;
	if (is_put_off(job))
	{
		job->answer->postponed = true;
		return;
	}
	job->answer->ran = true;
	job->answer->resumed = job->exists;
	take_up_unsettled(job);
	if (job->exists)
		return;
	job_new_rotation(job);
	if (order->retire && job_is_outside(job))
	{
		/* There is no step of ours before the worker's. */
		job_save(job);
		job_audit_queued(job);
		job->exists = true;
	}
	if (order->rollback)
		go_back(job);
}

/* --- the steps --- */

typedef FsmOutcome (*StepFunction)(Job *job);

/* Steps that run in one transaction; test does not. */
static const StepFunction step_functions[FSM_STEP_COUNT] = {
	[FSM_STEP_CREATE] = step_create, [FSM_STEP_SET] = step_set,
	[FSM_STEP_FINISH] = step_finish, [FSM_STEP_UNDO] = step_undo,
	[FSM_STEP_RETIRE] = step_retire,
};

/* Takes the role under management, once more if the transaction that did so was undone. */
static void
enrol(Job *job)
{
	if (!job->enrol)
		return;
	manage_role(job->secret.name, job->secret.role, job->secret.policy, &job->row.actor,
				&job->secret);
	job->row.secret_id = job->secret.id;
}

/* The work of one step, its transition, its audit row and the rotation's row: one transaction. */
static void
run_step(Job *job, void *result)
{
	FsmOutcome *outcome = result;
	instr_time start;

	enrol(job);
	if (!job_still_wanted(job))
	{
		*outcome = STEP_OVERTAKEN;
		return;
	}
	if (job->row.step == FSM_STEP_TEST)
	{
		job_advance(job, job->test_outcome, job->test_ms);
		if (job->row.step == FSM_STEP_UNDO || job->row.step == FSM_STEP_CREATE)
		{
			/* The refusal is on record before the way back, or forward, begins. */
			job->test_outcome = FSM_OUTCOME_OK;
			job_save(job);
			return;
		}
	}
	if (!fsm_is_over(job->row.status) && step_functions[job->row.step] != NULL &&
		!job_is_outside(job))
	{
		INSTR_TIME_SET_CURRENT(start);
		*outcome = step_functions[job->row.step](job);
		job_advance(job, *outcome, ms_since(start));
	}
	job_save(job);
}

static void
record_failure(Job *job, void *outcome)
{
	bool tested = job->row.step == FSM_STEP_TEST;

	enrol(job);
	if (!job_still_wanted(job))
	{
		*(FsmOutcome *) outcome = STEP_OVERTAKEN;
		return;
	}
	/* What the login told is not lost with the transaction that was to record it. */
	if (tested)
		job_advance(job, job->test_outcome, job->test_ms);
	if (!tested || job->row.step == FSM_STEP_FINISH)
		job_advance(job, *(FsmOutcome *) outcome, -1);
	job->test_outcome = FSM_OUTCOME_OK;
	job_save(job);
}

static void
log_failure(const Job *job)
{
	ereport(LOG, (errcode(job->failure.sqlstate ? job->failure.sqlstate : ERRCODE_INTERNAL_ERROR),
				  errmsg("rotor: rotation of secret \"%s\", step %s: %s", job->secret.name,
						 fsm_step_name(job->row.step), job->failure.message),
				  job->failure.detail[0] ? errdetail_internal("%s", job->failure.detail) : 0,
				  errhidestmt(true), errhidecontext(true)));
}

bool
job_tested(Job *job, FsmOutcome outcome, double ms)
{
	job->test_outcome = job_without_way_back(job, outcome);
	job->test_ms = ms;
	if (job->locked && outcome != FSM_OUTCOME_OK)
		log_failure(job);
	return job->locked;
}

void
job_try_step(Job *job)
{
	job->before = job->row;
	job->outcome = FSM_OUTCOME_OK;
	job->done = job_transaction(job, run_step, &job->outcome);
}

static bool
goes_on(const Job *job)
{
	return job->outcome != STEP_OVERTAKEN && job->row.delay_ms == 0 && !job_is_outside(job);
}

bool
job_settle_step(Job *job)
{
	Failure why;

	if (job->done)
	{
		if (job->outcome != FSM_OUTCOME_OK && job->outcome != STEP_OVERTAKEN)
			log_failure(job);
		job->exists = true;
		job->enrol = false;
		return goes_on(job);
	}
	job->row = job->before;
	job->outcome = outcome_of_sqlstate(job->failure.sqlstate);
	log_failure(job);
	if (!job->locked)
		return false;
	why = job->failure;
	if (!job_transaction(job, record_failure, &job->outcome))
	{
		/* Not even that: the row stands as it did, and the next turn takes it up from there. */
		job->row = job->before;
		job->answer->unrecorded = true;
		log_failure(job);
		job->failure = why;
		return false;
	}
	job->exists = true;
	job->enrol = false;
	return goes_on(job);
}

/* Runs the step that is next; false if the run should stop for now. */
static bool
do_step(Job *job)
{
	if (job->row.step == FSM_STEP_TEST)
	{
		instr_time start;
		FsmOutcome outcome;

		INSTR_TIME_SET_CURRENT(start);
		outcome = step_test(job);
		if (!job_tested(job, outcome, ms_since(start)))
			return false;
	}
	job_try_step(job);
	return job_settle_step(job);
}

static void
answer_with(Job *job)
{
	RotationAnswer *answer = job->answer;

	answer->started = job->exists;
	answer->rotation = job->row.id;
	answer->step = job->row.step;
	answer->status = job->row.status;
	answer->outside = !fsm_is_over(job->row.status) && job_is_outside(job);
}

static void
run_steps(Job *job, RotationSetCallback on_set, void *arg)
{
	bool go_on = true;

	while (go_on && !fsm_is_over(job->row.status) && !job_is_outside(job))
	{
		go_on = do_step(job);
		answer_with(job);
		if (on_set != NULL && job->row.step == FSM_STEP_TEST &&
			strcmp(job->row.strategy, "immediate") == 0)
		{
			on_set(job->answer, arg);
			on_set = NULL;
		}
	}
}

Job *
job_new(const RotationOrder *order, pg_atomic_uint32 *gate, RotationAnswer *answer)
{
	MemoryContext context =
		AllocSetContextCreate(TopMemoryContext, "rotor rotation", ALLOCSET_DEFAULT_SIZES);
	Job *job = MemoryContextAllocZero(context, sizeof(Job));

	memset(answer, 0, sizeof(*answer));
	job->order = order;
	job->gate = gate;
	job->answer = answer;
	job->context = context;
	job->sessions_ended = -1;
	return job;
}

/* A secret that cannot be rotated at all leaves the emergency's list. */
static void
skip(Job *job, void *arg)
{
	StringInfoData detail;
	AuditRow audit = {.actor = &job->order->actor,
					  .event = "emergency_skipped",
					  .secret = job->secret.name,
					  .result = fsm_outcome_name(FSM_OUTCOME_PERMANENT),
					  .duration_ms = -1};

	if (!catalog_take_from_emergency(&job->order->emergency, job->order->secret_id))
		return;
	initStringInfo(&detail);
	appendStringInfoString(&detail, "{\"message\":");
	escape_json(&detail, job->failure.message);
	appendStringInfoChar(&detail, '}');
	audit.detail = detail.data;
	catalog_audit(&audit);
}

void
job_prepare(Job *job)
{
	if (job_transaction(job, prepare, NULL))
		return;
	job->answer->ran = false;
	job->answer->failure = job->failure;
	if (job->order->in_emergency &&
		outcome_of_sqlstate(job->failure.sqlstate) != FSM_OUTCOME_TRANSIENT)
		(void) job_transaction(job, skip, NULL);
}

void
job_answer(Job *job)
{
	RotationAnswer *answer = job->answer;

	answer_with(job);
	answer->attempt = job->row.attempt;
	answer->max_attempts = job->policy.max_attempts;
	answer->delay_ms = job->row.delay_ms;
	if (job->row.status != FSM_STATUS_SUCCESS)
		answer->failure = job->failure;
}

void
job_free(Job *job)
{
	secret_wipe(&job->value, sizeof(job->value));
	if (job->locked && job->turn_lock != 0)
		secret_unlock(job->turn_lock);
	if (job->locked)
		unlock_subject(job->order);
	MemoryContextDelete(job->context);
}

void
rotation_run(const RotationOrder *order, pg_atomic_uint32 *gate, RotationSetCallback on_set,
			 void *arg, RotationAnswer *answer)
{
	MemoryContext caller = CurrentMemoryContext;
	Job *job = job_new(order, gate, answer);

	MemoryContextSwitchTo(job->context);
	PG_TRY();
	{
		job_prepare(job);
		if (answer->ran)
		{
			run_steps(job, on_set, arg);
			job_answer(job);
		}
	}
	PG_FINALLY();
	{
		MemoryContextSwitchTo(caller);
		job_free(job);
	}
	PG_END_TRY();
}

/*
 * rotation_batch.c - see rotation_batch.h.
 */
#include "postgres.h"

#include "guc.h"
#include "miscadmin.h"
#include "report.h"
#include "rotation_batch.h"
#include "rotation_job.h"
#include "transaction.h"
#include "utils/memutils.h"

typedef struct Member
{
	Job *job;
	bool active;		/* goes on with the batch */
	FsmOutcome outcome; /* of planning its test */
	RotationAnswer answer;
} Member;

typedef struct Batch
{
	MemoryContext context;
	BatchFill fill;
	void *arg;
	int count;
	RotationOrder orders[BATCH_SIZE];
	Member members[BATCH_SIZE];
} Batch;

/* What all members do in one transaction; false, with *failure filled, if it came to nothing. */
static bool
together(Batch *batch, void (*work)(void *arg), Failure *failure)
{
	bool done;

	/* A locked role must not hold up the others: it is tried again alone, with patience. */
	transaction_set_lock_timeout(Min(rotor_lock_timeout, SHARED_LOCK_TIMEOUT_MS));
	done = transaction_run(work, batch, NULL, failure);
	transaction_set_lock_timeout(rotor_lock_timeout);
	return done;
}

/* The batch's transaction is undone, and with it all locks: each member's step has failed. */
static void
fail_all(Batch *batch, const Failure *failure)
{
	for (int i = 0; i < batch->count; i++)
	{
		Job *job = batch->members[i].job;

		if (!batch->members[i].active)
		{
			/* Its locks went with the transaction. */
			job->locked = false;
			job->turn_lock = 0;
			continue;
		}
		job->done = false;
		job->failure = *failure;
		job_lock_again(job);
	}
}

static void
begin_all(void *arg)
{
	Batch *batch = arg;

	batch->count = batch->fill(batch->orders, batch->arg);
	for (int i = 0; i < batch->count; i++)
	{
		Member *member = &batch->members[i];

		member->job = job_new(&batch->orders[i], NULL, &member->answer);
		job_prepare(member->job);
		member->active = member->answer.ran;
		if (member->active)
			job_try_step(member->job);
	}
}

static void
try_all(void *arg)
{
	Batch *batch = arg;

	for (int i = 0; i < batch->count; i++)
	{
		if (batch->members[i].active)
			job_try_step(batch->members[i].job);
	}
}

static bool
is_tested(const Member *member)
{
	return member->active && member->job->row.step == FSM_STEP_TEST;
}

static void
plan_all(void *arg)
{
	Batch *batch = arg;

	for (int i = 0; i < batch->count; i++)
	{
		if (is_tested(&batch->members[i]))
			batch->members[i].outcome = test_plan(batch->members[i].job);
	}
}

/* Step test of all who have come to it: the logins run side by side. */
static void
test_all(Batch *batch)
{
	const LoginOrder *orders[BATCH_SIZE];
	LoginResult *results[BATCH_SIZE];
	Failure failure;
	int logins = 0;
	bool planned = together(batch, plan_all, &failure);

	if (!planned)
		fail_all(batch, &failure);
	for (int i = 0; planned && i < batch->count; i++)
	{
		Member *member = &batch->members[i];

		if (!is_tested(member) || member->outcome != FSM_OUTCOME_OK)
			continue;
		orders[logins] = &member->job->login;
		results[logins++] = &member->job->login_result;
	}
	login_try(orders, results, logins);
	for (int i = 0; i < batch->count; i++)
	{
		Member *member = &batch->members[i];
		Job *job = member->job;

		if (!is_tested(member))
			continue;
		if (!planned)
			member->outcome = outcome_of_sqlstate(failure.sqlstate);
		else if (member->outcome == FSM_OUTCOME_OK)
			member->outcome = test_judge(job);
		member->active = job_tested(job, member->outcome, job->login_result.ms);
	}
}

/* Records what failed; who is over, or is to pause, leaves. Returns how many go on. */
static int
settle_all(Batch *batch)
{
	int active = 0;

	for (int i = 0; i < batch->count; i++)
	{
		Member *member = &batch->members[i];

		if (!member->active)
			continue;
		member->active = job_settle_step(member->job) && !fsm_is_over(member->job->row.status);
		active += member->active;
	}
	return active;
}

static void
run_all(Batch *batch)
{
	while (settle_all(batch) > 0)
	{
		Failure failure;

		CHECK_FOR_INTERRUPTS();
		test_all(batch);
		/* If the transaction does not even begin, this is where each stands. */
		for (int i = 0; i < batch->count; i++)
			batch->members[i].job->before = batch->members[i].job->row;
		if (!together(batch, try_all, &failure))
			fail_all(batch, &failure);
	}
}

static void
report(Batch *batch, int64 counts[FSM_STATUS_COUNT], BatchResult *result)
{
	result->ordered = batch->count;
	for (int i = 0; i < batch->count; i++)
	{
		RotationAnswer *answer = &batch->members[i].answer;

		if (!answer->ran)
			continue;
		job_answer(batch->members[i].job);
		result->stuck |= answer->unrecorded;
		if (answer->unrecorded)
			continue;
		result->ran++;
		counts[answer->status]++;
	}
}

void
rotation_batch(BatchFill fill, void *arg, int64 counts[FSM_STATUS_COUNT], BatchResult *result)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context =
		AllocSetContextCreate(TopMemoryContext, "rotor batch", ALLOCSET_DEFAULT_SIZES);
	Batch *batch = MemoryContextAllocZero(context, sizeof(Batch));
	Failure failure;

	memset(result, 0, sizeof(*result));
	batch->fill = fill;
	batch->arg = arg;
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		if (together(batch, begin_all, &failure))
		{
			run_all(batch);
			report(batch, counts, result);
		}
		else
		{
			/* Nothing has begun; the orders are where they were. */
			ereport(LOG, (errcode(failure.sqlstate), errmsg("rotor: %s", failure.message)));
			fail_all(batch, &failure);
			result->stuck = true;
		}
	}
	PG_FINALLY();
	{
		MemoryContextSwitchTo(caller);
		for (int i = 0; i < batch->count; i++)
		{
			if (batch->members[i].job != NULL)
				job_free(batch->members[i].job);
		}
		MemoryContextDelete(context);
	}
	PG_END_TRY();
}

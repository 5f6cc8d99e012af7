/*
 * rotation_job.h - one rotation in memory; private to rotation.c (what runs when), rotation_batch.c
 * (many at once), rotation_queue.c (not now), rotation_outside.c (elsewhere), rotation_steps.c (what a step does) and
 * rotation_state.c (what follows).
 *
 * job->value is the only place where the engine holds the plaintext. It is wiped when the run ends,
 * however it ends.
 */
#ifndef ROTOR_ROTATION_JOB_H
#define ROTOR_ROTATION_JOB_H

#include "catalog.h"
#include "login.h"
#include "route.h"
#include "rotation.h"
#include "secret_buf.h"

/* Values that a password check may refuse before the rotation gives up. */
#define MAX_REFUSED_VALUES 5

/* What came of a step whose rotation somebody else ended, or went on with, meanwhile. */
#define STEP_OVERTAKEN FSM_OUTCOME_COUNT

/* Of step test: which way its login goes, and what the server itself says of the value. */
typedef struct TestPlan
{
	Route route;
	char dbname[NAMEDATALEN];
	bool accepted;	 /* by the in-process check */
	bool takes_turn; /* the role comes into use: another one is, which logs in */
} TestPlan;

typedef struct Job
{
	const RotationOrder *order;
	pg_atomic_uint32 *gate; /* NULL: cannot be cancelled by its caller */
	RotationAnswer *answer;
	MemoryContext context; /* lives as long as the job */
	bool locked;		   /* the role's lock is ours */
	int64 turn_lock;	   /* and that of its pair, under this secret's id; 0: it takes no turns */
	bool enrol;			   /* the secret is to be made by step create */
	bool exists;		   /* the rotation has a row */
	bool unsettled;		   /* that row is a dead letter, which has to be settled first */
	Secret secret;
	Policy policy;
	RotationRow row;
	SecretBuf value;
	bool has_fingerprint;
	uint8_t fingerprint[FINGERPRINT_LEN]; /* of the verifier that this rotation set */
	int refused_values;
	bool cancelled;			 /* the caller's gate says so */
	bool labels_moved;		 /* a store outside has said so */
	FsmOutcome test_outcome; /* recorded together with finish */
	double test_ms;
	TestPlan plan;
	LoginOrder login; /* what it is to try */
	LoginResult login_result;
	int login_pid;		 /* backend of the verification login, which may be on its way out */
	int sessions_ended;	 /* -1: not asked for */
	const char *worker;	 /* outside, that did the step; NULL: none */
	bool worker_goes_on; /* with the next one: no other need be told of it */
	Failure failure;	 /* of the last outcome that was not plain success */
	/* the step that is being run */
	RotationRow before; /* what the row said before it */
	bool done;			/* its transaction is committed */
	FsmOutcome outcome;
} Job;

/*
 * A job's life: job_new(), job_prepare(), steps, job_answer(), job_free(). order, gate (may be NULL)
 * and answer must outlive it.
 */
extern Job *job_new(const RotationOrder *order, pg_atomic_uint32 *gate, RotationAnswer *answer);

/* A job for a change that a caller makes to a rotation's row, without running it; palloc'd. */
extern Job *
job_for_row(const RotationRow *row, const Secret *secret, const Policy *policy, const Actor *actor);

/* Audits that a rotation has a row, and waits for its first step. */
extern void job_audit_queued(const Job *job);

/* Fills the row of a rotation that begins, from the order, the secret and its policy. */
extern void job_new_rotation(Job *job);

/* Locks the role and finds out where to begin; answer->ran says whether there is something to do. */
extern void job_prepare(Job *job);

/*
 * A step is tried, and settled when its transaction has come to its end: a failure is recorded then.
 * job_settle_step() is false if the run should stop for now.
 */
extern void job_try_step(Job *job);
extern bool job_settle_step(Job *job);

extern bool job_has_strategy(const Job *job, Strategy strategy);

/* True if the secret is one of two that are used in turn. */
extern bool job_takes_turns(const Job *job);

/*
 * A role that is about to be locked is rotated instead, and in use again: what was to lock it gives way,
 * and comes back if nothing comes of this. Not if a worker outside has it: nobody knows what it does.
 */
extern void job_pass_over_retirement(Job *job);

/*
 * A role whose grace period is not over yet keeps its password until then: true if the rotation, which has
 * not begun, was put off.
 */
extern bool job_waits_for_grace(Job *job);

/*
 * Of two secrets that are used in turn one is rotated at a time: they have one entry at a store, and
 * change places. True if this one's time is now; false if not, 55006 for a caller who waits.
 */
extern bool job_take_turn(Job *job);

/* True if the next step is for a worker outside: what it touches is not in this server. */
extern bool job_is_outside(const Job *job);

/* Notes what came of the login of step test; false if the rotation is not ours any more. */
extern bool job_tested(Job *job, FsmOutcome outcome, double ms);

/* Fills the answer. */
extern void job_answer(Job *job);

/* Wipes the value, lets the role go. */
extern void job_free(Job *job);

/*
 * Each does the work of its step inside an open transaction and says what came of it. When it
 * returns anything but OK or PROVED it has changed nothing; errors are raised as usual, and the
 * transaction is undone.
 */
extern FsmOutcome step_create(Job *job);
extern FsmOutcome step_set(Job *job);
extern FsmOutcome step_finish(Job *job);
extern FsmOutcome step_undo(Job *job);
extern FsmOutcome step_retire(Job *job);

/*
 * Step test: a login, in no transaction but short ones of its own. Raises nothing but interrupts.
 * In three parts for who has several at once: job->login is what is to be tried if test_plan() is
 * OK, and test_judge() says what its result means.
 */
extern FsmOutcome step_test(Job *job);
extern FsmOutcome test_plan(Job *job);
extern FsmOutcome test_judge(Job *job);

/*
 * True unless somebody ended the rotation meanwhile, or went on with it (the role's lock is lost for
 * a moment when a step is undone); then job->row is what they left. Until the end of the transaction
 * nobody can.
 */
extern bool job_still_wanted(Job *job);

/*
 * True if what the schedule asks for, and has changed nothing of the role yet, finds its window
 * closed; then it waits until one opens.
 */
extern bool job_waits_for_window(Job *job);

/*
 * The one function that changes the state of a rotation: by the table of fsm.c, with its audit row,
 * inside the transaction of the step, which took ms milliseconds (negative: unknown). The
 * rotation's row is written by job_save() at the transaction's end.
 */
extern void job_advance(Job *job, FsmOutcome outcome, double ms);

/* In an emergency there is no way back: forward to another value, or what was set is kept. */
extern FsmOutcome job_without_way_back(Job *job, FsmOutcome outcome);

extern void job_save(Job *job);

/* The class of an error by its SQLSTATE. */
extern FsmOutcome outcome_of_sqlstate(int sqlstate);

/*
 * Runs work in a transaction of its own, as superuser, within SPI; in a subtransaction if a batch has
 * one open. False, with job->failure filled and everything undone, if it raises an error.
 */
extern bool job_transaction(Job *job, void (*work)(Job *job, void *arg), void *arg);

/*
 * An abort takes session locks with it, the role's too: it is taken again at once, and if somebody
 * was quicker, job->locked tells that the rotation is theirs now.
 */
extern void job_lock_again(Job *job);

#endif

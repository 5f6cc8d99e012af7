/*
 * fsm.h - what comes next.
 *
 * The whole behaviour of a rotation is one const table: for each step and each outcome of it, the
 * next step, the status, the audit event, and which password the role accepts from then on.
 * rotation.c asks fsm_next() and nothing else decides. Plain C, no server header: the unit test
 * walks the table (test/unit/test_fsm.c), a regress test pins it (test/regress/sql/views.sql).
 */
#ifndef ROTOR_FSM_H
#define ROTOR_FSM_H

#include <stdbool.h>
#include <stddef.h>

typedef enum FsmStep
{
	FSM_STEP_CREATE,  /* generate a value, seal it, label it pending */
	FSM_STEP_PUBLISH, /* only with a store outside: it gets the value, labelled pending */
	FSM_STEP_SET,	  /* give it to the role and move the labels, in one transaction */
	FSM_STEP_TEST,	  /* log in with it */
	FSM_STEP_FINISH, /* the labels of a store outside; forget the old verifier, schedule the next rotation */
	FSM_STEP_UNDO,	 /* give the role its former verifier back, and the labels */
	FSM_STEP_RETIRE, /* nothing else: what was in use before is not to log in any more */
	FSM_STEP_DONE,	 /* over */
	FSM_STEP_COUNT
} FsmStep;

typedef enum FsmOutcome
{
	FSM_OUTCOME_OK,				 /* done as meant */
	FSM_OUTCOME_PROVED,			 /* the password is right, the login is barred by something else */
	FSM_OUTCOME_TRANSIENT,		 /* may go by itself; attempts are left */
	FSM_OUTCOME_EXHAUSTED,		 /* transient, and no attempt is left */
	FSM_OUTCOME_REFUSED,		 /* the server does not accept the new password */
	FSM_OUTCOME_INCONCLUSIVE,	 /* the server asked for no password, so nothing is proved */
	FSM_OUTCOME_REFUSED_BY_HOOK, /* a password check of the server refused the value */
	FSM_OUTCOME_LEAKED,			 /* an emergency: another value is made, never back to the former */
	FSM_OUTCOME_SUPERSEDED,		 /* somebody else changed the role's password meanwhile */
	FSM_OUTCOME_TO_STORE,		 /* done as meant, and a store outside is next */
	FSM_OUTCOME_GIVEN_UP,  /* the store outside keeps its version: the target goes back to it */
	FSM_OUTCOME_UNSETTLED, /* nobody knows what became of what was sent, and no attempt is left */
	FSM_OUTCOME_CANCELLED, /* called off */
	FSM_OUTCOME_REQUEUED,  /* a dead letter is taken up again */
	FSM_OUTCOME_PERMANENT, /* will not go by itself */
	FSM_OUTCOME_INTERNAL,  /* a bug */
	FSM_OUTCOME_COUNT
} FsmOutcome;

typedef enum FsmStatus
{
	FSM_STATUS_PENDING,
	FSM_STATUS_IN_PROGRESS,
	FSM_STATUS_VERIFYING,
	FSM_STATUS_SUCCESS,
	FSM_STATUS_FAILED,
	FSM_STATUS_ROLLED_BACK,
	FSM_STATUS_CANCELLED,
	FSM_STATUS_COUNT
} FsmStatus;

/* The password that the role accepts after a transition. */
typedef enum FsmLive
{
	FSM_LIVE_FORMER,  /* what it had before; in an emergency perhaps a value that was refused */
	FSM_LIVE_NEW,	  /* what the rotation brought */
	FSM_LIVE_OTHERS,  /* what somebody else set meanwhile */
	FSM_LIVE_UNKNOWN, /* the former or the new one: whoever goes on looks first */
	FSM_LIVE_COUNT
} FsmLive;

typedef struct FsmTransition
{
	FsmStep step;
	FsmOutcome outcome;
	FsmStep next;
	FsmStatus status;
	const char *event; /* of the audit row */
	bool retry;		   /* the next step waits for the backoff */
	bool dead_letter;  /* a human should look */
	FsmLive live;
	const char *meaning; /* a sentence for the reader */
} FsmTransition;

/* The row for a step and its outcome; NULL if the outcome cannot occur in that step. */
extern const FsmTransition *fsm_next(FsmStep step, FsmOutcome outcome);

/* Row i of the table, in order; NULL past its end. */
extern const FsmTransition *fsm_row(size_t i);

/* True for the statuses that end a rotation. */
extern bool fsm_is_over(FsmStatus status);

/* Names as they stand in the catalog; static memory. */
extern const char *fsm_step_name(FsmStep step);
extern const char *fsm_outcome_name(FsmOutcome outcome);
extern const char *fsm_status_name(FsmStatus status);
extern const char *fsm_live_name(FsmLive live);

/* The value of a name; the COUNT of its enum if there is none. */
extern FsmStep fsm_step_of(const char *name);
extern FsmStatus fsm_status_of(const char *name);

#endif

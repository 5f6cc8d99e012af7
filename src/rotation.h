/*
 * rotation.h - the engine: create, set, test, finish, and the way back.
 *
 * Runs in a rotor worker, outside any transaction; each step is a transaction of its own, and no
 * transaction is open while it logs in. Whatever a crash left is taken up by the same code: a
 * rotation's row says which step comes next, and every step is idempotent. docs/protocol.md has the
 * crash table.
 */
#ifndef ROTOR_ROTATION_H
#define ROTOR_ROTATION_H

#include "port/atomics.h"

#include "audit.h"
#include "types.h"

/*
 * Settles a race between "cancel" and "set": whoever moves it from OPEN first has it.
 */
typedef enum RotationGate
{
	GATE_OPEN,
	GATE_SETTING,
	GATE_CANCELLED
} RotationGate;

/* What is wanted. */
typedef struct RotationOrder
{
	int64 secret_id; /* 0: take the role under management first */
	Oid role;
	bool scheduled;	   /* leave it alone if somebody else is at it */
	bool by_pair;	   /* asked for by the name of two that are used in turn: the one that rests */
	bool retire;	   /* not rotated: its role is locked, which was in use before */
	bool rollback;	   /* back to the previous version */
	bool has_version;  /* queued with a value of its own, sealed as pending */
	pg_uuid_t version; /* that one */
	bool in_emergency; /* the former value has leaked */
	pg_uuid_t emergency;	/* which one */
	int strategy;			/* -1: the policy's; else a Strategy */
	int terminate_sessions; /* -1: the policy's; else bool */
	char reason[REASON_SIZE];
	Actor actor;
} RotationOrder;

/* What became of it. */
typedef struct RotationAnswer
{
	bool ran;			/* false: somebody else is at it, nothing was due */
	bool postponed;		/* a scheduled one, until a window opens */
	bool started;		/* rotation is valid: there is a row */
	bool resumed;		/* an earlier rotation was taken up */
	bool outside;		/* what comes next is for a worker outside */
	bool unrecorded;	/* it failed, and not even that could be written: it is due at once */
	bool made_key_file; /* the first key file was made */
	pg_uuid_t rotation;
	FsmStep step;
	FsmStatus status;
	int attempt;
	int max_attempts;
	int64 delay_ms;	 /* until the next attempt, if it is not over */
	Failure failure; /* sqlstate 0: none */
} RotationAnswer;

/* Called as soon as an immediate rotation's password is set; may be NULL. */
typedef void (*RotationSetCallback)(const RotationAnswer *answer, void *arg);

/*
 * Runs one rotation as far as it goes now. Raises nothing but interrupts: what goes wrong is in
 * *answer. gate may be NULL: it cannot be cancelled.
 */
extern void rotation_run(const RotationOrder *order, pg_atomic_uint32 *gate,
						 RotationSetCallback on_set, void *arg, RotationAnswer *answer);

/* What a worker outside says of the step that it had. */
typedef struct OutsideReport
{
	const char *worker; /* as it calls itself */
	FsmOutcome
		outcome; /* OK, PROVED, TRANSIENT, REFUSED, INCONCLUSIVE, SUPERSEDED, PERMANENT, INTERNAL */
	bool unsettled;		 /* what was sent may have taken effect or not */
	int sqlstate;		 /* 0 with OK */
	const char *message; /* never NULL */
	double ms;
	int64 retry_after_ms; /* not before then, as far as the policy allows; 0: whenever */
	bool goes_on; /* who reports gets the next step with the answer: no other need be told */
} OutsideReport;

/* Raises 42704 if the secret is no longer managed, 55000 if it waits for reconcile(). */
extern void rotation_require_usable(const Secret *secret);

/*
 * Queues order in the present transaction (superuser, in SPI) for the worker to find; returns the
 * new rotation's uuid. 55006 if the secret has one that is not over.
 */
extern pg_uuid_t
rotation_queue(const RotationOrder *order, const Secret *secret, const Policy *policy);

/*
 * Cancels or requeues the rotation in the present transaction (superuser, in SPI), its row being
 * loaded and locked. 55000 if its state does not allow it, 55006 if the secret has another one.
 */
struct RotationRow;
extern void rotation_cancel(struct RotationRow *row, const Secret *secret, const Policy *policy,
							const Actor *actor);
extern void rotation_requeue(struct RotationRow *row, const Secret *secret, const Policy *policy,
							 const Actor *actor);

/*
 * Takes the report of a worker outside into the present transaction (superuser, in SPI), the
 * rotation's row being loaded and locked and its lease looked at; fills *answer and what *row is now.
 */
extern void rotation_report(struct RotationRow *row, const Secret *secret, const Policy *policy,
							const OutsideReport *report, RotationAnswer *answer);

/*
 * The stage of the version that a roll-back goes to. Of two that are used in turn, the one that rests
 * still has the value that was in use before.
 */
extern const char *rotation_back_to(int64 secret_id);

/* A random uuid. */
extern pg_uuid_t rotation_new_uuid(void);

#endif

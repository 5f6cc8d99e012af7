/*
 * catalog.h - every SPI statement of rotor, prepared once a process.
 *
 * Called inside a transaction, as superuser, within SPI (access_enter() or the worker's steps).
 * Knows rows, not what they are for.
 */
#ifndef ROTOR_CATALOG_H
#define ROTOR_CATALOG_H

#include "audit.h"
#include "types.h"

/* What of a rotation goes into its row. */
typedef struct RotationRow
{
	pg_uuid_t id;
	int64 secret_id;
	bool has_version;
	pg_uuid_t version;
	const char *trigger;  /* manual, schedule, rollback, emergency, value, grace_period */
	const char *strategy; /* staged, immediate, blue_green */
	FsmStep step;
	FsmStatus status;
	int attempt;
	int64 delay_ms; /* until the next attempt */
	bool dead_letter;
	const char *outcome;	   /* NULL: none */
	const char *error_code;	   /* NULL: none */
	const char *error_message; /* NULL: none */
	const char *note;		   /* NULL: none */
	const char *reason;		   /* NULL: none */
	bool terminate_sessions;
	bool in_emergency; /* the former value has leaked */
	pg_uuid_t emergency;
	bool outside;	/* the next step is for a worker outside */
	bool unsettled; /* what was sent for it may have taken effect or not */
	bool leased;	/* when loaded: a worker outside has it, or had it last */
	bool due;		/* when loaded: its next attempt may begin */
	Actor actor;
	TimestampTz started_at;			/* 0: not yet */
	double step_ms[FSM_STEP_COUNT]; /* negative: not run in this call */
} RotationRow;

/* One row of the audit. */
typedef struct AuditRow
{
	const Actor *actor;
	const char *event;
	const char *secret;		   /* NULL: none */
	const pg_uuid_t *rotation; /* NULL: none */
	const pg_uuid_t *version;  /* NULL: none */
	const char *result;
	double duration_ms; /* negative: none */
	const char *detail; /* JSON text; NULL: none */
} AuditRow;

/* What a rotation replaced. */
typedef struct SavedVerifier
{
	SealedValue value;
	char version_stage[16]; /* empty: none */
	bool has_current;
	pg_uuid_t former_current;
	bool has_previous;
	pg_uuid_t former_previous;
} SavedVerifier;

typedef struct DueItem
{
	int64 secret_id;
	Oid role;
	bool missed;  /* nobody was there when it fell due */
	bool retire;  /* it is its role that is to be locked */
	bool failing; /* it has failed before */
} DueItem;

/* What of all that is due is looked for; each includes those before it. */
typedef enum DueKinds
{
	DUE_UNFINISHED, /* what was begun or queued, and not ended */
	DUE_FRESH,		/* and what the schedule asks for */
	DUE_MISSED		/* and what it asked for before rotor was up */
} DueKinds;

/* --- secrets and policies --- */

/* The secret and its policy; false if it is gone. What policy points to is allocated in keep. */
extern bool catalog_load_secret(int64 id, Secret *secret, Policy *policy, MemoryContext keep);
/* The policy alone; *uncommitted if the present transaction wrote it. */
extern bool
catalog_load_policy(const char *name, Policy *policy, bool *uncommitted, MemoryContext keep);
/* Inserts a secret, fills secret->id. options: JSON text; NULL: none. */
extern void catalog_insert_secret(Secret *secret, const char *store, const char *options,
								  const Actor *actor, TimestampTz next_rotation);

/* What the next rotation of a secret is planned by. */
typedef struct SecretPlan
{
	Policy policy;
	TimestampTz next_rotation; /* DT_NOEND: none */
	TransactionId row_version; /* of the secret: another one when anything of it was changed */
	int failures;			   /* in a row */
	bool quarantined;		   /* next_rotation was put off because of them */
	TimestampTz set_at; /* of the current version, by the system's clock; DT_NOBEGIN: never */
} SecretPlan;

/* False if the secret is gone. */
extern bool catalog_load_plan(int64 id, SecretPlan *plan, MemoryContext keep);
/*
 * Notes when to rotate next (DT_NOEND: never) and, unless they are NULL and DT_NOBEGIN, the name
 * last seen and the end of the last rotation. False if the secret was changed since the plan was
 * loaded: it has another policy, or its policy has another schedule, and was planned anew.
 */
extern bool catalog_plan_secret(int64 id, const SecretPlan *plan, const char *username,
								TimestampTz last_rotation, TimestampTz next_rotation);
/* A scheduled rotation that may not begin yet waits until then. */
extern void catalog_postpone_secret(int64 id, TimestampTz next_rotation);
/* When what was in use before is not to log in any more; DT_NOEND: nothing of the kind is left. */
extern void catalog_plan_retirement(int64 id, TimestampTz at);
/* Not later than then, if it is planned. */
extern void catalog_hasten_retirement(int64 id, TimestampTz at);
extern void catalog_postpone_rotation(const pg_uuid_t *id, TimestampTz next_attempt_at);

/* --- versions --- */

extern void catalog_insert_version(const pg_uuid_t *id, int64 secret_id, const SealedValue *value);
/* False if there is none. */
extern bool catalog_load_version(const pg_uuid_t *id, SealedValue *value, char stage[16],
								 uint8_t fingerprint[FINGERPRINT_LEN], bool *has_fingerprint);
/*
 * Moves the labels: version becomes current, previous none, current previous, or none either if it
 * is not to be kept; notes the fingerprint (NULL: outside) and set_at. Fills *saved with how they stood.
 */
extern void catalog_promote_version(int64 secret_id, const pg_uuid_t *version,
									const uint8_t fingerprint[FINGERPRINT_LEN],
									SavedVerifier *saved, bool keep_previous);
/* Puts the labels back as *saved has them. */
extern void catalog_demote_version(const pg_uuid_t *version, const SavedVerifier *saved);
extern void catalog_note_verified(const pg_uuid_t *version);
extern void
catalog_note_fingerprint(const pg_uuid_t *version, const uint8_t fingerprint[FINGERPRINT_LEN]);

/* --- rotations --- */

/* The row, locked; false if it is gone. Strings are palloc'd in keep. */
extern bool catalog_load_rotation(const pg_uuid_t *id, RotationRow *row, MemoryContext keep);
/* The secret's rotation that is not over; false if there is none. */
extern bool catalog_active_rotation(int64 secret_id, pg_uuid_t *id);
/* True if it has one that has begun: it is not only queued. */
extern bool catalog_is_rotating(int64 secret_id);
/* Its dead letter of which nobody knows what logs in, or where labels stand; false if there is none. */
extern bool catalog_unsettled_rotation(int64 secret_id, pg_uuid_t *id);
/* Inserts or updates the row. */
extern void catalog_save_rotation(const RotationRow *row);
/* Earlier dead letters of the secret are settled by a success, which also ends its quarantine. */
extern void catalog_settle_dead_letters(int64 secret_id);
/* Only those that were to lock or discard what was in use before, which is done. */
extern void catalog_settle_retirement(int64 secret_id);
/*
 * How many rotations of the secret failed in a row, and what next_rotation was put off to; DT_NOEND:
 * it was not. Before the row of the last one is saved: it stands for those that changed nothing.
 */
extern void catalog_note_failures(int64 secret_id, int failures, TimestampTz quarantined_until);
extern void catalog_end_quarantine(int64 secret_id);
extern void catalog_save_verifier(const pg_uuid_t *rotation, const SavedVerifier *saved);
extern bool catalog_load_verifier(const pg_uuid_t *rotation, SavedVerifier *saved);
extern void catalog_drop_verifier(const pg_uuid_t *rotation);
/*
 * What is due at that time, at most limit items: unfinished ones, fresh ones, of both then those that
 * have failed before, and in what is left, those that were due before up_since; each oldest first,
 * the first skip of each left out. Of each kind there are limit / 4, unless there are no more. Secrets
 * of another cluster are left out.
 */
extern int catalog_due(DueItem *items, int limit, int skip, TimestampTz now, DueKinds kinds,
					   TimestampTz up_since);
/* When something is due that is not so yet; DT_NOEND: nothing is scheduled. */
extern TimestampTz catalog_next_due(TimestampTz now);

/* --- roles --- */

/* The role; with lock, its row is locked against other changes. False if it is gone. */
extern bool catalog_load_role(Oid role, bool lock, RoleState *state);
/* True if one of rotor's workers holds the role's lock. */
extern bool catalog_role_is_being_rotated(Oid role);
/* Ends the role's sessions, save two; returns how many. */
extern int catalog_terminate_sessions(Oid role, int spare, int spare_too);
extern int catalog_count_sessions(Oid role, int except);

/* --- audit --- */

extern void catalog_audit(const AuditRow *row);
/* The same for what a call did at once, and well: secret and detail may be NULL. */
extern void
catalog_audit_event(const Actor *actor, const char *event, const char *secret, const char *detail);

/*
 * Runs a statement at the newest snapshot, so that what workers have committed since the caller's
 * transaction began is seen and can be changed under every isolation level. Returns SPI_processed.
 */
extern uint64
catalog_execute(const char *sql, int nargs, Oid *types, Datum *values, const char *nulls);
/*
 * Runs a SELECT of one column at the newest snapshot; its first row's value, copied into the
 * context that was current before SPI. *null if there is no row.
 */
extern Datum catalog_datum(const char *query, int nargs, Oid *types, Datum *values, bool *null);

#endif

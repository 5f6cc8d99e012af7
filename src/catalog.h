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
	const char *trigger;  /* manual, schedule, rollback */
	const char *strategy; /* staged, immediate */
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
	bool due; /* when loaded: its next attempt may begin */
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
} DueItem;

/* --- secrets and policies --- */

/* The secret and its policy; false if it is gone. What policy points to is allocated in keep. */
extern bool catalog_load_secret(int64 id, Secret *secret, Policy *policy, MemoryContext keep);
/* The policy alone; *uncommitted if the present transaction wrote it. */
extern bool
catalog_load_policy(const char *name, Policy *policy, bool *uncommitted, MemoryContext keep);
/* Inserts a secret, fills secret->id. Its next rotation is one interval of its policy from now. */
extern void
catalog_insert_secret(Secret *secret, const char *store, const char *target, const Actor *actor);
/* Notes the outcome of a rotation: name last seen, last and next rotation. */
extern void catalog_schedule_secret(int64 id, const char *username, bool success);

/* --- versions --- */

extern void catalog_insert_version(const pg_uuid_t *id, int64 secret_id, const SealedValue *value);
/* False if there is none. */
extern bool catalog_load_version(const pg_uuid_t *id, SealedValue *value, char stage[16],
								 uint8_t fingerprint[FINGERPRINT_LEN], bool *has_fingerprint);
/*
 * Moves the labels: version becomes current, current previous, previous none; notes the fingerprint
 * and set_at. Fills *saved with how they stood.
 */
extern void
catalog_promote_version(int64 secret_id, const pg_uuid_t *version,
						const uint8_t fingerprint[FINGERPRINT_LEN], SavedVerifier *saved);
/* Puts the labels back as *saved has them. */
extern void catalog_demote_version(const pg_uuid_t *version, const SavedVerifier *saved);
extern void catalog_note_verified(const pg_uuid_t *version);

/* --- rotations --- */

/* The row, locked; false if it is gone. Strings are palloc'd in keep. */
extern bool catalog_load_rotation(const pg_uuid_t *id, RotationRow *row, MemoryContext keep);
/* The secret's rotation that is not over; false if there is none. */
extern bool catalog_active_rotation(int64 secret_id, pg_uuid_t *id);
/* Inserts or updates the row. */
extern void catalog_save_rotation(const RotationRow *row);
/* Earlier dead letters of the secret are settled by a success. */
extern void catalog_settle_dead_letters(int64 secret_id);
extern void catalog_save_verifier(const pg_uuid_t *rotation, const SavedVerifier *saved);
extern bool catalog_load_verifier(const pg_uuid_t *rotation, SavedVerifier *saved);
extern void catalog_drop_verifier(const pg_uuid_t *rotation);
/*
 * What is due now, oldest first, at most limit items; with unfinished_only what was begun and not
 * ended, without the schedule. Secrets of another cluster are left out.
 */
extern int catalog_due(DueItem *items, int limit, bool unfinished_only);
/* Milliseconds until something is due, 0 if it is already; -1: nothing is scheduled. */
extern int64 catalog_next_due_ms(void);

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

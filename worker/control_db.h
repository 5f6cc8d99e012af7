/*
 * control_db.h - the control database: what the extension's functions are to the main loop.
 *
 * The only file of the worker that knows rotor's SQL is control_db.c. What always holds: only a server that
 * takes writes is talked to; a session has settings of ours, whatever a role or database may have; passwords
 * go neither into SQL nor into parameters; what came back is wiped. Each call ends by CONTROL_TIMEOUT_MS.
 *
 * Used by the main loop's thread alone.
 */
#ifndef ROTOR_WORKER_CONTROL_DB_H
#define ROTOR_WORKER_CONTROL_DB_H

#include <stdbool.h>
#include <stdint.h>

#include "deadline.h"
#include "job.h"
#include "outcome.h"
#include "pg_client.h"

#define CONTROL_TIMEOUT_MS 10000

typedef struct ControlDb ControlDb;

typedef enum ControlResult
{
	CONTROL_DONE,
	CONTROL_LATE,	 /* the lease is over: somebody else has the step, or nobody any more */
	CONTROL_REFUSED, /* the server says no; *err has its code and words */
	CONTROL_LOST	 /* the connection is gone, and nobody knows whether it was done */
} ControlResult;

typedef enum ControlState
{
	CONTROL_CONNECTED,
	CONTROL_UNREACHABLE, /* may go by itself */
	CONTROL_UNFIT		 /* no extension rotor there, or one of another version */
} ControlState;

/* Figures of the whole queue, of all workers. */
typedef struct ControlQueue
{
	double waiting, leased, oldest_overdue_seconds, dead_letters;
} ControlQueue;

/*
 * Once a process, before threads are started: takes what libpq would read out of the environment, and
 * keeps PGPASSWORD for the control database.
 */
extern void control_init(void);

/* Lists of types are names joined by commas. NULL if there is no memory. */
extern ControlDb *
control_new(const char *worker, const char *target_types, const char *store_types);
/* Closes, wipes, frees. */
extern void control_free(ControlDb *db);

/*
 * Connects, as the settings say, and listens. Whoever is refused with 28P01 tries the next time with the
 * password of password_file as it is then, or with that of own_secret as it was last seen.
 */
extern ControlState control_connect(ControlDb *db, PgError *err);
extern void control_disconnect(ControlDb *db);
extern bool control_is_connected(const ControlDb *db);

/* Waits for a notification, a file descriptor, the deadline, or the loss of the connection. */
extern PgWake control_wait(ControlDb *db, const int *fds, int count, Deadline deadline);

/*
 * Claims up to max jobs, of no target and no store in those lists (array literals of names); the caller frees
 * them. One that cannot be read is reported as a defect here.
 */
extern ControlResult control_claim(ControlDb *db, int max, const char *except_targets,
								   const char *except_stores, Job **jobs, int *count, PgError *err);

/* What a heartbeat says of a lease. */
typedef enum LeaseState
{
	LEASE_OVER,
	LEASE_RENEWED,
	LEASE_LOCKED /* it runs, and was not renewed: somebody has locked its row just now */
} LeaseState;

/* Extends the leases of count jobs; states[i] tells how it stands with the i-th. */
extern ControlResult control_heartbeat(ControlDb *db, int count, const char *const *leases,
									   LeaseState *states, ControlQueue *queue, PgError *err);

/*
 * Reports what came of a job, with the peer's code and words if so asked; *next is the next one of the same
 * rotation, or NULL. The caller frees it.
 */
extern ControlResult control_report(ControlDb *db, const Job *job, const Outcome *outcome,
									double duration_ms, bool with_words, Job **next, PgError *err);

/* Hands a job back of which nothing was sent; it is not to be claimed again for so long. */
extern ControlResult
control_release(ControlDb *db, const Job *job, const char *reason, int64_t wait_ms, PgError *err);

/*
 * If own_secret is set: has its value changed? Then it is kept for the next connection, and password_file
 * is written anew. *changed tells so; an error about the file is in *err with CONTROL_REFUSED. Each call tries again
 * to write what could not be written; the same error is CONTROL_REFUSED once in ten minutes, else CONTROL_DONE.
 */
extern ControlResult control_refresh_own_password(ControlDb *db, bool *changed, PgError *err);

/*
 * Rotates a secret to a value of the user's own, or, with adopt, takes it for current: it travels in an
 * envelope that only the server's session can open. *rotation is its uuid, empty with adopt.
 */
extern ControlResult control_set_value(ControlDb *db, const char *secret, const SecretBuf *value,
									   bool adopt, char rotation[UUID_SIZE], PgError *err);

/* The version of the secret that has the label current or previous; empty: none has. */
extern ControlResult control_labelled_version(ControlDb *db, const char *secret, const char *stage,
											  char version[UUID_SIZE], PgError *err);

/*
 * Takes the value for current, if the version former is that until then (empty: none is). Else it is
 * CONTROL_REFUSED, and nothing is changed.
 */
extern ControlResult control_adopt(ControlDb *db, const char *secret, const char *former,
								   const SecretBuf *value, PgError *err);

#endif

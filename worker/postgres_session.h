/*
 * postgres_session.h - a session that changes roles of another PostgreSQL server: how it begins, what its errors
 * mean, and how a role that is used in turn takes after its owner. Used by target_postgres.c alone.
 */
#ifndef ROTOR_WORKER_POSTGRES_SESSION_H
#define ROTOR_WORKER_POSTGRES_SESSION_H

#include "pg_client.h"
#include "target.h"

/* What the server says of a role and of the one that is to change it, before anything is changed. */
typedef struct PgPreflight
{
	int64_t peer_now; /* milliseconds of the server's clock */
	bool exists;
	bool can_login;
	bool expired;
	bool is_superuser;
	bool is_replication;
	bool is_self;
	bool has_admin_option;
	bool by_superuser;
	bool by_createrole;
} PgPreflight;

/* One connection's worth of a job. */
typedef struct PgSession
{
	const Job *job;
	const char *role; /* whose password it is */
	Deadline deadline;
	PgClient *client;
	PgPreflight found;
} PgSession;

/*
 * Connects as the value's owner, to the target's database unless another one is named; read_write: to the host that
 * takes writes, where there are several. NULL, with *err filled, if the server does not let it in.
 */
extern PgClient *postgres_connect_as(const Job *job, const JobValue *who, const char *dbname,
									 bool read_write, Deadline deadline, PgError *err);

/* True for errors that changed nothing and may go by themselves. */
extern bool postgres_is_transient(const char *sqlstate);
/* The outcome of an error before anything was sent that changes something. */
extern Outcome postgres_nothing_changed(const PgError *err);
/*
 * The same of a connection. A refused password is no end here: the credential may have been rotated since it
 * was handed out, and the next claim has the new one.
 */
extern Outcome postgres_not_connected(const PgError *err, const char *user);

/* The outcome of a name that libpq did not quote. */
extern Outcome postgres_not_quoted(void);

/* Connects and opens the transaction of a change; session->client is there to be closed in any case. */
extern Outcome postgres_open_change(PgSession *session, const JobValue *by);

/*
 * Within that transaction, so that it comes to nothing if the change does: makes the role, if it is missing, a
 * member of the pair's owner that logs in as it and has its settings.
 */
extern Outcome postgres_follow_owner(const PgSession *session);

#endif

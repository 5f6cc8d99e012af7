/*
 * pg_client.h - one connection to a PostgreSQL server, by asynchronous libpq.
 *
 * The only file of worker/ that knows libpq is pg_client.c. What always holds: every call ends by its
 * deadline, closing included; neither the environment nor a service or password file steers a connection;
 * a server gets one attempt with the password, never a second in another mode (so neither sslmode allow nor
 * prefer exists here); what came back is wiped before it is freed. Errors are told apart by SQLSTATE; the
 * server's words are kept beside it for people.
 *
 * A client is used by one thread at a time; different clients by any threads. Called by control_db and
 * target_postgres.
 */
#ifndef ROTOR_WORKER_PG_CLIENT_H
#define ROTOR_WORKER_PG_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

#include "deadline.h"
#include "pg_error.h"
#include "secret_buf.h"

#define PG_MAX_HOSTS  16
#define PG_MAX_PARAMS 16

typedef struct PgClient PgClient;
typedef struct PgAnswer PgAnswer;

typedef struct PgServer
{
	const char *host; /* one or several, separated by commas: names, addresses, socket folders */
	const char *port; /* one for all, or one each, separated by commas; NULL: 5432 */
	const char *dbname;
	const char *user;
	const SecretBuf *password; /* NULL: none; a server that asks for one is then not answered */
	const char *
		sslmode; /* disable, require, verify-ca, verify-full; NULL: verify-full, disable on loopback */
	const char *sslrootcert; /* NULL: the system's authorities, where the mode verifies */
	const char *sslcert;	 /* NULL: no client certificate */
	const char *sslkey;
	const char *application_name;
	bool
		read_write; /* only a server that takes writes; the next host is tried after whatever failure */
} PgServer;

/* How far something sent to a server came. */
typedef enum PgReach
{
	PG_DONE, /* the server did it */
	PG_REFUSED, /* the server answered with an error, and what was sent was undone; the session goes on */
	PG_NOT_SENT, /* nothing can have reached the server */
	PG_LOST /* sent; the answer is missing, or is that the session ended: it may have taken effect */
} PgReach;

typedef enum PgWake
{
	PG_WAKE_NOTIFY, /* there is a notification: pg_notification() */
	PG_WAKE_FD,		/* one of the file descriptors can be read */
	PG_WAKE_TIME,	/* the deadline has come */
	PG_WAKE_BROKEN	/* the connection is gone */
} PgWake;

/*
 * Once a process, before any thread is started: takes libpq's variables (all that begin with PG) out of
 * the environment.
 */
extern void pg_client_init(void);

/*
 * Connects to the first host that lets us in. NULL if none does, with *err filled: of the last one tried,
 * or of one before it that refused us (SQLSTATE of class 28).
 * A host that has been given the password is the last one, unless read_write. On success err->used_password
 * is filled.
 */
extern PgClient *pg_connect(const PgServer *server, Deadline deadline, PgError *err);
/* Never waits; NULL does nothing. An open transaction is undone by the server. */
extern void pg_close(PgClient *client);

/*
 * Runs one statement with count (0 .. PG_MAX_PARAMS) parameters as text, NULL for NULL: extended protocol,
 * so a second statement in sql is an error. PG_DONE fills *answer (may be NULL, if nobody wants it), which
 * the caller frees; all others fill *err. After PG_LOST and PG_NOT_SENT the client is only to be closed.
 */
extern PgReach pg_exec(PgClient *client, const char *sql, int count, const char *const *values,
					   Deadline deadline, PgAnswer **answer, PgError *err);
/* The same for one message of one or more statements without parameters: simple protocol. The last answer. */
extern PgReach pg_exec_script(PgClient *client, const char *sql, Deadline deadline,
							  PgAnswer **answer, PgError *err);

extern int pg_rows(const PgAnswer *answer);
/* A value as text, valid until the answer is freed; NULL if it is NULL, or there is no such row or column. */
extern const char *pg_value(const PgAnswer *answer, int row, int column);
extern bool pg_flag(const PgAnswer *answer, int row, int column); /* a boolean; NULL is false */
/* Wipes all values and frees; NULL does nothing. */
extern void pg_answer_free(PgAnswer *answer);

/*
 * Quoted for SQL, as an identifier or a literal, in the connection's encoding; the caller frees it with
 * pg_quoted_free(), which wipes it. NULL if the text is not valid in that encoding, or there is no memory.
 */
extern char *pg_quote_name(PgClient *client, const char *name);
extern char *pg_quote_text(PgClient *client, const char *text);
extern void pg_quoted_free(char *quoted);

/*
 * After LISTEN: waits until a notification is there, one of count file descriptors can be read, or the
 * deadline. client NULL: there is no connection at the moment, only the rest is waited for.
 */
extern PgWake pg_wait(PgClient *client, const int *fds, int count, Deadline deadline);
/* Takes one notification that has arrived, false if there is none; its channel is copied, cut to fit. */
extern bool pg_notification(PgClient *client, char *channel, size_t size);

extern bool pg_is_alive(const PgClient *client);	  /* no error has been seen on it */
extern int pg_server_version(const PgClient *client); /* 150020 */
extern int pg_backend_pid(const PgClient *client); /* the server's process, or a pooler's number */
/* The protocol, such as TLSv1.3; empty without TLS. */
extern const char *pg_tls_version(const PgClient *client);

#endif

/*
 * login.h - the proof: a real login with the new password.
 *
 * Asynchronous libpq only, every conninfo field set, a deadline of its own; interrupts and the
 * postmaster's death are honoured. The only file that uses libpq. At most one try an order.
 */
#ifndef ROTOR_LOGIN_H
#define ROTOR_LOGIN_H

#include "secret_buf.h"
#include "types.h"

typedef struct LoginOrder
{
	const char *host; /* address, host name or socket folder */
	int port;
	const char *sslmode;
	const char *dbname;
	const char *user;
	Oid role; /* the user's oid */
	const SecretBuf *password;
	const char *query; /* one SELECT; NULL: none */
	int timeout_ms;
} LoginOrder;

typedef struct LoginResult
{
	bool connected;		/* the server let us in */
	bool used_password; /* it asked for the password, and accepted it if it let us in */
	bool queried;		/* the query, if any, went through */
	bool timed_out;
	char sqlstate[6]; /* of the refusal; empty: none, or none that the server told */
	int backend_pid;  /* 0: not connected */
	bool same_server; /* that process is a backend of this server with that role */
	double ms;		  /* milliseconds it took */
} LoginResult;

/* Drops what libpq would read from this process's environment: it must not steer the login. */
extern void login_forget_environment(void);

/* So many logins can be tried side by side. */
#define LOGIN_MAX 32

/*
 * Tries count logins, at most LOGIN_MAX, side by side, at most rotor.max_concurrent_logins of all workers at a time, and
 * fills their results; raises only interrupts. Outside a transaction.
 */
extern void login_try(const LoginOrder *const *orders, LoginResult *const *results, int count);

#endif

/*
 * mysql_session.h - a session that changes accounts of a MySQL or MariaDB server: what its errors mean, which
 * accounts there are, and how one that is used in turn is made. Used by target_mysql.c alone.
 */
#ifndef ROTOR_WORKER_MYSQL_SESSION_H
#define ROTOR_WORKER_MYSQL_SESSION_H

#include "mysql_client.h"
#include "target.h"

#define MYSQL_MAX_ACCOUNTS	  32
#define MYSQL_SQL_SIZE		  (64 * 1024)
#define MYSQL_PLUGIN_SIZE	  65
#define MYSQL_NO_SUCH_ACCOUNT "1396"

typedef struct MySql
{
	char text[MYSQL_SQL_SIZE];
	size_t len;
	bool ok;
} MySql;

/* The accounts to change, with what was seen of the server. */
typedef struct MySession
{
	const Job *job;
	const char *user; /* whose password it is */
	Deadline deadline;
	MyClient *client;
	const JobValue *sought; /* which accounts have it as their first password? NULL: nobody asks */
	int64_t peer_now;		/* milliseconds of the server's clock */
	int count;
	char *accounts[MYSQL_MAX_ACCOUNTS]; /* quoted: 'user'@'host' */
	char plugins[MYSQL_MAX_ACCOUNTS][MYSQL_PLUGIN_SIZE];
	bool have_it[MYSQL_MAX_ACCOUNTS]; /* what is sought */
} MySession;

/* Is the number in the list? */
extern bool mysql_is_among(unsigned number, const unsigned *list, size_t count);
#define MYSQL_IS_AMONG(number, list) mysql_is_among(number, list, sizeof(list) / sizeof((list)[0]))

/* True for errors that may go by themselves. */
extern bool mysql_is_transient(unsigned number);

/* Does somebody else have the accounts in hand, so that it is no failure of the server? */
extern bool mysql_is_in_hand(const MyError *err);

/* The outcome of an error, its message behind the prefix. */
extern Outcome mysql_outcome(OutcomeClass class, const MyError *err, const char *prefix);
/* The same of an error before anything was sent that changes something. */
extern Outcome mysql_nothing_changed(const MyError *err);
/* The same of a change that the server has refused; in a session that goes on, or is lost. */
extern Outcome mysql_change_refused(const MySession *session, const MyError *err);
/* A refused password is no end: the credential may have been rotated since it was handed out. */
extern Outcome mysql_not_connected(const MyError *err);

/* No hash could be made: that a library failed passes; that a plugin is not known does not. */
extern Outcome mysql_not_hashed(const RotorError *bad);

/* Appends as printf does; what does not fit clears sql->ok. */
extern void sql_append(MySql *sql, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* NULL, with *err filled, if the server does not let the value's owner in. */
extern MyClient *mysql_connect_as(const Job *job, const JobValue *who, const char *dbname,
								  bool scripts, Deadline deadline, MyError *err);

/* Prepares the session for quoting and the guard; no lock is waited for beyond the deadline. */
extern Outcome mysql_prepare(const MySession *session);

/* Notes the accounts of the user's name, and the server's clock; MYSQL_NO_SUCH_ACCOUNT if there is none. */
extern Outcome mysql_find_accounts(MySession *session);
/* The same of a session as the account itself, which may look at nothing but itself. */
extern Outcome mysql_find_myself(MySession *session);
extern void mysql_forget_accounts(MySession *session);

/* Makes the account, locked, with the value that it is to have, and finds it. */
extern Outcome mysql_make_account(MySession *session, const JobValue *value);
/* Grants all accounts of the name the owner, by default. */
extern Outcome mysql_follow_owner(const MySession *session);

#endif

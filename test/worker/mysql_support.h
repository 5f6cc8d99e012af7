/*
 * mysql_support.h - what the tests of the MySQL target share: a server of their own, and jobs for it.
 */
#ifndef ROTOR_TEST_MYSQL_SUPPORT_H
#define ROTOR_TEST_MYSQL_SUPPORT_H

#include "mysql_client.h"
#include "peer.h"
#include "target.h"

#define MARK  "Plaintext-that-nobody-may-see" /* in every password that is set here */
#define WEIRD "we\"ird 'r\\ole %s `x`"

extern Peer peer;
extern MyClient *witness; /* root, to see what became of it */

extern bool start_mysql_peer(const char *name);
extern int stop_mysql_peer(void **state);

/* Runs a statement that must succeed. */
extern void run(MyClient *client, const char *sql);

/* What the server stores for the account; the caller frees it. */
extern char *stored(const char *user, const char *host);

/* The JSON form of a text, without its quotes; static memory. */
extern const char *json_text(const char *text);

typedef struct Order
{
	const char *user;
	const char *password; /* escaped; NULL: MARK */
	const char *host;	  /* NULL: 127.0.0.1 */
	int port;			  /* 0: the peer's */
	const char *target;	  /* more members of the target, each behind a comma */
	const char *options;  /* the account's */
	const char *policy;
	const char *pair; /* NULL: none */
	const char *step; /* NULL: set */
	bool emergency;
	bool look;
} Order;

extern Job *job_of(const Order *order);

extern Outcome set_as(const Job *job, const char *by, const char *password);
extern Outcome set_by_admin(const Job *job);
extern Outcome login_of(const Job *job, const char *password);
extern void assert_outcome(Outcome outcome, OutcomeClass class, const char *code);

#endif

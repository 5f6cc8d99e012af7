/*
 * mysql_client.h - one connection to a MySQL or MariaDB server, by libmariadb without waiting in it.
 *
 * The only file of worker/ that knows libmariadb is mysql_client.c. What always holds: every call ends by
 * its deadline; no file and no variable steers a connection; the server is sent no file of ours, and no
 * password in clear but by the server's own exchange; there is one attempt a connection, with TLS or
 * without, as told. Errors are told apart by their number.
 *
 * sslmode is disable, require (encrypted, whoever it is) or verify-full, which is the default but for
 * loopback; libmariadb cannot verify a certificate without its name, so there is no verify-ca.
 *
 * A client is used by one thread at a time. The process must ignore SIGPIPE. Called by target_mysql.
 */
#ifndef ROTOR_WORKER_MYSQL_CLIENT_H
#define ROTOR_WORKER_MYSQL_CLIENT_H

#include <stdbool.h>

#include "deadline.h"
#include "secret_buf.h"

#define MY_MESSAGE_SIZE 512

typedef struct MyClient MyClient;
typedef struct MyAnswer MyAnswer;

typedef struct MyServer
{
	const char *host; /* a name, an address or the path of a socket */
	unsigned port;
	const char *dbname; /* NULL: none */
	const char *user;
	const SecretBuf *password;
	const char *sslmode; /* NULL: verify-full, disable on loopback */
	const char *ca_file; /* NULL: the system's authorities */
	const char *cert_file;
	const char *key_file;
	bool scripts; /* several statements in one message are allowed */
} MyServer;

typedef enum MyReach
{
	MY_DONE,	 /* the server did it */
	MY_REFUSED,	 /* the server answered with an error */
	MY_NOT_SENT, /* nothing can have reached the server */
	MY_LOST		 /* sent; the answer is missing */
} MyReach;

typedef struct MyError
{
	unsigned number; /* the server's, or the library's (2000 to 2999, 5000 to 5999); 0: ours */
	char message[MY_MESSAGE_SIZE]; /* never empty on failure */
} MyError;

/* NULL, with *err filled, if the server does not let us in by the deadline. */
extern MyClient *my_connect(const MyServer *server, Deadline deadline, MyError *err);
/* Never waits; NULL does nothing. */
extern void my_close(MyClient *client);

/*
 * Runs one statement. MY_DONE fills *answer, which the caller frees; answer NULL: what comes is thrown away.
 * All others fill *err. After MY_LOST the client is only to be closed.
 */
extern MyReach
my_exec(MyClient *client, const char *sql, Deadline deadline, MyAnswer **answer, MyError *err);
/* Runs several statements that arrive in one message; *done is how many of them were done. */
extern MyReach
my_exec_script(MyClient *client, const char *sql, Deadline deadline, int *done, MyError *err);

/* The next row's values, or false; valid until the next call. */
extern bool my_next(MyAnswer *answer, const char *const **values, unsigned *count);
extern void my_answer_free(MyAnswer *answer);

/* As a literal with its quotes, for the connection's sql_mode; free() it. NULL if there is no memory. */
extern char *my_quote(MyClient *client, const char *text);

extern bool my_is_mariadb(MyClient *client);
extern unsigned long my_server_version(MyClient *client); /* 101119, 80042 */
/* The protocol, such as TLSv1.3; empty without TLS. */
extern const char *my_tls_version(MyClient *client);

#endif

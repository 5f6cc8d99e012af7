/*
 * pg_error.h - what a PostgreSQL server said when it refused.
 *
 * Text only, without libpq: of a connection that failed libpq gives no fields, but one text, whose verbose
 * form has the code and the place in the server's sources at fixed places. What decides is read from there;
 * the words are for people. Called by pg_client.
 */
#ifndef ROTOR_WORKER_PG_ERROR_H
#define ROTOR_WORKER_PG_ERROR_H

#include <stdbool.h>

#define PG_MESSAGE_SIZE 512

typedef struct PgError
{
	char sqlstate[6];	/* empty: the server told none */
	bool used_password; /* of a connection: the server asked for the password, and was given it */
	bool in_authentication; /* of a connection: refused by the server's authentication, not later */
	bool location_known;	/* of a connection: the server said where it refused */
	char message[PG_MESSAGE_SIZE]; /* the server's words or libpq's; never empty on failure */
} PgError;

/* Sets the words, on one line, cut to fit. */
extern void pg_error_say(PgError *err, const char *words);

/*
 * Reads libpq's text of a connection that failed, in its verbose form: words always, and what the server
 * told beyond them. Leaves used_password alone.
 */
extern void pg_error_read(PgError *err, const char *text);

#endif

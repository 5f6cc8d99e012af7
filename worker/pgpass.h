/*
 * pgpass.h - lines of a password file of libpq: host:port:database:user:password.
 *
 * The first line whose four fields fit decides; * fits anything; \ keeps the next byte from meaning something. Lines of
 * others and comments are kept as they are.
 *
 * Called by store_file.c.
 */
#ifndef ROTOR_WORKER_PGPASS_H
#define ROTOR_WORKER_PGPASS_H

#include "job.h"

/* What a line is for; "*" for all. */
typedef struct PgpassKey
{
	const char *host;
	const char *port;
	const char *dbname;
	const char *username; /* never a wildcard */
} PgpassKey;

/* Finds the password that libpq would use. False: no line fits. An overlong one counts as not fitting. */
extern bool pgpass_find(const char *text, size_t len, const PgpassKey *key, SecretBuf *password);

/*
 * The text with the key's line holding that password, so that libpq uses it: the line is changed in
 * place or, if there is none or an earlier one would be used, put before that. NULL with *err: out of memory, or a value
 * that cannot be written in such a file. The caller wipes *out_len bytes and frees.
 */
extern char *pgpass_put(const char *text, size_t len, const PgpassKey *key,
						const SecretBuf *password, size_t *out_len, RotorError *err);

#endif

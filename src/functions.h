/*
 * functions.h - what the SQL-callable functions share. They are thin: who asks, may they, then a
 * module's work.
 */
#ifndef ROTOR_FUNCTIONS_H
#define ROTOR_FUNCTIONS_H

#include "fmgr.h"

#include "access.h"
#include "types.h"

/* Declares and registers one SQL-callable function. */
#define ROTOR_FUNCTION(name)                         \
	extern PGDLLEXPORT Datum name(PG_FUNCTION_ARGS); \
	PG_FUNCTION_INFO_V1(name)

/* Argument number as a C string; 22004 if it is null. */
extern char *required_text(FunctionCallInfo fcinfo, int number, const char *what);

/*
 * Raises 42704 if there is no managed secret of that name. Of two that are used in turn under it: the
 * one in use.
 */
extern void require_secret(const char *name, Secret *secret);

/* The same for what concerns both of such two; returns how many there are. */
extern int require_members(const char *name, Secret members[2]);

/*
 * False if there is no managed secret of that name. Of two that are used in turn: the one that rests, and
 * *by_pair is true.
 */
extern bool find_secret_to_rotate(const char *name, Secret *secret, bool *by_pair);

/*
 * Raises 25006 on a standby and in a read-only transaction, 55000 where preloaded workers serve
 * another database; what names the call.
 */
extern void require_writable(const char *what);

/* rotor.rotation, rotor.secret: the row as a composite datum. In SPI. */
extern Datum rotation_datum(const pg_uuid_t *id);
extern Datum secret_datum(int64 id);

/* uuid as text; palloc'd. */
extern char *uuid_text(const pg_uuid_t *id);

/* Tells the caller that the first key file was made, and what to do with it. */
extern void notice_first_key(void);

/* There will be work when the caller commits: wakes the workers then, or says who can do it. */
extern void wake_workers_at_commit(void);

#endif

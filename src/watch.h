/*
 * watch.h - what is noticed of changes that somebody else makes to managed roles.
 *
 * In shared memory, so for every database of the cluster: the set of managed roles, each with what
 * its policy says of such changes; the events that await a worker; who is comparing all secrets
 * with their roles. Without preloading there is none of it: nothing is noticed, all calls are
 * no-ops, and only the comparison can be asked for, within the process.
 *
 * A role that is not in the set while the set is not complete (a start, too many roles) may be
 * managed: what happens to it is told to the workers, who look it up.
 */
#ifndef ROTOR_WATCH_H
#define ROTOR_WATCH_H

#include "audit.h"

/* What a policy says of a password that somebody else sets (policy.outside_change). */
typedef enum WatchMode
{
	WATCH_NONE, /* the role is not managed */
	WATCH_ALLOW,
	WATCH_WARN,
	WATCH_REFUSE,
	WATCH_MAYBE /* not known: the set is not complete */
} WatchMode;

typedef enum WatchKind
{
	WATCH_PASSWORD, /* ALTER ROLE ... PASSWORD */
	WATCH_RENAMED,
	WATCH_DROPPED,
	WATCH_REFUSED, /* tried, and refused */
	WATCH_LOOK	   /* nothing new: all but its verifier has been seen to */
} WatchKind;

/* Something that happened to a role. Never a value. */
typedef struct WatchEvent
{
	WatchKind kind;
	Oid role;
	char name[NAMEDATALEN]; /* of the role, before the change */
	TimestampTz at;
	TransactionId transaction; /* that did it; invalid: it was refused */
	char database[NAMEDATALEN];
	Actor actor;
} WatchEvent;

/* Why all secrets are to be compared with their roles: bits. */
typedef enum WatchReason
{
	WATCH_START = 1,		/* of the server; what was noticed before is lost */
	WATCH_LOST = 2,			/* more events than there is room for */
	WATCH_POLICY = 4,		/* the set may be out of date */
	WATCH_ROUND = 8,		/* maintenance */
	WATCH_NO_EXTENSION = 16 /* to empty the set */
} WatchReason;

/* How it stands, for health(). */
typedef struct WatchReport
{
	bool complete; /* false: just started */
	bool full;	   /* rotor.max_watched_roles is too low */
	int roles;
	int waiting; /* events that no worker has seen to yet */
	int64 lost;	 /* events, since the start of the server */
} WatchReport;

/* The mode of a name in policy.outside_change; its constraint knows the same three. */
extern WatchMode watch_mode_of(const char *name);

/* Shared memory: asked for and set up from _PG_init when preloading. */
extern void watch_shmem_init(void);

/* False if rotor is not preloaded. */
extern bool watch_is_on(void);
extern void watch_report(WatchReport *report);

/* --- in the session that changes something --- */

/* What the set says of a role now. */
extern WatchMode watch_mode(Oid role);

/*
 * When the present transaction commits, and not if it or its subtransaction does not: the role has
 * that mode (WATCH_NONE: is not managed any more); the event is told; the set is empty; all secrets
 * are to be compared.
 */
extern void watch_role(Oid role, WatchMode mode);
extern void watch_tell(WatchKind kind, Oid role, const char *name);
extern void watch_no_role(void);
extern void watch_compare_at_commit(WatchReason reason);

/* At once, whatever becomes of the transaction. */
extern void watch_tell_now(WatchKind kind, Oid role, const char *name);
extern void watch_forget(void);

/*
 * There is, or is not, a prepared transaction that may have changed roles; after COMMIT PREPARED of
 * any, if there was one, all secrets are compared.
 */
extern void watch_prepared(bool exists);
extern void watch_prepared_committed(void);

/* --- the worker's side --- */

/* All secrets are to be compared, soon. */
extern void watch_compare(WatchReason reason);

/*
 * The oldest event, which is left where it is until watch_done(); false if there is none or another
 * worker is at it. done: it has been seen to.
 */
extern bool watch_next(WatchEvent *event);
extern void watch_done(bool done);

/*
 * Of the event that this process sees to: it is on record, whoever takes it up again is only to look
 * at the role's verifier; it comes again after all others, for now is not the time.
 */
extern void watch_recorded(void);
extern void watch_put_back(void);

/* Is there an event that nobody has seen to? Not preloaded: never. */
extern bool watch_is_waiting(void);

/* The role's verifier is to be looked at again. */
extern void watch_look(Oid role);

typedef enum WatchEnd
{
	WATCH_END_DONE,		/* the roles that were given are the set */
	WATCH_END_NOT_OURS, /* the same, until there is an extension to ask */
	WATCH_END_FAILED	/* the set stays as it was; the comparison is wanted again */
} WatchEnd;

/*
 * Begins a comparison if one is wanted and no other worker is at it; *reasons says why. Until
 * watch_end(), each managed role is given by watch_found(); what transactions commit meanwhile goes
 * before it.
 */
extern bool watch_begin(uint32 *reasons);
extern void watch_found(Oid role, WatchMode mode);
extern void watch_end(WatchEnd end);

#endif

/*
 * audit.h - who is asking, and the server-only log lines. Audit rows are written by catalog, in the
 * transaction of the change they tell of; what a rollback must not hide goes to the log.
 */
#ifndef ROTOR_AUDIT_H
#define ROTOR_AUDIT_H

#include "types.h"

/* Fills actor from the running session: GetUserId(), session user, client address. */
extern void actor_current(Actor *actor);

/* Fills actor for the schedule. */
extern void actor_schedule(Actor *actor);

/*
 * One line in the server log, never sent to the client. subject is a secret's or role's name, may
 * be NULL; result is "ok" or the reason of a refusal. Never a value.
 */
extern void
audit_log_line(const Actor *actor, const char *event, const char *subject, const char *result);

#endif

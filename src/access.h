/*
 * access.h - who may do what to which secret.
 *
 * Revealing a secret equals becoming its role, so nobody may rotate, reveal or manage a role whose
 * password they could not set themselves, unless a right on that one secret was granted to them.
 * Every SQL-callable function takes actor_current() first, asks here, and only then calls
 * access_enter() to work as the superuser.
 */
#ifndef ROTOR_ACCESS_H
#define ROTOR_ACCESS_H

#include "audit.h"
#include "types.h"

typedef enum Privilege
{
	PRIVILEGE_READ,
	PRIVILEGE_ROTATE,
	PRIVILEGE_MANAGE,
	PRIVILEGE_COUNT
} Privilege;

/* What access_enter() changed. */
typedef struct AccessScope
{
	Oid user;
	int security_context;
	int guc_level;
} AccessScope;

/*
 * Work as the bootstrap superuser, search_path = pg_catalog, pg_temp, inside SPI. access_leave()
 * undoes it; an error undoes it too, by the transaction's own clean-up.
 */
extern void access_enter(AccessScope *scope);
extern void access_leave(const AccessScope *scope);

/* True if caller could set the role's password with ALTER ROLE; false for a role that is gone. */
extern bool access_may_set_password(Oid caller, Oid role);

/* May actor do what privilege stands for to the secret? */
extern bool access_may(const Actor *actor, const Secret *secret, Privilege privilege);

/*
 * Returns if actor may do what privilege stands for to the secret; else writes a line to the
 * server log (event names the call) and raises 42501.
 */
extern void
access_require(const Actor *actor, const Secret *secret, Privilege privilege, const char *event);

/* The same for a role that is not managed yet. */
extern void access_require_role(const Actor *actor, Oid role, const char *name, const char *event);

/* Raises 42501 unless actor is a superuser. */
extern void access_require_superuser(const Actor *actor, const char *event);

/* The privilege of a name; 22023 if there is none. */
extern Privilege access_privilege_of(const char *name);
extern const char *access_privilege_name(Privilege privilege);

#endif

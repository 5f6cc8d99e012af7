/*
 * reconcile.h - compares what rotor knows of a role with the role.
 *
 * A secret belongs to a role of one cluster. After pg_upgrade, or when a dump was restored, its
 * role is found anew by name, when a superuser says so, and not before. In SPI, as superuser.
 */
#ifndef ROTOR_RECONCILE_H
#define ROTOR_RECONCILE_H

#include "audit.h"
#include "types.h"

typedef enum ReconcileFinding
{
	RECONCILE_OK,				 /* the role has the verifier that rotor gave it */
	RECONCILE_BOUND,			 /* of another cluster, or of a role that is gone: now of the role
								  * of its name here */
	RECONCILE_RENAMED,			 /* the role has another name by now, which rotor has learned */
	RECONCILE_ROTATING,			 /* a rotation is active: it decides */
	RECONCILE_NO_VALUE,			 /* rotor holds no current value */
	RECONCILE_CHANGED_ELSEWHERE, /* somebody else set another password */
	RECONCILE_ROLE_MISSING,		 /* there is no such role here */
	RECONCILE_ROLE_TAKEN,		 /* the role of that name is managed as another secret */
	RECONCILE_FINDING_COUNT
} ReconcileFinding;

/* A finding's name, and what to do about it (NULL: nothing). */
extern const char *reconcile_name(ReconcileFinding finding);
extern const char *reconcile_remedy(ReconcileFinding finding);

/*
 * Looks at one secret, binds it if it is another cluster's or if its role is gone, learns a new
 * name. role (NAMEDATALEN) is the role's name.
 */
extern ReconcileFinding reconcile_secret(int64 id, const Actor *actor, char *role);

/*
 * Binds a secret of another cluster to a role of this one, with its rights, each bound by name;
 * the caller made sure that no other secret has the role.
 */
extern void reconcile_bind(Secret *secret, Oid role, const Actor *actor);

/*
 * Learns the new names of roles, of one secret or of all (id 0): a dump and pg_upgrade can tell a
 * role by nothing else. Returns how many secrets had an old one.
 */
extern int64 reconcile_names(int64 id, const Actor *actor);

/*
 * Binds the unmanaged secrets of another cluster, as far as their roles are here, so that restore()
 * and retention treat them as this one's.
 */
extern void reconcile_unmanaged(void);

#endif

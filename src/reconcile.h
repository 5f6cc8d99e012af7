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
#include "watch.h"

typedef enum ReconcileFinding
{
	RECONCILE_OK,	   /* the role has the verifier that rotor gave it */
	RECONCILE_BOUND,   /* of another cluster, or of a role that is gone: now of the role
								  * of its name here */
	RECONCILE_RENAMED, /* the role has another name by now, which rotor has learned */
	RECONCILE_OUTSIDE, /* its target is outside: nothing to compare here */
	RECONCILE_OUTSIDE_UNBOUND, /* the same, of another cluster: whether it is ours to rotate is said by manage() */
	RECONCILE_ROTATING,			 /* a rotation is active: it decides */
	RECONCILE_NO_VALUE,			 /* rotor holds no current value */
	RECONCILE_RELABELLED,		 /* the role had another version's verifier: that is current now */
	RECONCILE_HEALING,			 /* somebody else set another password: it is rotated at once */
	RECONCILE_CHANGED_ELSEWHERE, /* the same, and the policy leaves it to a human */
	RECONCILE_ROLE_MISSING,		 /* there is no such role here */
	RECONCILE_ROLE_TAKEN,		 /* the role of that name is managed as another secret */
	RECONCILE_FINDING_COUNT
} ReconcileFinding;

/* A finding's name, and what to do about it (NULL: nothing). */
extern const char *reconcile_name(ReconcileFinding finding);
extern const char *reconcile_remedy(ReconcileFinding finding);

/* What a look at a secret shows, without a change. */
typedef struct ReconcileItem
{
	int64 id;
	char secret[SECRET_NAME_SIZE];
	char role[USERNAME_SIZE];
	Oid role_oid;
	WatchMode outside_change; /* of its policy */
	bool ours;				  /* of this cluster */
	ReconcileFinding finding;
	bool is_settled; /* reconcile_secret() would change nothing */
} ReconcileItem;

/*
 * Looks at one secret: binds it if it is another cluster's or if its role is gone, and actor may
 * set the password of the role of its name; learns a new name; moves the labels to the version whose
 * verifier the role has; notes a password that somebody else set, and has the schedule rotate it
 * if the policy says so. role (USERNAME_SIZE) is the role's name.
 */
extern ReconcileFinding reconcile_secret(int64 id, const Actor *actor, char *role);

#define RECONCILE_END PG_INT64_MAX

/*
 * Looks at the secrets whose ids follow *after, which moves on, and is RECONCILE_END when these were
 * the last; returns how many there were, at most limit. What a secret costs is a few index look-ups
 * and one SHA-256.
 */
extern int reconcile_read(int64 *after, ReconcileItem *items, int limit);

/* {"why": "restart", "ok": 3, "bound": 1}; why may be NULL. Palloc'd. */
extern char *reconcile_detail(const int64 counts[RECONCILE_FINDING_COUNT], const char *why);

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

/*
 * manage.h - taking a role under management; shared by manage(), a queued rotate() and the engine's
 * enrolment. In SPI, as superuser.
 */
#ifndef ROTOR_MANAGE_H
#define ROTOR_MANAGE_H

#include "audit.h"
#include "types.h"

/* What is to be taken under management. */
typedef struct ManageOrder
{
	const char *name;
	Oid role;			  /* InvalidOid: an account at a target outside */
	const char *username; /* that account; NULL: of the secret's name */
	const char *policy;
	const char *store;
	const char *target;
	const char *options; /* JSON text; NULL: none */
} ManageOrder;

/*
 * Inserts the secret and its audit row, fills *secret. The caller checked rights and names. 42704
 * for an unknown policy, store or target, 22023 for a name of a wrong length.
 */
extern void manage_secret(const ManageOrder *order, const Actor *actor, Secret *secret);

/* The same for a role of this cluster with nothing outside. */
extern void
manage_role(const char *name, Oid role, const char *policy, const Actor *actor, Secret *secret);

/*
 * The same for an account at a target outside, which is for superusers to take: nobody here knows its
 * rights there. 42710 if the account has a secret.
 */
extern void manage_account(const ManageOrder *order, const Actor *actor, Secret *secret);

/*
 * Takes two roles of this cluster under management that are used in turn (pair.h), order->role being
 * their owner, and makes those that are missing, with the caller's own rights: not in SPI, not as
 * superuser. Names: options' "roles", or the owner's with _blue and _green. Fills *pair.
 */
extern void manage_pair(const ManageOrder *order, const Actor *actor, Pair *pair);

/*
 * The same at a target outside, order->username being the owner: the worker makes what is missing, with
 * the credential of the target's admin. Not in SPI; superusers only.
 */
extern void manage_pair_outside(const ManageOrder *order, const Actor *actor, Pair *pair);

/* Raises 42704 if there is no such store or target. */
extern void manage_require_store_and_target(const char *store, const char *target);

/* Loads the policy; 42704 if there is no such policy. */
extern void manage_load_policy(const char *name, Policy *policy);

/* Plans the next rotation of all secrets of that policy, which is about to become *policy. */
extern void manage_plan_anew(const char *name, const Policy *policy);

/* The set of watched roles (watch.h) follows the secret, when the transaction commits. */
extern void manage_watch(int64 id);

/* What an audit row says of it: {"policy": ..., "role": ...}; palloc'd. */
extern char *manage_detail(const char *policy, const char *username);

#endif

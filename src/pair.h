/*
 * pair.h - two secrets whose roles are used in turn: strategy blue_green.
 *
 * Each of the two is a secret like any other, with a role, versions and rotations of its own. What is
 * rotated is always the one that rests; when its new password is proved, the two change places, and
 * the other role is locked after the policy's grace period. So nobody who logs in ever meets a
 * password that has just been replaced. Both roles are members of an owner, log in as it (their
 * setting "role") and have its other settings: what the application makes belongs to the owner.
 *
 * In SPI, as superuser.
 */
#ifndef ROTOR_PAIR_H
#define ROTOR_PAIR_H

#include "types.h"

/*
 * Gives the role of that secret the settings of the pair's owner, and the setting that lets it log
 * in as the owner. False, with *failure filled, if the owner is gone or the role no member of it.
 * True, with nothing done, if the secret is in no pair.
 */
extern bool pair_carry_over(int64 secret_id, Oid role, Failure *failure);

/*
 * The secret is the one in use from now on, unless it is already; the role of the other one is to be
 * locked at that time, or at once if its password is older than the emergency (NULL: none).
 */
extern void pair_take_turns(int64 secret_id, TimestampTz retire_at, const pg_uuid_t *emergency);

/*
 * A rotation gave up after it had set the password, and so unlocked the role: if the role rests, it is to
 * be locked, now unless a later time is planned.
 */
extern void pair_lock_again(int64 secret_id);

/* An emergency came to nothing for it: if its role rests, it is to be locked now, for its value has leaked. */
extern void pair_lock_out(int64 secret_id);

/* Has the role of the other one LOGIN, and the verifier of its secret's current version? */
extern bool pair_other_logs_in(int64 secret_id);

/* Did whoever last rotated the one in use ask for sessions to end? */
extern bool pair_ends_sessions(int64 secret_id);

/* The secret in use has been rotated: the other one is planned for then (DT_NOEND: never). */
extern void pair_plan(int64 secret_id, TimestampTz next_rotation);

#endif

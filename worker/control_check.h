/*
 * control_check.h - what `rotor check` and `rotor set --from-store` ask the control database.
 *
 * Part of control_db.c's room: it knows rotor's SQL too. Changes nothing.
 */
#ifndef ROTOR_WORKER_CONTROL_CHECK_H
#define ROTOR_WORKER_CONTROL_CHECK_H

#include "control_db.h"

/* NULL if our role may call it, else the first of the worker's functions that it may not; static memory. */
extern ControlResult control_check_rights(ControlDb *db, const char **missing, PgError *err);

/*
 * The names of all targets (stores) that are outside, in alphabetical order: count of them, the caller frees
 * each and the array. CONTROL_REFUSED with 42501: our role may not read them.
 */
extern ControlResult
control_check_names(ControlDb *db, bool stores, char ***names, int *count, PgError *err);

/*
 * A job of no rotation, for the check functions: it has the target, its admin's credential and the account
 * of one of its secrets, or the store and the key of one; its secret is empty if there is none yet. The
 * caller frees it.
 */
extern ControlResult
control_check_job(ControlDb *db, bool store, const char *name, Job **job, PgError *err);

/* The same for the store and the target of that secret, with its own account and key; without an admin. */
extern ControlResult control_secret_job(ControlDb *db, const char *secret, Job **job, PgError *err);

#endif

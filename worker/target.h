/*
 * target.h - where a credential is valid.
 *
 * Each kind of target is one file with one const TargetClass. Its functions are called by steps.c from
 * any thread, one job at a time a thread; they keep no state of a job. Each ends by job->lease_end and by
 * the deadline, whichever is sooner, whatever the peer does, and reports:
 *
 *   set    OK only if the peer said so; TRANSIENT or PERMANENT only if nothing can have been changed, nor
 *          still be; UNKNOWN in all other cases
 *   login  OK: accepted; PROVED, REFUSED, INCONCLUSIVE as outcome.h says; TRANSIENT: could not be asked.
 *          Exactly one attempt with the password: lock-out modules count
 */
#ifndef ROTOR_WORKER_TARGET_H
#define ROTOR_WORKER_TARGET_H

#include "job.h"
#include "outcome.h"

typedef struct TargetClass
{
	const char *type;
	/*
	 * Gives the account the value; by is the credential that does it: job->admin, or one of the account's own.
	 * Where job->pair is there, it also makes the account if it is missing, a member of the owner with the
	 * owner's settings, and unlocks it. In step undo it leaves all that alone, and locks the account if
	 * that is how it was found.
	 */
	Outcome (*set)(const Job *job, const JobValue *value, const JobValue *by, Deadline deadline);
	/*
	 * Logs in with the value, then runs the policy's verification query if query says so. In the steps
	 * test and retire an account of a pair that cannot be used is INCONCLUSIVE, though its password is right.
	 */
	Outcome (*login)(const Job *job, const JobValue *value, bool query, Deadline deadline);
	/*
	 * Ends what was in use before: locks the account, if job->pair is there, else discards its former
	 * password (dual_write); NULL: it cannot be done. Done once more it changes nothing.
	 */
	Outcome (*retire)(const Job *job, const JobValue *by, Deadline deadline);
	/* Ends the account's other sessions, where that is possible; may be NULL. Its outcome is only logged. */
	Outcome (*end_sessions)(const Job *job, const JobValue *by, Deadline deadline);
	/*
	 * For `rotor check`: can it be reached, with the rights that set needs? Changes nothing. by is NULL where the
	 * target has no admin.
	 */
	Outcome (*check)(const Job *job, const JobValue *by, Deadline deadline);
	bool check_logs_in; /* check needs by, and is not called without */
} TargetClass;

extern const TargetClass target_postgres, target_mysql, target_command, target_http;

/* NULL if there is none of that type. */
extern const TargetClass *target_find(const char *type);

#endif

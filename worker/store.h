/*
 * store.h - where a secret is published.
 *
 * Each kind of store is one file with one const StoreClass. Its functions are called by steps.c from any
 * thread; they keep no state of a job, but may keep a session of the store's own (a token). Each ends by
 * job->lease_end and by the deadline, whichever is sooner. Values are told apart by their version's uuid.
 *
 *   publish  puts job->version under the label pending and leaves the other labels; idempotent: the same
 *            uuid with the same value is OK. A secret that is missing at the store is made, if the store
 *            can label its first version pending or else with job->former or, failing that, job->version.
 *            All that the store's current value holds beyond what rotor knows is kept (whole JSON object).
 *            SUPERSEDED if current may not give way (see below): the target was not changed yet.
 *   promote  moves current from job->former (whatever is labelled current, if former has no id) to
 *            job->version, previous to what was current, takes pending away; compare-and-swap: SUPERSEDED
 *            if current may not give way. OK if it stands so already.
 *   look     which version has which label.
 *
 * What gives way is in secret_json.h: secret_json_gives_way().
 *
 * As for set of target.h: TRANSIENT and PERMANENT only if nothing was nor will be changed, else UNKNOWN.
 */
#ifndef ROTOR_WORKER_STORE_H
#define ROTOR_WORKER_STORE_H

#include "job.h"
#include "outcome.h"

/* uuids; empty: no version has it, or one that is not rotor's */
typedef struct StoreLabels
{
	bool exists; /* the secret is there */
	char pending[UUID_SIZE];
	char current[UUID_SIZE];
	char previous[UUID_SIZE];
} StoreLabels;

typedef struct StoreClass
{
	const char *type;
	Outcome (*publish)(const Job *job, Deadline deadline);
	Outcome (*promote)(const Job *job, Deadline deadline);
	Outcome (*look)(const Job *job, StoreLabels *labels, Deadline deadline);
	/* Reads the value labelled current: for adoption, and for tests. */
	Outcome (*read)(const Job *job, SecretBuf *username, SecretBuf *password, Deadline deadline);
	/* For `rotor check`: reachable, with the rights that are needed? Changes nothing. */
	Outcome (*check)(const Job *job, Deadline deadline);
} StoreClass;

extern const StoreClass store_aws, store_vault, store_file;

/* NULL if there is none of that type. */
extern const StoreClass *store_find(const char *type);

#endif

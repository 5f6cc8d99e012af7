/*
 * catalog_lease.h - the statements on what workers outside have, which they run for each step, and on how
 * it stands, which who waits for them asks many times a second: prepared once a process, like those of
 * catalog.h. In SPI, as superuser.
 */
#ifndef ROTOR_CATALOG_LEASE_H
#define ROTOR_CATALOG_LEASE_H

#include "types.h"

/* What a worker can reach: types that it knows, save for those names; each a text[]. */
typedef struct WorkerReach
{
	Datum target_types;
	Datum store_types;
	Datum except_targets;
	Datum except_stores;
} WorkerReach;

/*
 * Which rotations wait for a worker of that reach, oldest first; locked, others' locks being passed by. Fills at
 * most max ids; how many.
 */
extern int catalog_find_waiting(TimestampTz now, const WorkerReach *reach, int max, pg_uuid_t *ids);

/* Gives the rotation to a worker for so many seconds from now. */
extern void catalog_give_lease(const pg_uuid_t *rotation, const pg_uuid_t *lease,
							   const char *worker, int seconds, bool unsettled);

/* Who has the rotation under this lease, palloc'd; NULL: it is over, or another's. */
extern char *catalog_lease_holder(const pg_uuid_t *rotation, const pg_uuid_t *lease);

/* How a rotation stands. */
typedef struct Standing
{
	FsmStep step;
	FsmStatus status;
	bool outside;
	bool immediate;
	bool claimed; /* by a worker, or was */
	int attempt;
	int max_attempts;
	int64 delay_ms;		 /* until the next attempt */
	char *error_code;	 /* palloc'd; NULL: none */
	char *error_message; /* palloc'd; NULL: none */
} Standing;

/* False if the rotation is gone. */
extern bool catalog_load_standing(const pg_uuid_t *rotation, TimestampTz now, Standing *out);

/* What surrounds a secret, as JSON text. */
typedef struct Surroundings
{
	char *account;
	char *target;
	char *store;
	char *admin; /* name of the secret; NULL: none */
	char *pair;	 /* "null": the secret is used alone */
	int64 other; /* it rests: the secret that is in use; 0: none */
} Surroundings;

/* False if the secret, its target or its store is gone. */
extern bool catalog_load_surroundings(int64 secret_id, Surroundings *out);

#endif

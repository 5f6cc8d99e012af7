/*
 * catalog_emergency.h - the statements on emergencies and their lists; see catalog.h for the terms.
 */
#ifndef ROTOR_CATALOG_EMERGENCY_H
#define ROTOR_CATALOG_EMERGENCY_H

#include "rotation.h"

#define PATTERN_SIZE 1025

/* What rotate_all() was called with. */
typedef struct EmergencyOrder
{
	char policy[SECRET_NAME_SIZE]; /* empty: of any policy */
	char pattern[PATTERN_SIZE];	   /* LIKE pattern of secrets' names; empty: of any name */
	char reason[REASON_SIZE];
	int terminate_sessions; /* -1: each secret's policy; else bool */
	Actor actor;
} EmergencyOrder;

/*
 * Begins an emergency: its row, the list of secrets, the audit row. A secret that is on the list of an
 * earlier one moves over. *total: how many there are.
 */
extern pg_uuid_t catalog_begin_emergency(const EmergencyOrder *order, int64 *total);

/*
 * Orders for secrets on the lists, after the secret of that number, in their order; locked, those that
 * another worker has locked are left out. How many there are.
 */
extern int catalog_claim_emergency(RotationOrder *orders, int max, int64 after);

/* Has this transaction changed, or locked, what the workers of an emergency need? */
extern bool catalog_stands_in_own_way(void);

/* Takes the secret off the emergency's list; false if it is not there. */
extern bool catalog_take_from_emergency(const pg_uuid_t *emergency, int64 secret_id);

/* The newest emergency that has not ended, in words, for pg_stat_activity; false if there is none. */
extern bool catalog_open_emergency(char *activity, size_t size);

/* Is there one? That counts nothing. */
extern bool catalog_is_emergency_open(void);

/* Ends those of which nothing is left to do, with their audit rows; returns how many. */
extern int catalog_end_emergencies(void);

#define EMERGENCY_UNKNOWN (-1)
#define EMERGENCY_OVER	  (-2)

/* Calls off what has not begun; how many secrets, or one of the above. */
extern int64 catalog_cancel_emergency(const pg_uuid_t *emergency, const Actor *actor);

/* How far an emergency is; false if there is none of that uuid. */
extern bool catalog_emergency_progress(const pg_uuid_t *emergency, int64 *remaining, int64 *total);

typedef struct EmergencyCount
{
	char status[16]; /* of the rotations; "waiting" is for secrets whose rotation has not begun */
	int64 count;
} EmergencyCount;

/* What has come of an emergency, by status; how many rows. */
extern int
catalog_emergency_counts(const pg_uuid_t *emergency, EmergencyCount counts[FSM_STATUS_COUNT + 1]);

#endif

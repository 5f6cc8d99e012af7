/*
 * maintenance.c - see maintenance.h.
 */
#include "postgres.h"

#include "catalog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "guc.h"
#include "maintenance.h"
#include "outside.h"
#include "retention.h"
#include "transaction.h"
#include "utils/timestamp.h"
#include "watch.h"

#define PURGE_BATCH 2000

/* Where a round of maintenance stands. */
typedef enum Phase
{
	PHASE_REST,
	PHASE_PARTITIONS,
	PHASE_PURGE
} Phase;

static const Actor maintainer = {.name = "(maintenance)"};

static Phase phase = PHASE_REST;
static RetentionKind kind;
static TimestampTz looked_at; /* when this process last tried to begin a round */

/* Takes the round for this worker, if it is due and no other has it. */
static void
claim(void *claimed)
{
	Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum(rotor_maintenance_interval)};

	*(bool *) claimed =
		catalog_execute(
			"WITH free AS (SELECT FROM rotor.home WHERE maintained_at IS NULL OR maintained_at <= "
			"clock_timestamp() - $1 * interval '1 second' OR timeline IS DISTINCT FROM " OUTSIDE_TIMELINE
			" FOR UPDATE SKIP LOCKED) "
			"UPDATE rotor.home SET maintained_at = clock_timestamp() FROM free",
			1, types, values, NULL) > 0;
}

static void
make_partitions(void *unused)
{
	(void) retention_make_partitions();
}

static void
purge(void *removed)
{
	int64 counts[RETENTION_KIND_COUNT] = {0};
	char *detail;

	counts[kind] = retention_remove(kind, PURGE_BATCH);
	detail = retention_detail(counts);
	if (detail != NULL)
		catalog_audit_event(&maintainer, "purged", NULL, detail);
	*(int64 *) removed = counts[kind];
}

/* Nobody waits for maintenance: a failure goes to the log, and the next round tries again. */
static bool
attempt(void (*work)(void *arg), void *arg)
{
	Failure failure;

	if (transaction_run(work, arg, NULL, &failure))
		return true;
	ereport(LOG,
			(errcode(failure.sqlstate), errmsg("rotor: maintenance failed: %s", failure.message),
			 failure.detail[0] ? errdetail_internal("%s", failure.detail) : 0));
	return false;
}

static bool
round_is_due(void)
{
	TimestampTz now = GetCurrentTimestamp();
	bool claimed = false;

	if (rotor_maintenance_interval == 0 ||
		(looked_at != 0 &&
		 !TimestampDifferenceExceeds(looked_at, now, Min(rotor_maintenance_interval, 600) * 1000)))
		return false;
	looked_at = now;
	return attempt(claim, &claimed) && claimed;
}

bool
maintenance_turn(void)
{
	int64 removed = 0;

	switch (phase)
	{
		case PHASE_REST:
			if (round_is_due())
				phase = PHASE_PARTITIONS;
			break;
		case PHASE_PARTITIONS:
			(void) attempt(make_partitions, NULL);
			/* Also of names: a dump knows roles by nothing else. */
			watch_compare(WATCH_ROUND);
			kind = 0;
			phase = PHASE_PURGE;
			break;
		case PHASE_PURGE:
			if (attempt(purge, &removed) && removed == PURGE_BATCH)
				break;
			if (++kind == RETENTION_KIND_COUNT)
				phase = PHASE_REST;
			break;
	}
	return phase != PHASE_REST;
}

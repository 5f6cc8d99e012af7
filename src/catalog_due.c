/*
 * catalog_due.c - catalog.h: what is due, read from the indexes secret_due and rotation_due in
 * their order, and no further than needed: a look costs what it finds, however many secrets there
 * are, and whatever statistics say of them.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog.h"
#include "catalog_read.h"
#include "catalog_scan.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

static KnownRelation secret_known = {.name = "secret"};
static KnownRelation secret_pkey_known = {.name = "secret_pkey"};
static KnownRelation secret_retire_known = {.name = "secret_retire"};
static KnownRelation secret_due_known = {.name = "secret_due"};
static KnownRelation rotation_known = {.name = "rotation"};
static KnownRelation rotation_due_known = {.name = "rotation_due"};
static KnownRelation rotation_dead_known = {.name = "rotation_dead"};
static KnownRelation rotation_one_active_known = {.name = "rotation_one_active"};

/* An unfinished rotation has its own time for what comes next. */
static bool
has_unfinished_rotation(int64 secret_id)
{
	TableScan scan;
	ScanKeyData key;
	bool found;

	ScanKeyInit(&key, ROTATION_SECRET_ID, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(secret_id));
	scan_begin(&scan, &rotation_known, &rotation_one_active_known, &key, 1);
	found = HeapTupleIsValid(scan_next(&scan));
	scan_end(&scan);
	return found;
}

/* The role of a secret of this cluster; false if it is another's. */
static bool
find_role(int64 secret_id, Oid *role)
{
	TableScan scan;
	ScanKeyData key;
	HeapTuple tuple;
	bool ours = false;

	ScanKeyInit(&key, SECRET_ID, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(secret_id));
	scan_begin(&scan, &secret_known, &secret_pkey_known, &key, 1);
	tuple = scan_next(&scan);
	if (HeapTupleIsValid(tuple))
	{
		ours = (uint64) DatumGetInt64(scan_required(&scan, tuple, SECRET_SYSTEM_IDENTIFIER)) ==
			   GetSystemIdentifier();
		*role = DatumGetObjectId(scan_required(&scan, tuple, SECRET_ROLE_OID));
	}
	scan_end(&scan);
	return ours;
}

/* Visits the secrets to be rotated at from, up to until, in order of time; false ends it. */
typedef bool (*VisitDue)(const DueItem *item, TimestampTz at, void *arg);

static void
each_scheduled(TimestampTz from, TimestampTz until, VisitDue visit, void *arg)
{
	TableScan scan;
	ScanKeyData keys[3];
	HeapTuple tuple;
	bool more = true;

	ScanKeyInit(&keys[0], SECRET_SYSTEM_IDENTIFIER, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum((int64) GetSystemIdentifier()));
	ScanKeyInit(&keys[1], SECRET_NEXT_ROTATION, BTGreaterEqualStrategyNumber, F_TIMESTAMPTZ_GE,
				TimestampTzGetDatum(from));
	ScanKeyInit(&keys[2], SECRET_NEXT_ROTATION, BTLessStrategyNumber, F_TIMESTAMPTZ_LT,
				TimestampTzGetDatum(until));
	scan_begin_ordered(&scan, &secret_known, &secret_due_known, keys, 3);
	while (more && HeapTupleIsValid(tuple = scan_next(&scan)))
	{
		DueItem item = {.secret_id = DatumGetInt64(scan_required(&scan, tuple, SECRET_ID)),
						.role = DatumGetObjectId(scan_required(&scan, tuple, SECRET_ROLE_OID)),
						.failing = DatumGetInt32(scan_required(&scan, tuple, SECRET_FAILURES)) > 0};

		if (!has_unfinished_rotation(item.secret_id))
			more = visit(
				&item, DatumGetTimestampTz(scan_required(&scan, tuple, SECRET_NEXT_ROTATION)), arg);
	}
	scan_end(&scan);
}

static void
each_unfinished(TimestampTz from, VisitDue visit, void *arg)
{
	TableScan scan;
	ScanKeyData key;
	HeapTuple tuple;
	bool more = true;

	ScanKeyInit(&key, ROTATION_NEXT_ATTEMPT_AT, BTGreaterEqualStrategyNumber, F_TIMESTAMPTZ_GE,
				TimestampTzGetDatum(from));
	scan_begin_ordered(&scan, &rotation_known, &rotation_due_known, &key, 1);
	while (more && HeapTupleIsValid(tuple = scan_next(&scan)))
	{
		DueItem item = {.secret_id = DatumGetInt64(scan_required(&scan, tuple, ROTATION_SECRET_ID)),
						.failing =
							DatumGetInt32(scan_required(&scan, tuple, ROTATION_ATTEMPT)) > 0};
		TimestampTz at = DatumGetTimestampTz(scan_required(&scan, tuple, ROTATION_NEXT_ATTEMPT_AT));

		if (find_role(item.secret_id, &item.role))
			more = visit(&item, at, arg);
	}
	scan_end(&scan);
}

/*
 * Is there a dead letter after which nobody knows what is in use, or one whose new password was not proved?
 * Somebody looks into that before anything is locked or discarded.
 */
static bool
has_open_question(int64 secret_id, bool may_be_unproved)
{
	TableScan scan;
	ScanKeyData key;
	HeapTuple tuple;
	bool found = false;

	ScanKeyInit(&key, ROTATION_SECRET_ID, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(secret_id));
	scan_begin(&scan, &rotation_known, &rotation_dead_known, &key, 1);
	while (!found && HeapTupleIsValid(tuple = scan_next(&scan)))
	{
		char step[16];

		scan_text(&scan, tuple, ROTATION_STEP, step, sizeof(step));
		found = strcmp(step, "retire") != 0 &&
				(strcmp(step, "finish") == 0 || strcmp(step, "undo") == 0 ||
				 (strcmp(step, "test") == 0 && !may_be_unproved) ||
				 DatumGetBool(scan_required(&scan, tuple, ROTATION_UNSETTLED)));
	}
	scan_end(&scan);
	return found;
}

/* Of two that are used in turn the one that rests has nothing to prove, but the other one is to log in. */
static bool
may_retire(int64 secret_id)
{
	int64 other = catalog_pair_other(secret_id);

	if (has_unfinished_rotation(secret_id) || has_open_question(secret_id, other != 0))
		return false;
	return other == 0 || !has_open_question(other, false);
}

/* Visits the secrets of which something is to be locked or discarded. */
static void
each_retiring(TimestampTz from, VisitDue visit, void *arg)
{
	TableScan scan;
	ScanKeyData keys[2];
	HeapTuple tuple;
	bool more = true;

	ScanKeyInit(&keys[0], SECRET_SYSTEM_IDENTIFIER, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum((int64) GetSystemIdentifier()));
	ScanKeyInit(&keys[1], SECRET_RETIRE_AT, BTGreaterEqualStrategyNumber, F_TIMESTAMPTZ_GE,
				TimestampTzGetDatum(from));
	scan_begin_ordered(&scan, &secret_known, &secret_retire_known, keys, 2);
	while (more && HeapTupleIsValid(tuple = scan_next(&scan)))
	{
		DueItem item = {.secret_id = DatumGetInt64(scan_required(&scan, tuple, SECRET_ID)),
						.role = DatumGetObjectId(scan_required(&scan, tuple, SECRET_ROLE_OID)),
						.retire = true};

		if (may_retire(item.secret_id))
			more = visit(&item, DatumGetTimestampTz(scan_required(&scan, tuple, SECRET_RETIRE_AT)),
						 arg);
	}
	scan_end(&scan);
}

#define BATCH_MAX 64

typedef struct Collection
{
	DueItem *items;
	int count;
	int limit;
	DueItem failing[BATCH_MAX];
	int failing_count;
	int failing_limit;
	int skip;
	int skipped; /* of this kind */
	TimestampTz now;
	bool missed;
} Collection;

static bool
collect(const DueItem *item, TimestampTz at, void *arg)
{
	Collection *found = arg;

	if (at > found->now || found->count >= found->limit)
		return false;
	if (found->skipped < found->skip)
		found->skipped++;
	else if (!item->failing)
	{
		found->items[found->count] = *item;
		found->items[found->count++].missed = found->missed;
	}
	else if (found->failing_count < found->failing_limit)
	{
		found->failing[found->failing_count] = *item;
		found->failing[found->failing_count++].missed = found->missed;
	}
	return found->count < found->limit;
}

static void
append_failing(Collection *found, int limit)
{
	for (int i = 0; i < found->failing_count && found->count < limit; i++)
		found->items[found->count++] = found->failing[i];
	found->failing_count = 0;
}

/*
 * What has failed before comes after what has not, however long it has been due: a login that hangs
 * takes rotor.connect_timeout. What was missed comes last, for it is paced. Each kind has a quarter of
 * the batch, if there is as much of it.
 */
int
catalog_due(DueItem *items, int limit, int skip, TimestampTz now, DueKinds kinds,
			TimestampTz up_since)
{
	Collection found = {.items = items, .skip = skip, .now = now};

	Assert(limit <= BATCH_MAX);
	found.limit = kinds >= DUE_FRESH ? limit / 4 : limit / 2;
	found.failing_limit = limit / 4;
	each_unfinished(DT_NOBEGIN, collect, &found);
	each_retiring(DT_NOBEGIN, collect, &found);
	found.limit = limit / 2;
	found.failing_limit = found.failing_count + limit / 4;
	found.skipped = 0;
	if (kinds >= DUE_FRESH)
		each_scheduled(up_since, DT_NOEND, collect, &found);
	append_failing(&found, limit);
	found.limit = limit;
	found.missed = true;
	found.failing_limit = limit / 4;
	found.skipped = 0;
	if (kinds >= DUE_MISSED && found.count < limit)
		each_scheduled(DT_NOBEGIN, up_since, collect, &found);
	append_failing(&found, limit);
	return found.count;
}

static bool
take_first(const DueItem *item, TimestampTz at, void *arg)
{
	*(TimestampTz *) arg = at;
	return false;
}

TimestampTz
catalog_next_due(TimestampTz now)
{
	TimestampTz unfinished = DT_NOEND;
	TimestampTz retiring = DT_NOEND;
	TimestampTz scheduled = DT_NOEND;

	each_unfinished(now + 1, take_first, &unfinished);
	each_retiring(now + 1, take_first, &retiring);
	each_scheduled(now + 1, DT_NOEND, take_first, &scheduled);
	return Min(Min(unfinished, retiring), scheduled);
}

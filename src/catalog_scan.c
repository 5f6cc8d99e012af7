/*
 * catalog_scan.c - see catalog_scan.h.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog_read.h"
#include "catalog_scan.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

static uint64 generation; /* grows with every change; 0: nobody tells us of them yet */

static Snapshot common_snapshot; /* of catalog_read_begin(); NULL: each scan takes its own */

static void
relation_changed(Datum arg, Oid relation)
{
	generation++;
}

uint64
scan_generation(void)
{
	if (generation == 0)
	{
		CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
		generation = 1;
	}
	return generation;
}

void
scan_forget(void)
{
	generation = scan_generation() + 1;
}

Oid
scan_relation(KnownRelation *known)
{
	uint64 before = generation;

	if (known->generation == before && before > 0)
		return known->oid;
	before = scan_generation();
	/* Another version's tables may have other columns. */
	catalog_require_version();
	known->oid = get_relname_relid(known->name, get_namespace_oid("rotor", false));
	if (!OidIsValid(known->oid))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
						errmsg("relation rotor.%s does not exist", known->name)));
	known->generation = before;
	return known->oid;
}

void
catalog_read_begin(void)
{
	common_snapshot = RegisterSnapshot(GetLatestSnapshot());
}

void
catalog_read_end(void)
{
	if (common_snapshot != NULL)
		UnregisterSnapshot(common_snapshot);
	common_snapshot = NULL;
}

static void
open_table(TableScan *scan, KnownRelation *table)
{
	scan->relation = table_open(scan_relation(table), AccessShareLock);
	scan->snapshot = RegisterSnapshot(common_snapshot ? common_snapshot : GetLatestSnapshot());
}

void
scan_begin(TableScan *scan, KnownRelation *table, KnownRelation *index, ScanKey keys, int count)
{
	open_table(scan, table);
	scan->index = NULL;
	scan->scan =
		systable_beginscan(scan->relation, scan_relation(index), true, scan->snapshot, count, keys);
}

void
scan_begin_ordered(TableScan *scan, KnownRelation *table, KnownRelation *index, ScanKey keys,
				   int count)
{
	open_table(scan, table);
	scan->index = index_open(scan_relation(index), AccessShareLock);
	scan->scan =
		systable_beginscan_ordered(scan->relation, scan->index, scan->snapshot, count, keys);
}

HeapTuple
scan_next(TableScan *scan)
{
	return scan->index != NULL ? systable_getnext_ordered(scan->scan, ForwardScanDirection)
							   : systable_getnext(scan->scan);
}

void
scan_end(TableScan *scan)
{
	if (scan->index != NULL)
	{
		systable_endscan_ordered(scan->scan);
		index_close(scan->index, AccessShareLock);
	}
	else
		systable_endscan(scan->scan);
	UnregisterSnapshot(scan->snapshot);
	table_close(scan->relation, AccessShareLock);
}

Datum
scan_column(const TableScan *scan, HeapTuple tuple, int number, bool *null)
{
	return heap_getattr(tuple, number, RelationGetDescr(scan->relation), null);
}

Datum
scan_required(const TableScan *scan, HeapTuple tuple, int number)
{
	bool null;
	Datum value = scan_column(scan, tuple, number, &null);

	if (null)
		elog(ERROR, "unexpected null in column %d of %s", number,
			 RelationGetRelationName(scan->relation));
	return value;
}

void
scan_text(const TableScan *scan, HeapTuple tuple, int number, char *out, size_t size)
{
	bool null;
	Datum value = scan_column(scan, tuple, number, &null);

	out[0] = '\0';
	if (!null)
		text_to_cstring_buffer(DatumGetTextPP(value), out, size);
}

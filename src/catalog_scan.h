/*
 * catalog_scan.h - scans of rotor's tables by one index; private to the files of catalog*.c.
 *
 * No planner: what is read, and in which order, does not depend on statistics.
 */
#ifndef ROTOR_CATALOG_SCAN_H
#define ROTOR_CATALOG_SCAN_H

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/skey.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapshot.h"

/* Columns, by number as in sql/tables.sql. */
enum
{
	SECRET_ID = 1,
	SECRET_NAME,
	SECRET_TARGET,
	SECRET_USERNAME,
	SECRET_ROLE_OID,
	SECRET_SYSTEM_IDENTIFIER,
	SECRET_STORE,
	SECRET_POLICY,
	SECRET_ENABLED,
	SECRET_NEXT_ROTATION,
	SECRET_FAILURES = 12,
	SECRET_DELETED_AT = 16,
	SECRET_RETIRE_AT = 18,
	SECRET_COLUMN_COUNT = 18,
	PAIR_NAME = 1,
	PAIR_IN_USE,
	PAIR_RESTING,
	PAIR_OWNER,
	PAIR_OWNER_OID,
	VERSION_ID = 1,
	VERSION_SECRET_ID,
	VERSION_STAGE,
	VERSION_KEY_ID,
	VERSION_SEALED,
	GRANT_SECRET_ID = 1,
	GRANT_ROLE_OID,
	GRANT_PRIVILEGE,
	TARGET_NAME = 1,
	TARGET_TYPE,
	TARGET_HOST,
	TARGET_PORT,
	TARGET_DBNAME,
	TARGET_SSLMODE,
	DATA_KEY_ID = 1,
	DATA_KEY_MASTER_KEY_ID,
	DATA_KEY_WRAPPED,
	DATA_KEY_CHECK_VALUE,
	ROTATION_ID = 1,
	ROTATION_SECRET_ID,
	ROTATION_STEP = 6,
	ROTATION_ATTEMPT = 8,
	ROTATION_NEXT_ATTEMPT_AT,
	ROTATION_UNSETTLED = 30,
	HOME_SINGLETON = 1,
	HOME_DATABASE_OID
};

/*
 * A table or an index by its oid, so that a read need not look its name up again. Any change of a
 * relation, also the drop of ours, makes us do so. Begin with {.name = ...}.
 */
typedef struct KnownRelation
{
	const char *name;
	Oid oid;
	uint64 generation; /* of the look-up */
} KnownRelation;

/* A scan of one table by one index, at the newest snapshot. */
typedef struct TableScan
{
	Relation relation;
	Relation index; /* of a scan in order; else NULL */
	Snapshot snapshot;
	SysScanDesc scan;
} TableScan;

/* All that scans read up to catalog_read_end() is of one state; see catalog_read.h. */
extern void
scan_begin(TableScan *scan, KnownRelation *table, KnownRelation *index, ScanKey keys, int count);
/* The same in the order of the index: keys may be ranges of its columns. */
extern void scan_begin_ordered(TableScan *scan, KnownRelation *table, KnownRelation *index,
							   ScanKey keys, int count);
/* NULL: no more. */
extern HeapTuple scan_next(TableScan *scan);
extern void scan_end(TableScan *scan);

/* A column of a row that scan_next() gave. */
extern Datum scan_column(const TableScan *scan, HeapTuple tuple, int number, bool *null);
/* The same where the table allows no null. */
extern Datum scan_required(const TableScan *scan, HeapTuple tuple, int number);
/* Copies a text column; a null becomes the empty string. */
extern void scan_text(const TableScan *scan, HeapTuple tuple, int number, char *out, size_t size);

/* The oid of a relation of ours. */
extern Oid scan_relation(KnownRelation *known);

/* Grows whenever a relation changes; never 0. */
extern uint64 scan_generation(void);
/* What is known is looked up anew. */
extern void scan_forget(void);

#endif

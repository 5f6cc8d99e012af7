/*
 * retention.h - what is kept how long: partitions of the audit, and what purge() removes.
 *
 * In SPI, as superuser, inside a transaction. What always holds: a value that may be live is never
 * removed - not a version with a stage, not one that an unfinished rotation or a dead letter needs,
 * not one whose verifier its role has, nothing of a secret that another cluster made. Called by
 * maintenance and by purge().
 */
#ifndef ROTOR_RETENTION_H
#define ROTOR_RETENTION_H

#include "postgres.h"

typedef enum RetentionKind
{
	RETENTION_SECRETS,			/* unmanaged for longer than rotor.recovery_window */
	RETENTION_VERSIONS,			/* without a stage for longer than the policy's version_retention */
	RETENTION_ROTATIONS,		/* over for longer than the policy's rotation_retention */
	RETENTION_AUDIT_PARTITIONS, /* months that rotor.audit_retention has passed as a whole */
	RETENTION_AUDIT_ROWS,		/* the same, row by row, where a month has no partition */
	RETENTION_KIND_COUNT
} RetentionKind;

/* Name of a kind, as purge() shows it. */
extern const char *retention_kind_name(RetentionKind kind);

/* How many of a kind may go now. */
extern int64 retention_count(RetentionKind kind);

/* Removes at most limit of a kind; returns how many. */
extern int64 retention_remove(RetentionKind kind, int64 limit);

/* {"versions": 12, ...}: counts above zero as JSON; NULL if there is none. palloc'd. */
extern char *retention_detail(const int64 counts[RETENTION_KIND_COUNT]);

/* True while retention_remove() takes rows out of the audit: its guard lets it. */
extern bool retention_is_removing(void);

/* Makes the partitions of this month and the next two, where they are missing; returns how many. */
extern int retention_make_partitions(void);

#endif

/*
 * catalog_keys.h - the statements on data keys and on what they seal, prepared once a process. As
 * catalog.h: inside a transaction, as superuser, within SPI.
 *
 * What always holds: whoever wraps a data key or changes the key file holds catalog_lock_keys(), so
 * that no data key is wrapped by a master key that is being removed; and a value is sealed by a
 * data key that cannot be deleted before the value is committed.
 */
#ifndef ROTOR_CATALOG_KEYS_H
#define ROTOR_CATALOG_KEYS_H

#include "types.h"

/*
 * Excludes others who change keys, of this database or in the file, until the transaction ends.
 * Rotations and reads go on.
 */
extern void catalog_lock_keys(void);

/* The active data key, which nobody can delete until the transaction ends; false if there is none. */
extern bool catalog_active_data_key(pg_uuid_t *id);

/* Inserts row as the active data key; one that was active stays for what it has sealed. */
extern void catalog_insert_data_key(const DataKeyRow *row);

/* Wraps anew: what row has of master key, wrapped key and check value. */
extern void catalog_rewrap_data_key(const DataKeyRow *row);

/* The ids of all data keys, or of those that are not active, youngest first, palloc'd; how many. */
extern int catalog_data_keys(pg_uuid_t **ids, bool inactive_only);

/* How many data keys a master key wraps. */
extern int64 catalog_count_data_keys(const char *master_key_id);

/* How many values need a data key that the master key wraps. */
extern int64 catalog_count_values(const char *master_key_id);

/*
 * Deletes the data keys that are not active and that no value needs, those left out that somebody is
 * just sealing with; their ids, palloc'd, and how many. The caller holds catalog_lock_keys().
 */
extern int catalog_retire_data_keys(pg_uuid_t **ids);

/* True if this transaction has changed data keys, so that what it sees may be undone. */
extern bool catalog_data_keys_changed(void);

/* --- sealed values, of versions and of saved verifiers --- */

/* True if a value needs the data key. */
extern bool catalog_data_key_is_used(const pg_uuid_t *id);

/* A sealed value and what it is bound to. */
typedef struct OwnedValue
{
	bool is_version; /* else a saved verifier */
	int64 secret_id;
	pg_uuid_t owner; /* the version, or the rotation */
	SealedValue value;
} OwnedValue;

/*
 * Calls visit for each value that the data key seals, until it returns false. The value is locked
 * for a change; those that others have locked are left out.
 */
typedef bool (*VisitValue)(const OwnedValue *owned, void *arg);
extern void catalog_each_value_of_key(const pg_uuid_t *key_id, VisitValue visit, void *arg);

/* Replaces the sealed value of owned, which is locked. */
extern void catalog_replace_value(const OwnedValue *owned, const SealedValue *value);

#endif

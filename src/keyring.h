/*
 * keyring.h - the data keys under the master keys.
 *
 * A master key (master_key.h) wraps data keys (AES-256-GCM, bound to both ids), and data keys seal
 * values. Unwrapped data keys
 * are kept in this process, in memory that is wiped at its end; master keys are not kept. Knows
 * neither the catalog nor the role: sealing.c joins them.
 */
#ifndef ROTOR_KEYRING_H
#define ROTOR_KEYRING_H

#include "keyfile.h"
#include "seal.h"
#include "types.h"

typedef struct DataKey
{
	pg_uuid_t id;
	uint8_t key[SEAL_KEY_LEN];
} DataKey;

/*
 * The unwrapped data key of row, from this process's cache or by its master key. Raises 58P01 if
 * the master key is missing or another one, XX001 if the row is damaged. Valid until the process
 * ends; do not modify.
 */
extern const DataKey *keyring_unwrap(const DataKeyRow *row);

/* The cached data key of that id, or NULL. */
extern const DataKey *keyring_cached(const pg_uuid_t *id);

/*
 * Makes a data key under the newest master key and fills row, whose parts are palloc'd. former is
 * the master key of a data key that is there; if there is none, a first key file is made where there
 * is neither a key command nor a key file, and *made_file tells so. 58P01, naming former, if not.
 */
extern void keyring_make_data_key(DataKeyRow *row, const char *former, bool *made_file);

/* As keyring_unwrap(), but never from the cache: raises what stands in the way of opening row. */
extern void keyring_prove(const DataKeyRow *row);

/* True if master, whose id is row's, is the very key that wraps row. */
extern bool keyring_is_wrapped_by(const DataKeyRow *row, const MasterKey *master);

/* Raises 58P01 if the master key that wraps row is missing or another one. */
extern void keyring_require_master_key(const DataKeyRow *row);

/* Wraps row's data key by the newest master key; false if it already is. Fills *row anew. */
extern bool keyring_rewrap(DataKeyRow *row);

/* Makes this process's memory unreadable to others of the same OS user, and keeps it out of core dumps. */
extern void keyring_protect_process(void);

#endif

/*
 * keyring.h - master keys, and the data keys under them.
 *
 * A master key comes from rotor.key_command or rotor.key_file and never enters the database; it
 * wraps data keys (AES-256-GCM, bound to both ids), and data keys seal values. Unwrapped data keys
 * are kept in this process, in memory that is wiped at its end; master keys are not kept. Knows
 * neither the catalog nor the role: sealing.c joins them.
 */
#ifndef ROTOR_KEYRING_H
#define ROTOR_KEYRING_H

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
 * Makes a data key under the newest master key and fills row, whose parts are palloc'd. With
 * may_make_key a first key file is made if there is neither a key command nor a key file: written,
 * synced, linked without replacing, its folder synced, mode 0600. *made_file tells whether it was.
 */
extern void keyring_make_data_key(DataKeyRow *row, bool may_make_key, bool *made_file);

/* As keyring_unwrap(), but never from the cache: raises what stands in the way of opening row. */
extern void keyring_prove(const DataKeyRow *row);

/* Wraps row's data key by the newest master key; false if it already is. Fills *row anew. */
extern bool keyring_rewrap(DataKeyRow *row);

/* rotor.key_file as an absolute path, palloc'd. */
extern char *keyring_file_path(void);

/* Makes this process's memory unreadable to others of the same OS user, and keeps it out of core dumps. */
extern void keyring_protect_process(void);

#endif

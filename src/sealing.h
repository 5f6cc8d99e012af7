/*
 * sealing.h - values in, sealed bytes out, and back.
 *
 * Joins keyring and the data_key table. A sealed value is bound to what it belongs to and to its
 * key: moved to another row, it does not open.
 */
#ifndef ROTOR_SEALING_H
#define ROTOR_SEALING_H

#include "secret_buf.h"
#include "types.h"

/*
 * Seals plain for (secret, owner), owner being the version's or rotation's uuid, under the active
 * data key; makes the first data key, and if need be the first key file (*made_file), when there
 * is none. Inside a transaction, as superuser, in SPI. value->sealed is palloc'd.
 */
extern void sealing_seal(int64 secret_id, const pg_uuid_t *owner, const SecretBuf *plain,
						 SealedValue *value, bool *made_file);

/* Opens value into *plain, which the caller wipes. 58P01: key missing or wrong; XX001: damaged. */
extern void
sealing_open(int64 secret_id, const pg_uuid_t *owner, const SealedValue *value, SecretBuf *plain);

/*
 * Seals value anew under the active data key; resealed->sealed is palloc'd. False if it is damaged.
 * 58P01: a key is missing.
 */
extern bool sealing_reseal(int64 secret_id, const pg_uuid_t *owner, const SealedValue *value,
						   SealedValue *resealed);

/*
 * Makes a data key under the newest master key, active from now on, and fills *row; makes the first
 * key file (*made_file) if there is neither that nor a data key. The caller holds
 * catalog_lock_keys(). 58P01: there is no key file, and data keys need one.
 */
extern void sealing_make_data_key(DataKeyRow *row, bool *made_file);

#endif

/*
 * sealing.c - see sealing.h.
 */
#include "postgres.h"

#include "catalog.h"
#include "catalog_read.h"
#include "compat.h"
#include "keyring.h"
#include "port/pg_bswap.h"
#include "report.h"
#include "sealing.h"

#define AAD_SIZE (sizeof(uint64) + UUID_LEN + UUID_LEN)

static void
make_aad(int64 secret_id, const pg_uuid_t *owner, const pg_uuid_t *key, uint8_t aad[AAD_SIZE])
{
	uint64 id = pg_hton64((uint64) secret_id);

	memcpy(aad, &id, sizeof(id));
	memcpy(aad + sizeof(id), owner->data, UUID_LEN);
	memcpy(aad + sizeof(id) + UUID_LEN, key->data, UUID_LEN);
}

static const DataKey *
data_key(const pg_uuid_t *id)
{
	const DataKey *key = keyring_cached(id);
	DataKeyRow row;

	if (key != NULL)
		return key;
	if (!catalog_find_data_key(id, &row))
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("a data key is missing"),
						errdetail("A sealed value names a key that rotor.data_key does not have."),
						errhint("Restore rotor.data_key from a backup.")));
	return keyring_unwrap(&row);
}

static const DataKey *
active_data_key(bool *made_file)
{
	pg_uuid_t id;
	DataKeyRow row;
	bool any;

	*made_file = false;
	if (catalog_active_data_key(&id, &any))
		return data_key(&id);
	/* A first key file is made only if no value can depend on an older one. */
	keyring_make_data_key(&row, !any, made_file);
	catalog_insert_data_key(&row);
	/* Somebody may have been quicker. */
	if (!catalog_active_data_key(&id, &any))
		elog(ERROR, "there is no active data key");
	return data_key(&id);
}

void
sealing_seal(int64 secret_id, const pg_uuid_t *owner, const SecretBuf *plain, SealedValue *value,
			 bool *made_file)
{
	const DataKey *key = active_data_key(made_file);
	uint8_t aad[AAD_SIZE];
	size_t len;
	RotorError err;

	make_aad(secret_id, owner, &key->id, aad);
	value->key_id = key->id;
	value->sealed = palloc(VARHDRSZ + plain->len + SEAL_OVERHEAD);
	if (!seal_value(key->key, aad, sizeof(aad), plain->data, plain->len,
					(uint8_t *) VARDATA(value->sealed), plain->len + SEAL_OVERHEAD, &len, &err))
		report_raise(&err);
	SET_VARSIZE(value->sealed, VARHDRSZ + len);
}

void
sealing_open(int64 secret_id, const pg_uuid_t *owner, const SealedValue *value, SecretBuf *plain)
{
	const DataKey *key = data_key(&value->key_id);
	uint8_t aad[AAD_SIZE];
	RotorError err;

	make_aad(secret_id, owner, &key->id, aad);
	if (!seal_open(key->key, aad, sizeof(aad), VARDATA_ANY(value->sealed),
				   VARSIZE_ANY_EXHDR(value->sealed), plain, &err))
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("a sealed value is damaged"),
						errdetail("Its key is right, but the value does not open for this row."),
						errhint("Restore the row from a backup, or rotate to get a new value.")));
}

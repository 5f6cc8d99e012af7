/*
 * sealing.c - see sealing.h.
 */
#include "postgres.h"

#include "catalog_keys.h"
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

void
sealing_make_data_key(DataKeyRow *row, bool *made_file)
{
	pg_uuid_t *ids;
	DataKeyRow former;
	bool first = catalog_data_keys(&ids, false) == 0 || !catalog_find_data_key(&ids[0], &former);

	/* A first key file is made only if no value can depend on an older one. */
	keyring_make_data_key(row, first ? NULL : former.master_key_id, made_file);
	catalog_insert_data_key(row);
}

static const DataKey *
active_data_key(bool *made_file)
{
	pg_uuid_t id;
	DataKeyRow row;

	*made_file = false;
	if (catalog_active_data_key(&id))
		return data_key(&id);
	catalog_lock_keys();
	/* Somebody may have been quicker. */
	if (catalog_active_data_key(&id))
		return data_key(&id);
	sealing_make_data_key(&row, made_file);
	return keyring_unwrap(&row);
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

/* False if value is damaged; its key is there. */
static bool
open_value(int64 secret_id, const pg_uuid_t *owner, const SealedValue *value, SecretBuf *plain)
{
	const DataKey *key = data_key(&value->key_id);
	uint8_t aad[AAD_SIZE];
	RotorError err;

	make_aad(secret_id, owner, &key->id, aad);
	if (seal_open(key->key, aad, sizeof(aad), VARDATA_ANY(value->sealed),
				  VARSIZE_ANY_EXHDR(value->sealed), plain, &err))
		return true;
	/* A library that fails says nothing of the value. */
	if (err.code == ROTOR_ERROR_CRYPTO)
		report_raise(&err);
	return false;
}

void
sealing_open(int64 secret_id, const pg_uuid_t *owner, const SealedValue *value, SecretBuf *plain)
{
	if (!open_value(secret_id, owner, value, plain))
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("a sealed value is damaged"),
						errdetail("Its key is right, but the value does not open for this row."),
						errhint("Restore the row from a backup, or rotate to get a new value.")));
}

bool
sealing_reseal(int64 secret_id, const pg_uuid_t *owner, const SealedValue *value,
			   SealedValue *resealed)
{
	SecretBuf plain = {0};
	bool opened = false;
	bool made_file;

	PG_TRY();
	{
		opened = open_value(secret_id, owner, value, &plain);
		if (opened)
			sealing_seal(secret_id, owner, &plain, resealed, &made_file);
	}
	PG_FINALLY();
	{
		secret_buf_wipe(&plain);
	}
	PG_END_TRY();
	return opened;
}

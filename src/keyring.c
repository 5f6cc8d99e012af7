/*
 * keyring.c - see keyring.h.
 */
#include "postgres.h"

#include <sys/prctl.h>

#include "compat.h"
#include "keyring.h"
#include "master_key.h"
#include "random.h"
#include "report.h"
#include "storage/ipc.h"

#define KEY_CACHE_SIZE 16
#define WRAP_AAD_SIZE  (UUID_LEN + KEYFILE_ID_MAX)

static DataKey cache[KEY_CACHE_SIZE];
static int cached;
static bool process_protected;

static void
forget_keys(int code, Datum arg)
{
	secret_wipe(cache, sizeof(cache));
	random_discard();
	cached = 0;
}

void
keyring_protect_process(void)
{
	if (process_protected)
		return;
#ifdef PR_SET_DUMPABLE
	(void) prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
#endif
	on_proc_exit(forget_keys, (Datum) 0);
	process_protected = true;
}

static size_t
wrap_aad(const pg_uuid_t *id, const char *master_key_id, uint8_t aad[WRAP_AAD_SIZE])
{
	size_t len = strlen(master_key_id);

	memcpy(aad, id->data, UUID_LEN);
	/* NOLINTNEXTLINE(bugprone-not-null-terminated-result): bytes, not a string. */
	memcpy(aad + UUID_LEN, master_key_id, len);
	return UUID_LEN + len;
}

static bytea *
bytea_of(const void *data, size_t len)
{
	bytea *result = palloc(VARHDRSZ + len);

	SET_VARSIZE(result, VARHDRSZ + len);
	memcpy(VARDATA(result), data, len);
	return result;
}

/* Wraps key by master into row. */
static void
wrap(const DataKey *key, const MasterKey *master, DataKeyRow *row)
{
	uint8_t aad[WRAP_AAD_SIZE];
	uint8_t wrapped[SEAL_KEY_LEN + SEAL_OVERHEAD];
	uint8_t check[SEAL_CHECK_LEN];
	size_t len;
	RotorError err;

	row->id = key->id;
	strlcpy(row->master_key_id, master->id, sizeof(row->master_key_id));
	if (!seal_value(master->key, aad, wrap_aad(&key->id, master->id, aad), key->key,
					sizeof(key->key), wrapped, sizeof(wrapped), &len, &err) ||
		!seal_check_value(master->key, check, &err))
		report_raise(&err);
	row->wrapped = bytea_of(wrapped, len);
	row->check_value = bytea_of(check, sizeof(check));
}

static DataKey *
cache_slot(void)
{
	/* Data keys are few; should they ever be many, the oldest entries are reused in turn. */
	DataKey *slot = &cache[cached % KEY_CACHE_SIZE];

	cached++;
	return slot;
}

const DataKey *
keyring_cached(const pg_uuid_t *id)
{
	for (int i = 0; i < Min(cached, KEY_CACHE_SIZE); i++)
	{
		if (memcmp(cache[i].id.data, id->data, UUID_LEN) == 0)
			return &cache[i];
	}
	return NULL;
}

bool
keyring_is_wrapped_by(const DataKeyRow *row, const MasterKey *master)
{
	uint8_t check[SEAL_CHECK_LEN];
	RotorError err;

	if (!seal_check_value(master->key, check, &err))
		report_raise(&err);
	return VARSIZE_ANY_EXHDR(row->check_value) == sizeof(check) &&
		   memcmp(VARDATA_ANY(row->check_value), check, sizeof(check)) == 0;
}

/* Raises 58P01 if master is not the key that wraps row. */
static void
check_master_key(const DataKeyRow *row, const MasterKey *master)
{
	if (!keyring_is_wrapped_by(row, master))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FILE),
				 errmsg("master key \"%s\" is not the one that was used", row->master_key_id),
				 errdetail("A key of this id was found, but its check value differs."),
				 errhint("Restore the key of this id from where it was kept. Nothing is lost while "
						 "it is away.")));
}

/* The master key that wraps row, as it is to be had now; the caller wipes it. */
static void
find_master_key(const DataKeyRow *row, MasterKey *master)
{
	keyring_protect_process();
	if (!master_key_find(row->master_key_id, master))
		master_key_missing(row->master_key_id);
	PG_TRY();
	{
		check_master_key(row, master);
	}
	PG_CATCH();
	{
		secret_wipe(master, sizeof(*master));
		PG_RE_THROW();
	}
	PG_END_TRY();
}

void
keyring_require_master_key(const DataKeyRow *row)
{
	MasterKey master;

	find_master_key(row, &master);
	secret_wipe(&master, sizeof(master));
}

/* Opens row by its master key into *key. */
static void
open_data_key(const DataKeyRow *row, DataKey *key)
{
	MasterKey master;
	SecretBuf plain = {0};
	uint8_t aad[WRAP_AAD_SIZE];
	RotorError err;
	bool opened;

	find_master_key(row, &master);
	err.code = ROTOR_ERROR_NONE;
	opened = seal_open(master.key, aad, wrap_aad(&row->id, row->master_key_id, aad),
					   VARDATA_ANY(row->wrapped), VARSIZE_ANY_EXHDR(row->wrapped), &plain, &err) &&
			 plain.len == SEAL_KEY_LEN;
	secret_wipe(&master, sizeof(master));
	if (opened)
	{
		memcpy(key->key, plain.data, SEAL_KEY_LEN);
		key->id = row->id;
	}
	secret_buf_wipe(&plain);
	/* A library that fails says nothing of the row. */
	if (!opened && err.code == ROTOR_ERROR_CRYPTO)
		report_raise(&err);
	if (!opened)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("a data key is damaged"),
						errdetail("The master key is right, but the row in rotor.data_key is not."),
						errhint("Restore rotor.data_key from a backup.")));
}

const DataKey *
keyring_unwrap(const DataKeyRow *row)
{
	const DataKey *known = keyring_cached(&row->id);
	DataKey *slot;
	DataKey key;

	if (known != NULL)
		return known;
	open_data_key(row, &key);
	slot = cache_slot();
	*slot = key;
	secret_wipe(&key, sizeof(key));
	return slot;
}

void
keyring_prove(const DataKeyRow *row)
{
	DataKey key;

	open_data_key(row, &key);
	secret_wipe(&key, sizeof(key));
}

void
keyring_make_data_key(DataKeyRow *row, const char *former, bool *made_file)
{
	DataKey key;
	MasterKey master;
	RotorError err;

	*made_file = false;
	keyring_protect_process();
	if (!master_key_find(NULL, &master))
	{
		if (former != NULL)
			master_key_missing(former);
		master_key_make_first();
		*made_file = true;
		if (!master_key_find(NULL, &master))
			master_key_missing(NULL);
	}
	PG_TRY();
	{
		if (!random_bytes(&key.id, sizeof(key.id), &err) ||
			!random_bytes(key.key, sizeof(key.key), &err))
			report_raise(&err);
		wrap(&key, &master, row);
	}
	PG_FINALLY();
	{
		secret_wipe(&master, sizeof(master));
		secret_wipe(&key, sizeof(key));
	}
	PG_END_TRY();
}

bool
keyring_rewrap(DataKeyRow *row)
{
	MasterKey master;
	bool moved = false;

	if (!master_key_find(NULL, &master))
		master_key_missing(row->master_key_id);
	PG_TRY();
	{
		if (strcmp(master.id, row->master_key_id) != 0)
		{
			wrap(keyring_unwrap(row), &master, row);
			moved = true;
		}
	}
	PG_FINALLY();
	{
		secret_wipe(&master, sizeof(master));
	}
	PG_END_TRY();
	return moved;
}

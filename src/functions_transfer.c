/*
 * functions_transfer.c - export_keys() and import_keys(): master keys leave and come back in an
 * envelope that only the owner of a private key can open.
 */
#include "postgres.h"

#include "catalog.h"
#include "catalog_keys.h"
#include "catalog_read.h"
#include "compat.h"
#include "envelope.h"
#include "functions.h"
#include "functions_keys.h"
#include "keyring.h"
#include "lib/stringinfo.h"
#include "master_key.h"
#include "master_key_file.h"
#include "report.h"
#include "utils/builtins.h"
#include "utils/json.h"

ROTOR_FUNCTION(rotor_export_keys);
ROTOR_FUNCTION(rotor_import_keys);

/* What a human who finds the envelope needs to know; PEM's readers skip it. */
#define PREAMBLE                                                              \
	"rotor master keys. Opened by rotor.import_keys(), or to a key file by\n" \
	"openssl cms -decrypt -inform PEM -in THIS_FILE -inkey PRIVATE_KEY\n\n"

/* Appends "id" to a JSON list of ids, which need no quoting. */
static void
list_id(StringInfo ids, const char *id)
{
	appendStringInfo(ids, "%s\"%s\"", ids->len ? "," : "", id);
}

static void
append_key(KeyfileText *text, const MasterKey *key, StringInfo ids)
{
	RotorError err;

	if (!keyfile_append(text, key, &err))
		report_raise(&err);
	list_id(ids, key->id);
}

/* Fills text with the master keys that data keys need, and the newest, which comes last. */
static void
collect_keys(KeyfileText *text, StringInfo ids)
{
	MasterKey newest = {{0}, {0}};
	MasterKey key = {{0}, {0}};
	pg_uuid_t *data_keys;
	int count = catalog_data_keys(&data_keys, false);

	PG_TRY();
	{
		if (!master_key_find(NULL, &newest))
			master_key_missing(NULL);
		for (int i = 0; i < count; i++)
		{
			DataKeyRow row;
			MasterKey present;
			RotorError ignored;
			bool known;

			if (!catalog_find_data_key(&data_keys[i], &row))
				continue;
			known = keyfile_find(text->data, text->len, row.master_key_id, &present, &ignored);
			secret_wipe(&present, sizeof(present));
			if (known || strcmp(row.master_key_id, newest.id) == 0)
				continue;
			if (!master_key_find(row.master_key_id, &key))
				master_key_missing(row.master_key_id);
			append_key(text, &key, ids);
		}
		append_key(text, &newest, ids);
	}
	PG_FINALLY();
	{
		secret_wipe(&newest, sizeof(newest));
		secret_wipe(&key, sizeof(key));
	}
	PG_END_TRY();
}

static char *
export_detail(const EnvelopeRecipient *recipient, const char *ids)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoString(&json, "{\"subject\":");
	escape_json(&json, recipient->subject);
	appendStringInfo(&json, ",\"fingerprint\":\"%s\",\"master_keys\":[%s]}", recipient->fingerprint,
					 ids);
	return json.data;
}

Datum
rotor_export_keys(PG_FUNCTION_ARGS)
{
	text *certificate = PG_GETARG_TEXT_PP(0);
	MemoryContext caller = CurrentMemoryContext;
	char *envelope = palloc(ENVELOPE_MAX_SIZE);
	KeyfileText *keys = palloc0(sizeof(KeyfileText));
	EnvelopeRecipient recipient;
	StringInfoData ids;
	size_t len;
	Actor actor;
	AccessScope scope;
	RotorError err;
	text *result;

	keys_enter("export_keys", &actor, &scope);
	keyring_protect_process();
	keys_require_master_keys();
	initStringInfo(&ids);
	PG_TRY();
	{
		collect_keys(keys, &ids);
		if (!envelope_seal(VARDATA_ANY(certificate), VARSIZE_ANY_EXHDR(certificate), keys->data,
						   keys->len, envelope, ENVELOPE_MAX_SIZE, &len, &recipient, &err))
			report_raise(&err);
	}
	PG_FINALLY();
	{
		secret_wipe(keys, sizeof(*keys));
	}
	PG_END_TRY();
	catalog_audit_event(&actor, "keys_exported", NULL, export_detail(&recipient, ids.data));
	access_leave(&scope);
	/* What the caller has now, no rollback takes back. */
	audit_log_line(&actor, "export_keys", NULL, "ok");
	MemoryContextSwitchTo(caller);
	result = cstring_to_text(psprintf(PREAMBLE "%s", envelope));
	PG_RETURN_TEXT_P(result);
}

/* --- the way back --- */

/* Opens the envelope with the private key of that file into keys. */
static void
open_envelope(const text *envelope, const char *path, KeyfileText *keys)
{
	KeyfileText *private_key = palloc0(sizeof(KeyfileText));
	RotorError err;

	PG_TRY();
	{
		if (!master_key_file_read(path, private_key))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_FILE),
					 errmsg("there is no private key file \"%s\"", path),
					 errhint("Put it where the server can read it, with mode 0600, and remove it "
							 "afterwards.")));
		if (!envelope_open(VARDATA_ANY(envelope), VARSIZE_ANY_EXHDR(envelope), private_key->data,
						   private_key->len, keys->data, sizeof(keys->data), &keys->len, &err))
			report_raise(&err);
	}
	PG_FINALLY();
	{
		secret_wipe(private_key, sizeof(*private_key));
		pfree(private_key);
	}
	PG_END_TRY();
}

/* True if data keys are wrapped by this key; raises 22023 if by another one of its id. */
static bool
is_proved(const MasterKey *key)
{
	pg_uuid_t *ids;
	int count = catalog_data_keys(&ids, false);
	bool proved = false;

	for (int i = 0; i < count; i++)
	{
		DataKeyRow row;

		if (!catalog_find_data_key(&ids[i], &row) || strcmp(row.master_key_id, key->id) != 0)
			continue;
		if (!keyring_is_wrapped_by(&row, key))
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("master key \"%s\" of the envelope is not the one that was used",
								   key->id),
							errdetail("Data keys here are wrapped by another key of this id."),
							errhint("Is the envelope this cluster's? Nothing was changed.")));
		proved = true;
	}
	return proved;
}

/*
 * Compares the keys of the envelope with what is known here: the list of ids that are new, and how
 * many. Anybody can make an envelope for us; so one that holds no key that is known here, by a data
 * key or by the file, is refused.
 */
static int64
compare_keys(const KeyfileText *incoming, const KeyfileText *present, StringInfo new_ids)
{
	MasterKey key = {{0}, {0}};
	MasterKey ours = {{0}, {0}};
	pg_uuid_t *ignored_ids;
	RotorError err;
	size_t offset = 0;
	size_t first = 0;
	int64 added = 0;
	bool known;

	PG_TRY();
	{
		if (!keyfile_find(incoming->data, incoming->len, NULL, &key, &err))
			report_raise(&err);
		/* Where there is nothing yet, there is nothing to compare with. */
		known = catalog_data_keys(&ignored_ids, false) == 0 &&
				!keyfile_next(present->data, present->len, &first, &ours);
		while (keyfile_next(incoming->data, incoming->len, &offset, &key))
		{
			bool there = keyfile_find(present->data, present->len, key.id, &ours, &err);

			known |= is_proved(&key) || (there && memcmp(ours.key, key.key, sizeof(key.key)) == 0);
			if (there)
				continue;
			list_id(new_ids, key.id);
			added++;
		}
		if (!known)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("the envelope holds no master key that is known here"),
							errdetail("No data key is wrapped by one of its keys, and none of them "
									  "is in the key file: anybody could have made it."),
							errhint("Is the envelope this cluster's? Nothing was changed.")));
	}
	PG_FINALLY();
	{
		secret_wipe(&key, sizeof(key));
		secret_wipe(&ours, sizeof(ours));
	}
	PG_END_TRY();
	return added;
}

/* Adds the keys that the key file lacks; how many. */
static int64
add_keys(const KeyfileText *incoming, const Actor *actor)
{
	KeyfileText *present = palloc0(sizeof(KeyfileText));
	StringInfoData new_ids;
	RotorError err;
	int64 added = 0;

	initStringInfo(&new_ids);
	PG_TRY();
	{
		bool exists = master_key_read_text(present);

		added = compare_keys(incoming, present, &new_ids);
		if (!keyfile_merge(present, incoming, &err))
			report_raise(&err);
		catalog_audit_event(actor, "keys_imported", NULL,
							psprintf("{\"master_keys\":[%s]}", new_ids.data));
		if (added > 0)
			master_key_write_text(present, exists);
	}
	PG_FINALLY();
	{
		secret_wipe(present, sizeof(*present));
		pfree(present);
	}
	PG_END_TRY();
	return added;
}

Datum
rotor_import_keys(PG_FUNCTION_ARGS)
{
	text *envelope = PG_GETARG_TEXT_PP(0);
	char *path = text_to_cstring(PG_GETARG_TEXT_PP(1));
	KeyfileText *incoming = palloc0(sizeof(KeyfileText));
	Actor actor;
	AccessScope scope;
	int64 added = 0;

	keys_enter("import_keys", &actor, &scope);
	master_key_require_file(
		"Open the envelope by \"openssl cms -decrypt -inform PEM -in FILE -inkey "
		"PRIVATE_KEY\", and add the keys where the command finds them.");
	if (!is_absolute_path(path))
		path = psprintf("%s/%s", DataDir, path);
	keyring_protect_process();
	PG_TRY();
	{
		open_envelope(envelope, path, incoming);
		added = add_keys(incoming, &actor);
	}
	PG_FINALLY();
	{
		secret_wipe(incoming, sizeof(*incoming));
	}
	PG_END_TRY();
	access_leave(&scope);
	audit_log_line(&actor, "import_keys", NULL, "ok");
	PG_RETURN_INT64(added);
}

/*
 * store_vault.c - HashiCorp Vault or OpenBao, secrets engine KV version 2.
 *
 * Options: "address" (https://host:8200); "mount" (default secret); "prefix", put before the secret's key (default none);
 * "namespace"; "auth": token (default), approle or kubernetes, mounted at "auth_mount" (default: its name), with
 * "role" for kubernetes; "ca_file". Credentials are the worker's own: vault_session.h.
 *
 * KV 2 numbers the versions of a path and has no labels, so they are kept like this:
 *
 * - KEY has what is current, and nothing else ever: an application that reads the path plainly never sees a value that is
 *   not proved. Its data are the application's own object, with username, password and two more strings:
 *   rotor_version, the uuid of the value, and rotor_previous, that of the one before, which is the KV version before.
 * - KEY.rotor-pending has the pending value with its rotor_version; it is removed whole once the value is current.
 *
 * A label is therefore written together with its value, in one write that has a check-and-set on the KV version that was
 * read: nothing has to be kept in step, and whoever looks knows. After
 *
 *   pending written:              pending = new, current = former
 *   KEY written:                  current = new; pending = new still, until whoever looks promotes it once more
 *   pending path removed:         current = new; last, so that what is left says that there is more to do
 *
 * An answer that was lost is looked for at once; if the write is not there it may still arrive, so the outcome is UNKNOWN. A
 * check-and-set that failed is looked at too: KEY may have been changed in what is not ours, and is then read and
 * written again; or another version is current: SUPERSEDED.
 *
 * KEY's custom metadata (rotor_current, rotor_previous) tell the same to people; nothing reads them, and a server
 * that does not let us write them only makes for a note.
 *
 * The token's policy: create, read and update on MOUNT/data/PREFIX*; delete and patch on MOUNT/metadata/PREFIX*.
 */
#include "store.h"

#include <stdio.h>
#include <string.h>

#include "secret_json.h"
#include "vault_kv.h"

#define PREVIOUS_NAME "rotor_previous"
#define WRITE_TURNS	  3 /* how often KEY is read and written anew when others write it too */

static Outcome
ok(void)
{
	return outcome_make(OUTCOME_OK, NULL, NULL);
}

static Outcome
no_memory(void)
{
	return outcome_make(OUTCOME_TRANSIENT, "ENOMEM", "out of memory");
}

/* ------------------------------------------------------------------------------------------------
 * Publish
 */

static Outcome
already(const VaultEntry *entry, const Job *job)
{
	if (secret_json_holds(entry->data, &job->version))
		return ok();
	return outcome_make(OUTCOME_SUPERSEDED, NULL, "Vault has another value for this version");
}

/* May what is current give way? Asked before the target is changed, and when it has been. */
static Outcome
compare_current(const VaultEntry *current, const Job *job)
{
	if (secret_json_gives_way(job, vault_kv_id(current), current->data))
		return ok();
	return outcome_make(OUTCOME_SUPERSEDED, NULL, "the current version in Vault is another one");
}

static Outcome
publish_pending(const VaultSecret *vault, const VaultEntry *current, const Job *job)
{
	VaultEntry pending;
	cJSON *data;
	Outcome outcome = compare_current(current, job);

	memset(&pending, 0, sizeof(pending));
	if (outcome.class == OUTCOME_OK)
		outcome = vault_kv_read(vault, vault->pending_key, &pending);
	if (outcome.class == OUTCOME_OK && vault_kv_is(&pending, job))
		outcome = already(&pending, job);
	else if (outcome.class == OUTCOME_OK)
	{
		/* All else is added when it becomes current, from what is current then. */
		data = cJSON_CreateObject();
		if (data == NULL || !secret_json_set(data, "username", job->version.username) ||
			!secret_json_set(data, "password", job->version.password.data) ||
			!secret_json_set(data, VAULT_ID_NAME, job->version.id))
		{
			cJSON_Delete(data);
			outcome = no_memory();
		}
		else
		{
			outcome = vault_kv_write(vault, vault->pending_key, job, &pending, data);
		}
	}
	vault_kv_free(&pending);
	return outcome;
}

static Outcome
store_vault_publish(const Job *job, Deadline deadline)
{
	VaultSecret vault;
	VaultEntry current;
	Outcome outcome = vault_kv_open(job, &vault, deadline);

	if (outcome.class != OUTCOME_OK)
		return outcome;
	outcome = vault_kv_read(&vault, vault.key, &current);
	if (outcome.class == OUTCOME_OK && vault_kv_is(&current, job))
		outcome = already(&current, job);
	else if (outcome.class == OUTCOME_OK)
		outcome = publish_pending(&vault, &current, job);
	vault_kv_free(&current);
	return outcome;
}

/* ------------------------------------------------------------------------------------------------
 * Promote
 */

/* What is current, with the job's value in it; NULL: out of memory. */
static cJSON *
make_current(const VaultEntry *current, const VaultEntry *pending, const Job *job)
{
	cJSON *data =
		current->data != NULL ? cJSON_Duplicate(current->data, true) : cJSON_CreateObject();
	const char *password = job->version.password.len > 0 ? job->version.password.data
														 : job_string(pending->data, "password");
	const char *previous = vault_kv_id(current);
	JobValue value = {.username = job->version.username};
	bool made;

	if (previous[0] == '\0')
		previous = job->former.id;
	memcpy(value.id, job->version.id, sizeof(value.id));
	made = data != NULL && secret_json_fill(data, job, &value, VAULT_ID_NAME) &&
		   secret_json_set(data, "password", password);
	if (made && previous[0] != '\0')
		made = secret_json_set(data, PREVIOUS_NAME, previous);
	else if (made)
		cJSON_DeleteItemFromObjectCaseSensitive(data, PREVIOUS_NAME);
	if (made)
		return data;
	cJSON_Delete(data);
	return NULL;
}

/* Makes KEY the job's version; on OK *current has, or had before, what is there. */
static Outcome
write_current(const VaultSecret *vault, const Job *job, VaultEntry *current,
			  const VaultEntry *pending)
{
	Outcome outcome;

	for (int turn = 0; turn < WRITE_TURNS; turn++)
	{
		cJSON *data;
		int version = current->version;

		outcome = compare_current(current, job);
		if (outcome.class != OUTCOME_OK)
			return outcome;
		data = make_current(current, pending, job);
		if (data == NULL)
			return no_memory();
		outcome = vault_kv_write(vault, vault->key, job, current, data);
		/* Somebody changed what is not ours: once more, on top of that. */
		if (outcome.class != OUTCOME_SUPERSEDED || current->version == version)
			return outcome;
	}
	/* Lost each time, but to nobody who made another version current. */
	outcome = compare_current(current, job);
	if (outcome.class == OUTCOME_OK)
		outcome =
			outcome_make(OUTCOME_TRANSIENT, NULL, "others write the secret in Vault all the time");
	return outcome;
}

/* Writes the custom metadata and takes the pending path away; KEY has the version, so what fails is only noted. */
static Outcome
clean_up(const VaultSecret *vault, const Job *job, const char *previous)
{
	VaultCall call = {.method = "PATCH", .content_type = "application/merge-patch+json"};
	char path[VAULT_PATH_SIZE + 512];
	char body[256];
	HttpAnswer answer;
	Outcome ignored;
	Outcome outcome = ok();

	call.body = body;
	(void) snprintf(body, sizeof(body),
					"{\"custom_metadata\":{\"rotor_current\":\"%s\",\"rotor_previous\":%s%s%s}}",
					job->version.id, previous[0] != '\0' ? "\"" : "null", previous,
					previous[0] != '\0' ? "\"" : "");
	if (!vault_kv_call(vault, &call, "metadata", vault->key, path, sizeof(path), &answer,
					   &ignored) ||
		(answer.status != 204 && answer.status != 200))
		outcome = outcome_make(OUTCOME_OK, NULL,
							   "the custom metadata of \"%s\" could not be written in Vault", path);
	http_answer_free(&answer);
	call = (VaultCall){.method = "DELETE"};
	if (!vault_kv_call(vault, &call, "metadata", vault->pending_key, path, sizeof(path), &answer,
					   &ignored) ||
		(answer.status != 204 && answer.status != 200 && answer.status != 404))
		outcome = outcome_make(OUTCOME_OK, NULL, "\"%s\" could not be removed from Vault: %s", path,
							   ignored.class != OUTCOME_OK ? ignored.message : "not allowed");
	http_answer_free(&answer);
	return outcome;
}

/* The uuid that KEY has, or will have, as that before the job's. */
static void
copy_previous(const VaultEntry *current, const Job *job, char previous[UUID_SIZE])
{
	const char *id =
		vault_kv_is(current, job) ? job_string(current->data, PREVIOUS_NAME) : vault_kv_id(current);

	(void) snprintf(previous, UUID_SIZE, "%s", id != NULL && id[0] != '\0' ? id : job->former.id);
}

static Outcome
store_vault_promote(const Job *job, Deadline deadline)
{
	VaultSecret vault;
	VaultEntry current = {0};
	VaultEntry pending = {0};
	char previous[UUID_SIZE] = "";
	Outcome outcome = vault_kv_open(job, &vault, deadline);

	if (outcome.class == OUTCOME_OK)
		outcome = vault_kv_read(&vault, vault.key, &current);
	if (outcome.class != OUTCOME_OK)
		goto cleanup;
	copy_previous(&current, job, previous);
	if (!vault_kv_is(&current, job))
	{
		outcome = vault_kv_read(&vault, vault.pending_key, &pending);
		if (outcome.class != OUTCOME_OK)
			goto cleanup;
		if (vault_kv_id(&pending)[0] != '\0' && !vault_kv_is(&pending, job))
			outcome = outcome_make(OUTCOME_SUPERSEDED, NULL,
								   "the pending version in Vault is another one");
		else if (job->version.password.len == 0 && job_string(pending.data, "password") == NULL)
			outcome =
				outcome_make(OUTCOME_SUPERSEDED, NULL, "Vault has no pending version any more");
		else
			outcome = write_current(&vault, job, &current, &pending);
	}
	if (outcome.class == OUTCOME_OK)
		outcome = clean_up(&vault, job, previous);
cleanup:
	vault_kv_free(&pending);
	vault_kv_free(&current);
	return outcome;
}

/* ------------------------------------------------------------------------------------------------
 * Look, read, check
 */

static Outcome
store_vault_look(const Job *job, StoreLabels *labels, Deadline deadline)
{
	VaultSecret vault;
	VaultEntry current = {0};
	VaultEntry pending = {0};
	Outcome outcome = vault_kv_open(job, &vault, deadline);
	const char *previous;

	memset(labels, 0, sizeof(*labels));
	if (outcome.class == OUTCOME_OK)
		outcome = vault_kv_read(&vault, vault.key, &current);
	if (outcome.class == OUTCOME_OK)
		outcome = vault_kv_read(&vault, vault.pending_key, &pending);
	if (outcome.class == OUTCOME_OK)
	{
		previous = job_string(current.data, PREVIOUS_NAME);
		labels->exists = current.data != NULL || pending.data != NULL;
		(void) snprintf(labels->current, UUID_SIZE, "%s", vault_kv_id(&current));
		(void) snprintf(labels->previous, UUID_SIZE, "%s", previous != NULL ? previous : "");
		(void) snprintf(labels->pending, UUID_SIZE, "%s", vault_kv_id(&pending));
	}
	vault_kv_free(&pending);
	vault_kv_free(&current);
	return outcome;
}

static Outcome
store_vault_read(const Job *job, SecretBuf *username, SecretBuf *password, Deadline deadline)
{
	VaultSecret vault;
	VaultEntry current = {0};
	RotorError err;
	Outcome outcome = vault_kv_open(job, &vault, deadline);

	if (outcome.class == OUTCOME_OK)
		outcome = vault_kv_read(&vault, vault.key, &current);
	if (outcome.class == OUTCOME_OK && current.data == NULL)
		outcome = outcome_make(OUTCOME_PERMANENT, "404", "Vault has no such secret");
	else if (outcome.class == OUTCOME_OK &&
			 (!secret_json_copy(current.data, "username", username, &err) ||
			  !secret_json_copy(current.data, "password", password, &err)))
		outcome = outcome_of_error(OUTCOME_PERMANENT, &err);
	vault_kv_free(&current);
	return outcome;
}

/* Has the list of capabilities this one? */
static bool
may(const cJSON *list, const char *capability)
{
	const cJSON *item;

	cJSON_ArrayForEach(item, list)
	{
		const char *text = cJSON_GetStringValue(item);

		if (text != NULL && (strcmp(text, capability) == 0 || strcmp(text, "root") == 0))
			return true;
	}
	return false;
}

/* What the policy lacks on a path; *outcome stays OK if nothing. */
static void
check_rights(const cJSON *tree, const char *path, const char *const *needed, Outcome *outcome)
{
	const cJSON *list = cJSON_GetObjectItemCaseSensitive(tree, path);

	if (list == NULL)
		list =
			cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(tree, "data"), path);
	for (; *needed != NULL && outcome->class == OUTCOME_OK; needed++)
	{
		if (!may(list, *needed))
			*outcome = outcome_make(OUTCOME_PERMANENT, "403", "the token may not %s \"%s\"",
									*needed, path);
	}
}

static Outcome
check_capabilities(const VaultSecret *vault)
{
	static const char *const on_data[] = {"create", "read", "update", NULL};
	static const char *const on_metadata[] = {"delete", "patch", NULL};
	char data[VAULT_PATH_SIZE + 512];
	char metadata[VAULT_PATH_SIZE + 512];
	const char *paths[] = {data, metadata};
	cJSON *body = cJSON_CreateObject();
	VaultCall call = {.method = "POST", .path = "sys/capabilities-self"};
	HttpAnswer answer = {0};
	char *text = NULL;
	cJSON *tree;
	Outcome outcome = no_memory();

	(void) snprintf(data, sizeof(data), "%s/data/%s", vault->raw_mount, vault->raw_key);
	(void) snprintf(metadata, sizeof(metadata), "%s/metadata/%s", vault->raw_mount, vault->raw_key);
	if (cJSON_AddItemToObject(body, "paths", cJSON_CreateStringArray(paths, 2)))
		text = cJSON_PrintUnformatted(body);
	call.body = text;
	call.deadline = vault->deadline;
	if (text != NULL && vault_call(&vault->server, &call, &answer, &outcome) &&
		answer.status != 200)
		outcome = vault_outcome(&vault->server, &call, &answer);
	if (outcome.class == OUTCOME_UNKNOWN)
		outcome.class = OUTCOME_TRANSIENT; /* nothing is changed by it */
	tree = outcome.class == OUTCOME_OK && answer.body != NULL ? cJSON_Parse(answer.body) : NULL;
	check_rights(tree, data, on_data, &outcome);
	check_rights(tree, metadata, on_metadata, &outcome);
	cJSON_Delete(tree);
	cJSON_free(text);
	cJSON_Delete(body);
	http_answer_free(&answer);
	return outcome;
}

static Outcome
store_vault_check(const Job *job, Deadline deadline)
{
	VaultSecret vault;
	VaultEntry current = {0};
	Outcome outcome = vault_kv_open(job, &vault, deadline);

	if (outcome.class == OUTCOME_OK)
		outcome = check_capabilities(&vault);
	if (outcome.class == OUTCOME_OK)
		outcome = vault_kv_read(&vault, vault.key, &current);
	vault_kv_free(&current);
	return outcome;
}

const StoreClass store_vault = {
	.type = "vault",
	.publish = store_vault_publish,
	.promote = store_vault_promote,
	.look = store_vault_look,
	.read = store_vault_read,
	.check = store_vault_check,
};

/*
 * vault_kv.c - reads and writes the paths of one secret in a KV version 2 mount; see vault_kv.h.
 */
#include "vault_kv.h"

#include <stdio.h>
#include <string.h>

#include "codec.h"
#include "secret_json.h"

#define PENDING_SUFFIX ".rotor-pending"
#define CAS_REFUSED	   "check-and-set parameter did not match" /* in Vault's words, and OpenBao's */

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
 * Options
 */

static Outcome
bad_option(const char *name, const char *allowed)
{
	return outcome_make(OUTCOME_PERMANENT, NULL, "option \"%s\" of the Vault store must be %s",
						name, allowed);
}

/* Appends the path's segments, each percent-encoded; false: it has an empty one, or . or .., or does not fit. */
static bool
add_path(char *out, size_t size, const char *path)
{
	size_t used = strlen(out);
	SecretBuf encoded = {0};
	RotorError err;
	bool added = false;

	for (const char *segment = path;; segment++)
	{
		size_t len = strcspn(segment, "/");

		if (len == 0 || strncmp(segment, "..", len) == 0 || len >= SECRET_BUF_CAPACITY / 3)
			return false;
		secret_buf_wipe(&encoded);
		if (!codec_percent_encode(segment, len, &encoded, &err) || encoded.len + 2 > size - used)
			return false;
		used += (size_t) snprintf(out + used, size - used, "%s%s", added ? "/" : "", encoded.data);
		added = true;
		segment += len;
		if (*segment == '\0')
			return true;
	}
}

static Outcome
read_auth(const cJSON *options, VaultSecret *vault)
{
	const char *auth = job_string(options, "auth");
	const char *mount = job_string(options, "auth_mount");

	vault->server.auth = auth != NULL ? auth : "token";
	vault->server.auth_mount = mount != NULL ? mount : vault->server.auth;
	vault->server.role = job_string(options, "role");
	if (strcmp(vault->server.auth, "token") != 0 && strcmp(vault->server.auth, "approle") != 0 &&
		strcmp(vault->server.auth, "kubernetes") != 0)
		return bad_option("auth", "token, approle or kubernetes");
	if (strspn(vault->server.auth_mount, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
										 "0123456789-_/") != strlen(vault->server.auth_mount))
		return bad_option("auth_mount", "a path of letters, digits, - and _");
	if (strcmp(vault->server.auth, "kubernetes") == 0 && vault->server.role == NULL)
		return bad_option("role", "given with auth kubernetes");
	return ok();
}

Outcome
vault_kv_open(const Job *job, VaultSecret *vault, Deadline deadline)
{
	const cJSON *options = cJSON_GetObjectItemCaseSensitive(job->store, "options");
	const char *mount = job_string(options, "mount");
	const char *prefix = job_string(options, "prefix");
	int len;

	memset(vault, 0, sizeof(*vault));
	vault->deadline = deadline_sooner(deadline, job->lease_end);
	vault->server.address = job_string(options, "address");
	vault->server.name_space = job_string(options, "namespace");
	vault->server.ca_file = job_string(options, "ca_file");
	if (vault->server.address == NULL)
		return bad_option("address", "a URL such as https://vault.example:8200");
	if (snprintf(vault->raw_mount, sizeof(vault->raw_mount), "%s",
				 mount != NULL ? mount : "secret") >= (int) sizeof(vault->raw_mount) ||
		!add_path(vault->mount, sizeof(vault->mount), vault->raw_mount))
		return bad_option("mount", "the path of a KV version 2 mount, without / at its ends");
	if (job->store_key == NULL)
		return outcome_make(OUTCOME_PERMANENT, NULL, "the secret has no key at the Vault store");
	len = snprintf(vault->raw_key, sizeof(vault->raw_key), "%s%s", prefix != NULL ? prefix : "",
				   job->store_key);
	if (len >= (int) sizeof(vault->raw_key) ||
		!add_path(vault->key, sizeof(vault->key), vault->raw_key) ||
		snprintf(vault->pending_key, sizeof(vault->pending_key), "%s%s", vault->key,
				 PENDING_SUFFIX) >= (int) sizeof(vault->pending_key))
		return outcome_make(OUTCOME_PERMANENT, NULL,
							"prefix and key of the secret are no path of a KV secret");
	return read_auth(options, vault);
}

/* ------------------------------------------------------------------------------------------------
 * Paths
 */

/* What is asked of MOUNT/kind/key; see vault_call(). */
bool
vault_kv_call(const VaultSecret *vault, VaultCall *call, const char *kind, const char *key,
			  char *path, size_t size, HttpAnswer *answer, Outcome *outcome)
{
	/* Each part was measured. */
	(void) snprintf(path, size, "%s/%s/%s", vault->mount, kind, key);
	call->path = path;
	call->deadline = vault->deadline;
	return vault_call(&vault->server, call, answer, outcome);
}

/*
 * Does Vault itself say that nothing is there? Of a path that is not, the list of errors is empty; of a deleted version
 * the metadata are given. A proxy has a 404 of its own while the server behind it is away.
 */
static bool
says_nothing_is_there(const VaultEntry *entry)
{
	const cJSON *errors = cJSON_GetObjectItemCaseSensitive(entry->tree, "errors");

	return cJSON_IsArray(errors) ? cJSON_GetArraySize(errors) == 0 : entry->version > 0;
}

/* Takes the answer to a reading apart; nothing there is no error. */
static Outcome
take_entry(const VaultSecret *vault, const VaultCall *call, const HttpAnswer *answer,
		   VaultEntry *entry)
{
	const cJSON *outer;
	const cJSON *metadata;
	const cJSON *data;
	bool has_body = answer->body != NULL && answer->body_len > 0;
	RotorError err;

	if (answer->status != 200 && answer->status != 404)
		return vault_outcome(&vault->server, call, answer);
	entry->tree = has_body ? secret_json_parse(answer->body, answer->body_len, &err) : NULL;
	outer = cJSON_GetObjectItemCaseSensitive(entry->tree, "data");
	metadata = cJSON_GetObjectItemCaseSensitive(outer, "metadata");
	data = cJSON_GetObjectItemCaseSensitive(outer, "data");
	entry->version = job_integer(metadata, "version", 0);
	if (entry->tree == NULL && has_body && err.code == ROTOR_ERROR_SPACE)
		return no_memory();
	if (answer->status == 404)
		return says_nothing_is_there(entry) ? ok() : vault_outcome(&vault->server, call, answer);
	if (entry->tree == NULL && has_body)
		return outcome_of_error(OUTCOME_PERMANENT, &err);
	if (!cJSON_IsObject(data) || entry->version <= 0)
		return outcome_make(OUTCOME_PERMANENT, "200", "the answer is not one of KV version 2");
	entry->data = data;
	return ok();
}

Outcome
vault_kv_read(const VaultSecret *vault, const char *key, VaultEntry *entry)
{
	VaultCall call = {.method = "GET"};
	char path[VAULT_PATH_SIZE + 512];
	HttpAnswer answer;
	Outcome outcome;

	memset(entry, 0, sizeof(*entry));
	if (vault_kv_call(vault, &call, "data", key, path, sizeof(path), &answer, &outcome))
		outcome = take_entry(vault, &call, &answer, entry);
	else if (outcome.class == OUTCOME_UNKNOWN)
		outcome.class = OUTCOME_TRANSIENT; /* it was only read */
	http_answer_free(&answer);
	return outcome;
}

void
vault_kv_free(VaultEntry *entry)
{
	cJSON_Delete(entry->tree);
	memset(entry, 0, sizeof(*entry));
}

const char *
vault_kv_id(const VaultEntry *entry)
{
	const char *id = job_string(entry->data, VAULT_ID_NAME);

	return id != NULL && strlen(id) == UUID_SIZE - 1 ? id : "";
}

bool
vault_kv_is(const VaultEntry *entry, const Job *job)
{
	return strcmp(vault_kv_id(entry), job->version.id) == 0;
}

/*
 * Writes data, which is taken over, as the version after entry's. OK; SUPERSEDED: the
 * check-and-set failed, or the request was refused as bad, and nothing was written; else as vault_call().
 */
static Outcome
send_write(const VaultSecret *vault, const char *key, const Job *job, const VaultEntry *entry,
		   cJSON *data)
{
	static const char *const path_in_body[] = {"data", NULL};
	VaultCall call = {.method = "POST"};
	char path[VAULT_PATH_SIZE + 512];
	cJSON *body = cJSON_CreateObject();
	cJSON *options = cJSON_AddObjectToObject(body, "options");
	char *text = NULL;
	HttpAnswer answer = {0};
	Outcome outcome = no_memory();

	if (cJSON_AddNumberToObject(options, "cas", entry->version) != NULL &&
		cJSON_AddItemToObject(body, "data", data))
		text = secret_json_print(body, false);
	else
		cJSON_Delete(data);
	call.body = text;
	if (text != NULL && secret_json_prove(text, path_in_body, &job->version) &&
		vault_kv_call(vault, &call, "data", key, path, sizeof(path), &answer, &outcome) &&
		answer.status != 200)
	{
		outcome = vault_outcome(&vault->server, &call, &answer);
		if (answer.status == 400)
			outcome.class = OUTCOME_SUPERSEDED;
		else if (answer.status == 204)
			outcome = outcome_make(OUTCOME_PERMANENT, "204", "the mount is not of KV version 2");
	}
	cJSON_free(text);
	cJSON_Delete(body);
	http_answer_free(&answer);
	return outcome;
}

/*
 * After a write that did not simply succeed: reads the path anew into *entry. OK if the job's version is
 * there; SUPERSEDED if the check-and-set failed because another version is; TRANSIENT if it failed and what is read is
 * no newer than before; what the write said otherwise.
 */
static Outcome
look_after_write(const VaultSecret *vault, const char *key, const Job *job, VaultEntry *entry,
				 Outcome wrote)
{
	int version = entry->version;
	Outcome looked;

	if (wrote.class != OUTCOME_UNKNOWN && wrote.class != OUTCOME_SUPERSEDED)
		return wrote;
	vault_kv_free(entry);
	looked = vault_kv_read(vault, key, entry);
	if (looked.class == OUTCOME_OK && vault_kv_is(entry, job))
		return ok();
	if (wrote.class == OUTCOME_SUPERSEDED && looked.class != OUTCOME_OK)
		return looked;
	/*
	 * The version is the one that was asked for: a reading that lags behind (of a standby, of a proxy) and a write that
	 * did not, or else something other was bad in the request.
	 */
	if (wrote.class == OUTCOME_SUPERSEDED && entry->version == version)
		wrote.class =
			strstr(wrote.message, CAS_REFUSED) != NULL ? OUTCOME_TRANSIENT : OUTCOME_PERMANENT;
	/* Another write came first, so the one that got no answer can never succeed. */
	if (wrote.class == OUTCOME_UNKNOWN && looked.class == OUTCOME_OK && entry->version > version)
		wrote.class = OUTCOME_SUPERSEDED;
	return wrote;
}

Outcome
vault_kv_write(const VaultSecret *vault, const char *key, const Job *job, VaultEntry *entry,
			   cJSON *data)
{
	return look_after_write(vault, key, job, entry, send_write(vault, key, job, entry, data));
}

/*
 * aws_secret.c - one secret at AWS Secrets Manager; see aws_secret.h.
 */
#include "aws_secret.h"

#include <stdio.h>
#include <string.h>

#include "json_splice.h"
#include "secret_json.h"

#define MAX_VALUE	65536 /* bytes, of AWS */
#define DESCRIPTION "Kept up to date by rotor"

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

static bool
is_ok(const Outcome *outcome)
{
	return outcome->class == OUTCOME_OK;
}

Outcome
aws_secret_open(AwsSecret *secret, const Job *job, Deadline deadline)
{
	const cJSON *options = cJSON_GetObjectItemCaseSensitive(job->store, "options");
	const char *key = job->store_key != NULL ? job->store_key : "";
	const char *prefix = job_string(options, "prefix");
	int len;

	memset(secret, 0, sizeof(*secret));
	secret->job = job;
	secret->options = options;
	secret->deadline = deadline_sooner(deadline, job->lease_end);
	if (prefix == NULL || strncmp(key, "arn:", 4) == 0)
		prefix = "";
	len = snprintf(secret->name, sizeof(secret->name), "%s%s", prefix, key);
	if (len < 0 || (size_t) len >= sizeof(secret->name))
		return outcome_make(OUTCOME_PERMANENT, NULL, "the secret's name at AWS is too long");
	return aws_endpoint_find(options, &secret->endpoint);
}

/* Calls an operation on the secret; the arguments are deleted. */
static Outcome
call(const AwsSecret *secret, const char *operation, cJSON *arguments, bool writes, cJSON **reply)
{
	Outcome outcome;

	if (reply != NULL)
		*reply = NULL;
	if (arguments == NULL || cJSON_AddStringToObject(arguments, "SecretId", secret->name) == NULL)
		outcome = no_memory();
	else
		outcome =
			aws_call(&secret->endpoint, operation, arguments, writes, reply, secret->deadline);
	cJSON_Delete(arguments);
	return outcome;
}

Outcome
aws_describe(const AwsSecret *secret, cJSON **description)
{
	return call(secret, "DescribeSecret", cJSON_CreateObject(), false, description);
}

/* ------------------------------------------------------------------------------------------------
 * Labels
 */

bool
aws_has_label(const cJSON *labels, const char *label)
{
	const cJSON *item;

	cJSON_ArrayForEach(item, labels)
	{
		const char *text = cJSON_GetStringValue(item);

		if (text != NULL && strcmp(text, label) == 0)
			return true;
	}
	return false;
}

const cJSON *
aws_versions_of(const cJSON *description)
{
	return cJSON_GetObjectItemCaseSensitive(description, "VersionIdsToStages");
}

/* The id of the version that has the label; empty: none. */
void
aws_label_holder(const cJSON *description, const char *label, char id[AWS_VERSION_SIZE])
{
	const cJSON *version;

	id[0] = '\0';
	cJSON_ArrayForEach(version, aws_versions_of(description))
	{
		if (aws_has_label(version, label))
		{
			(void) snprintf(id, AWS_VERSION_SIZE, "%s", version->string);
			return;
		}
	}
}

bool
aws_is_held_by(const cJSON *description, const char *label, const char *id)
{
	char holder[AWS_VERSION_SIZE];

	aws_label_holder(description, label, holder);
	return strcmp(holder, id) == 0;
}

/* Moves a label; to and from may be empty: it is only taken away, or only put there. */
Outcome
aws_move_label(const AwsSecret *secret, const char *label, const char *from, const char *to)
{
	cJSON *arguments = cJSON_CreateObject();

	if (cJSON_AddStringToObject(arguments, "VersionStage", label) == NULL ||
		(to[0] != '\0' && cJSON_AddStringToObject(arguments, "MoveToVersionId", to) == NULL) ||
		(from[0] != '\0' &&
		 cJSON_AddStringToObject(arguments, "RemoveFromVersionId", from) == NULL))
	{
		cJSON_Delete(arguments);
		return no_memory();
	}
	return call(secret, "UpdateSecretVersionStage", arguments, true, NULL);
}

/* ------------------------------------------------------------------------------------------------
 * Values
 */

/*
 * set gets the value's user name and password, fill what rotor knows of where they are valid. False: out
 * of memory.
 */
static bool
list_members(const Job *job, const JobValue *value, cJSON *set, cJSON *fill)
{
	static const char *const names[] = {"username", "password"};

	if (!secret_json_fill(fill, job, value, "id"))
		return false;
	cJSON_DeleteItemFromObjectCaseSensitive(fill, "id"); /* AWS has it as the version's */
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		cJSON *item = cJSON_DetachItemFromObjectCaseSensitive(fill, names[i]);

		if (item != NULL && !cJSON_AddItemToObject(set, names[i], item))
		{
			cJSON_Delete(item);
			return false;
		}
	}
	return true;
}

Outcome
aws_make_text(const Job *job, const JobValue *value, const char *former, char **text)
{
	static const char *const path[] = {NULL};
	cJSON *set = cJSON_CreateObject();
	cJSON *fill = cJSON_CreateObject();
	Outcome outcome = no_memory();
	RotorError err;

	*text = NULL;
	if (value->password.len == 0 || strlen(value->password.data) != value->password.len)
		outcome = outcome_make(OUTCOME_PERMANENT, NULL, "the value is empty or holds a NUL byte");
	else if (list_members(job, value, set, fill))
	{
		*text = json_splice(former, set, fill, &err);
		if (*text == NULL && err.code == ROTOR_ERROR_SPACE)
			outcome = no_memory();
		else if (*text == NULL)
			outcome =
				outcome_make(OUTCOME_PERMANENT, NULL,
							 "the secret's value at AWS is no JSON object, so rotor cannot tell "
							 "the password from the rest: store an object with username and "
							 "password");
		else if (strlen(*text) > MAX_VALUE)
			outcome =
				outcome_make(OUTCOME_PERMANENT, NULL,
							 "the value would have %zu bytes, more than the %d that AWS takes",
							 strlen(*text), MAX_VALUE);
		else if (secret_json_prove(*text, path, value))
			outcome = ok();
	}
	if (!is_ok(&outcome))
	{
		cJSON_free(*text);
		*text = NULL;
	}
	cJSON_Delete(set);
	cJSON_Delete(fill);
	return outcome;
}

/* Reads a value by label or, if id is not NULL, by version; *reply holds the text. */
Outcome
aws_get_value(const AwsSecret *secret, const char *label, const char *id, cJSON **reply,
			  const char **text)
{
	cJSON *arguments = cJSON_CreateObject();
	Outcome outcome;

	*text = NULL;
	*reply = NULL;
	if (cJSON_AddStringToObject(arguments, id != NULL ? "VersionId" : "VersionStage",
								id != NULL ? id : label) == NULL)
	{
		cJSON_Delete(arguments);
		return no_memory();
	}
	outcome = call(secret, "GetSecretValue", arguments, false, reply);
	if (is_ok(&outcome))
	{
		*text = job_string(*reply, "SecretString");
		if (*text == NULL)
			outcome = outcome_make(OUTCOME_PERMANENT, NULL,
								   "the secret's value at AWS is binary: store a JSON object with "
								   "username and password");
	}
	return outcome;
}

/* ------------------------------------------------------------------------------------------------
 * Creation
 */

/* Puts a version with that text; the label comes with it. */
Outcome
aws_put_version(const AwsSecret *secret, const JobValue *value, const char *text, const char *label,
				cJSON **reply)
{
	cJSON *arguments = cJSON_CreateObject();
	cJSON *labels = cJSON_AddArrayToObject(arguments, "VersionStages");

	*reply = NULL;
	if (labels == NULL ||
		cJSON_AddStringToObject(arguments, "ClientRequestToken", value->id) == NULL ||
		cJSON_AddStringToObject(arguments, "SecretString", text) == NULL ||
		!cJSON_AddItemToArray(labels, cJSON_CreateString(label)))
	{
		cJSON_Delete(arguments);
		return no_memory();
	}
	return call(secret, "PutSecretValue", arguments, true, reply);
}

/* Adds Region and KmsKeyId of each replica; an entry is a region, or {"region","kms_key_id"}. */
static Outcome
add_replicas(cJSON *arguments, const cJSON *regions)
{
	cJSON *list = cJSON_AddArrayToObject(arguments, "AddReplicaRegions");
	const cJSON *entry;

	cJSON_ArrayForEach(entry, regions)
	{
		const char *region = cJSON_GetStringValue(entry);
		const char *kms = job_string(entry, "kms_key_id");
		cJSON *replica = cJSON_CreateObject();

		if (region == NULL)
			region = job_string(entry, "region");
		if (!cJSON_AddItemToArray(list, replica))
		{
			cJSON_Delete(replica);
			return no_memory();
		}
		if (region == NULL)
			return outcome_make(OUTCOME_PERMANENT, NULL,
								"the store's option replica_regions is no list of regions");
		if (cJSON_AddStringToObject(replica, "Region", region) == NULL ||
			(kms != NULL && cJSON_AddStringToObject(replica, "KmsKeyId", kms) == NULL))
			return no_memory();
	}
	return ok();
}

static Outcome
create_arguments(const AwsSecret *secret, const JobValue *value, cJSON **arguments)
{
	const char *kms = job_string(secret->options, "kms_key_id");
	const cJSON *regions = cJSON_GetObjectItemCaseSensitive(secret->options, "replica_regions");
	char *text;
	Outcome outcome = aws_make_text(secret->job, value, "{}", &text);

	*arguments = cJSON_CreateObject();
	if (!is_ok(&outcome))
		return outcome;
	if (cJSON_AddStringToObject(*arguments, "Name", secret->name) == NULL ||
		cJSON_AddStringToObject(*arguments, "Description", DESCRIPTION) == NULL ||
		cJSON_AddStringToObject(*arguments, "ClientRequestToken", value->id) == NULL ||
		cJSON_AddStringToObject(*arguments, "SecretString", text) == NULL ||
		(kms != NULL && cJSON_AddStringToObject(*arguments, "KmsKeyId", kms) == NULL))
		outcome = no_memory();
	else if (cJSON_GetArraySize(regions) > 0)
		outcome = add_replicas(*arguments, regions);
	cJSON_free(text);
	return outcome;
}

/* Creates the secret with that value, which is current at once. */
Outcome
aws_create_secret(const AwsSecret *secret, const JobValue *value)
{
	cJSON *arguments;
	Outcome outcome = create_arguments(secret, value, &arguments);

	if (is_ok(&outcome))
		outcome =
			aws_call(&secret->endpoint, "CreateSecret", arguments, true, NULL, secret->deadline);
	cJSON_Delete(arguments);
	/* Somebody was faster; the next attempt finds what they made. */
	if (outcome.class == OUTCOME_PERMANENT && strcmp(outcome.code, "ResourceExistsException") == 0)
		outcome.class = OUTCOME_TRANSIENT;
	return outcome;
}

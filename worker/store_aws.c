/*
 * store_aws.c - AWS Secrets Manager; see store.h.
 *
 * A version of rotor's is a version of the secret there: its uuid is the ClientRequestToken, hence the
 * version's id. pending, current and previous are AWSPENDING, AWSCURRENT and AWSPREVIOUS. The value is a JSON
 * object of the form that AWS's own rotation functions use; members that rotor does not know are kept, byte
 * for byte. A secret whose value is no JSON object is left alone.
 *
 * AWS labels the first version of a new secret AWSCURRENT, whatever is asked for. So a missing secret is
 * created with the former value, and with the new one only if there is no former.
 *
 * Options of the store: region and endpoint (aws_api.h); prefix, put before each key; create, false if a
 * missing secret is an error; kms_key_id and replica_regions, for secrets that are created.
 */
#include "store.h"

#include <string.h>

#include "aws_api.h"
#include "aws_secret.h"
#include "secret_json.h"

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

static bool
is_code(const Outcome *outcome, const char *code)
{
	return outcome->class == OUTCOME_PERMANENT && strcmp(outcome->code, code) == 0;
}

/* 400 at AWS, 404 at imitations of it: the type says it. */
static bool
is_missing(const Outcome *outcome)
{
	return is_code(outcome, "ResourceNotFoundException");
}

/* Of a failure after something was changed already. */
static Outcome
after_change(Outcome outcome)
{
	if (outcome.class == OUTCOME_TRANSIENT || outcome.class == OUTCOME_PERMANENT)
		outcome.class = OUTCOME_UNKNOWN;
	return outcome;
}

/* ------------------------------------------------------------------------------------------------
 * publish
 */

/* Whether somebody else has the secret's rotation or its end in hand. */
static Outcome
judge_description(const cJSON *description)
{
	const cJSON *deleted = cJSON_GetObjectItemCaseSensitive(description, "DeletedDate");
	const char *owner = job_string(description, "OwningService");

	if (deleted != NULL && !cJSON_IsNull(deleted))
		return outcome_make(
			OUTCOME_PERMANENT, "InvalidRequestException",
			"the secret is scheduled for deletion at AWS: restore it there, or wait "
			"until it is gone");
	if (owner != NULL && owner[0] != '\0')
		return outcome_make(OUTCOME_PERMANENT, NULL,
							"the secret belongs to a service of AWS, which rotates it itself");
	if (job_flag(description, "RotationEnabled", false))
		return outcome_make(OUTCOME_PERMANENT, NULL,
							"AWS rotates this secret itself: take one of the two away, "
							"by CancelRotateSecret at AWS or by drop here");
	return ok();
}

/* OK if the value of that text is the job's new one. */
static Outcome
compare_value(const Job *job, const char *text)
{
	RotorError err;
	cJSON *tree = secret_json_read(text, strlen(text), false, &err);
	Outcome outcome = ok();

	if (tree == NULL && err.code == ROTOR_ERROR_SPACE)
		return no_memory();
	if (!secret_json_holds(tree, &job->version))
		outcome = outcome_make(OUTCOME_PERMANENT, "ResourceExistsException",
							   "the version %s has another value at AWS", job->version.id);
	cJSON_Delete(tree);
	return outcome;
}

/* The version is there already: with the same value its label is seen to, another one cannot be replaced. */
static Outcome
republish(const AwsSecret *secret)
{
	const Job *job = secret->job;
	cJSON *reply;
	cJSON *description = NULL;
	const char *text;
	char pending[AWS_VERSION_SIZE];
	Outcome outcome = aws_get_value(secret, NULL, job->version.id, &reply, &text);

	if (is_ok(&outcome))
		outcome = compare_value(job, text);
	cJSON_Delete(reply);
	if (is_ok(&outcome))
		outcome = aws_describe(secret, &description);
	if (is_ok(&outcome))
	{
		aws_label_holder(description, AWS_PENDING, pending);
		if (strcmp(pending, job->version.id) != 0 &&
			!aws_is_held_by(description, AWS_CURRENT, job->version.id))
			outcome = aws_move_label(secret, AWS_PENDING, pending, job->version.id);
	}
	cJSON_Delete(description);
	return outcome;
}

static Outcome
put_pending(const AwsSecret *secret, const char *former)
{
	const Job *job = secret->job;
	char *text;
	cJSON *reply = NULL;
	Outcome outcome = aws_make_text(job, &job->version, former, &text);
	bool labelled;

	if (!is_ok(&outcome))
		return outcome;
	outcome = aws_put_version(secret, &job->version, text, AWS_PENDING, &reply);
	labelled = aws_has_label(cJSON_GetObjectItemCaseSensitive(reply, "VersionStages"), AWS_PENDING);
	cJSON_Delete(reply);
	cJSON_free(text);
	/* AWS ignores a version that it has, and the label that came with it. */
	if (is_code(&outcome, "ResourceExistsException") || (is_ok(&outcome) && !labelled))
		return republish(secret);
	return outcome;
}

/* Of a secret that has no value yet, whether it was there or not: the first one becomes current. */
static Outcome
publish_first(const AwsSecret *secret, bool exists)
{
	const Job *job = secret->job;
	const JobValue *first =
		job->former.id[0] != '\0' && job->former.password.len > 0 ? &job->former : &job->version;
	char *text = NULL;
	cJSON *reply;
	cJSON *ignored = NULL;
	const char *current;
	Outcome outcome;

	if (!exists)
		outcome = aws_create_secret(secret, first);
	else
	{
		outcome = aws_make_text(job, first, "{}", &text);
		if (is_ok(&outcome))
			outcome = aws_put_version(secret, first, text, AWS_CURRENT, &ignored);
		cJSON_free(text);
		cJSON_Delete(ignored);
	}
	if (!is_ok(&outcome))
		return outcome;
	if (first == &job->version)
		return outcome_make(OUTCOME_OK, NULL,
							"the secret is new at AWS: its first version is current at once");
	outcome = aws_get_value(secret, AWS_CURRENT, NULL, &reply, &current);
	if (is_ok(&outcome))
		outcome = put_pending(secret, current);
	cJSON_Delete(reply);
	return after_change(outcome);
}

/* Has AWS the version, with a label or without? False with *outcome OK: it never had it. */
static bool
has_version(const AwsSecret *secret, const cJSON *description, const char *id, Outcome *outcome)
{
	cJSON *reply = NULL;
	const char *ignored;

	*outcome = ok();
	if (cJSON_GetObjectItemCaseSensitive(aws_versions_of(description), id) != NULL)
		return true;
	/* Without labels it is not in the description, but may still be there. */
	*outcome = aws_get_value(secret, NULL, id, &reply, &ignored);
	cJSON_Delete(reply);
	if (is_ok(outcome))
		return true;
	if (is_missing(outcome))
		*outcome = ok();
	return false;
}

/*
 * Whether what is current, with that text, may give way; asked before the target is changed, and when it has
 * been. A former version that AWS has never had proves nothing: then the secret was there before rotor
 * was, and has a version of its own.
 */
static Outcome
compare_current(const AwsSecret *secret, const cJSON *description, const char *text)
{
	const Job *job = secret->job;
	char current[AWS_VERSION_SIZE];
	cJSON *value;
	bool gives_way;
	RotorError err;
	Outcome outcome;

	aws_label_holder(description, AWS_CURRENT, current);
	value = secret_json_read(text, strlen(text), false, &err);
	/* There is a version, whatever it holds. */
	if (value == NULL && err.code != ROTOR_ERROR_SPACE)
		value = cJSON_CreateObject();
	if (value == NULL)
		return no_memory();
	gives_way = secret_json_gives_way(job, current, value);
	cJSON_Delete(value);
	if (gives_way)
		return ok();
	if (!has_version(secret, description, job->former.id, &outcome))
		return outcome;
	return outcome_make(OUTCOME_SUPERSEDED, NULL,
						"%s is current at AWS, where %s was when the rotation began", current,
						job->former.id);
}

/* Its value need not be read where its id says enough. */
static Outcome
look_at_current(const AwsSecret *secret, const cJSON *description, const char *current)
{
	const Job *job = secret->job;
	cJSON *reply = NULL;
	const char *text = NULL;
	Outcome outcome;

	if (current[0] == '\0' || job->former.id[0] == '\0' || strcmp(current, job->former.id) == 0)
		return ok();
	outcome = aws_get_value(secret, AWS_CURRENT, NULL, &reply, &text);
	if (is_ok(&outcome))
		outcome = compare_current(secret, description, text);
	cJSON_Delete(reply);
	return outcome;
}

static Outcome
republish_over_current(const AwsSecret *secret, const cJSON *description)
{
	char current[AWS_VERSION_SIZE];
	Outcome outcome = ok();

	aws_label_holder(description, AWS_CURRENT, current);
	if (strcmp(current, secret->job->version.id) != 0)
		outcome = look_at_current(secret, description, current);
	return is_ok(&outcome) ? republish(secret) : outcome;
}

static Outcome
publish_existing(const AwsSecret *secret, const cJSON *description)
{
	const Job *job = secret->job;
	Outcome outcome = judge_description(description);
	const char *current;
	cJSON *reply;

	if (!is_ok(&outcome))
		return outcome;
	if (cJSON_GetObjectItemCaseSensitive(aws_versions_of(description), job->version.id) != NULL)
		return republish_over_current(secret, description);
	outcome = aws_get_value(secret, AWS_CURRENT, NULL, &reply, &current);
	if (is_missing(&outcome))
		outcome = publish_first(secret, true);
	else if (is_ok(&outcome))
	{
		outcome = compare_current(secret, description, current);
		if (is_ok(&outcome))
			outcome = put_pending(secret, current);
	}
	cJSON_Delete(reply);
	return outcome;
}

static Outcome
publish(const Job *job, Deadline deadline)
{
	AwsSecret secret;
	cJSON *description = NULL;
	Outcome outcome = aws_secret_open(&secret, job, deadline);

	if (!is_ok(&outcome))
		return outcome;
	outcome = aws_describe(&secret, &description);
	if (is_ok(&outcome))
		outcome = publish_existing(&secret, description);
	else if (is_missing(&outcome) && job_flag(secret.options, "create", true))
		outcome = publish_first(&secret, false);
	cJSON_Delete(description);
	return outcome;
}

/* ------------------------------------------------------------------------------------------------
 * promote
 */

/* The new version is current: what is left is to take its other label away. */
static Outcome
detach_pending(const AwsSecret *secret, const cJSON *description)
{
	const char *id = secret->job->version.id;

	if (!aws_is_held_by(description, AWS_PENDING, id))
		return ok();
	return aws_move_label(secret, AWS_PENDING, id, "");
}

/* What is known of the label current while it is moved. */
typedef struct Move
{
	bool stands; /* the new version has it: what fails then does not say that nothing was changed */
	bool refused; /* AWS compared, and another version had it than we saw */
} Move;

static Outcome
promote_once(const AwsSecret *secret, Move *move)
{
	const char *id = secret->job->version.id;
	cJSON *description = NULL;
	char current[AWS_VERSION_SIZE];
	Outcome outcome = aws_describe(secret, &description);

	*move = (Move){0};
	if (!is_ok(&outcome))
		return outcome;
	aws_label_holder(description, AWS_CURRENT, current);
	move->stands = strcmp(current, id) == 0;
	if (!move->stands)
	{
		outcome = look_at_current(secret, description, current);
		if (is_ok(&outcome))
		{
			outcome = aws_move_label(secret, AWS_CURRENT, current, id);
			move->stands = is_ok(&outcome);
			move->refused = is_code(&outcome, "InvalidParameterException");
		}
	}
	if (is_ok(&outcome))
		outcome = detach_pending(secret, description);
	cJSON_Delete(description);
	return outcome;
}

static Outcome
promote(const Job *job, Deadline deadline)
{
	AwsSecret secret;
	Move move;
	Outcome outcome = aws_secret_open(&secret, job, deadline);

	if (!is_ok(&outcome))
		return outcome;
	outcome = promote_once(&secret, &move);
	/* Labels moved between our look and our move. Look again, once. */
	if (move.refused)
		outcome = promote_once(&secret, &move);
	/* What we see lags behind what AWS compares with; it may even be that an earlier attempt moved the label. */
	if (move.refused)
		outcome.class = OUTCOME_TRANSIENT;
	return move.stands ? after_change(outcome) : outcome;
}

/* ------------------------------------------------------------------------------------------------
 * look, read, check
 */

static void
copy_uuid(const cJSON *description, const char *label, char uuid[UUID_SIZE])
{
	char id[AWS_VERSION_SIZE];

	aws_label_holder(description, label, id);
	uuid[0] = '\0';
	if (strlen(id) == UUID_SIZE - 1)
		memcpy(uuid, id, UUID_SIZE);
}

static Outcome
look(const Job *job, StoreLabels *labels, Deadline deadline)
{
	AwsSecret secret;
	cJSON *description = NULL;
	Outcome outcome = aws_secret_open(&secret, job, deadline);

	memset(labels, 0, sizeof(*labels));
	if (!is_ok(&outcome))
		return outcome;
	outcome = aws_describe(&secret, &description);
	if (is_missing(&outcome))
		return ok();
	if (is_ok(&outcome))
	{
		labels->exists = true;
		copy_uuid(description, AWS_PENDING, labels->pending);
		copy_uuid(description, AWS_CURRENT, labels->current);
		copy_uuid(description, AWS_PREVIOUS, labels->previous);
	}
	cJSON_Delete(description);
	return outcome;
}

static Outcome
read_current(const Job *job, SecretBuf *username, SecretBuf *password, Deadline deadline)
{
	AwsSecret secret;
	cJSON *reply = NULL;
	cJSON *tree = NULL;
	const char *text;
	const char *name;
	const char *value;
	RotorError err;
	Outcome outcome = aws_secret_open(&secret, job, deadline);

	if (!is_ok(&outcome))
		return outcome;
	outcome = aws_get_value(&secret, AWS_CURRENT, NULL, &reply, &text);
	if (is_ok(&outcome))
	{
		tree = secret_json_read(text, strlen(text), true, &err);
		name = job_string(tree, "username");
		value = job_string(tree, "password");
		if (tree == NULL && err.code == ROTOR_ERROR_SPACE)
			outcome = no_memory();
		else if (name == NULL || value == NULL)
			outcome = outcome_make(OUTCOME_PERMANENT, NULL,
								   "the secret's value at AWS is no JSON object with username and "
								   "password");
		else if (!secret_json_copy(tree, "username", username, &err) ||
				 !secret_json_copy(tree, "password", password, &err))
			outcome = outcome_of_error(OUTCOME_PERMANENT, &err);
	}
	cJSON_Delete(tree);
	cJSON_Delete(reply);
	return outcome;
}

/* Without a key there is no secret to ask for, but whether AWS knows us can be asked. */
static Outcome
check_account(const AwsSecret *secret)
{
	cJSON *arguments = cJSON_CreateObject();
	Outcome outcome = no_memory();

	if (cJSON_AddNumberToObject(arguments, "MaxResults", 1) != NULL)
		outcome =
			aws_call(&secret->endpoint, "ListSecrets", arguments, false, NULL, secret->deadline);
	cJSON_Delete(arguments);
	return outcome;
}

static Outcome
check(const Job *job, Deadline deadline)
{
	AwsSecret secret;
	cJSON *description = NULL;
	Outcome outcome = aws_secret_open(&secret, job, deadline);

	if (!is_ok(&outcome))
		return outcome;
	if (secret.name[0] == '\0' || job->store_key == NULL || job->store_key[0] == '\0')
		return check_account(&secret);
	outcome = aws_describe(&secret, &description);
	if (is_ok(&outcome))
		outcome = judge_description(description);
	else if (is_missing(&outcome) && job_flag(secret.options, "create", true))
		outcome = outcome_make(OUTCOME_OK, NULL, "the secret does not exist at AWS yet");
	cJSON_Delete(description);
	return outcome;
}

const StoreClass store_aws = {
	.type = "aws",
	.publish = publish,
	.promote = promote,
	.look = look,
	.read = read_current,
	.check = check,
};

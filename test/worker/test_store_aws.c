/*
 * test_store_aws.c - what store.h promises, of AWS Secrets Manager: against moto, which checks signatures, and
 * against a server that answers what no good peer would.
 */
#include "support.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "aws_api.h"
#include "aws_credentials.h"
#include "http_script.h"
#include "peer.h"
#include "short_memory.h"
#include "store.h"
#include "traces.h"

/* The password of version n, as JSON has it. */
#define PASSWORD_JSON "p%d-\\\"\\\\/\xc3\xbc'$"

static Peer moto;
static bool moto_is_there;
static char moto_url[64];
static AwsEndpoint moto_endpoint;

#define TOO_LONG ((size_t) 300 * 1024) /* for an answer */

static Script *script;

/* ---- what the tests are made of ---- */

static void
use_keys(const char *id, const char *secret)
{
	setenv("AWS_ACCESS_KEY_ID", id, 1);
	setenv("AWS_SECRET_ACCESS_KEY", secret, 1);
}

static int
start_moto(void **state __attribute__((unused)))
{
	char port[sizeof(moto.text)];

	setenv("AWS_REGION", "eu-central-1", 1);
	setenv("AWS_EC2_METADATA_DISABLED", "true",
		   1); /* the machine's own credentials are no test's */
	setenv("AWS_CONFIG_FILE", "/nonexistent", 1);
	setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent", 1);
	assert_true(peer_start(&moto, "moto"));
	moto_is_there = memmem(moto.text, moto.len, "missing=", 8) == NULL;
	if (!moto_is_there)
		return 0;
	(void) snprintf(port, sizeof(port), "%s", peer_value(&moto, "port"));
	(void) snprintf(moto_url, sizeof(moto_url), "http://127.0.0.1:%.5s", port);
	(void) snprintf(moto_endpoint.url, sizeof(moto_endpoint.url), "%s/", moto_url);
	(void) snprintf(moto_endpoint.region, sizeof(moto_endpoint.region), "eu-central-1");
	return 0;
}

static int
stop_moto(void **state __attribute__((unused)))
{
	peer_stop(&moto);
	return 0;
}

static int
need_moto(void **state __attribute__((unused)))
{
	if (!moto_is_there)
	{
		print_message("skipped: no moto_server (MOTO_SERVER says where it is)\n");
		return 0;
	}
	use_keys(peer_value(&moto, "key_id"), peer_value(&moto, "secret_key"));
	return 0;
}

#define NEED_MOTO()         \
	do                      \
	{                       \
		if (!moto_is_there) \
			skip();         \
	} while (0)

static int
start_script(void **state __attribute__((unused)))
{
	use_keys("AKIDEXAMPLE", "key");
	script = script_start();
	return 0;
}

static int
stop_script(void **state __attribute__((unused)))
{
	script_stop(script);
	return 0;
}

static const char *
uuid(int n)
{
	static char uuids[10][UUID_SIZE];

	assert_in_range(n, 1, 9);
	(void) snprintf(uuids[n], UUID_SIZE, "00000000-0000-4000-8000-00000000000%d", n);
	return uuids[n];
}

/* Value n of a job, as JSON; null for 0. Static, for two values at once. */
static const char *
value_json(int n, const char *username)
{
	static char texts[2][512];
	static int turn;
	char *text = texts[turn++ % 2];

	if (n == 0)
		return "null";
	(void) snprintf(text, sizeof(texts[0]),
					"{\"id\":\"%s\",\"username\":\"%s\",\"password\":\"" PASSWORD_JSON "\"}",
					uuid(n), username, n);
	return text;
}

/* A job of the key with version n and former n, at the server with that URL; more options as ",\"a\":1". */
static Job *
job_with(const char *url, const char *key, int version, int former, const char *options)
{
	return make_job(
		"{\"rotation\":\"%s\",\"lease\":\"%s\",\"lease_seconds\":60,\"step\":\"publish\","
		"\"secret\":\"app\",\"version\":%s,\"former\":%s,\"account\":{\"username\":\"app\"},"
		"\"target\":{\"name\":\"t\",\"type\":\"postgresql\",\"host\":\"db.example\",\"port\":5433,"
		"\"dbname\":\"app\"},"
		"\"store\":{\"name\":\"s\",\"type\":\"aws\",\"key\":\"%s\","
		"\"options\":{\"endpoint\":\"%s\"%s}},\"policy\":{}}",
		uuid(9), uuid(8), value_json(version, "app"), value_json(former, "app"), key, url, options);
}

static Job *
moto_job(const char *key, int version, int former)
{
	return job_with(moto_url, key, version, former, "");
}

/* No outcome shows a password, nor a credential. */
static Outcome
clean(const Job *job, Outcome outcome)
{
	Outcome scrubbed = outcome;
	const char *secret_key = getenv("AWS_SECRET_ACCESS_KEY");

	outcome_scrub(&scrubbed, &job->version.password);
	if (job->former.password.len > 0)
		outcome_scrub(&scrubbed, &job->former.password);
	assert_string_equal(scrubbed.message, outcome.message);
	assert_true(secret_key != NULL && strstr(outcome.message, secret_key) == NULL);
	return outcome;
}

static Outcome
publish(const Job *job)
{
	return clean(job, store_aws.publish(job, deadline_in(60000)));
}

static Outcome
promote(const Job *job)
{
	return clean(job, store_aws.promote(job, deadline_in(60000)));
}

#define assert_outcome(outcome_, class_)                                                \
	do                                                                                  \
	{                                                                                   \
		Outcome made = (outcome_);                                                      \
		if (made.class != (class_))                                                     \
			fail_msg("%s (%s): %s", outcome_name(made.class), made.code, made.message); \
	} while (0)

/* Calls moto itself, with arguments as JSON by printf. */
static cJSON *
ask_moto(const char *operation, const char *format, ...)
{
	char text[4096];
	va_list args;
	cJSON *arguments;
	cJSON *reply;

	va_start(args, format);
	assert_true(vsnprintf(text, sizeof(text), format, args) < (int) sizeof(text));
	va_end(args);
	arguments = cJSON_Parse(text);
	assert_non_null(arguments);
	assert_outcome(aws_call(&moto_endpoint, operation, arguments, true, &reply, deadline_in(60000)),
				   OUTCOME_OK);
	cJSON_Delete(arguments);
	return reply;
}

static void
tell_moto(const char *operation, const char *format, ...)
{
	char text[4096];
	va_list args;

	va_start(args, format);
	assert_true(vsnprintf(text, sizeof(text), format, args) < (int) sizeof(text));
	va_end(args);
	cJSON_Delete(ask_moto(operation, "%s", text));
}

/* The text that moto has under a label; the caller frees it. */
static char *
text_at(const char *key, const char *label)
{
	cJSON *reply =
		ask_moto("GetSecretValue", "{\"SecretId\":\"%s\",\"VersionStage\":\"%s\"}", key, label);
	char *text = strdup(job_string(reply, "SecretString"));

	assert_non_null(text);
	cJSON_Delete(reply);
	return text;
}

static void
assert_text(const char *key, const char *label, const char *format, ...)
{
	char expected[1024];
	char *text = text_at(key, label);
	va_list args;

	va_start(args, format);
	(void) vsnprintf(expected, sizeof(expected), format, args);
	va_end(args);
	assert_string_equal(text, expected);
	free(text);
}

/* Which versions have the labels, by number; 0: none. */
static void
assert_labels(const Job *job, int pending, int current, int previous)
{
	StoreLabels labels;

	assert_outcome(store_aws.look(job, &labels, deadline_in(60000)), OUTCOME_OK);
	assert_true(labels.exists);
	assert_string_equal(labels.pending, pending > 0 ? uuid(pending) : "");
	assert_string_equal(labels.current, current > 0 ? uuid(current) : "");
	assert_string_equal(labels.previous, previous > 0 ? uuid(previous) : "");
}

/* ---- against moto ---- */

TEST(a_missing_secret_is_created_with_the_former_value_and_gets_the_new_one_as_pending)
{
	NEED_MOTO();
	Job *job = moto_job("new", 2, 1);
	StoreLabels labels;

	assert_outcome(store_aws.look(job, &labels, deadline_in(60000)), OUTCOME_OK);
	assert_false(labels.exists);
	assert_outcome(publish(job), OUTCOME_OK);
	assert_labels(job, 2, 1, 0);
	assert_text(
		"new", "AWSCURRENT",
		"{\"username\":\"app\",\"password\":\"" PASSWORD_JSON
		"\",\"port\":5433,\"engine\":\"postgres\",\"host\":\"db.example\",\"dbname\":\"app\"}",
		1);
	assert_outcome(promote(job), OUTCOME_OK);
	assert_labels(job, 0, 2, 1);
	job_free(job);
}

TEST(a_missing_secret_without_a_former_value_is_current_at_once_and_the_outcome_says_so)
{
	NEED_MOTO();
	Job *job = moto_job("newer", 1, 0);
	Outcome outcome = publish(job);

	assert_outcome(outcome, OUTCOME_OK);
	assert_non_null(strstr(outcome.message, "current at once"));
	assert_labels(job, 0, 1, 0);
	assert_outcome(promote(job), OUTCOME_OK);
	assert_labels(job, 0, 1, 0);
	job_free(job);
}

TEST(each_act_may_be_done_again_at_any_time)
{
	NEED_MOTO();
	Job *job = moto_job("again", 2, 1);

	assert_outcome(publish(job), OUTCOME_OK);
	assert_outcome(publish(job), OUTCOME_OK);
	assert_labels(job, 2, 1, 0);
	assert_outcome(promote(job), OUTCOME_OK);
	assert_outcome(promote(job), OUTCOME_OK);
	assert_outcome(publish(job), OUTCOME_OK);
	assert_labels(job, 0, 2, 1);
	job_free(job);
}

TEST(one_rotation_after_another_moves_the_labels_on)
{
	NEED_MOTO();

	for (int n = 2; n <= 4; n++)
	{
		Job *job = moto_job("series", n, n - 1);

		assert_outcome(publish(job), OUTCOME_OK);
		assert_labels(job, n, n - 1, n > 2 ? n - 2 : 0);
		assert_outcome(promote(job), OUTCOME_OK);
		assert_labels(job, 0, n, n - 1);
		job_free(job);
	}
}

TEST(an_existing_secret_keeps_all_that_rotor_does_not_know_to_the_byte)
{
	NEED_MOTO();
	Job *job = moto_job("adopted", 2, 1);
	SecretBuf username = {0};
	SecretBuf password = {0};

	/* Numbers that no double has, order, escapes, a name that stands there twice, a host of its own. */
	tell_moto("CreateSecret",
			  "{\"Name\":\"adopted\",\"SecretString\":\"{ \\\"big\\\": 9007199254740993, "
			  "\\\"password\\\" : \\\"old\\\",\\\"n\\\":1.50,\\\"deep\\\":[1,{\\\"password\\\":"
			  "\\\"}]\\\\\\\"\\\"}],\\n\\\"host\\\":\\\"mine\\\",\\\"engine\\\":\\\"x\\\", "
			  "\\\"u\\\":\\\"\\\\u00e4\\\",\\\"password\\\":\\\"old\\\" }\"}");
	assert_outcome(publish(job), OUTCOME_OK);
	assert_text("adopted", "AWSPENDING",
				"{ \"big\": 9007199254740993, \"password\" : \"" PASSWORD_JSON
				"\",\"n\":1.50,\"deep\":[1,{\"password\":\"}]\\\"\"}],\n\"host\":\"mine\","
				"\"engine\":\"x\", \"u\":\"\\u00e4\",\"password\":\"" PASSWORD_JSON
				"\" ,\"username\":\"app\",\"port\":5433,\"dbname\":\"app\"}",
				2, 2);
	/* What was there is current still, and not a version of rotor's that could be told by its uuid. */
	assert_outcome(promote(job), OUTCOME_OK);
	assert_outcome(store_aws.read(job, &username, &password, deadline_in(60000)), OUTCOME_OK);
	assert_string_equal(username.data, "app");
	assert_int_equal(password.len, job->version.password.len);
	assert_memory_equal(password.data, job->version.password.data, password.len);
	job_free(job);
}

/*
 * Makes a value current at moto, as somebody else would, in the place of version former. In two calls: of a
 * value that is put as current, moto knows only at first which one was so before.
 */
static void
put_by_hand(const char *key, int version, int former, const char *value)
{
	cJSON *string = cJSON_CreateString(value);
	char *quoted = cJSON_PrintUnformatted(string);

	tell_moto("PutSecretValue",
			  "{\"SecretId\":\"%s\",\"ClientRequestToken\":\"%s\",\"SecretString\":%s,"
			  "\"VersionStages\":[\"by_hand\"]}",
			  key, uuid(version), quoted);
	tell_moto("UpdateSecretVersionStage",
			  "{\"SecretId\":\"%s\",\"VersionStage\":\"AWSCURRENT\",\"RemoveFromVersionId\":\"%s\","
			  "\"MoveToVersionId\":\"%s\"}",
			  key, uuid(former), uuid(version));
	cJSON_free(quoted);
	cJSON_Delete(string);
}

TEST(an_edit_by_hand_that_leaves_the_password_alone_is_kept_and_rotated)
{
	NEED_MOTO();
	Job *job = moto_job("edited", 2, 1);
	Job *next = moto_job("edited", 3, 2);
	char edited[4096];
	char *value;

	assert_outcome(publish(job), OUTCOME_OK);
	assert_outcome(promote(job), OUTCOME_OK);
	value = text_at("edited", "AWSCURRENT");
	(void) snprintf(edited, sizeof(edited), "{\"note\":\"theirs\",%s", value + 1);
	free(value);
	put_by_hand("edited", 7, 2, edited);
	assert_outcome(publish(next), OUTCOME_OK);
	assert_labels(next, 3, 7, 2);
	assert_outcome(promote(next), OUTCOME_OK);
	assert_labels(next, 0, 3, 7);
	value = text_at("edited", "AWSCURRENT");
	assert_non_null(strstr(value, "\"theirs\""));
	free(value);
	job_free(job);
	job_free(next);
}

TEST(before_the_target_is_changed_somebody_elses_value_is_found)
{
	NEED_MOTO();
	Job *job = moto_job("foreign", 2, 1);
	Job *next = moto_job("foreign", 3, 2);

	assert_outcome(publish(job), OUTCOME_OK);
	assert_outcome(promote(job), OUTCOME_OK);
	put_by_hand("foreign", 7, 2, "{}");
	assert_outcome(publish(next), OUTCOME_SUPERSEDED);
	assert_labels(next, 0, 7, 2);
	/* In an emergency it is replaced. */
	next->emergency = true;
	assert_outcome(publish(next), OUTCOME_OK);
	assert_labels(next, 3, 7, 2);
	job_free(job);
	job_free(next);
}

TEST(what_somebody_else_made_current_is_left_alone)
{
	NEED_MOTO();
	Job *job = moto_job("taken", 2, 1);

	assert_outcome(publish(job), OUTCOME_OK);
	put_by_hand("taken", 7, 1, "{}");
	assert_outcome(promote(job), OUTCOME_SUPERSEDED);
	assert_labels(job, 2, 7, 1);
	/* Also when nothing labelled is left of what rotor knew. */
	put_by_hand("taken", 6, 7, "{}");
	assert_outcome(promote(job), OUTCOME_SUPERSEDED);
	assert_labels(job, 2, 6, 7);
	job_free(job);
}

TEST(a_crash_between_two_calls_is_made_good_by_the_next_attempt)
{
	NEED_MOTO();
	Job *job = moto_job("crash", 2, 1);

	/* Created, and nothing more. */
	tell_moto("CreateSecret",
			  "{\"Name\":\"crash\",\"ClientRequestToken\":\"%s\",\"SecretString\":\"{}\"}",
			  uuid(1));
	assert_outcome(publish(job), OUTCOME_OK);
	assert_labels(job, 2, 1, 0);
	/* Published, but another rotation's value took the label. */
	tell_moto("PutSecretValue",
			  "{\"SecretId\":\"crash\",\"ClientRequestToken\":\"%s\",\"SecretString\":\"{}\","
			  "\"VersionStages\":[\"AWSPENDING\"]}",
			  uuid(5));
	assert_outcome(publish(job), OUTCOME_OK);
	assert_labels(job, 2, 1, 0);
	/* Promoted, and pending still there. */
	tell_moto("UpdateSecretVersionStage",
			  "{\"SecretId\":\"crash\",\"VersionStage\":\"AWSCURRENT\",\"MoveToVersionId\":\"%s\","
			  "\"RemoveFromVersionId\":\"%s\"}",
			  uuid(2), uuid(1));
	assert_labels(job, 2, 2, 1);
	assert_outcome(promote(job), OUTCOME_OK);
	assert_labels(job, 0, 2, 1);
	job_free(job);
}

TEST(a_version_with_another_value_is_not_replaced)
{
	NEED_MOTO();
	Job *job = moto_job("other", 2, 1);
	Outcome outcome;

	tell_moto(
		"CreateSecret",
		"{\"Name\":\"other\",\"ClientRequestToken\":\"%s\",\"SecretString\":\"{\\\"username\\\":"
		"\\\"app\\\",\\\"password\\\":\\\"another\\\"}\"}",
		uuid(2));
	outcome = publish(job);
	assert_outcome(outcome, OUTCOME_PERMANENT);
	assert_string_equal(outcome.code, "ResourceExistsException");
	assert_text("other", "AWSCURRENT", "{\"username\":\"app\",\"password\":\"another\"}");
	job_free(job);
}

TEST(a_secret_that_is_no_json_object_is_left_alone)
{
	static const char *const values[] = {
		"\"SecretString\":\"just a password\"", "\"SecretString\":\"[\\\"password\\\"]\"",
		"\"SecretString\":\"{\\\"a\\\":1} trailing\"", "\"SecretBinary\":\"AAEC\""};

	NEED_MOTO();
	for (size_t i = 0; i < COUNT_OF(values); i++)
	{
		char key[16];
		Job *job;
		SecretBuf username = {0};
		SecretBuf password = {0};

		(void) snprintf(key, sizeof(key), "plain%zu", i);
		tell_moto("CreateSecret", "{\"Name\":\"%s\",\"ClientRequestToken\":\"%s\",%s}", key,
				  uuid(1), values[i]);
		job = moto_job(key, 2, 1);
		assert_outcome(publish(job), OUTCOME_PERMANENT);
		assert_labels(job, 0, 1, 0);
		assert_outcome(store_aws.read(job, &username, &password, deadline_in(60000)),
					   OUTCOME_PERMANENT);
		job_free(job);
	}
}

TEST(a_secret_that_is_to_be_deleted_is_left_alone)
{
	NEED_MOTO();
	Job *job = moto_job("going", 2, 1);

	assert_outcome(publish(job), OUTCOME_OK);
	tell_moto("DeleteSecret", "{\"SecretId\":\"going\"}");
	assert_outcome(publish(job), OUTCOME_PERMANENT);
	assert_outcome(store_aws.check(job, deadline_in(60000)), OUTCOME_PERMANENT);
	job_free(job);
}

TEST(the_key_of_kms_and_the_replicas_are_those_of_the_store)
{
	NEED_MOTO();
	Job *job = job_with(moto_url, "everywhere", 2, 1,
						",\"kms_key_id\":\"alias/rotor\",\"replica_regions\":[\"eu-west-1\","
						"{\"region\":\"us-east-1\",\"kms_key_id\":\"alias/there\"}]");
	cJSON *description;
	const cJSON *replicas;

	assert_outcome(publish(job), OUTCOME_OK);
	description = ask_moto("DescribeSecret", "{\"SecretId\":\"everywhere\"}");
	assert_string_equal(job_string(description, "KmsKeyId"), "alias/rotor");
	replicas = cJSON_GetObjectItemCaseSensitive(description, "ReplicationStatus");
	assert_int_equal(cJSON_GetArraySize(replicas), 2);
	assert_string_equal(job_string(cJSON_GetArrayItem(replicas, 1), "Region"), "us-east-1");
	cJSON_Delete(description);
	job_free(job);
}

TEST(the_prefix_is_put_before_the_key_and_create_says_whether_a_secret_is_made)
{
	NEED_MOTO();
	Job *job = job_with(moto_url, "named", 2, 1, ",\"prefix\":\"team/\",\"create\":false");
	Outcome outcome = publish(job);

	assert_outcome(outcome, OUTCOME_PERMANENT);
	assert_string_equal(outcome.code, "ResourceNotFoundException");
	assert_outcome(store_aws.check(job, deadline_in(60000)), OUTCOME_PERMANENT);
	job_free(job);
	job = job_with(moto_url, "named", 2, 1, ",\"prefix\":\"team/\"");
	assert_outcome(store_aws.check(job, deadline_in(60000)), OUTCOME_OK);
	assert_outcome(publish(job), OUTCOME_OK);
	tell_moto("DescribeSecret", "{\"SecretId\":\"team/named\"}");
	job_free(job);
}

TEST(a_value_too_long_for_aws_is_not_sent)
{
	NEED_MOTO();
	static char fill[65501];
	cJSON *arguments = cJSON_CreateObject();
	char *text = NULL;
	Job *job = moto_job("long", 2, 1);

	memset(fill, 'x', sizeof(fill) - 1);
	assert_true(asprintf(&text, "{\"x\":\"%s\"}", fill) > 0);
	cJSON_AddStringToObject(arguments, "Name", "long");
	cJSON_AddStringToObject(arguments, "ClientRequestToken", uuid(1));
	cJSON_AddStringToObject(arguments, "SecretString", text);
	assert_outcome(
		aws_call(&moto_endpoint, "CreateSecret", arguments, true, NULL, deadline_in(60000)),
		OUTCOME_OK);
	assert_outcome(publish(job), OUTCOME_PERMANENT);
	assert_labels(job, 0, 1, 0);
	cJSON_Delete(arguments);
	free(text);
	job_free(job);
}

TEST(wrong_keys_are_refused_and_right_ones_are_not)
{
	NEED_MOTO();
	Job *job = moto_job("", 2, 1);
	Outcome outcome;

	assert_outcome(store_aws.check(job, deadline_in(60000)), OUTCOME_OK);
	use_keys(peer_value(&moto, "key_id"), "not-the-key");
	outcome = clean(job, store_aws.check(job, deadline_in(60000)));
	assert_outcome(outcome, OUTCOME_PERMANENT);
	assert_string_equal(outcome.code, "HTTP 403"); /* moto says it in XML */
	job_free(job);
}

/*
 * Whatever allocation fails, the step may be tried again, nothing is taken for somebody else's, and no other value
 * is published.
 */
TEST(memory_that_runs_out_is_transient_and_publishes_nothing_else)
{
	bool failed = true;

	NEED_MOTO();
	for (int n = 1; failed; n++)
	{
		char key[32];
		Job *job;
		Outcome outcome;

		(void) snprintf(key, sizeof(key), "short%d", n);
		tell_moto(
			"CreateSecret",
			"{\"Name\":\"%s\",\"ClientRequestToken\":\"%s\",\"SecretString\":\"{\\\"username\\\":"
			"\\\"app\\\",\\\"password\\\":\\\"p1-\\\\\\\"\\\\\\\\/\xc3\xbc'$\\\"}\"}",
			key, uuid(7));
		job = moto_job(key, 2, 1);
		short_memory_at(n);
		outcome = publish(job);
		failed = short_memory_end();
		if (outcome.class != OUTCOME_OK && outcome.class != OUTCOME_UNKNOWN)
			assert_outcome(outcome, OUTCOME_TRANSIENT);
		assert_outcome(publish(job), OUTCOME_OK);
		assert_text(key, "AWSPENDING",
					"{\"username\":\"app\",\"password\":\"" PASSWORD_JSON
					"\",\"port\":5433,\"engine\":\"postgres\",\"host\":\"db.example\","
					"\"dbname\":\"app\"}",
					2);
		short_memory_at(n);
		outcome = promote(job);
		failed = short_memory_end() || failed;
		if (outcome.class != OUTCOME_OK && outcome.class != OUTCOME_UNKNOWN)
			assert_outcome(outcome, OUTCOME_TRANSIENT);
		assert_outcome(promote(job), OUTCOME_OK);
		assert_labels(job, 0, 2, 7);
		job_free(job);
	}
}

static void
put_masked(JobValue *value, int version, const char *masked)
{
	(void) snprintf(value->id, sizeof(value->id), "%s", uuid(version));
	value->username = "app";
	value->password.len = strlen(masked);
	unmask(masked, value->password.data);
}

/* Publishes, promotes and reads, gives back, and looks; 0 if nothing is left of the masked passwords. */
static int
rotate_and_look(const char *key, const char *new_masked, const char *former_masked)
{
	Job job = {.secret = "app", .store_key = key, .target_type = "postgresql"};
	char options[128];
	SecretBuf username = {0};
	SecretBuf password = {0};
	bool done;

	(void) snprintf(options, sizeof(options), "{\"options\":{\"endpoint\":\"%s\"}}", moto_url);
	job.store = cJSON_Parse(options);
	job.lease_end = deadline_in(60000);
	put_masked(&job.version, 2, new_masked);
	put_masked(&job.former, 1, former_masked);
	done = store_aws.publish(&job, job.lease_end).class == OUTCOME_OK;
	done = done && store_aws.publish(&job, job.lease_end).class == OUTCOME_OK &&
		   store_aws.promote(&job, job.lease_end).class == OUTCOME_OK &&
		   store_aws.read(&job, &username, &password, job.lease_end).class == OUTCOME_OK &&
		   password.len == job.version.password.len && traces_of(new_masked) >= 2;
	secret_buf_wipe(&job.version.password);
	secret_buf_wipe(&job.former.password);
	secret_buf_wipe(&password);
	if (!done)
		return 100;
	return (traces_of(new_masked) > 0 ? 1 : 0) | (traces_of(former_masked) > 0 ? 2 : 0);
}

/*
 * The child's part; its exit status. The first time, the dynamic linker looks up what is called, and leaves the
 * registers of that moment on the stack; the second time is as in a worker that has run for a while.
 */
static int
rotate_twice(void)
{
	(void) rotate_and_look("warm", "XYrXYrXYrXYrXYrXYrXYrX", "YXrYXrYXrYXrYXrYXrYXrY");
	return rotate_and_look("traces", "hE^S^BO^HENSOnO^BO^HENS", "kDY]OX^B^KDY]OXeL^BO{z");
}

TEST(no_trace_of_a_password_is_left_in_memory)
{
	int status;
	pid_t child;

	NEED_MOTO();
	if (!CAN_LOOK_FOR_TRACES)
		skip();
	child = fork();
	if (child == 0)
		_exit(rotate_twice());
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- against a server that answers anything ---- */

#define DESCRIPTION                                                                     \
	"{\"Name\":\"k\",\"VersionIdsToStages\":{\"00000000-0000-4000-8000-000000000001\":" \
	"[\"AWSCURRENT\"],\"00000000-0000-4000-8000-000000000002\":[\"AWSPENDING\"]}}"
#define DESCRIPTION_WITHOUT_PENDING                                                     \
	"{\"Name\":\"k\",\"VersionIdsToStages\":{\"00000000-0000-4000-8000-000000000001\":" \
	"[\"AWSCURRENT\"]}}"
#define DESCRIPTION_PROMOTED                                                            \
	"{\"Name\":\"k\",\"VersionIdsToStages\":{\"00000000-0000-4000-8000-000000000001\":" \
	"[\"AWSPREVIOUS\"],\"00000000-0000-4000-8000-000000000002\":[\"AWSCURRENT\"]}}"
#define DESCRIPTION_TAKEN                                                               \
	"{\"Name\":\"k\",\"VersionIdsToStages\":{\"00000000-0000-4000-8000-000000000001\":" \
	"[\"AWSPREVIOUS\"],\"00000000-0000-4000-8000-000000000007\":[\"AWSCURRENT\"]}}"
#define CURRENT_VALUE "{\"SecretString\":\"{\\\"username\\\":\\\"app\\\"}\"}"
#define THROTTLED	  "{\"__type\":\"ThrottlingException\",\"message\":\"Rate exceeded\"}"
#define NOT_FOUND	  "{\"__type\":\"ResourceNotFoundException\",\"Message\":\"no such secret\"}"

static Job *
scripted_job(void)
{
	return job_with(script_url(script, ""), "k", 2, 1, "");
}

static void
assert_asked(int number, const char *operation)
{
	char expected[64];

	(void) snprintf(expected, sizeof(expected), "secretsmanager.%s", operation);
	assert_string_equal(script_header(script, number, "X-Amz-Target"), expected);
}

TEST(errors_are_told_apart_by_type_and_status_wherever_the_type_stands)
{
	/* NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding): columns in the order they are read in. */
	static const struct
	{
		int status;
		const char *headers, *body;
		OutcomeClass class;
		const char *code, *message;
	} cases[] = {
		{400, "", THROTTLED, OUTCOME_TRANSIENT, "ThrottlingException", "Rate exceeded"},
		{400, "", "{\"__type\":\"com.amazonaws.x#ThrottlingException:http://y\"}",
		 OUTCOME_TRANSIENT, "ThrottlingException", NULL},
		{400, "x-amzn-errortype: RequestLimitExceeded:http://x/\r\n", "", OUTCOME_TRANSIENT,
		 "RequestLimitExceeded", NULL},
		{429, "", "", OUTCOME_TRANSIENT, "HTTP 429", NULL},
		{500, "", "{\"__type\":\"InternalServiceError\",\"Message\":\"oh\\nno\"}",
		 OUTCOME_TRANSIENT, "InternalServiceError", "oh no"},
		{502, "", "<html>", OUTCOME_TRANSIENT, "HTTP 502", NULL},
		{503, "", "{\"__type\":5,\"message\":{}}", OUTCOME_TRANSIENT, "HTTP 503", NULL},
		{504, "", "", OUTCOME_TRANSIENT, "HTTP 504", NULL},
		{400, "", "{\"__type\":\"AccessDeniedException\",\"Message\":\"no\"}", OUTCOME_PERMANENT,
		 "AccessDeniedException", "no"},
		{400, "", "{\"__type\":\"UnrecognizedClientException\"}", OUTCOME_PERMANENT,
		 "UnrecognizedClientException", NULL},
		{400, "", "{\"__type\":\"InvalidRequestException\"}", OUTCOME_PERMANENT,
		 "InvalidRequestException", NULL},
		{403, "", "{\"__type\":\"InvalidSignatureException\"}", OUTCOME_PERMANENT,
		 "InvalidSignatureException", NULL},
		{403, "", "", OUTCOME_PERMANENT, "HTTP 403", NULL},
		{307, "Location: http://127.0.0.1:1/\r\n", "", OUTCOME_PERMANENT, "HTTP 307", NULL},
		{400, "", "{\"__type\":\"\\u0001\\\"#<script>\"}", OUTCOME_PERMANENT, "HTTP 400", NULL},
		{200, "", "{\"half\":", OUTCOME_TRANSIENT, "HTTP 200", NULL},
		{200, "", "[]", OUTCOME_TRANSIENT, "HTTP 200", NULL},
	};
	Job *job = scripted_job();

	for (size_t i = 0; i < COUNT_OF(cases); i++)
	{
		Outcome outcome;

		script_answer(script, cases[i].status, cases[i].headers, cases[i].body);
		outcome = store_aws.check(job, deadline_in(60000));
		assert_outcome(outcome, cases[i].class);
		assert_string_equal(outcome.code, cases[i].code);
		if (cases[i].message != NULL)
			assert_string_equal(outcome.message, cases[i].message);
		assert_int_equal(script_requests(script), (int) i + 1);
	}
	job_free(job);
}

TEST(what_aws_asks_to_wait_is_passed_on)
{
	Job *job = scripted_job();
	Outcome outcome;

	script_answer(script, 200, "", DESCRIPTION_WITHOUT_PENDING);
	script_answer(script, 200, "", CURRENT_VALUE);
	script_answer(script, 400, "Retry-After: 3\r\n", THROTTLED);
	outcome = publish(job);
	assert_outcome(outcome, OUTCOME_TRANSIENT);
	assert_int_equal(outcome.retry_after_ms, 3000);
	assert_asked(2, "PutSecretValue");
	job_free(job);
}

TEST(a_write_whose_answer_is_missing_or_says_nothing_is_unknown)
{
	static const char half[] = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"ARN\":";
	static const char wrong[] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
	static const char within[] = "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n";
	static const char before[] = "HTTP/1.1 504 Oh\r\nContent-Length: 0\r\n\r\n";
	static const char *const answers[] = {half, wrong, within, before, ""};

	for (size_t i = 0; i < COUNT_OF(answers); i++)
	{
		Job *job = scripted_job();

		script_answer(script, 200, "", DESCRIPTION_WITHOUT_PENDING);
		script_answer(script, 200, "", CURRENT_VALUE);
		script_bytes(script, answers[i], strlen(answers[i]), SCRIPT_CLOSE);
		assert_outcome(publish(job), OUTCOME_UNKNOWN);
		script_answer(script, 200, "", DESCRIPTION);
		script_bytes(script, answers[i], strlen(answers[i]), SCRIPT_CLOSE);
		assert_outcome(promote(job), OUTCOME_UNKNOWN);
		job_free(job);
	}
}

TEST(a_peer_that_falls_silent_holds_up_no_longer_than_deadline_or_lease)
{
	Job *job = NULL;
	int64_t begun;
	int64_t ms;
	Outcome outcome;

	/* A deadline that a busy machine meets: the first request is answered, the second sent, within it. */
	for (ms = 300;; ms *= 4)
	{
		job_free(job);
		script_stop(script);
		script = script_start();
		job = scripted_job();
		script_answer(script, 200, "", DESCRIPTION);
		script_bytes(script, "", 0, SCRIPT_HANG);
		begun = clock_ms();
		outcome = store_aws.promote(job, deadline_in(ms));
		if (outcome.class != OUTCOME_TRANSIENT || ms > 20000)
			break;
	}
	assert_outcome(outcome, OUTCOME_UNKNOWN);
	assert_true(clock_ms() - begun < ms + 30000);
	script_wait(script, 2);
	assert_asked(1, "UpdateSecretVersionStage");
	for (;; ms *= 4)
	{
		script_bytes(script, "", 0, SCRIPT_HANG);
		begun = clock_ms();
		job->lease_end = deadline_in(ms);
		assert_outcome(store_aws.promote(job, deadline_in(600000)), OUTCOME_TRANSIENT);
		assert_true(clock_ms() - begun < ms + 30000);
		if (script_requests(script) >= 3)
			break;
		assert_true(ms < 20000);
	}
	job_free(job);
	/* Whoever has no lease asks nothing. */
	script_stop(script);
	script = script_start();
	job = scripted_job();
	job->lease_end = deadline_in(-1);
	assert_outcome(store_aws.promote(job, deadline_in(600000)), OUTCOME_TRANSIENT);
	assert_int_equal(script_requests(script), 0);
	job_free(job);
}

TEST(what_fails_after_something_was_changed_is_unknown)
{
	Job *job = scripted_job();

	/* Created, but the pending version refused. */
	script_answer(script, 400, "", NOT_FOUND);
	script_answer(script, 200, "", "{}");
	script_answer(script, 200, "", CURRENT_VALUE);
	script_answer(script, 400, "", THROTTLED);
	assert_outcome(publish(job), OUTCOME_UNKNOWN);
	assert_asked(1, "CreateSecret");
	assert_asked(3, "PutSecretValue");
	/* Current moved, but pending not taken away. */
	script_answer(script, 200, "", DESCRIPTION);
	script_answer(script, 200, "", "{}");
	script_answer(script, 400, "", "{\"__type\":\"AccessDeniedException\"}");
	assert_outcome(promote(job), OUTCOME_UNKNOWN);
	job_free(job);
}

TEST(labels_that_moved_between_look_and_move_are_looked_at_again)
{
	static const char refused[] = "{\"__type\":\"InvalidParameterException\",\"message\":\"m\"}";
	Job *job = scripted_job();

	script_answer(script, 200, "", DESCRIPTION);
	script_answer(script, 400, "", refused);
	script_answer(script, 200, "", DESCRIPTION_PROMOTED);
	assert_outcome(promote(job), OUTCOME_OK);
	script_answer(script, 200, "", DESCRIPTION);
	script_answer(script, 400, "", refused);
	script_answer(script, 200, "", DESCRIPTION_TAKEN);
	script_answer(script, 200, "", CURRENT_VALUE);
	assert_outcome(promote(job), OUTCOME_SUPERSEDED);
	script_answer(script, 200, "", DESCRIPTION);
	script_answer(script, 400, "", refused);
	script_answer(script, 200, "", DESCRIPTION);
	script_answer(script, 400, "", refused);
	/* What is read lags behind: the next attempt may see it, and nothing is undone for that. */
	assert_outcome(promote(job), OUTCOME_TRANSIENT);
	assert_int_equal(script_requests(script), 11);
	job_free(job);
}

TEST(what_fails_when_the_version_is_current_already_is_unknown)
{
	static const char both[] =
		"{\"Name\":\"k\",\"VersionIdsToStages\":{\"00000000-0000-4000-8000-000000000001\":"
		"[\"AWSPREVIOUS\"],\"00000000-0000-4000-8000-000000000002\":[\"AWSCURRENT\",\"AWSPENDING\"]}}";
	static const char *const refused[] = {"{\"__type\":\"AccessDeniedException\"}",
										  "{\"__type\":\"InvalidParameterException\"}", THROTTLED};

	for (size_t i = 0; i < COUNT_OF(refused); i++)
	{
		Job *job = scripted_job();

		script_answer(script, 200, "", both);
		script_answer(script, 400, "", refused[i]);
		assert_outcome(promote(job), OUTCOME_UNKNOWN);
		assert_int_equal(script_requests(script), 2 * (int) (i + 1));
		job_free(job);
	}
}

TEST(a_version_that_aws_ignored_gets_its_label)
{
	Job *job = scripted_job();

	/* It was there, without a label: so not in the description, and Put does nothing. */
	script_answer(script, 200, "", DESCRIPTION_WITHOUT_PENDING);
	script_answer(script, 200, "", CURRENT_VALUE);
	script_answer(script, 200, "", "{\"VersionId\":\"v\"}");
	script_answer(script, 200, "",
				  "{\"SecretString\":\"{\\\"username\\\":\\\"app\\\",\\\"password\\\":"
				  "\\\"p2-\\\\\\\"\\\\\\\\/\xc3\xbc'$\\\"}\"}");
	script_answer(script, 200, "", DESCRIPTION_WITHOUT_PENDING);
	script_answer(script, 200, "", "{}");
	assert_outcome(publish(job), OUTCOME_OK);
	assert_asked(5, "UpdateSecretVersionStage");
	assert_non_null(strstr(script_body(script, 5), "\"VersionStage\":\"AWSPENDING\""));
	assert_non_null(strstr(script_body(script, 5), uuid(2)));
	assert_null(strstr(script_body(script, 5), "RemoveFromVersionId"));
	job_free(job);
}

TEST(a_secret_that_aws_rotates_itself_is_left_alone)
{
	Job *job = scripted_job();

	script_answer(script, 200, "", "{\"Name\":\"k\",\"RotationEnabled\":true}");
	assert_outcome(publish(job), OUTCOME_PERMANENT);
	script_answer(script, 200, "", "{\"Name\":\"k\",\"OwningService\":\"rds\"}");
	assert_outcome(publish(job), OUTCOME_PERMANENT);
	assert_int_equal(script_requests(script), 2);
	job_free(job);
}

TEST(credentials_that_have_expired_are_asked_for_again_once)
{
	static const char expired[] = "{\"__type\":\"ExpiredTokenException\",\"message\":\"e\"}";
	Job *job = scripted_job();

	script_answer(script, 400, "", expired);
	script_answer(script, 200, "", DESCRIPTION);
	assert_outcome(store_aws.check(job, deadline_in(60000)), OUTCOME_OK);
	script_answer(script, 400, "", expired);
	script_answer(script, 400, "", expired);
	assert_outcome(store_aws.check(job, deadline_in(60000)), OUTCOME_PERMANENT);
	assert_int_equal(script_requests(script), 4);
	job_free(job);
}

TEST(a_canonical_request_in_an_error_shows_no_token)
{
	static const char token[] = "FwoGZXIvYXdzEBYaDH/+s3ssion=Token//123456789012345678901234567890";
	/* The second one is cut within the token. */
	static const int lengths[] = {1, 450};
	Job *job = scripted_job();

	setenv("AWS_SESSION_TOKEN", token, 1);
	for (size_t i = 0; i < COUNT_OF(lengths); i++)
	{
		char body[1024];
		Outcome outcome;

		(void) snprintf(
			body, sizeof(body),
			"{\"__type\":\"InvalidSignatureException\",\"message\":\"The Canonical String "
			"should have been\\n'POST\\n/%0*d\\nx-amz-security-token:%s\\n'\"}",
			lengths[i], 1, token);
		script_answer(script, 403, "", body);
		outcome = store_aws.check(job, deadline_in(60000));
		assert_outcome(outcome, OUTCOME_PERMANENT);
		assert_string_equal(outcome.code, "InvalidSignatureException");
		assert_string_equal(script_header(script, (int) i, "X-Amz-Security-Token"), token);
		assert_null(strstr(outcome.message, "FwoG"));
		assert_null(strstr(outcome.message, "s3ssion"));
		assert_non_null(strstr(outcome.message, "POST"));
	}
	unsetenv("AWS_SESSION_TOKEN");
	job_free(job);
}

TEST(an_answer_that_is_too_long_is_cut)
{
	char *body = malloc(TOO_LONG);
	Job *job = scripted_job();

	assert_non_null(body);
	memset(body, ' ', TOO_LONG - 1);
	body[TOO_LONG - 1] = '\0';
	script_answer(script, 200, "", body);
	assert_outcome(store_aws.check(job, deadline_in(60000)), OUTCOME_TRANSIENT);
	free(body);
	job_free(job);
}

TEST(a_replica_may_have_a_key_of_its_own_and_a_bad_list_is_refused_before_anything_is_made)
{
	Job *job =
		job_with(script_url(script, ""), "k", 2, 0,
				 ",\"replica_regions\":[{\"region\":\"us-east-1\",\"kms_key_id\":\"there\"}]");

	script_answer(script, 400, "", NOT_FOUND);
	script_answer(script, 200, "", "{}");
	assert_outcome(publish(job), OUTCOME_OK);
	assert_non_null(strstr(script_body(script, 1),
						   "\"AddReplicaRegions\":[{\"Region\":\"us-east-1\","
						   "\"KmsKeyId\":\"there\"}]"));
	job_free(job);
	job = job_with(script_url(script, ""), "k", 2, 0, ",\"replica_regions\":[5]");
	script_answer(script, 400, "", NOT_FOUND);
	assert_outcome(publish(job), OUTCOME_PERMANENT);
	assert_int_equal(script_requests(script), 3);
	job_free(job);
}

TEST(somebody_who_created_the_secret_first_is_found_by_the_next_attempt)
{
	Job *job = scripted_job();

	script_answer(script, 400, "", NOT_FOUND);
	script_answer(script, 400, "", "{\"__type\":\"ResourceExistsException\"}");
	assert_outcome(publish(job), OUTCOME_TRANSIENT);
	job_free(job);
}

TEST(a_name_of_another_user_is_replaced_with_the_password)
{
	Job *job = scripted_job();

	script_answer(script, 200, "", DESCRIPTION_WITHOUT_PENDING);
	script_answer(script, 200, "",
				  "{\"SecretString\":\"{\\\"username\\\":\\\"app_blue\\\",\\\"password\\\":1,"
				  "\\\"port\\\":1,\\\"engine\\\":1,\\\"host\\\":1,\\\"dbname\\\":1}\"}");
	script_answer(script, 400, "", THROTTLED);
	assert_outcome(publish(job), OUTCOME_TRANSIENT);
	assert_non_null(
		strstr(script_body(script, 2), "\"{\\\"username\\\":\\\"app\\\",\\\"password\\\":\\\"p2-"));
	assert_non_null(strstr(script_body(script, 2),
						   ",\\\"port\\\":1,\\\"engine\\\":1,\\\"host\\\":1,\\\"dbname\\\":1}\""));
	job_free(job);
}

/* ---- where it is ---- */

TEST(plain_http_to_another_host_is_refused)
{
	Job *job = job_with("http://192.0.2.1", "k", 2, 1, "");

	assert_outcome(store_aws.check(job, deadline_in(60000)), OUTCOME_PERMANENT);
	job_free(job);
}

static void
assert_place(const char *options, const char *url, const char *region)
{
	cJSON *tree = cJSON_Parse(options);
	AwsEndpoint endpoint;

	if (url == NULL)
		assert_outcome(aws_endpoint_find(tree, &endpoint), OUTCOME_PERMANENT);
	else
	{
		assert_outcome(aws_endpoint_find(tree, &endpoint), OUTCOME_OK);
		assert_string_equal(endpoint.url, url);
		assert_string_equal(endpoint.region, region);
	}
	cJSON_Delete(tree);
}

TEST(the_endpoint_is_that_of_the_store_the_environment_or_the_region)
{
	assert_place("{}", "https://secretsmanager.eu-central-1.amazonaws.com/", "eu-central-1");
	assert_place("{\"region\":\"cn-north-1\"}",
				 "https://secretsmanager.cn-north-1.amazonaws.com.cn/", "cn-north-1");
	assert_place("{\"region\":\"us-gov-west-1\"}",
				 "https://secretsmanager.us-gov-west-1.amazonaws.com/", "us-gov-west-1");
	assert_place("{\"region\":\"us-isob-east-1\"}",
				 "https://secretsmanager.us-isob-east-1.sc2s.sgov.gov/", "us-isob-east-1");
	assert_place("{\"region\":\"evil.example/\"}", NULL, NULL);
	assert_place("{\"region\":\"EU\"}", NULL, NULL);

	setenv("AWS_ENDPOINT_URL", "https://all.example///", 1);
	assert_place("{}", "https://all.example/", "eu-central-1");
	setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", "https://own.example", 1);
	assert_place("{}", "https://own.example/", "eu-central-1");
	setenv("SECRETS_MANAGER_ENDPOINT", "https://old.example", 1);
	assert_place("{}", "https://old.example/", "eu-central-1");
	assert_place("{\"endpoint\":\"https://store.example\"}", "https://store.example/",
				 "eu-central-1");
	unsetenv("AWS_ENDPOINT_URL");
	unsetenv("AWS_ENDPOINT_URL_SECRETS_MANAGER");
	unsetenv("SECRETS_MANAGER_ENDPOINT");

	unsetenv("AWS_REGION");
	assert_place("{}", NULL, NULL);
	setenv("AWS_DEFAULT_REGION", "sa-east-1", 1);
	assert_place("{}", "https://secretsmanager.sa-east-1.amazonaws.com/", "sa-east-1");
	unsetenv("AWS_DEFAULT_REGION");
	setenv("AWS_REGION", "eu-central-1", 1);
}

#define WITH_MOTO(test)	  cmocka_unit_test_setup(test, need_moto)
#define WITH_SCRIPT(test) cmocka_unit_test_setup_teardown(test, start_script, stop_script)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_MOTO(
			a_missing_secret_is_created_with_the_former_value_and_gets_the_new_one_as_pending),
		WITH_MOTO(
			a_missing_secret_without_a_former_value_is_current_at_once_and_the_outcome_says_so),
		WITH_MOTO(each_act_may_be_done_again_at_any_time),
		WITH_MOTO(one_rotation_after_another_moves_the_labels_on),
		WITH_MOTO(an_existing_secret_keeps_all_that_rotor_does_not_know_to_the_byte),
		WITH_MOTO(an_edit_by_hand_that_leaves_the_password_alone_is_kept_and_rotated),
		WITH_MOTO(before_the_target_is_changed_somebody_elses_value_is_found),
		WITH_MOTO(what_somebody_else_made_current_is_left_alone),
		WITH_MOTO(a_crash_between_two_calls_is_made_good_by_the_next_attempt),
		WITH_MOTO(a_version_with_another_value_is_not_replaced),
		WITH_MOTO(a_secret_that_is_no_json_object_is_left_alone),
		WITH_MOTO(a_secret_that_is_to_be_deleted_is_left_alone),
		WITH_MOTO(the_key_of_kms_and_the_replicas_are_those_of_the_store),
		WITH_MOTO(the_prefix_is_put_before_the_key_and_create_says_whether_a_secret_is_made),
		WITH_MOTO(a_value_too_long_for_aws_is_not_sent),
		WITH_MOTO(wrong_keys_are_refused_and_right_ones_are_not),
		WITH_MOTO(memory_that_runs_out_is_transient_and_publishes_nothing_else),
		WITH_MOTO(no_trace_of_a_password_is_left_in_memory),
		WITH_SCRIPT(errors_are_told_apart_by_type_and_status_wherever_the_type_stands),
		WITH_SCRIPT(what_aws_asks_to_wait_is_passed_on),
		WITH_SCRIPT(a_write_whose_answer_is_missing_or_says_nothing_is_unknown),
		WITH_SCRIPT(a_peer_that_falls_silent_holds_up_no_longer_than_deadline_or_lease),
		WITH_SCRIPT(what_fails_after_something_was_changed_is_unknown),
		WITH_SCRIPT(labels_that_moved_between_look_and_move_are_looked_at_again),
		WITH_SCRIPT(what_fails_when_the_version_is_current_already_is_unknown),
		WITH_SCRIPT(a_version_that_aws_ignored_gets_its_label),
		WITH_SCRIPT(a_secret_that_aws_rotates_itself_is_left_alone),
		WITH_SCRIPT(credentials_that_have_expired_are_asked_for_again_once),
		WITH_SCRIPT(a_canonical_request_in_an_error_shows_no_token),
		WITH_SCRIPT(an_answer_that_is_too_long_is_cut),
		WITH_SCRIPT(
			a_replica_may_have_a_key_of_its_own_and_a_bad_list_is_refused_before_anything_is_made),
		WITH_SCRIPT(somebody_who_created_the_secret_first_is_found_by_the_next_attempt),
		WITH_SCRIPT(a_name_of_another_user_is_replaced_with_the_password),
		cmocka_unit_test(plain_http_to_another_host_is_refused),
		cmocka_unit_test(the_endpoint_is_that_of_the_store_the_environment_or_the_region),
	};

	return cmocka_run_group_tests(tests, start_moto, stop_moto);
}

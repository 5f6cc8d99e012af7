/*
 * test_aws_credentials.c - where AWS credentials come from, in which order, and how long they are kept.
 */
#include "support.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "aws_credentials.h"
#include "aws_metadata.h"
#include "http_script.h"

#define NOW ((time_t) 1800000000) /* 2027-01-15T08:00:00Z, on the tests' own clock */

static Script *script;
static char folder[64];
static time_t now;

static time_t
test_clock(time_t *out)
{
	if (out != NULL)
		*out = now;
	return now;
}

/* ---- what the tests are made of ---- */

static void
write_file(const char *name, const char *text)
{
	char path[128];
	FILE *file;

	(void) snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "we");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static void
set_to_file(const char *variable, const char *name)
{
	char path[128];

	(void) snprintf(path, sizeof(path), "%s/%s", folder, name);
	setenv(variable, path, 1);
}

static void
remove_file(const char *name)
{
	char path[128];

	(void) snprintf(path, sizeof(path), "%s/%s", folder, name);
	(void) unlink(path);
}

/* An environment without any AWS setting, files that are not there, nothing kept. */
static int
begin(void **state __attribute__((unused)))
{
	static const char *const names[] = {"AWS_ACCESS_KEY_ID",
										"AWS_SECRET_ACCESS_KEY",
										"AWS_SESSION_TOKEN",
										"AWS_PROFILE",
										"AWS_REGION",
										"AWS_WEB_IDENTITY_TOKEN_FILE",
										"AWS_ROLE_ARN",
										"AWS_ROLE_SESSION_NAME",
										"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
										"AWS_CONTAINER_CREDENTIALS_FULL_URI",
										"AWS_CONTAINER_AUTHORIZATION_TOKEN",
										"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
										"AWS_EC2_METADATA_DISABLED",
										"AWS_ENDPOINT_URL"};

	for (size_t i = 0; i < COUNT_OF(names); i++)
		unsetenv(names[i]);
	script = script_start();
	(void) snprintf(folder, sizeof(folder), "/tmp/rotor-aws.XXXXXX");
	assert_non_null(mkdtemp(folder));
	set_to_file("AWS_SHARED_CREDENTIALS_FILE", "credentials");
	set_to_file("AWS_CONFIG_FILE", "config");
	setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", script_url(script, ""), 1);
	setenv("AWS_ENDPOINT_URL_STS", script_url(script, ""), 1);
	now = NOW;
	aws_credentials_set_clock(test_clock);
	return 0;
}

static int
end(void **state __attribute__((unused)))
{
	static const char *const names[] = {"credentials", "config", "token"};

	aws_credentials_set_clock(NULL);
	script_stop(script);
	for (size_t i = 0; i < COUNT_OF(names); i++)
		remove_file(names[i]);
	return rmdir(folder);
}

/* Gets credentials and compares; key_id NULL: they must fail with that class. */
static Outcome
get(OutcomeClass class, const char *key_id, const char *secret_key, const char *token)
{
	AwsCredentials credentials;
	Outcome outcome = aws_credentials_get(&credentials, "eu-central-1", deadline_in(60000));

	if (outcome.class != class)
		fail_msg("%s (%s): %s", outcome_name(outcome.class), outcome.code, outcome.message);
	assert_string_equal(credentials.key_id, key_id != NULL ? key_id : "");
	assert_string_equal(credentials.secret_key.data, secret_key != NULL ? secret_key : "");
	assert_string_equal(credentials.session_token.data, token != NULL ? token : "");
	aws_credentials_wipe(&credentials);
	assert_wiped(&credentials.secret_key);
	assert_wiped(&credentials.session_token);
	return outcome;
}

#define get_ok(key_id, secret_key, token) (void) get(OUTCOME_OK, key_id, secret_key, token)

#define JSON_UNTIL(id, until)                                           \
	"{\"Code\":\"Success\",\"Type\":\"AWS-HMAC\",\"AccessKeyId\":\"" id \
	"\",\"SecretAccessKey\":\"s3cret/+=\",\"Token\":\"t0ken==\",\"Expiration\":\"" until "\"}"
#define JSON(id) JSON_UNTIL(id, "2027-01-15T09:00:00Z") /* for an hour */
#define XML(id)                                                                                   \
	"<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n"   \
	" <AssumeRoleWithWebIdentityResult>\n  <SubjectFromWebIdentityToken>a</"                      \
	"SubjectFromWebIdentityToken>\n  <Credentials>\n   <AccessKeyId>" id                          \
	"</AccessKeyId>\n   <SecretAccessKey>s3cret/+=</SecretAccessKey>\n"                           \
	"   <SessionToken>t0ken==</SessionToken>\n   <Expiration>2027-01-15T09:00:00Z</Expiration>\n" \
	"  </Credentials>\n </AssumeRoleWithWebIdentityResult>\n</"                                   \
	"AssumeRoleWithWebIdentityResponse>"

static void
use_container(void)
{
	setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", script_url(script, "/creds?id=1"), 1);
}

static void
use_web_identity(void)
{
	write_file("token", "head.bo+dy/=.sig\n");
	set_to_file("AWS_WEB_IDENTITY_TOKEN_FILE", "token");
	setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/web", 1);
}

/* ---- environment ---- */

TEST(keys_of_the_environment_are_taken_as_they_are)
{
	setenv("AWS_ACCESS_KEY_ID", "AKIDENV", 1);
	setenv("AWS_SECRET_ACCESS_KEY", "se/cr+et", 1);
	get_ok("AKIDENV", "se/cr+et", "");
	setenv("AWS_SESSION_TOKEN", "to/ken==", 1);
	get_ok("AKIDENV", "se/cr+et", "to/ken==");
	assert_int_equal(script_requests(script), 0);
}

TEST(half_a_key_or_one_that_is_none_is_refused_without_showing_it)
{
	static const char *const bad[][3] = {{"AKID", "", ""},
										 {"", "s3cret", ""},
										 {"AK:ID", "s3cret", ""},
										 {"AKID", "s3cret\n", ""},
										 {"AKID", "s3cret s3cret", ""},
										 {"AKID", "s3cret", "s3cret\r\nX: y"}};

	for (size_t i = 0; i < COUNT_OF(bad); i++)
	{
		Outcome outcome;

		setenv("AWS_ACCESS_KEY_ID", bad[i][0], 1);
		setenv("AWS_SECRET_ACCESS_KEY", bad[i][1], 1);
		setenv("AWS_SESSION_TOKEN", bad[i][2], 1);
		outcome = get(OUTCOME_PERMANENT, NULL, NULL, NULL);
		assert_null(strstr(outcome.message, "s3cret"));
	}
}

TEST(the_first_source_that_is_configured_is_taken)
{
	write_file("credentials", "[default]\naws_access_key_id=AKIDFILE\naws_secret_access_key=f\n");
	use_container();
	use_web_identity();
	setenv("AWS_ACCESS_KEY_ID", "AKIDENV", 1);
	setenv("AWS_SECRET_ACCESS_KEY", "e", 1);
	get_ok("AKIDENV", "e", "");
	unsetenv("AWS_ACCESS_KEY_ID");
	unsetenv("AWS_SECRET_ACCESS_KEY");

	script_answer(script, 200, "", XML("ASIAWEB"));
	get_ok("ASIAWEB", "s3cret/+=", "t0ken==");
	unsetenv("AWS_WEB_IDENTITY_TOKEN_FILE");

	get_ok("AKIDFILE", "f", "");
	remove_file("credentials");

	/* What another source gave is not kept for this one. */
	script_answer(script, 200, "", JSON("ASIACONTAINER"));
	get_ok("ASIACONTAINER", "s3cret/+=", "t0ken==");
	unsetenv("AWS_CONTAINER_CREDENTIALS_FULL_URI");
	assert_int_equal(script_requests(script), 2);

	setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
	(void) get(OUTCOME_PERMANENT, NULL, NULL, NULL);
	assert_int_equal(script_requests(script), 2);
}

TEST(a_source_that_fails_is_not_followed_by_another)
{
	use_web_identity();
	write_file("credentials", "[default]\naws_access_key_id=AKIDFILE\naws_secret_access_key=f\n");
	script_answer(script, 403, "", "");
	(void) get(OUTCOME_PERMANENT, NULL, NULL, NULL);
	assert_int_equal(script_requests(script), 1);
}

/* ---- files ---- */

TEST(a_profile_is_read_from_both_files_and_its_key_from_the_credentials_first)
{
	AwsProfile profile;
	RotorError err = fresh_error();

	write_file("config",
			   "# comment\n[default]\nregion = eu-west-3\naws_access_key_id = AKIDCONFIG\n"
			   "aws_secret_access_key = c\naws_session_token = ct\ns3 =\n  max = 3\n"
			   "[profile other]\nregion=us-east-2\n");
	write_file("credentials", "[other]\naws_access_key_id = AKIDOTHER\n"
							  "aws_secret_access_key = o/+=\n[more]\naws_access_key_id=AKIDMORE\n");
	get_ok("AKIDCONFIG", "c", "ct");
	setenv("AWS_PROFILE", "other", 1);
	get_ok("AKIDOTHER", "o/+=", "");
	assert_true(aws_profile_read(&profile, &err));
	assert_string_equal(profile.region, "us-east-2");
	aws_profile_wipe(&profile);
	unsetenv("AWS_PROFILE");

	write_file("credentials", "[default]\naws_access_key_id=AKIDFILE\naws_secret_access_key=f\n");
	get_ok("AKIDFILE", "f", ""); /* not the other file's session token */
	write_file("credentials", "[default]\naws_access_key_id=AKIDNEW\naws_secret_access_key=n\n");
	get_ok("AKIDNEW", "n", ""); /* a change counts at once */
}

TEST(a_session_token_of_usual_length_is_not_cut)
{
	char text[4096];
	char token[1501];

	memset(token, 'x', sizeof(token) - 1);
	token[sizeof(token) - 1] = '\0';
	(void) snprintf(text, sizeof(text),
					"[default]\naws_access_key_id=AKIDFILE\naws_secret_access_key=f\n"
					"aws_session_token=%s\n",
					token);
	write_file("credentials", text);
	get_ok("AKIDFILE", "f", token);
}

TEST(a_profile_that_cannot_be_used_is_an_error_and_not_passed_over)
{
	char text[8192];
	Outcome outcome;

	use_container();
	setenv("AWS_PROFILE", "nobody", 1);
	(void) get(OUTCOME_PERMANENT, NULL, NULL, NULL);
	unsetenv("AWS_PROFILE");
	write_file("config", "[default]\ncredential_process = /bin/false\n");
	outcome = get(OUTCOME_PERMANENT, NULL, NULL, NULL);
	assert_non_null(strstr(outcome.message, "credential_process"));
	write_file("config", "[default]\nrole_arn = arn:aws:iam::1:role/x\nsource_profile = y\n");
	(void) get(OUTCOME_PERMANENT, NULL, NULL, NULL);
	(void) snprintf(text, sizeof(text), "[default]\naws_access_key_id = %0500d\n", 1);
	write_file("config", text);
	(void) get(OUTCOME_PERMANENT, NULL, NULL, NULL);
	write_file("config", "[default]\naws_access_key_id = AKID\n");
	(void) get(OUTCOME_PERMANENT, NULL, NULL, NULL);
	setenv("AWS_CONFIG_FILE", folder, 1); /* which cannot be read as a file */
	(void) get(OUTCOME_PERMANENT, NULL, NULL, NULL);
	assert_int_equal(script_requests(script), 0);
}

/* ---- container ---- */

TEST(the_container_is_asked_with_its_token_and_a_token_file_wins)
{
	use_container();
	setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "Basic abc", 1);
	script_answer(script, 200, "", JSON("ASIA1"));
	get_ok("ASIA1", "s3cret/+=", "t0ken==");
	assert_string_equal(script_header(script, 0, "Authorization"), "Basic abc");
	assert_memory_equal(script_request(script, 0), "GET /creds?id=1 HTTP/1.1\r\n", 26);

	write_file("token", "of the file\r\n");
	set_to_file("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "token");
	aws_credentials_refused("ASIA1");
	script_answer(script, 200, "", JSON("ASIA2"));
	get_ok("ASIA2", "s3cret/+=", "t0ken==");
	assert_string_equal(script_header(script, 1, "Authorization"), "of the file");

	aws_credentials_refused("ASIA2");
	write_file("token", "two\nlines");
	(void) get(OUTCOME_PERMANENT, NULL, NULL, NULL);
	remove_file("token");
	(void) get(OUTCOME_PERMANENT, NULL, NULL, NULL);
	assert_int_equal(script_requests(script), 2);
}

TEST(only_hosts_that_aws_allows_are_asked_by_plain_http)
{
	static const char *const urls[] = {
		"http://192.0.2.1/creds", "http://169.254.170.2.example/creds",
		"http://169.254.170.2@192.0.2.1/", "ftp://127.0.0.1/", "not a url"};

	for (size_t i = 0; i < COUNT_OF(urls); i++)
	{
		setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", urls[i], 1);
		(void) get(OUTCOME_PERMANENT, NULL, NULL, NULL);
	}
	setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "@192.0.2.1/", 1);
	(void) get(OUTCOME_PERMANENT, NULL, NULL, NULL);
}

TEST(an_endpoint_that_fails_is_asked_again_later_unless_it_refuses)
{
	/* NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding): columns in the order they are read in. */
	static const struct
	{
		int status;
		const char *body;
		OutcomeClass class;
	} cases[] = {
		{500, "", OUTCOME_TRANSIENT},
		{429, "", OUTCOME_TRANSIENT},
		{403, "", OUTCOME_PERMANENT},
		{404, "", OUTCOME_PERMANENT},
		{302, "", OUTCOME_PERMANENT},
		{200, "", OUTCOME_TRANSIENT},
		{200, "{", OUTCOME_TRANSIENT},
		{200, "{\"Code\":\"Failed\"}", OUTCOME_TRANSIENT},
		{200, "{\"AccessKeyId\":\"ASIA\",\"SecretAccessKey\":\"s\"}", OUTCOME_TRANSIENT},
		{200, JSON_UNTIL("ASIA", "tomorrow"), OUTCOME_TRANSIENT},
		{200, JSON_UNTIL("ASIA", "2027-01-15T09:00:00+02:00"), OUTCOME_TRANSIENT},
		{200, JSON_UNTIL("ASIA", "2027-01-15T07:59:59Z"), OUTCOME_TRANSIENT}, /* has expired */
		{200, JSON_UNTIL("AS\\r\\nIA", "2027-01-15T09:00:00Z"), OUTCOME_TRANSIENT},
	};

	use_container();
	for (size_t i = 0; i < COUNT_OF(cases); i++)
	{
		script_answer(script, cases[i].status, "", cases[i].body);
		(void) get(cases[i].class, NULL, NULL, NULL);
	}
	script_answer(script, 200, "", JSON("ASIA1"));
	get_ok("ASIA1", "s3cret/+=", "t0ken==");
}

/* ---- instance ---- */

TEST(the_instance_is_asked_for_a_session_token_first_and_then_with_it)
{
	script_answer(script, 200, "", "imds-token==");
	script_answer(script, 200, "", "my-role\n");
	script_answer(script, 200, "", JSON("ASIA1"));
	get_ok("ASIA1", "s3cret/+=", "t0ken==");
	assert_memory_equal(script_request(script, 0), "PUT /latest/api/token HTTP/1.1\r\n", 32);
	assert_string_equal(script_header(script, 0, "X-aws-ec2-metadata-token-ttl-seconds"), "21600");
	assert_string_equal(script_header(script, 0, "Content-Length"), "0");
	assert_memory_equal(script_request(script, 1),
						"GET /latest/meta-data/iam/security-credentials/ HTTP/1.1\r\n", 58);
	assert_string_equal(script_header(script, 1, "X-aws-ec2-metadata-token"), "imds-token==");
	assert_memory_equal(script_request(script, 2),
						"GET /latest/meta-data/iam/security-credentials/my-role HTTP/1.1\r\n", 65);
	assert_string_equal(script_header(script, 2, "X-aws-ec2-metadata-token"), "imds-token==");
}

TEST(the_first_version_of_the_metadata_is_never_asked)
{
	script_answer(script, 403, "", "");
	(void) get(OUTCOME_PERMANENT, NULL, NULL, NULL);
	script_answer(script, 200, "", "");
	(void) get(OUTCOME_PERMANENT, NULL, NULL, NULL);
	script_answer(script, 200, "", "two\r\nX: lines");
	(void) get(OUTCOME_PERMANENT, NULL, NULL, NULL);
	assert_int_equal(script_requests(script), 3);
}

TEST(an_instance_without_a_role_has_no_credentials)
{
	static const char *const roles[] = {"", "\n", "a role", "a?role", "../%2e"};

	for (size_t i = 0; i < COUNT_OF(roles); i++)
	{
		script_answer(script, 200, "", "token");
		script_answer(script, 200, "", roles[i]);
		(void) get(OUTCOME_PERMANENT, NULL, NULL, NULL);
	}
	script_answer(script, 200, "", "token");
	script_answer(script, 404, "", "");
	(void) get(OUTCOME_PERMANENT, NULL, NULL, NULL);
	assert_int_equal(script_requests(script), 12);
}

/* ---- web identity ---- */

TEST(a_web_identity_is_exchanged_by_a_form)
{
	use_web_identity();
	setenv("AWS_ROLE_SESSION_NAME", "a name&", 1);
	script_answer(script, 200, "", XML("ASIAWEB"));
	get_ok("ASIAWEB", "s3cret/+=", "t0ken==");
	assert_memory_equal(script_request(script, 0), "POST / HTTP/1.1\r\n", 17);
	assert_string_equal(script_header(script, 0, "Content-Type"),
						"application/x-www-form-urlencoded");
	assert_null(script_header(script, 0, "Authorization"));
	assert_string_equal(script_body(script, 0),
						"Action=AssumeRoleWithWebIdentity&Version=2011-06-15&"
						"RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fweb&RoleSessionName=a%20name%26&"
						"WebIdentityToken=head.bo%2Bdy%2F%3D.sig");
}

TEST(a_web_identity_of_a_profile_is_exchanged_too)
{
	char text[512];

	write_file("token", "the-token");
	(void) snprintf(text, sizeof(text),
					"[default]\nrole_arn=arn:r\nweb_identity_token_file=%s/token\n", folder);
	write_file("config", text);
	script_answer(script, 200, "", XML("ASIAWEB"));
	get_ok("ASIAWEB", "s3cret/+=", "t0ken==");
	assert_non_null(strstr(script_body(script, 0), "RoleArn=arn%3Ar&RoleSessionName=rotor&"));
}

TEST(what_sts_refuses_is_told_by_its_code)
{
	/* NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding): columns in the order they are read in. */
	static const struct
	{
		int status;
		const char *body, *code;
		OutcomeClass class;
	} cases[] = {
		{400, "<E><Error><Code>ExpiredTokenException</Code><Message>bo+dy</Message></Error></E>",
		 "ExpiredTokenException", OUTCOME_PERMANENT},
		{400, "<E><Code>IDPCommunicationError</Code></E>", "IDPCommunicationError",
		 OUTCOME_TRANSIENT},
		{400, "<E><Code>Throttling</Code></E>", "Throttling", OUTCOME_TRANSIENT},
		{403, "<E><Code>AccessDenied</Code></E>", "AccessDenied", OUTCOME_PERMANENT},
		{503, "", "", OUTCOME_TRANSIENT},
		{200, "<Credentials/>", "", OUTCOME_TRANSIENT},
	};

	use_web_identity();
	for (size_t i = 0; i < COUNT_OF(cases); i++)
	{
		Outcome outcome;

		script_answer(script, cases[i].status, "", cases[i].body);
		outcome = get(cases[i].class, NULL, NULL, NULL);
		assert_string_equal(outcome.code, cases[i].code);
		assert_null(strstr(outcome.message, "bo+dy"));
	}
	unsetenv("AWS_ROLE_ARN");
	(void) get(OUTCOME_PERMANENT, NULL, NULL, NULL);
	setenv("AWS_ROLE_ARN", "arn:r", 1);
	remove_file("token");
	(void) get(OUTCOME_PERMANENT, NULL, NULL, NULL);
	assert_int_equal(script_requests(script), (int) COUNT_OF(cases));
}

TEST(xml_that_is_ambiguous_is_refused)
{
	static const char *const bad[] = {
		"",
		"<AccessKeyId>ASIA",
		"<AccessKeyId>ASIA</SecretAccessKey>",
		XML("ASIA") XML("ASIB"),
		"<x>" XML("AS&amp;IA") "</x>",
		XML("<b>ASIA</b>"),
		XML(""),
		XML("AS IA"),
	};
	AwsCredentials credentials = {0};
	RotorError err = fresh_error();

	for (size_t i = 0; i < COUNT_OF(bad); i++)
		assert_false(aws_parse_xml_credentials(bad[i], &credentials, &err));
	assert_true(aws_parse_xml_credentials(XML("ASIA"), &credentials, &err));
	assert_int_equal(credentials.expires, NOW + 3600);
	aws_credentials_wipe(&credentials);
}

/* ---- what is kept ---- */

TEST(credentials_are_kept_until_five_minutes_before_they_expire)
{
	use_container();
	script_answer(script, 200, "", JSON("ASIA1"));
	get_ok("ASIA1", "s3cret/+=", "t0ken==");
	now = NOW + 3600 - 301;
	get_ok("ASIA1", "s3cret/+=", "t0ken==");
	assert_int_equal(script_requests(script), 1);
	now = NOW + 3600 - 300;
	script_answer(script, 200, "", JSON_UNTIL("ASIA2", "2027-01-15T10:00:00Z"));
	get_ok("ASIA2", "s3cret/+=", "t0ken==");
	assert_int_equal(script_requests(script), 2);
}

TEST(a_refresh_that_fails_leaves_what_is_still_valid)
{
	use_container();
	script_answer(script, 200, "", JSON("ASIA1"));
	get_ok("ASIA1", "s3cret/+=", "t0ken==");
	now = NOW + 3600 - 200;
	script_answer(script, 500, "", "");
	get_ok("ASIA1", "s3cret/+=", "t0ken==");
	get_ok("ASIA1", "s3cret/+=", "t0ken=="); /* not asked for again at once */
	assert_int_equal(script_requests(script), 2);
	now = NOW + 3600 - 170;
	script_answer(script, 500, "", "");
	get_ok("ASIA1", "s3cret/+=", "t0ken==");
	assert_int_equal(script_requests(script), 3);
	now = NOW + 3600;
	script_answer(script, 500, "", "");
	(void) get(OUTCOME_TRANSIENT, NULL, NULL, NULL);
	assert_int_equal(script_requests(script), 4);
}

TEST(a_key_that_aws_refused_is_not_used_again)
{
	use_container();
	script_answer(script, 200, "", JSON("ASIA1"));
	get_ok("ASIA1", "s3cret/+=", "t0ken==");
	aws_credentials_refused("ASIA0"); /* not the one that is kept */
	get_ok("ASIA1", "s3cret/+=", "t0ken==");
	assert_int_equal(script_requests(script), 1);
	aws_credentials_refused("ASIA1");
	script_answer(script, 200, "", JSON("ASIA2"));
	get_ok("ASIA2", "s3cret/+=", "t0ken==");
}

static void *
get_in_thread(void *ignored __attribute__((unused)))
{
	get_ok("ASIA1", "s3cret/+=", "t0ken==");
	return NULL;
}

TEST(many_threads_fetch_once)
{
	pthread_t threads[16];

	use_container();
	script_answer_end(script, 200, "", JSON("ASIA1"), SCRIPT_HOLD);
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, get_in_thread, NULL), 0);
	script_wait(script, 1);
	script_release(script);
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(script_requests(script), 1);
}

static void *
get_slowly(void *ignored __attribute__((unused)))
{
	get_ok("ASIA1", "s3cret/+=", "t0ken==");
	return NULL;
}

TEST(who_waits_for_another_thread_waits_no_longer_than_its_deadline)
{
	AwsCredentials credentials;
	pthread_t thread;
	Outcome outcome;

	use_container();
	script_answer_end(script, 200, "", JSON("ASIA1"), SCRIPT_HOLD);
	assert_int_equal(pthread_create(&thread, NULL, get_slowly, NULL), 0);
	script_wait(script, 1);
	outcome = aws_credentials_get(&credentials, "r", deadline_in(50));
	assert_int_equal(outcome.class, OUTCOME_TRANSIENT);
	assert_string_equal(credentials.key_id, "");
	script_release(script);
	pthread_join(thread, NULL);
	assert_int_equal(script_requests(script), 1);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, begin, end)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		IN_FOLDER(keys_of_the_environment_are_taken_as_they_are),
		IN_FOLDER(half_a_key_or_one_that_is_none_is_refused_without_showing_it),
		IN_FOLDER(the_first_source_that_is_configured_is_taken),
		IN_FOLDER(a_source_that_fails_is_not_followed_by_another),
		IN_FOLDER(a_profile_is_read_from_both_files_and_its_key_from_the_credentials_first),
		IN_FOLDER(a_session_token_of_usual_length_is_not_cut),
		IN_FOLDER(a_profile_that_cannot_be_used_is_an_error_and_not_passed_over),
		IN_FOLDER(the_container_is_asked_with_its_token_and_a_token_file_wins),
		IN_FOLDER(only_hosts_that_aws_allows_are_asked_by_plain_http),
		IN_FOLDER(an_endpoint_that_fails_is_asked_again_later_unless_it_refuses),
		IN_FOLDER(the_instance_is_asked_for_a_session_token_first_and_then_with_it),
		IN_FOLDER(the_first_version_of_the_metadata_is_never_asked),
		IN_FOLDER(an_instance_without_a_role_has_no_credentials),
		IN_FOLDER(a_web_identity_is_exchanged_by_a_form),
		IN_FOLDER(a_web_identity_of_a_profile_is_exchanged_too),
		IN_FOLDER(what_sts_refuses_is_told_by_its_code),
		IN_FOLDER(xml_that_is_ambiguous_is_refused),
		IN_FOLDER(credentials_are_kept_until_five_minutes_before_they_expire),
		IN_FOLDER(a_refresh_that_fails_leaves_what_is_still_valid),
		IN_FOLDER(a_key_that_aws_refused_is_not_used_again),
		IN_FOLDER(many_threads_fetch_once),
		IN_FOLDER(who_waits_for_another_thread_waits_no_longer_than_its_deadline),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

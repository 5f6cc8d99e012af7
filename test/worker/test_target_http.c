/*
 * test_target_http.c - tests of worker/target_http.c, against peers/http_peer_service.py.
 */
#include "support.h"

#include <stdlib.h>
#include <unistd.h>

#include "http_client.h"
#include "job_of.h"
#include "options.h"
#include "peer.h"
#include "target.h"

/* Every byte that some escaping has to see to. */
#define HOSTILE "a\"b\\c&d=e%f+g h/\xc3\xa9\x01}}{{username}}"

static Peer peer;

/* The target's JSON: %s of the format is the peer's URL without a path, each time. */
static const char *
target_of(const char *set, const char *login)
{
	static char text[4096];
	char url[64];
	const char *const parts[] = {"{\"options\":{\"set\":", set, ",\"login\":", login, "}}"};
	size_t used = 0;

	(void) snprintf(url, sizeof(url), "http://127.0.0.1:%s", peer_value(&peer, "port"));
	text[0] = '\0';
	for (size_t i = 0; i < COUNT_OF(parts); i++)
	{
		for (const char *c = parts[i]; *c != '\0'; c++)
		{
			if (*c == '@')
				used += (size_t) snprintf(text + used, sizeof(text) - used, "%s", url);
			else
				text[used++] = *c;
			text[used] = '\0';
		}
	}
	return text;
}

static Job *
job_with(const char *set, const char *login, const char *password)
{
	TestJob test = {.version = {uuid('2'), "app", password},
					.admin = {uuid('a'), "admin", "admin"},
					.target = target_of(set, login),
					.target_type = "http",
					.step = "set"};

	return job_of(&test);
}

static void
assert_outcome(const Outcome *outcome, OutcomeClass class)
{
	if (outcome->class != class)
		print_error("outcome: %s %s %s\n", outcome_name(outcome->class), outcome->code,
					outcome->message);
	assert_int_equal(outcome->class, class);
	assert_null(strstr(outcome->message, "s3cret"));
}

static Outcome
set_with(const char *set, const char *password)
{
	Job *job = job_with(set, "{}", password);
	Outcome outcome = target_http.set(job, &job->version, &job->admin, far_away());

	job_free(job);
	return outcome;
}

static Outcome
login_with(const char *login, const char *password)
{
	Job *job = job_with("{}", login, password);
	Outcome outcome = target_http.login(job, &job->version, true, far_away());

	job_free(job);
	return outcome;
}

/* The last request that the peer saw. */
static cJSON *
last_request(void)
{
	char url[128];
	HttpRequest request = {.method = "GET", .url = url, .deadline = far_away()};
	HttpAnswer answer = {0};
	RotorError err;
	cJSON *tree;

	(void) snprintf(url, sizeof(url), "http://127.0.0.1:%s/peer/last", peer_value(&peer, "port"));
	assert_int_equal(http_send(&request, &answer, &err), HTTP_ANSWERED);
	tree = cJSON_Parse(answer.body);
	http_answer_free(&answer);
	assert_non_null(tree);
	return tree;
}

/* How many came before. */
static int
requests(void)
{
	cJSON *last = last_request();
	int count = job_integer(last, "count", -1);

	cJSON_Delete(last);
	return count;
}

#define SET_JSON                                                                                     \
	"{\"url\":\"@/key\",\"method\":\"PUT\",\"auth\":\"bearer\",\"body\":{\"user\":\"{{username}}\"," \
	"\"key\":\"{{password}}\"},\"ok\":[204]}"
#define SET_FORM                                                                          \
	"{\"url\":\"@/key\",\"auth\":\"bearer\",\"headers\":{\"Content-Type\":\"application/" \
	"x-www-form-urlencoded; charset=utf-8\"},\"body\":\"user={{username}}&key={{password}}\"}"

TEST(what_was_set_logs_in_however_it_is_escaped)
{
	static const char *const passwords[] = {"plain", HOSTILE, "\\", "\"", "%00", "{{password}}"};
	static const char *const sets[] = {SET_JSON, SET_FORM};

	for (size_t i = 0; i < COUNT_OF(passwords) * COUNT_OF(sets); i++)
	{
		const char *password = passwords[i / COUNT_OF(sets)];
		Outcome outcome = set_with(sets[i % COUNT_OF(sets)], password);

		assert_outcome(&outcome, OUTCOME_OK);
		outcome = login_with("{\"url\":\"@/me\",\"auth\":\"basic\"}", password);
		assert_outcome(&outcome, OUTCOME_OK);
		outcome = login_with("{\"url\":\"@/me\",\"auth\":\"basic\"}", "s3cret another");
		assert_outcome(&outcome, OUTCOME_REFUSED);
		assert_string_equal(outcome.code, "401");
	}
}

TEST(a_named_header_carries_the_value)
{
	Outcome outcome = set_with(SET_JSON, "s3cret");

	assert_outcome(&outcome, OUTCOME_OK);
	outcome = login_with("{\"url\":\"@/me\",\"auth\":\"X-Api-Key\"}", "s3cret");
	assert_outcome(&outcome, OUTCOME_OK);
	outcome = login_with("{\"url\":\"@/me\",\"auth\":\"X-Api-Key\"}", "s3cret2");
	assert_outcome(&outcome, OUTCOME_REFUSED);
	/* One that could end the header is not sent. */
	outcome = login_with("{\"url\":\"@/me\",\"auth\":\"X-Api-Key\"}", "s3cret\r\nX-Evil: 1");
	assert_outcome(&outcome, OUTCOME_PERMANENT);
}

TEST(all_placeholders_are_filled_in_the_body_and_nowhere_else)
{
	Outcome outcome = set_with(
		"{\"url\":\"@/status/200\",\"method\":\"PATCH\",\"headers\":{\"X-One\":\"1\"},"
		"\"body\":\"{{username}}|{{password}}|{{version}}|{{by.username}}|{{by.password}}\"}",
		"s3cret");
	cJSON *last = last_request();
	const cJSON *headers = cJSON_GetObjectItem(last, "headers");
	char expected[128];

	assert_outcome(&outcome, OUTCOME_OK);
	(void) snprintf(expected, sizeof(expected), "app|s3cret|%s|admin|admin", uuid('2'));
	assert_string_equal(job_string(last, "body"), expected);
	assert_string_equal(job_string(last, "method"), "PATCH");
	assert_string_equal(job_string(headers, "X-One"), "1");
	assert_string_equal(job_string(headers, "Content-Type"), "application/json");
	assert_null(job_string(headers, "Authorization"));
	cJSON_Delete(last);
}

TEST(statuses_have_their_classes)
{
	static const struct
	{
		int status;
		OutcomeClass set, login;
	} cases[] = {
		{200, OUTCOME_OK, OUTCOME_OK},
		{204, OUTCOME_OK, OUTCOME_OK},
		{302, OUTCOME_UNKNOWN, OUTCOME_PERMANENT},
		{400, OUTCOME_PERMANENT, OUTCOME_PERMANENT},
		{401, OUTCOME_PERMANENT, OUTCOME_REFUSED},
		{402, OUTCOME_PERMANENT, OUTCOME_PERMANENT},
		{403, OUTCOME_PERMANENT, OUTCOME_REFUSED},
		{404, OUTCOME_PERMANENT, OUTCOME_PERMANENT},
		{408, OUTCOME_UNKNOWN, OUTCOME_TRANSIENT},
		{422, OUTCOME_PERMANENT, OUTCOME_PERMANENT},
		{429, OUTCOME_TRANSIENT, OUTCOME_TRANSIENT},
		{500, OUTCOME_UNKNOWN, OUTCOME_TRANSIENT},
		{502, OUTCOME_UNKNOWN, OUTCOME_TRANSIENT},
		{503, OUTCOME_UNKNOWN, OUTCOME_TRANSIENT},
		{504, OUTCOME_UNKNOWN, OUTCOME_TRANSIENT},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++)
	{
		char spec[128];
		char code[16];
		Outcome outcome;

		(void) snprintf(spec, sizeof(spec),
						"{\"url\":\"@/status/%d\",\"method\":\"POST\",\"body\":\"{{password}}\"}",
						cases[i].status);
		(void) snprintf(code, sizeof(code), "%d", cases[i].status);
		outcome = set_with(spec, "s3cret");
		assert_outcome(&outcome, cases[i].set);
		if (outcome.class != OUTCOME_OK)
			assert_string_equal(outcome.code, code);
		assert_int_equal(outcome.retry_after_ms, cases[i].status == 429 ? 3000 : 0);
		outcome = login_with(spec, "s3cret");
		assert_outcome(&outcome, cases[i].login);
	}
}

TEST(lists_of_statuses_count_alone)
{
	Outcome outcome = set_with("{\"url\":\"@/status/200\",\"ok\":[201]}", "s3cret");

	assert_outcome(&outcome, OUTCOME_UNKNOWN);
	outcome = login_with("{\"url\":\"@/status/404\",\"refused\":[404]}", "s3cret");
	assert_outcome(&outcome, OUTCOME_REFUSED);
	outcome = login_with("{\"url\":\"@/status/401\",\"refused\":[404]}", "s3cret");
	assert_outcome(&outcome, OUTCOME_PERMANENT);
	outcome = login_with("{\"url\":\"@/status/302\",\"ok\":[302]}", "s3cret");
	assert_outcome(&outcome, OUTCOME_OK);
}

TEST(a_redirection_is_not_followed)
{
	Outcome outcome =
		set_with("{\"url\":\"@/redirect\",\"auth\":\"bearer\",\"body\":{\"user\":\"u\","
				 "\"key\":\"{{password}}\"}}",
				 "s3cret");
	cJSON *last = last_request();

	assert_outcome(&outcome, OUTCOME_UNKNOWN);
	assert_string_equal(job_string(last, "path"), "/redirect");
	cJSON_Delete(last);
}

TEST(a_lost_answer_of_set_is_unknown)
{
	Outcome outcome = set_with("{\"url\":\"@/drop\"}", "s3cret");

	assert_outcome(&outcome, OUTCOME_UNKNOWN);
	outcome = login_with("{\"url\":\"@/drop\"}", "s3cret");
	assert_outcome(&outcome, OUTCOME_TRANSIENT);
}

TEST(a_login_is_asked_once_though_its_connection_dies)
{
	Outcome outcome;
	int before;

	/* A connection that is kept, and closed when the login has been read. */
	outcome = login_with("{\"url\":\"@/status/200\"}", "s3cret");
	assert_outcome(&outcome, OUTCOME_OK);
	before = requests();
	outcome = login_with("{\"url\":\"@/drop\"}", "s3cret");
	assert_outcome(&outcome, OUTCOME_TRANSIENT);
	assert_int_equal(requests(), before + 1);
}

TEST(a_service_that_is_away_is_transient)
{
	char spec[64];
	int listener;
	Outcome outcome;
	Job *job;

	(void) snprintf(spec, sizeof(spec), "{\"url\":\"http://127.0.0.1:%d/\"}",
					silent_port(&listener));
	job = job_with(spec, spec, "s3cret");
	/* A deadline within which a busy machine sends it. */
	for (int64_t ms = 100;; ms *= 4)
	{
		outcome = target_http.set(job, &job->version, &job->admin, deadline_in(ms));
		if (outcome.class != OUTCOME_TRANSIENT || ms > 20000)
			break;
	}
	assert_outcome(&outcome, OUTCOME_UNKNOWN);
	outcome = target_http.login(job, &job->version, true, deadline_in(100));
	assert_outcome(&outcome, OUTCOME_TRANSIENT);
	close(listener);
	outcome = target_http.set(job, &job->version, &job->admin, far_away());
	assert_outcome(&outcome, OUTCOME_TRANSIENT);
	job_free(job);
}

TEST(bad_options_are_permanent_and_named)
{
	static const char *const options[][2] = {
		{"{}", "set.url"},
		{"5", "set.url"},
		{"{\"url\":\"http://x.example/\"}", "http"},
		{"{\"url\":\"@/key?{{password}}\"}", "set.url"},
		{"{\"url\":\"@/key\",\"method\":\"DEBUG\"}", "set.method"},
		{"{\"url\":\"@/key\",\"method\":5}", "set.method"},
		{"{\"url\":\"@/key\",\"ok\":200}", "set.ok"},
		{"{\"url\":\"@/key\",\"ok\":[\"200\"]}", "set.ok"},
		{"{\"url\":\"@/key\",\"headers\":{\"X\":\"a\\r\\nY: b\"}}", "set.headers"},
		{"{\"url\":\"@/key\",\"headers\":{\"X Y\":\"a\"}}", "set.headers"},
		{"{\"url\":\"@/key\",\"headers\":{\"X\":\"{{password}}\"}}", "set.headers"},
		{"{\"url\":\"@/key\",\"headers\":[]}", "set.headers"},
		{"{\"url\":\"@/key\",\"auth\":5}", "set.auth"},
		{"{\"url\":\"@/key\",\"auth\":\"a: b\"}", "set.auth"},
		{"{\"url\":\"@/key\",\"body\":[]}", "set.body"},
		{"{\"url\":\"@/key\",\"body\":\"{{nothing}}\"}", "set.body"},
		{"{\"url\":\"@/key\",\"body\":\"{{password\"}", "set.body"},
		{"{\"url\":\"@/key\",\"headers\":{\"Content-Type\":\"text/plain\"},\"body\":\"{{password}}\"}",
		 "set.headers"},
	};

	for (size_t i = 0; i < COUNT_OF(options); i++)
	{
		Outcome outcome = set_with(options[i][0], "s3cret");
		Job *job = job_with(options[i][0], "{\"url\":\"@/me\"}", "s3cret");

		assert_outcome(&outcome, OUTCOME_PERMANENT);
		assert_non_null(strstr(outcome.message, options[i][1]));
		/* check finds the same, save what only sending shows. */
		outcome = target_http.check(job, &job->admin, far_away());
		assert_true(outcome.class == OUTCOME_PERMANENT || strcmp(options[i][1], "http") == 0);
		job_free(job);
	}
}

/* As `rotor check` calls it where the target has no admin: only what would be sent is made. */
TEST(check_needs_no_admin_and_sends_nothing)
{
	static const struct
	{
		const char *set;
		const char *login;
		const char *bad; /* NULL: it is right */
	} cases[] = {
		{SET_JSON, "{\"url\":\"@/me\",\"auth\":\"X-Api-Key\"}", NULL},
		{"{\"url\":\"@/key\",\"auth\":\"basic\",\"body\":{\"by\":\"{{by.password}}\"}}",
		 "{\"url\":\"@/me\"}", NULL},
		{"{\"url\":\"@/key\",\"auth\":\"basic\",\"ok\":200}", "{\"url\":\"@/me\"}", "set.ok"},
		{SET_JSON, "{\"url\":\"@/me\",\"method\":\"LOOK\"}", "login.method"},
	};
	cJSON *before = last_request();

	for (size_t i = 0; i < COUNT_OF(cases); i++)
	{
		Job *job = job_with(cases[i].set, cases[i].login, "s3cret");
		Outcome outcome = target_http.check(job, NULL, far_away());

		assert_outcome(&outcome, cases[i].bad == NULL ? OUTCOME_OK : OUTCOME_PERMANENT);
		assert_non_null(strstr(outcome.message, cases[i].bad != NULL ? cases[i].bad : "nothing"));
		job_free(job);
	}
	{
		cJSON *after = last_request();

		assert_true(cJSON_Compare(before, after, true));
		cJSON_Delete(after);
	}
	cJSON_Delete(before);
}

TEST(a_login_has_no_credential_of_another)
{
	Outcome outcome = login_with("{\"url\":\"@/me\",\"body\":\"{{by.password}}\"}", "s3cret");

	assert_outcome(&outcome, OUTCOME_PERMANENT);
	assert_non_null(strstr(outcome.message, "login.body"));
}

TEST(a_body_has_a_largest_size)
{
	static char spec[3000] = "{\"url\":\"@/key\",\"body\":\"";
	static char password[4001];
	size_t used = strlen(spec);

	for (int i = 0; i < 40; i++)
		used += (size_t) snprintf(spec + used, sizeof(spec) - used, "{{password}}");
	(void) snprintf(spec + used, sizeof(spec) - used, "\"}");
	memset(password, 1, 4000);
	{
		Outcome outcome = set_with(spec, password);

		assert_outcome(&outcome, OUTCOME_PERMANENT);
		assert_non_null(strstr(outcome.message, "too long"));
	}
}

static int
start_peer(void **state __attribute__((unused)))
{
	RotorError err;

	return http_client_init(&err) && peer_start(&peer, "http") ? 0 : -1;
}

static int
stop_peer(void **state __attribute__((unused)))
{
	peer_stop(&peer);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_set_logs_in_however_it_is_escaped),
		cmocka_unit_test(a_named_header_carries_the_value),
		cmocka_unit_test(all_placeholders_are_filled_in_the_body_and_nowhere_else),
		cmocka_unit_test(statuses_have_their_classes),
		cmocka_unit_test(lists_of_statuses_count_alone),
		cmocka_unit_test(a_redirection_is_not_followed),
		cmocka_unit_test(a_lost_answer_of_set_is_unknown),
		cmocka_unit_test(a_login_is_asked_once_though_its_connection_dies),
		cmocka_unit_test(a_service_that_is_away_is_transient),
		cmocka_unit_test(bad_options_are_permanent_and_named),
		cmocka_unit_test(check_needs_no_admin_and_sends_nothing),
		cmocka_unit_test(a_login_has_no_credential_of_another),
		cmocka_unit_test(a_body_has_a_largest_size),
	};

	return cmocka_run_group_tests(tests, start_peer, stop_peer);
}

/*
 * test_store_vault.c - tests of worker/store_vault.c, vault_kv.c and vault_session.c, against peers/vault_peer.py.
 */
#include "support.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "http_client.h"
#include "job_of.h"
#include "options.h"
#include "peer.h"
#include "short_memory.h"
#include "store.h"
#include "vault_session.h"

#define OLD "old \"secret\" 1"
#define NEW "new \\secret/ 2"

static Peer peer;
static char folder[] = "/tmp/rotor-store-vault.XXXXXX";

/* ------------------------------------------------------------------------------------------------
 * Helpers
 */

/* Sends body to /peer/what and returns the answer's tree. */
static cJSON *
steer(const char *what, const char *body)
{
	char url[512];
	HttpRequest request = {.method = body != NULL ? "POST" : "GET",
						   .url = url,
						   .body = body,
						   .body_len = body != NULL ? strlen(body) : 0,
						   .deadline = far_away()};
	HttpAnswer answer = {0};
	RotorError err;
	cJSON *tree;

	(void) snprintf(url, sizeof(url), "http://127.0.0.1:%s/peer/%s", peer_value(&peer, "port"),
					what);
	if (http_send(&request, &answer, &err) != HTTP_ANSWERED || answer.status != 200)
		fail_msg("the peer cannot be steered by %s", what);
	tree = cJSON_Parse(answer.body);
	http_answer_free(&answer);
	return tree;
}

static void
tell(const char *what, const char *body)
{
	cJSON_Delete(steer(what, body));
}

/* The string at data.name of the newest version of a path; NULL: none. In static memory. */
static const char *
kept(const char *path, const char *name)
{
	static char found[256];
	char what[256];
	char number[16];
	const char *text;
	cJSON *tree;

	(void) snprintf(what, sizeof(what), "dump?%s", path);
	tree = steer(what, NULL);
	(void) snprintf(number, sizeof(number), "%d", job_integer(tree, "current", 0));
	text =
		job_string(cJSON_GetObjectItem(
					   cJSON_GetObjectItem(cJSON_GetObjectItem(tree, "versions"), number), "data"),
				   name);
	if (text != NULL)
		(void) snprintf(found, sizeof(found), "%s", text);
	cJSON_Delete(tree);
	return text != NULL ? found : NULL;
}

static int
versions_of(const char *path)
{
	char what[256];
	cJSON *tree;
	int count;

	(void) snprintf(what, sizeof(what), "dump?%s", path);
	tree = steer(what, NULL);
	count = cJSON_GetArraySize(cJSON_GetObjectItem(tree, "versions"));
	cJSON_Delete(tree);
	return count;
}

/* How many calls the peer saw whose method and path are these. */
static int
calls(const char *method, const char *part)
{
	cJSON *tree = steer("log", NULL);
	const cJSON *line;
	int count = 0;

	cJSON_ArrayForEach(line, tree)
	{
		const char *path = cJSON_GetStringValue(cJSON_GetArrayItem(line, 1));

		count += strcmp(cJSON_GetStringValue(cJSON_GetArrayItem(line, 0)), method) == 0 &&
				 strstr(path, part) != NULL;
		/* Whatever was asked, no value is in a path. */
		assert_null(strstr(path, "secret\""));
	}
	cJSON_Delete(tree);
	return count;
}

static const char *
options_of(const char *more)
{
	static char text[1024];

	(void) snprintf(text, sizeof(text),
					"{\"address\":\"http://127.0.0.1:%s/\",\"prefix\":\"rotor/\"%s}",
					peer_value(&peer, "port"), more);
	return text;
}

static TestJob
rotation(void)
{
	return (TestJob){.version = {uuid('2'), "app", NEW},
					 .former = {uuid('1'), "app", OLD},
					 .store_options = options_of("")};
}

static void
assert_outcome(const Outcome *outcome, OutcomeClass class)
{
	if (outcome->class != class)
		print_error("outcome: %s %s %s\n", outcome_name(outcome->class), outcome->code,
					outcome->message);
	assert_int_equal(outcome->class, class);
	assert_null(strstr(outcome->message, OLD));
	assert_null(strstr(outcome->message, NEW));
}

static Outcome
run(const TestJob *test, bool promote)
{
	TestJob with_step = *test;
	Job *job;
	Outcome outcome;

	with_step.step = promote ? "finish" : "publish";
	job = job_of(&with_step);
	outcome = promote ? store_vault.promote(job, far_away()) : store_vault.publish(job, far_away());
	job_free(job);
	return outcome;
}

static void
assert_run(const TestJob *test, bool promote, OutcomeClass class)
{
	Outcome outcome = run(test, promote);

	assert_outcome(&outcome, class);
}

static void
assert_labels(const TestJob *test, const char *pending, const char *current, const char *previous)
{
	TestJob looking = *test;
	StoreLabels labels;
	Outcome outcome;
	Job *job;

	looking.step = "finish";
	job = job_of(&looking);
	outcome = store_vault.look(job, &labels, far_away());
	assert_outcome(&outcome, OUTCOME_OK);
	assert_string_equal(labels.pending, pending);
	assert_string_equal(labels.current, current);
	assert_string_equal(labels.previous, previous);
	job_free(job);
}

/* Version 1 is current. */
static void
enrol(void)
{
	TestJob test = rotation();

	test.version = test.former;
	test.former = (TestValue){0};
	assert_run(&test, false, OUTCOME_OK);
	assert_run(&test, true, OUTCOME_OK);
}

static void
write_file(const char *name, const char *text, char *path, size_t size)
{
	FILE *file;

	(void) snprintf(path, size, "%s/%s", folder, name);
	file = fopen(path, "we");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static void
set(OptionId id, const char *text)
{
	RotorError err;

	assert_true(options_set(id, text, &err));
}

static int
setup(void **state __attribute__((unused)))
{
	options_reset();
	vault_forget_tokens();
	(void) setenv("VAULT_TOKEN", "root", 1);
	tell("reset", "{}");
	return 0;
}

/* ------------------------------------------------------------------------------------------------
 * Labels
 */

TEST(a_pending_value_is_not_where_applications_read)
{
	TestJob test = rotation();

	enrol();
	assert_run(&test, false, OUTCOME_OK);
	assert_string_equal(kept("rotor/db/app", "password"), OLD);
	assert_string_equal(kept("rotor/db/app.rotor-pending", "password"), NEW);
	assert_labels(&test, uuid('2'), uuid('1'), "");
}

TEST(promoting_writes_value_and_label_at_once)
{
	TestJob test = rotation();
	const cJSON *custom;
	cJSON *tree;

	enrol();
	assert_run(&test, false, OUTCOME_OK);
	assert_run(&test, true, OUTCOME_OK);
	assert_string_equal(kept("rotor/db/app", "password"), NEW);
	assert_string_equal(kept("rotor/db/app", "username"), "app");
	assert_string_equal(kept("rotor/db/app", "host"), "db.example");
	assert_int_equal(versions_of("rotor/db/app"), 2);
	assert_int_equal(versions_of("rotor/db/app.rotor-pending"), 0);
	assert_labels(&test, "", uuid('2'), uuid('1'));
	tree = steer("dump?rotor/db/app", NULL);
	custom = cJSON_GetObjectItem(tree, "custom");
	assert_string_equal(job_string(custom, "rotor_current"), uuid('2'));
	assert_string_equal(job_string(custom, "rotor_previous"), uuid('1'));
	cJSON_Delete(tree);
}

TEST(a_new_secret_is_made)
{
	TestJob test = rotation();

	test.former = (TestValue){0};
	assert_labels(&test, "", "", "");
	assert_run(&test, false, OUTCOME_OK);
	assert_labels(&test, uuid('2'), "", "");
	assert_run(&test, true, OUTCOME_OK);
	assert_labels(&test, "", uuid('2'), "");
}

TEST(each_step_may_be_repeated)
{
	TestJob test = rotation();

	enrol();
	for (int i = 0; i < 4; i++)
	{
		test.look = i % 2 == 1;
		assert_run(&test, i >= 2, OUTCOME_OK);
	}
	assert_run(&test, false, OUTCOME_OK);
	assert_int_equal(versions_of("rotor/db/app"), 2);
	assert_labels(&test, "", uuid('2'), uuid('1'));
}

TEST(what_others_wrote_is_kept)
{
	TestJob test = rotation();
	cJSON *tree;
	char *text;

	tell("edit",
		 "{\"path\":\"rotor/db/app\",\"data\":{\"username\":\"app\",\"password\":\"old "
		 "\\\"secret\\\" 1\",\"host\":\"pooler\",\"big\":12345678901234567890,\"deep\":[{\"x\":"
		 "null}]}}");
	assert_run(&test, false, OUTCOME_OK);
	assert_run(&test, true, OUTCOME_OK);
	assert_string_equal(kept("rotor/db/app", "host"), "pooler");
	assert_string_equal(kept("rotor/db/app", "rotor_previous"), uuid('1'));
	tree = steer("dump?rotor/db/app", NULL);
	text = cJSON_PrintUnformatted(tree);
	assert_non_null(strstr(text, "\"deep\":[{\"x\":null}]"));
	cJSON_free(text);
	cJSON_Delete(tree);
}

TEST(another_current_version_supersedes)
{
	TestJob test = rotation();
	TestJob next = test;

	next.version.id = uuid('4');
	enrol();
	assert_run(&test, false, OUTCOME_OK);
	test.former = next.former = (TestValue){uuid('9'), "app", "another"};
	assert_run(&test, true, OUTCOME_SUPERSEDED);
	/* Nor is the target changed in vain. */
	assert_run(&next, false, OUTCOME_SUPERSEDED);
	assert_string_equal(kept("rotor/db/app", "password"), OLD);
	test.former = (TestValue){0};
	assert_run(&test, true, OUTCOME_OK);
}

TEST(a_value_of_somebody_else_supersedes)
{
	TestJob test = rotation();

	tell("edit",
		 "{\"path\":\"rotor/db/app\",\"data\":{\"username\":\"app\",\"password\":\"theirs\"}}");
	assert_run(&test, false, OUTCOME_SUPERSEDED);
	assert_run(&test, true, OUTCOME_SUPERSEDED);
	test.former.password = "theirs";
	assert_run(&test, false, OUTCOME_OK);
	assert_run(&test, true, OUTCOME_OK);
}

TEST(a_late_worker_does_not_overtake_a_newer_rotation)
{
	TestJob late = rotation();
	TestJob newer = late;

	newer.version = (TestValue){uuid('3'), "app", "newer"};
	enrol();
	assert_run(&late, false, OUTCOME_OK);
	assert_run(&newer, false, OUTCOME_OK);
	assert_run(&late, true, OUTCOME_SUPERSEDED);
	assert_run(&newer, true, OUTCOME_OK);
	assert_run(&late, true, OUTCOME_SUPERSEDED);
	assert_string_equal(kept("rotor/db/app", "password"), "newer");
}

TEST(the_same_version_with_another_value_is_refused)
{
	TestJob test = rotation();

	assert_run(&test, false, OUTCOME_OK);
	test.version.password = "another";
	assert_run(&test, false, OUTCOME_SUPERSEDED);
}

TEST(a_job_without_the_value_promotes_the_pending_one)
{
	TestJob test = rotation();

	enrol();
	assert_run(&test, false, OUTCOME_OK);
	test.version.password = "";
	assert_run(&test, true, OUTCOME_OK);
	assert_string_equal(kept("rotor/db/app", "password"), NEW);
	test.former.id = uuid('2');
	test.version.id = uuid('3');
	assert_run(&test, true, OUTCOME_SUPERSEDED);
}

TEST(an_edit_between_reading_and_writing_is_kept)
{
	TestJob test = rotation();
	char race[512];

	enrol();
	assert_run(&test, false, OUTCOME_OK);
	(void) snprintf(race, sizeof(race),
					"{\"path\":\"rotor/db/app\",\"data\":{\"username\":\"app\",\"password\":\"x\","
					"\"rotor_version\":\"%s\",\"note\":\"mine\"}}",
					uuid('1'));
	tell("race", race);
	assert_run(&test, true, OUTCOME_OK);
	assert_string_equal(kept("rotor/db/app", "note"), "mine");
	assert_string_equal(kept("rotor/db/app", "password"), NEW);
}

/* Somebody else writes KEY right before the next write, with the former value and that note. */
static void
race_with(const char *note)
{
	char race[512];

	(void) snprintf(race, sizeof(race),
					"{\"path\":\"rotor/db/app\",\"data\":{\"username\":\"app\",\"password\":\"x\","
					"\"rotor_version\":\"%s\",\"note\":\"%s\"}}",
					uuid('1'), note);
	tell("race", race);
}

TEST(edits_without_end_are_no_other_version)
{
	TestJob test = rotation();
	int before;

	enrol();
	assert_run(&test, false, OUTCOME_OK);
	tell("set", "{\"race_each_time\":true}");
	race_with("mine");
	before = calls("POST", "secret/data/rotor/db/app");
	assert_run(&test, true, OUTCOME_TRANSIENT);
	assert_int_equal(calls("POST", "secret/data/rotor/db/app"), before + 3);
	assert_string_equal(kept("rotor/db/app", "note"), "mine");
	tell("set", "{\"race_each_time\":false}");
	assert_run(&test, true, OUTCOME_OK);
	assert_string_equal(kept("rotor/db/app", "note"), "mine");
	assert_string_equal(kept("rotor/db/app", "password"), NEW);
}

TEST(a_check_and_set_that_is_refused_while_a_reading_lags_behind_is_transient)
{
	static const char stale[] =
		"{\"method\":\"GET\",\"match\":\"data/rotor/db/app\",\"status\":200,\"skip\":%d,"
		"\"body\":{\"data\":{\"data\":{\"username\":\"app\",\"password\":\"x\","
		"\"rotor_version\":\"%s\"},\"metadata\":{\"version\":1}}}}";
	TestJob test = rotation();
	char fail[512];

	enrol();
	assert_run(&test, false, OUTCOME_OK);
	assert_run(&test, true, OUTCOME_OK);
	/* The write was done, and is not seen: KEY first, with nothing pending, and KEY again. */
	(void) snprintf(fail, sizeof(fail), stale, 0, uuid('1'));
	tell("fail", fail);
	(void) snprintf(fail, sizeof(fail), stale, 1, uuid('1'));
	tell("fail", fail);
	assert_run(&test, true, OUTCOME_TRANSIENT);
	test.look = true;
	assert_run(&test, true, OUTCOME_OK);
	assert_string_equal(kept("rotor/db/app", "password"), NEW);
}

TEST(a_rotation_that_came_first_supersedes)
{
	TestJob test = rotation();
	char race[512];

	enrol();
	assert_run(&test, false, OUTCOME_OK);
	(void) snprintf(
		race, sizeof(race),
		"{\"path\":\"rotor/db/app\",\"data\":{\"username\":\"app\",\"password\":\"theirs\","
		"\"rotor_version\":\"%s\"}}",
		uuid('7'));
	tell("race", race);
	assert_run(&test, true, OUTCOME_SUPERSEDED);
	assert_string_equal(kept("rotor/db/app", "password"), "theirs");
}

TEST(a_deleted_secret_is_written_again)
{
	TestJob test = rotation();

	enrol();
	tell("delete", "{\"path\":\"rotor/db/app\"}");
	assert_run(&test, false, OUTCOME_OK);
	assert_labels(&test, uuid('2'), "", "");
	assert_run(&test, true, OUTCOME_OK);
	assert_labels(&test, "", uuid('2'), uuid('1'));
	assert_int_equal(versions_of("rotor/db/app"), 2);
}

TEST(namespaces_and_strange_keys_are_kept_apart)
{
	TestJob test = rotation();
	Job *job;
	SecretBuf username = {0};
	SecretBuf password = {0};
	Outcome outcome;

	test.key = "a b/\xc3\xa9?x=1#y%2f";
	test.store_options = options_of(",\"namespace\":\"team/one\"");
	assert_run(&test, false, OUTCOME_OK);
	assert_run(&test, true, OUTCOME_OK);
	job = job_of(&test);
	outcome = store_vault.read(job, &username, &password, far_away());
	assert_outcome(&outcome, OUTCOME_OK);
	assert_string_equal(password.data, NEW);
	assert_string_equal(username.data, "app");
	secret_buf_wipe(&password);
	job_free(job);
	assert_true(calls("POST", "secret/data/rotor/a b/\xc3\xa9?x=1#y%2f") >= 2);
	test.store_options = options_of("");
	assert_labels(&test, "", "", "");
}

/* ------------------------------------------------------------------------------------------------
 * Failures
 */

TEST(statuses_have_their_classes)
{
	static const struct
	{
		int status;
		OutcomeClass reads, writes;
	} cases[] = {
		{400, OUTCOME_PERMANENT, OUTCOME_PERMANENT}, {403, OUTCOME_PERMANENT, OUTCOME_PERMANENT},
		{404, OUTCOME_PERMANENT, OUTCOME_PERMANENT}, {405, OUTCOME_PERMANENT, OUTCOME_PERMANENT},
		{412, OUTCOME_TRANSIENT, OUTCOME_TRANSIENT}, {429, OUTCOME_TRANSIENT, OUTCOME_TRANSIENT},
		{472, OUTCOME_TRANSIENT, OUTCOME_TRANSIENT}, {473, OUTCOME_TRANSIENT, OUTCOME_TRANSIENT},
		{500, OUTCOME_TRANSIENT, OUTCOME_UNKNOWN},	 {502, OUTCOME_TRANSIENT, OUTCOME_UNKNOWN},
		{503, OUTCOME_TRANSIENT, OUTCOME_UNKNOWN},	 {307, OUTCOME_TRANSIENT, OUTCOME_TRANSIENT},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++)
	{
		for (int promote = 0; promote < 2; promote++)
		{
			TestJob test = rotation();
			char fail[256];

			tell("reset", "{}");
			vault_forget_tokens();
			enrol();
			if (promote)
				assert_run(&test, false, OUTCOME_OK);
			(void) snprintf(fail, sizeof(fail),
							"{\"method\":\"GET\",\"match\":\"data/rotor/db/app\",\"status\":%d,"
							"\"times\":2}",
							cases[i].status);
			tell("fail", fail);
			assert_run(&test, promote, cases[i].reads);
			tell("reset", "{}");
			vault_forget_tokens();
			enrol();
			if (promote)
				assert_run(&test, false, OUTCOME_OK);
			(void) snprintf(fail, sizeof(fail),
							"{\"method\":\"POST\",\"match\":\"data/rotor/db/app\",\"status\":%d,"
							"\"times\":2}",
							cases[i].status);
			tell("fail", fail);
			assert_run(&test, promote, cases[i].writes);
			assert_string_equal(kept("rotor/db/app", "password"), OLD);
		}
	}
}

TEST(a_404_that_is_not_vaults_does_not_say_that_nothing_is_there)
{
	static const char *const bodies[] = {"\"404 page not found\"",
										 "\"default backend - 404\"",
										 "\"<html>\"",
										 "\"\"",
										 "{}",
										 "[]",
										 "{\"errors\":null}",
										 "{\"error\":\"not found\"}",
										 "{\"data\":{\"data\":null}}"};

	for (size_t i = 0; i < COUNT_OF(bodies); i++)
	{
		TestJob test = rotation();
		StoreLabels labels;
		char fail[256];
		Outcome outcome;
		Job *job;

		tell("reset", "{}");
		vault_forget_tokens();
		enrol();
		assert_run(&test, false, OUTCOME_OK);
		test.step = "finish";
		test.look = true;
		job = job_of(&test);
		for (int skip = 0; skip < 2; skip++)
		{
			/* KEY is read first, then what is pending. */
			(void) snprintf(fail, sizeof(fail),
							"{\"method\":\"GET\",\"match\":\"data/\",\"status\":404,"
							"\"skip\":%d,\"body\":%s}",
							skip, bodies[i]);
			tell("fail", fail);
			outcome = store_vault.look(job, &labels, far_away());
			assert_outcome(&outcome, OUTCOME_TRANSIENT);
			tell("fail", fail);
			outcome = store_vault.promote(job, far_away());
			assert_outcome(&outcome, OUTCOME_TRANSIENT);
			assert_string_equal(kept("rotor/db/app", "password"), OLD);
		}
		job_free(job);
	}
}

TEST(a_sealed_server_is_transient)
{
	TestJob test = rotation();

	enrol();
	tell("set", "{\"sealed\":true}");
	assert_run(&test, false, OUTCOME_TRANSIENT);
	tell("set", "{\"sealed\":false}");
	assert_run(&test, false, OUTCOME_OK);
	/* Sealed between reading and writing: the server itself says so. */
	tell("fail", "{\"method\":\"POST\",\"match\":\"data/rotor/db/app\",\"status\":503}");
	tell("fail", "{\"method\":\"GET\",\"match\":\"sys/seal-status\",\"status\":200,"
				 "\"body\":{\"sealed\":true}}");
	assert_run(&test, true, OUTCOME_TRANSIENT);
	assert_run(&test, true, OUTCOME_OK);
}

TEST(throttling_says_how_long_to_wait)
{
	TestJob test = rotation();
	Outcome outcome;

	tell("fail",
		 "{\"method\":\"GET\",\"match\":\"data/\",\"status\":429,\"headers\":{\"Retry-After\":"
		 "\"7\"},\"body\":{\"errors\":[\"request path rate limit quota exceeded\"]}}");
	outcome = run(&test, false);
	assert_outcome(&outcome, OUTCOME_TRANSIENT);
	assert_string_equal(outcome.code, "429");
	assert_int_equal(outcome.retry_after_ms, 7000);
	assert_non_null(strstr(outcome.message, "quota exceeded"));
}

TEST(a_lost_answer_is_looked_for)
{
	for (int promote = 0; promote < 2; promote++)
	{
		for (int times = 1; times <= 2; times++)
		{
			TestJob test = rotation();

			tell("reset", "{}");
			vault_forget_tokens();
			enrol();
			if (promote)
				assert_run(&test, false, OUTCOME_OK);
			/* It took effect. */
			tell("fail",
				 times == 1
					 ? "{\"method\":\"POST\",\"match\":\"data/\",\"after\":true,\"drop\":true}"
					 : "{\"method\":\"POST\",\"match\":\"data/\",\"after\":true,\"status\":502}");
			assert_run(&test, promote, OUTCOME_OK);
			assert_labels(&test, promote ? "" : uuid('2'), promote ? uuid('2') : uuid('1'),
						  promote ? uuid('1') : "");
		}
	}
}

TEST(a_write_that_may_still_arrive_is_unknown)
{
	TestJob test = rotation();

	enrol();
	tell("fail", "{\"method\":\"POST\",\"match\":\"data/\",\"drop\":true}");
	assert_run(&test, false, OUTCOME_UNKNOWN);
	assert_run(&test, false, OUTCOME_OK);
	tell("fail", "{\"method\":\"POST\",\"match\":\"data/\",\"drop\":true}");
	assert_run(&test, true, OUTCOME_UNKNOWN);
	assert_string_equal(kept("rotor/db/app", "password"), OLD);
	/* It took effect, but looking was in vain too; the next attempt finds it. */
	tell("fail", "{\"method\":\"POST\",\"match\":\"data/\",\"after\":true,\"drop\":true}");
	tell("fail", "{\"method\":\"GET\",\"match\":\"data/\",\"skip\":2,\"drop\":true}");
	assert_run(&test, true, OUTCOME_UNKNOWN);
	assert_string_equal(kept("rotor/db/app", "password"), NEW);
	/* Both paths have the version now: who looks sees that there is something left to do. */
	assert_labels(&test, uuid('2'), uuid('2'), uuid('1'));
	test.look = true;
	assert_run(&test, true, OUTCOME_OK);
	assert_int_equal(versions_of("rotor/db/app.rotor-pending"), 0);
	assert_labels(&test, "", uuid('2'), uuid('1'));
}

/*
 * Whatever allocation fails, the step may be tried again, nothing is taken for somebody else's, and no other value
 * is published.
 */
TEST(memory_that_runs_out_is_transient_and_publishes_nothing_else)
{
	TestJob test = rotation();
	bool failed = true;

	for (int n = 1; failed; n++)
	{
		failed = false;
		tell("reset", "{}");
		enrol();
		for (int promote = 0; promote < 2; promote++)
		{
			TestJob with_step = test;
			Outcome outcome;
			Job *job;

			with_step.step = promote ? "finish" : "publish";
			job = job_of(&with_step);
			short_memory_at(n);
			outcome = promote ? store_vault.promote(job, far_away())
							  : store_vault.publish(job, far_away());
			failed = short_memory_end() || failed;
			job_free(job);
			if (outcome.class != OUTCOME_OK && outcome.class != OUTCOME_UNKNOWN)
				assert_outcome(&outcome, OUTCOME_TRANSIENT);
			assert_string_equal(kept("rotor/db/app", "password"),
								promote && outcome.class == OUTCOME_OK ? NEW : OLD);
			assert_run(&test, promote, OUTCOME_OK);
		}
		assert_string_equal(kept("rotor/db/app", "password"), NEW);
		assert_string_equal(kept("rotor/db/app", "host"), "db.example");
		assert_labels(&test, "", uuid('2'), uuid('1'));
	}
}

TEST(a_server_that_is_away_is_transient)
{
	TestJob test = rotation();
	int listener;
	char options[128];

	(void) snprintf(options, sizeof(options), "{\"address\":\"http://127.0.0.1:%d\"}",
					silent_port(&listener));
	close(listener);
	test.store_options = options;
	assert_run(&test, false, OUTCOME_TRANSIENT);
}

TEST(a_silent_server_does_not_hold_us)
{
	TestJob test = rotation();
	int listener;
	char options[128];
	int64_t begun = clock_ms();
	Outcome outcome;
	Job *job;

	(void) snprintf(options, sizeof(options), "{\"address\":\"http://127.0.0.1:%d\"}",
					silent_port(&listener));
	test.store_options = options;
	job = job_of(&test);
	outcome = store_vault.publish(job, deadline_in(200));
	assert_outcome(&outcome, OUTCOME_TRANSIENT);
	assert_true(clock_ms() - begun >= 200);
	job_free(job);
	close(listener);
}

TEST(what_cannot_be_tidied_is_only_noted)
{
	TestJob test = rotation();
	Outcome outcome;

	enrol();
	assert_run(&test, false, OUTCOME_OK);
	tell("policy", "{\"deny\":[[\"DELETE\",\"metadata/\"],[\"PATCH\",\"metadata/\"]]}");
	outcome = run(&test, true);
	assert_outcome(&outcome, OUTCOME_OK);
	assert_non_null(strstr(outcome.message, "could not be"));
	/* What is left there is seen, and the next rotation goes over it. */
	assert_labels(&test, uuid('2'), uuid('2'), uuid('1'));
	test.former = test.version;
	test.version = (TestValue){uuid('3'), "app", "third"};
	assert_run(&test, false, OUTCOME_OK);
	assert_labels(&test, uuid('3'), uuid('2'), uuid('1'));
	assert_run(&test, true, OUTCOME_OK);
	assert_labels(&test, uuid('3'), uuid('3'), uuid('2'));
}

TEST(hostile_answers_are_no_secrets)
{
	static const char *const bodies[] = {
		"\"\"",
		"\"[]\"",
		"\"{\"",
		"\"null\"",
		"{}",
		"{\"data\":5}",
		"{\"data\":{\"data\":{}}}",
		"{\"data\":{\"data\":{},\"metadata\":{\"version\":-1}}}",
		"{\"data\":{\"data\":{},\"metadata\":{\"version\":\"1\"}}}",
		"{\"data\":{\"data\":[],\"metadata\":{\"version\":1}}}",
	};

	for (size_t i = 0; i < COUNT_OF(bodies); i++)
	{
		TestJob test = rotation();
		char fail[512];

		(void) snprintf(fail, sizeof(fail),
						"{\"method\":\"GET\",\"match\":\"data/\",\"status\":200,\"body\":%s}",
						bodies[i]);
		tell("fail", fail);
		assert_run(&test, false, OUTCOME_PERMANENT);
	}
}

TEST(mounts_that_are_not_kv_2_are_found_out)
{
	TestJob test = rotation();

	test.store_options = options_of(",\"mount\":\"nowhere\"");
	assert_run(&test, false, OUTCOME_PERMANENT);
	test.store_options = options_of(",\"mount\":\"kv1\"");
	assert_run(&test, false, OUTCOME_PERMANENT);
}

TEST(bad_options_are_permanent_and_named)
{
	static const char *const options[][2] = {
		{"{}", "\"address\""},
		{"{\"address\":\"http://x.example\"}", "http"},
		{"{\"address\":\"https://x\",\"mount\":\"a//b\"}", "\"mount\""},
		{"{\"address\":\"https://x\",\"mount\":\"../sys\"}", "\"mount\""},
		{"{\"address\":\"https://x\",\"prefix\":\"/\"}", "prefix"},
		{"{\"address\":\"https://x\",\"auth\":\"ldap\"}", "\"auth\""},
		{"{\"address\":\"https://x\",\"auth\":\"kubernetes\"}", "\"role\""},
		{"{\"address\":\"https://x\",\"auth\":\"approle\",\"auth_mount\":\"a?b\"}",
		 "\"auth_mount\""},
		{"{\"address\":\"https://x\",\"namespace\":\"a\\r\\nX-Evil: 1\"}", "namespace"},
	};

	for (size_t i = 0; i < COUNT_OF(options); i++)
	{
		TestJob test = rotation();
		Outcome outcome;

		test.store_options = options[i][0];
		outcome = run(&test, false);
		assert_outcome(&outcome, OUTCOME_PERMANENT);
		assert_non_null(strstr(outcome.message, options[i][1]));
	}
}

TEST(check_names_what_the_policy_lacks)
{
	TestJob test = rotation();
	Job *job = job_of(&test);
	Outcome outcome = store_vault.check(job, far_away());

	assert_outcome(&outcome, OUTCOME_OK);
	tell("policy", "{\"deny\":[[\"PATCH\",\"metadata/\"]]}");
	outcome = store_vault.check(job, far_away());
	assert_outcome(&outcome, OUTCOME_PERMANENT);
	assert_non_null(strstr(outcome.message, "patch"));
	tell("policy", "{\"deny\":[[\"POST\",\"secret/data/\"]]}");
	outcome = store_vault.check(job, far_away());
	assert_outcome(&outcome, OUTCOME_PERMANENT);
	assert_int_equal(versions_of("rotor/db/app") + versions_of("rotor/db/app.rotor-pending"), 0);
	job_free(job);
}

/* ------------------------------------------------------------------------------------------------
 * Logins
 */

TEST(approle_logs_in_once_for_many_calls)
{
	TestJob test = rotation();
	char path[256];

	test.store_options = options_of(",\"auth\":\"approle\"");
	assert_run(&test, false, OUTCOME_PERMANENT); /* no role id */
	set(OPT_VAULT_ROLE_ID, "role-id-1");
	assert_run(&test, false, OUTCOME_PERMANENT); /* no file */
	write_file("secret-id", "secret-id-1\n", path, sizeof(path));
	set(OPT_VAULT_SECRET_ID_FILE, path);
	assert_run(&test, false, OUTCOME_OK);
	assert_run(&test, true, OUTCOME_OK);
	assert_int_equal(calls("POST", "auth/approle/login"), 1);
	/* A wrong secret id. */
	vault_forget_tokens();
	write_file("secret-id", "wrong", path, sizeof(path));
	assert_run(&test, false, OUTCOME_PERMANENT);
}

TEST(kubernetes_logs_in_with_the_jwt_of_the_file)
{
	TestJob test = rotation();
	char path[256];

	test.store_options =
		options_of(",\"auth\":\"kubernetes\",\"auth_mount\":\"k8s\",\"role\":\"rotor\"");
	(void) snprintf(path, sizeof(path), "%s/not-yet", folder);
	set(OPT_VAULT_JWT_FILE, path);
	assert_run(&test, false, OUTCOME_TRANSIENT);
	write_file("not-yet", "kubernetes-jwt-1", path, sizeof(path));
	assert_run(&test, false, OUTCOME_OK);
	assert_int_equal(calls("POST", "auth/k8s/login"), 1);
	vault_forget_tokens();
	write_file("not-yet", "another", path, sizeof(path));
	assert_run(&test, false, OUTCOME_PERMANENT);
}

TEST(after_a_403_one_login_and_one_more_call)
{
	TestJob test = rotation();
	char path[256];

	test.store_options = options_of(",\"auth\":\"approle\"");
	set(OPT_VAULT_ROLE_ID, "role-id-1");
	write_file("secret-id", "secret-id-1", path, sizeof(path));
	set(OPT_VAULT_SECRET_ID_FILE, path);
	assert_run(&test, false, OUTCOME_OK);
	tell("revoke", "{}");
	assert_run(&test, true, OUTCOME_OK);
	assert_int_equal(calls("POST", "auth/approle/login"), 2);
	/* A policy does not change by it. */
	tell("policy", "{\"deny\":[[\"GET\",\"data/\"]]}");
	{
		int before = calls("GET", "secret/data/");

		assert_run(&test, true, OUTCOME_PERMANENT);
		assert_int_equal(calls("GET", "secret/data/"), before + 2);
	}
	assert_int_equal(calls("POST", "auth/approle/login"), 3);
}

TEST(a_token_file_is_read_again_after_a_403)
{
	TestJob test = rotation();
	char path[256];

	write_file("token", "stale\n", path, sizeof(path));
	set(OPT_VAULT_TOKEN_FILE, path);
	assert_run(&test, false, OUTCOME_PERMANENT);
	write_file("token", "given\n", path, sizeof(path));
	assert_run(&test, false, OUTCOME_OK);
	(void) unsetenv("VAULT_TOKEN");
	set(OPT_VAULT_TOKEN_FILE, "");
	vault_forget_tokens();
	assert_run(&test, false, OUTCOME_PERMANENT);
}

TEST(a_token_is_renewed_in_time)
{
	TestJob test = rotation();

	(void) setenv("VAULT_TOKEN", "given", 1);
	assert_run(&test, false, OUTCOME_OK);
	assert_int_equal(calls("POST", "renew-self"), 0);
	vault_renew_tokens();
	assert_run(&test, false, OUTCOME_OK);
	assert_int_equal(calls("POST", "renew-self"), 1);
	assert_run(&test, false, OUTCOME_OK);
	assert_int_equal(calls("POST", "renew-self"), 1);
	/* A renewal that fails for now: the token still is good. */
	vault_renew_tokens();
	tell("fail", "{\"method\":\"POST\",\"match\":\"renew-self\",\"status\":500}");
	assert_run(&test, false, OUTCOME_OK);
	assert_int_equal(calls("POST", "renew-self"), 2);
}

TEST(a_renewal_that_is_refused_is_followed_by_a_login)
{
	TestJob test = rotation();
	char path[256];

	test.store_options = options_of(",\"auth\":\"approle\"");
	set(OPT_VAULT_ROLE_ID, "role-id-1");
	write_file("secret-id", "secret-id-1", path, sizeof(path));
	set(OPT_VAULT_SECRET_ID_FILE, path);
	assert_run(&test, false, OUTCOME_OK);
	vault_renew_tokens();
	tell("fail", "{\"method\":\"POST\",\"match\":\"renew-self\",\"status\":400}");
	assert_run(&test, true, OUTCOME_OK);
	assert_int_equal(calls("POST", "auth/approle/login"), 2);
}

TEST(a_hostile_login_gives_no_token)
{
	static const char *const bodies[] = {"\"\"",
										 "\"x\"",
										 "{}",
										 "{\"auth\":null}",
										 "{\"auth\":{\"client_token\":5}}",
										 "{\"auth\":{\"client_token\":\"\"}}"};
	TestJob test = rotation();
	char path[256];

	test.store_options = options_of(",\"auth\":\"approle\"");
	set(OPT_VAULT_ROLE_ID, "role-id-1");
	write_file("secret-id", "secret-id-1", path, sizeof(path));
	set(OPT_VAULT_SECRET_ID_FILE, path);
	for (size_t i = 0; i < COUNT_OF(bodies); i++)
	{
		char fail[256];

		(void) snprintf(fail, sizeof(fail),
						"{\"method\":\"POST\",\"match\":\"login\",\"status\":200,\"body\":%s}",
						bodies[i]);
		tell("fail", fail);
		assert_run(&test, false, OUTCOME_TRANSIENT);
	}
	tell("fail", "{\"method\":\"POST\",\"match\":\"login\",\"status\":200,\"body\":{\"auth\":"
				 "{\"client_token\":\"a\\r\\nX-Evil: 1\"}}}");
	assert_run(&test, false, OUTCOME_PERMANENT);
}

static void *
publish_one(void *job)
{
	return store_vault.publish(job, far_away()).class == OUTCOME_OK ? job : NULL;
}

TEST(threads_that_come_at_once_share_one_login)
{
	TestJob test = rotation();
	Job *jobs[8];
	pthread_t threads[COUNT_OF(jobs)];
	char path[256];

	set(OPT_VAULT_ROLE_ID, "role-id-1");
	write_file("secret-id", "secret-id-1", path, sizeof(path));
	set(OPT_VAULT_SECRET_ID_FILE, path);
	test.store_options = options_of(",\"auth\":\"approle\"");
	for (size_t i = 0; i < COUNT_OF(jobs); i++)
	{
		char key[8];

		(void) snprintf(key, sizeof(key), "k%zu", i);
		test.key = key;
		jobs[i] = job_of(&test);
	}
	for (size_t i = 0; i < COUNT_OF(jobs); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, publish_one, jobs[i]), 0);
	for (size_t i = 0; i < COUNT_OF(jobs); i++)
	{
		void *result;

		assert_int_equal(pthread_join(threads[i], &result), 0);
		assert_ptr_equal(result, jobs[i]);
		job_free(jobs[i]);
	}
	assert_int_equal(calls("POST", "auth/approle/login"), 1);
}

/* ------------------------------------------------------------------------------------------------
 * The real one
 */

TEST(a_real_server_does_the_same_as_its_imitation)
{
	Peer real;
	TestJob test = rotation();
	TestJob first = test;
	char options[256];
	char path[256];
	SecretBuf username = {0};
	SecretBuf password = {0};
	Outcome outcome;
	Job *job;

	assert_true(peer_start(&real, "openbao"));
	if (peer_has(&real, "absent"))
	{
		print_message("# skipped: %s\n", peer_value(&real, "absent"));
		peer_stop(&real);
		skip();
	}
	set(OPT_VAULT_ROLE_ID, peer_value(&real, "role_id"));
	write_file("secret-id", peer_value(&real, "secret_id"), path, sizeof(path));
	set(OPT_VAULT_SECRET_ID_FILE, path);
	(void) snprintf(
		options, sizeof(options),
		"{\"address\":\"http://127.0.0.1:%s\",\"prefix\":\"rotor/\",\"auth\":\"approle\"}",
		peer_value(&real, "port"));
	test.store_options = first.store_options = options;
	first.version = test.former;
	first.former = (TestValue){0};
	assert_labels(&first, "", "", "");
	assert_run(&first, false, OUTCOME_OK);
	assert_labels(&first, uuid('1'), "", "");
	assert_run(&first, true, OUTCOME_OK);
	assert_run(&test, false, OUTCOME_OK);
	assert_labels(&test, uuid('2'), uuid('1'), "");
	test.former = (TestValue){uuid('9'), "app", "neither of the two"};
	assert_run(&test, true, OUTCOME_SUPERSEDED);
	test.former = first.version;
	outcome = run(&test, true);
	assert_outcome(&outcome, OUTCOME_OK);
	assert_string_equal(outcome.message, ""); /* all was tidied */
	assert_run(&test, true, OUTCOME_OK);
	assert_labels(&test, "", uuid('2'), uuid('1'));

	job = job_of(&test);
	outcome = store_vault.read(job, &username, &password, far_away());
	assert_outcome(&outcome, OUTCOME_OK);
	assert_string_equal(password.data, NEW);
	outcome = store_vault.check(job, far_away());
	assert_outcome(&outcome, OUTCOME_OK);
	secret_buf_wipe(&password);
	job_free(job);
	peer_stop(&real);
}

/* ------------------------------------------------------------------------------------------------ */

static int
start_peer(void **state __attribute__((unused)))
{
	RotorError err;

	return http_client_init(&err) && mkdtemp(folder) != NULL && peer_start(&peer, "vault") ? 0 : -1;
}

static int
stop_peer(void **state __attribute__((unused)))
{
	char command[128];

	peer_stop(&peer);
	vault_forget_tokens();
	(void) snprintf(command, sizeof(command), "rm -rf %s", folder);
	return system(command);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup(name, setup)
		T(a_pending_value_is_not_where_applications_read),
		T(promoting_writes_value_and_label_at_once),
		T(a_new_secret_is_made),
		T(each_step_may_be_repeated),
		T(what_others_wrote_is_kept),
		T(another_current_version_supersedes),
		T(a_value_of_somebody_else_supersedes),
		T(a_late_worker_does_not_overtake_a_newer_rotation),
		T(the_same_version_with_another_value_is_refused),
		T(a_job_without_the_value_promotes_the_pending_one),
		T(an_edit_between_reading_and_writing_is_kept),
		T(edits_without_end_are_no_other_version),
		T(a_check_and_set_that_is_refused_while_a_reading_lags_behind_is_transient),
		T(a_rotation_that_came_first_supersedes),
		T(a_deleted_secret_is_written_again),
		T(namespaces_and_strange_keys_are_kept_apart),
		T(statuses_have_their_classes),
		T(a_404_that_is_not_vaults_does_not_say_that_nothing_is_there),
		T(a_sealed_server_is_transient),
		T(throttling_says_how_long_to_wait),
		T(a_lost_answer_is_looked_for),
		T(a_write_that_may_still_arrive_is_unknown),
		T(memory_that_runs_out_is_transient_and_publishes_nothing_else),
		T(a_server_that_is_away_is_transient),
		T(a_silent_server_does_not_hold_us),
		T(what_cannot_be_tidied_is_only_noted),
		T(hostile_answers_are_no_secrets),
		T(mounts_that_are_not_kv_2_are_found_out),
		T(bad_options_are_permanent_and_named),
		T(check_names_what_the_policy_lacks),
		T(approle_logs_in_once_for_many_calls),
		T(kubernetes_logs_in_with_the_jwt_of_the_file),
		T(after_a_403_one_login_and_one_more_call),
		T(a_token_file_is_read_again_after_a_403),
		T(a_token_is_renewed_in_time),
		T(a_renewal_that_is_refused_is_followed_by_a_login),
		T(a_hostile_login_gives_no_token),
		T(threads_that_come_at_once_share_one_login),
		T(a_real_server_does_the_same_as_its_imitation),
#undef T
	};

	return cmocka_run_group_tests(tests, start_peer, stop_peer);
}

/*
 * test_job.c - tests of worker/job.c: what a claim gives is read, or refused without showing it.
 */
#include "support.h"

#include <limits.h>
#include <stdlib.h>

#include "job.h"

#define UUID(digit) "00000000-0000-4000-8000-00000000000" digit

#define WHOLE                                                                                                               \
	"{\"rotation\":\"" UUID("1") "\",\"lease\":\"" UUID(                                                                    \
		"2") "\",\"lease_seconds\":60,"                                                                                     \
			 "\"step\":\"set\",\"attempt\":3,\"look\":true,\"emergency\":true,\"secret\":\"s\","                            \
			 "\"trigger\":\"manual\","                                                                                      \
			 "\"version\":{\"id\":\"" UUID(                                                                                 \
				 "3") "\",\"username\":\"app\",\"password\":\"New-value\\u0022\"},"                                         \
					  "\"former\":{\"id\":\"" UUID(                                                                         \
						  "4") "\",\"username\":\"app\",\"password\":\"Former-value\"},"                                    \
							   "\"previous\":null,"                                                                         \
							   "\"account\":{\"username\":\"app\",\"options\":{\"host\":\"%\"}},"                           \
							   "\"target\":{\"name\":\"pg2\",\"type\":\"postgresql\",\"host\":\"h\",\"port\":5433,"         \
							   "\"options\":{\"flag\":true}},"                                                              \
							   "\"admin\":{\"id\":\"" UUID(                                                                 \
								   "5") "\",\"username\":\"boss\",\"password\":\"Admin-value\"},"                           \
										"\"store\":{\"name\":\"sm\",\"type\":\"aws\",\"options\":{},\"key\":\"prod/app\"}," \
										"\"policy\":{\"scram_iterations\":4096,\"terminate_sessions\":false}}"

static Job *
parse(const char *json)
{
	RotorError err = fresh_error();
	Job *job = job_parse(json, 1000, &err);

	if (job == NULL)
		fail_msg("%s", err.message);
	return job;
}

/* WHOLE with one part of it written otherwise. */
static char *
with(const char *part, const char *other)
{
	const char *place = strstr(WHOLE, part);
	char *json = NULL;

	assert_non_null(place);
	assert_true(
		asprintf(&json, "%.*s%s%s", (int) (place - WHOLE), WHOLE, other, place + strlen(part)) > 0);
	return json;
}

TEST(a_whole_job_is_read)
{
	Job *job = parse(WHOLE);

	assert_string_equal(job->rotation, UUID("1"));
	assert_string_equal(job->lease, UUID("2"));
	assert_int_equal(job->lease_end, 61000);
	assert_int_equal(job->step, STEP_SET);
	assert_int_equal(job->attempt, 3);
	assert_true(job->look);
	assert_true(job->emergency);
	assert_string_equal(job->secret, "s");
	assert_string_equal(job->trigger, "manual");
	assert_string_equal(job->version.id, UUID("3"));
	assert_string_equal(job->version.username, "app");
	assert_string_equal(job->version.password.data, "New-value\"");
	assert_string_equal(job->former.password.data, "Former-value");
	assert_string_equal(job->previous.id, "");
	assert_int_equal(job->previous.password.len, 0);
	assert_string_equal(job->admin.username, "boss");
	assert_string_equal(job->admin.password.data, "Admin-value");
	assert_string_equal(job->username, "app");
	assert_string_equal(job_string(job->account, "host"), "%");
	assert_string_equal(job->target_name, "pg2");
	assert_string_equal(job->target_type, "postgresql");
	assert_string_equal(job_string(job->target, "host"), "h");
	assert_int_equal(job_number(job->target, "port", 0), 5433);
	assert_string_equal(job->store_name, "sm");
	assert_string_equal(job->store_type, "aws");
	assert_string_equal(job->store_key, "prod/app");
	assert_int_equal(job_number(job->policy, "scram_iterations", 0), 4096);
	job_free(job);
}

TEST(the_tree_keeps_no_password)
{
	Job *job = parse(WHOLE);
	char *text = cJSON_PrintUnformatted(job->tree);

	assert_non_null(text);
	assert_null(strstr(text, "-value"));
	assert_non_null(strstr(text, UUID("5")));
	cJSON_free(text);
	job_free(job);
}

TEST(nothing_is_freed_that_was_none)
{
	job_free(NULL);
}

TEST(missing_members_have_the_answer_that_was_asked_for)
{
	cJSON *object =
		cJSON_Parse("{\"s\":\"x\",\"n\":2,\"f\":true,\"z\":null,\"huge\":1e300,\"e\":\"\"}");

	assert_string_equal(job_string(object, "s"), "x");
	assert_null(job_string(object, "n"));
	assert_null(job_string(object, "S"));
	assert_null(job_string(NULL, "s"));
	assert_string_equal(job_text(object, "s", "y"), "x");
	assert_string_equal(job_text(object, "e", "y"), "y");
	assert_string_equal(job_text(NULL, "s", "y"), "y");
	assert_int_equal(job_number(object, "n", 7), 2);
	assert_int_equal(job_number(object, "s", 7), 7);
	assert_int_equal(job_number(NULL, "n", 7), 7);
	assert_int_equal(job_integer(object, "n", 7), 2);
	assert_int_equal(job_integer(object, "s", 7), 7);
	assert_int_equal(job_integer(object, "huge", 7), INT_MAX);
	assert_true(job_flag(object, "f", false));
	assert_true(job_flag(object, "z", true));
	assert_false(job_flag(object, "n", false));
	cJSON_Delete(object);
}

TEST(each_step_has_its_name)
{
	static const char *const names[STEP_COUNT] = {"publish", "set",	 "test",
												  "finish",	 "undo", "retire"};

	for (int i = 0; i < STEP_COUNT; i++)
	{
		char part[32];
		char *json;
		Job *job;

		(void) snprintf(part, sizeof(part), "\"step\":\"%s\"", names[i]);
		json = with("\"step\":\"set\"", part);
		job = parse(json);
		assert_int_equal(job->step, i);
		assert_string_equal(job_step_name(job->step), names[i]);
		job_free(job);
		free(json);
	}
	assert_string_equal(job_step_name((JobStep) 99), "unknown");
}

TEST(labels_are_moved_without_a_password)
{
	char *value = with(",\"password\":\"New-value\\u0022\"", "");
	RotorError err = fresh_error();
	char *place;

	assert_null(job_parse(value, 0, &err));
	assert_error(&err, ROTOR_ERROR_FORMAT);
	free(value);

	value = with("\"step\":\"set\"", "\"step\":\"finish\"");
	place = strstr(value, "New-value");
	memmove(place, place + strlen("New-value\\u0022"),
			strlen(place + strlen("New-value\\u0022")) + 1);
	job_free(parse(value));
	free(value);
}

TEST(what_is_no_job_is_refused_without_showing_it)
{
	static const struct
	{
		const char *part, *other, *named;
	} cases[] = {
		{"\"rotation\":\"" UUID("1") "\"", "\"rotation\":\"short\"", "rotation"},
		{"\"lease\":\"" UUID("2") "\"", "\"lease\":7", "lease"},
		{"\"lease_seconds\":60", "\"lease_seconds\":0", "lease_seconds"},
		{"\"lease_seconds\":60", "\"lease_seconds\":1e9", "lease_seconds"},
		{"\"lease_seconds\":60", "\"x\":60", "lease_seconds"},
		{"\"attempt\":3", "\"attempt\":-1", "attempt"},
		{"\"step\":\"set\"", "\"step\":\"dance\"", "step"},
		{"\"step\":\"set\"", "\"x\":1", "step"},
		{"\"secret\":\"s\"", "\"x\":1", "secret"},
		{"\"version\":{\"id\":\"" UUID("3") "\"", "\"version\":{\"id\":\"x\"", "version"},
		{"\"former\":{\"id\":\"" UUID("4") "\",\"username\":\"app\"",
		 "\"former\":{\"id\":\"" UUID("4") "\",\"username\":\"\"", "former"},
		{"\"previous\":null", "\"previous\":\"x\"", "previous"},
		{"\"account\":{\"username\":\"app\"", "\"account\":{\"x\":1", "account"},
		{"\"type\":\"postgresql\"", "\"x\":1", "target"},
		{"\"type\":\"aws\"", "\"x\":1", "store"},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++)
	{
		RotorError err = fresh_error();
		char *json = with(cases[i].part, cases[i].other);
		char message[64];

		assert_null(job_parse(json, 0, &err));
		assert_error(&err, ROTOR_ERROR_FORMAT);
		(void) snprintf(message, sizeof(message), "the job has no valid %s", cases[i].named);
		assert_string_equal(err.message, message);
		assert_error_lacks(&err, "-value");
		free(json);
	}
}

TEST(what_is_no_json_object_is_refused)
{
	static const char *const texts[] = {"", "{", "null", "[]", "\"x\"", "{\"rotation\":}"};

	for (size_t i = 0; i < COUNT_OF(texts); i++)
	{
		RotorError err = fresh_error();

		assert_null(job_parse(texts[i], 0, &err));
		assert_error(&err, ROTOR_ERROR_FORMAT);
	}
}

TEST(a_password_that_is_too_long_is_refused)
{
	char long_value[SECRET_BUF_CAPACITY + 2];
	RotorError err = fresh_error();
	char *json;

	memset(long_value, 'x', SECRET_BUF_CAPACITY + 1);
	long_value[SECRET_BUF_CAPACITY + 1] = '\0';
	json = with("Former-value", long_value);
	assert_null(job_parse(json, 0, &err));
	assert_error(&err, ROTOR_ERROR_SPACE);
	free(json);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_whole_job_is_read),
		cmocka_unit_test(the_tree_keeps_no_password),
		cmocka_unit_test(nothing_is_freed_that_was_none),
		cmocka_unit_test(missing_members_have_the_answer_that_was_asked_for),
		cmocka_unit_test(each_step_has_its_name),
		cmocka_unit_test(labels_are_moved_without_a_password),
		cmocka_unit_test(what_is_no_job_is_refused_without_showing_it),
		cmocka_unit_test(what_is_no_json_object_is_refused),
		cmocka_unit_test(a_password_that_is_too_long_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

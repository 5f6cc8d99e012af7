/*
 * job_of.c - jobs for tests; see job_of.h.
 */
#include "job_of.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *
uuid(char c)
{
	static char uuids[256][UUID_SIZE];
	char *text = uuids[(unsigned char) c];

	(void) snprintf(text, UUID_SIZE, "00000000-0000-4000-8000-00000000000%c", c);
	return text;
}

Deadline
far_away(void)
{
	return deadline_in(60000);
}

static void
check(const void *p, const char *what)
{
	if (p != NULL)
		return;
	(void) fprintf(stderr, "a test's job is bad: %s\n", what);
	abort();
}

static void
add_value(cJSON *tree, const char *name, const TestValue *value)
{
	cJSON *object;

	if (value->id == NULL)
	{
		check(cJSON_AddNullToObject(tree, name), name);
		return;
	}
	object = cJSON_AddObjectToObject(tree, name);
	check(cJSON_AddStringToObject(object, "id", value->id), name);
	check(cJSON_AddStringToObject(object, "username", value->username), name);
	check(cJSON_AddStringToObject(object, "password", value->password), name);
}

static cJSON *
parse(const char *json, const char *otherwise)
{
	cJSON *tree = cJSON_Parse(json != NULL ? json : otherwise);

	check(tree, json);
	return tree;
}

Job *
job_of(const TestJob *test)
{
	cJSON *tree = cJSON_CreateObject();
	cJSON *account = cJSON_AddObjectToObject(tree, "account");
	cJSON *store = cJSON_AddObjectToObject(tree, "store");
	cJSON *target =
		parse(test->target, "{\"host\":\"db.example\",\"port\":5432,\"dbname\":\"app\"}");
	RotorError err;
	char *text;
	Job *job;

	cJSON_AddStringToObject(tree, "rotation", uuid('r'));
	cJSON_AddStringToObject(tree, "lease", uuid('l'));
	cJSON_AddNumberToObject(tree, "lease_seconds", 60);
	cJSON_AddStringToObject(tree, "step", test->step != NULL ? test->step : "publish");
	cJSON_AddNumberToObject(tree, "attempt", test->attempt);
	cJSON_AddBoolToObject(tree, "look", test->look);
	cJSON_AddStringToObject(tree, "secret", "app");
	cJSON_AddStringToObject(tree, "trigger", "manual");
	add_value(tree, "version", &test->version);
	add_value(tree, "former", &test->former);
	add_value(tree, "admin", &test->admin);
	cJSON_AddStringToObject(account, "username", test->version.username);
	cJSON_AddObjectToObject(account, "options");
	cJSON_AddStringToObject(target, "name", "t");
	cJSON_AddStringToObject(target, "type",
							test->target_type != NULL ? test->target_type : "postgresql");
	cJSON_AddItemToObject(tree, "target", target);
	cJSON_AddStringToObject(store, "name", "s");
	cJSON_AddStringToObject(store, "type", "file");
	cJSON_AddStringToObject(store, "key", test->key != NULL ? test->key : "db/app");
	cJSON_AddItemToObject(store, "options", parse(test->store_options, "{}"));
	cJSON_AddItemToObject(tree, "policy", parse(test->policy, "{}"));

	text = cJSON_PrintUnformatted(tree);
	check(text, "print");
	job = job_parse(text, clock_ms(), &err);
	check(job, job == NULL ? err.message : "");
	cJSON_free(text);
	cJSON_Delete(tree);
	return job;
}

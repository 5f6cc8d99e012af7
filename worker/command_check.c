/*
 * command_check.c - `rotor check`; see command_check.h.
 */
#include "command_check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control_check.h"
#include "http_client.h"
#include "http_server.h"
#include "options.h"
#include "process.h"
#include "registry.h"
#include "store.h"
#include "target.h"

typedef struct Check
{
	ControlDb *db;
	int failed;
} Check;

typedef enum Verdict
{
	VERDICT_OK,
	VERDICT_FAIL,
	VERDICT_SKIP
} Verdict;

/* "ok    target pg2: …" */
static void
tell(Check *check, Verdict verdict, const char *format, ...) __attribute__((format(printf, 3, 4)));

static void
tell(Check *check, Verdict verdict, const char *format, ...)
{
	static const char *const words[] = {"ok   ", "FAIL ", "skip "};
	va_list args;

	(void) fputs(words[verdict], stdout);
	va_start(args, format);
	(void) vprintf(format, args);
	va_end(args);
	(void) fputc('\n', stdout);
	check->failed += verdict == VERDICT_FAIL;
}

static void
tell_outcome(Check *check, const char *kind, const char *name, const Outcome *outcome)
{
	bool is_good = outcome->class == OUTCOME_OK;

	tell(check, is_good ? VERDICT_OK : VERDICT_FAIL, "%s %s%s%s%s%s", kind, name,
		 outcome->code[0] != '\0' || outcome->message[0] != '\0' ? ": " : "", outcome->code,
		 outcome->code[0] != '\0' && outcome->message[0] != '\0' ? ": " : "", outcome->message);
}

/* ------------------------------------------------------------------------------------------------
 * What needs no connection
 */

static void
check_process(Check *check)
{
	HttpServer *server = NULL;
	RotorError err;

	if (option_flag(OPT_MLOCK))
	{
		if (process_lock_memory(&err))
			tell(check, VERDICT_OK, "memory is kept out of swap");
		else
			tell(check, VERDICT_FAIL, "%s. %s", err.message, err.hint);
	}
	if (http_server_start(option_text(OPT_METRICS_LISTEN), 60000, &server, &err))
		tell(check, VERDICT_OK, "metrics_listen %s is free", option_text(OPT_METRICS_LISTEN));
	else
		tell(check, VERDICT_FAIL, "metrics_listen: %s (a worker that runs has it already, perhaps)",
			 err.message);
	http_server_stop(server);
}

/* ------------------------------------------------------------------------------------------------
 * The control database
 */

static bool
check_control(Check *check)
{
	PgError err = {0};
	const char *missing;
	bool changed;

	if (control_connect(check->db, &err) != CONTROL_CONNECTED)
	{
		tell(check, VERDICT_FAIL, "control database: %s%s%s", err.sqlstate,
			 err.sqlstate[0] != '\0' ? ": " : "", err.message);
		return false;
	}
	tell(check, VERDICT_OK, "control database: connected as %s, extension rotor " ROTOR_VERSION,
		 option_text(OPT_CONTROL_USER));
	if (control_check_rights(check->db, &missing, &err) != CONTROL_DONE)
		tell(check, VERDICT_FAIL, "rights of the role: %s", err.message);
	else if (missing != NULL)
		tell(check, VERDICT_FAIL,
			 "the role may not call %s: run SELECT rotor.setup_worker('%s') as a superuser",
			 missing, option_text(OPT_CONTROL_USER));
	else
		tell(check, VERDICT_OK, "the role may claim and report");
	if (option_text(OPT_OWN_SECRET)[0] == '\0')
		return true;
	if (control_refresh_own_password(check->db, &changed, &err) == CONTROL_DONE)
		tell(check, VERDICT_OK, "own_secret %s can be read%s", option_text(OPT_OWN_SECRET),
			 changed ? ", and password_file has its value" : "");
	else
		tell(check, VERDICT_FAIL, "own_secret %s: %s", option_text(OPT_OWN_SECRET), err.message);
	return true;
}

/* ------------------------------------------------------------------------------------------------
 * Targets and stores
 */

static Outcome
check_target(const Job *job, Deadline deadline)
{
	const TargetClass *target = target_find(job->target_type);

	if (target == NULL)
		return outcome_make(OUTCOME_PERMANENT, NULL, "this program has no targets of type %s",
							job->target_type);
	if (job->secret[0] == '\0')
		return outcome_make(OUTCOME_OK, NULL, "not connected to: no secret is there");
	if (target->check_logs_in && job->admin.id[0] == '\0')
		return outcome_make(OUTCOME_OK, NULL,
							"not connected to: it has no admin, its accounts change themselves");
	return target->check(job, job->admin.id[0] != '\0' ? &job->admin : NULL, deadline);
}

static Outcome
check_store(const Job *job, Deadline deadline)
{
	const StoreClass *store = store_find(job->store_type);

	if (store == NULL)
		return outcome_make(OUTCOME_PERMANENT, NULL, "this program has no stores of type %s",
							job->store_type);
	if (job->secret[0] == '\0')
		return outcome_make(OUTCOME_OK, NULL, "not connected to: no secret is published there");
	return store->check(job, deadline);
}

static void
check_one(Check *check, bool is_store, const char *name)
{
	const char *kind = is_store ? "store" : "target";
	Deadline deadline = deadline_in(option_number(OPT_ACT_TIMEOUT));
	PgError err = {0};
	Outcome outcome;
	Job *job;

	if (control_check_job(check->db, is_store, name, &job, &err) != CONTROL_DONE)
	{
		tell(check, VERDICT_FAIL, "%s %s: %s", kind, name, err.message);
		return;
	}
	if (!is_store && target_find(job->target_type) != NULL &&
		!registry_serves_target(job->target_type, option_flag(OPT_ALLOW_COMMANDS)))
	{
		tell(check, VERDICT_SKIP,
			 "target %s: no worker of these settings serves it: allow_commands is off", name);
		job_free(job);
		return;
	}
	outcome = is_store ? check_store(job, deadline) : check_target(job, deadline);
	outcome_scrub(&outcome, &job->admin.password);
	tell_outcome(check, kind, name, &outcome);
	job_free(job);
}

static void
check_all(Check *check, bool are_stores)
{
	const char *kind = are_stores ? "stores" : "targets";
	PgError err = {0};
	char **names;
	int count;

	ControlResult result = control_check_names(check->db, are_stores, &names, &count, &err);

	if (result == CONTROL_REFUSED && strcmp(err.sqlstate, "42501") == 0)
	{
		tell(check, VERDICT_SKIP,
			 "%s: %s may not read them; name a role that may, by --control-user", kind,
			 option_text(OPT_CONTROL_USER));
		return;
	}
	if (result != CONTROL_DONE)
	{
		tell(check, VERDICT_FAIL, "%s: %s", kind, err.message);
		return;
	}
	for (int i = 0; i < count; i++)
	{
		check_one(check, are_stores, names[i]);
		free(names[i]);
	}
	free(names);
}

int
command_check(int argc, char **argv)
{
	Check check = {0};
	RotorError err;
	int rest;

	if (!options_init(argc, argv, environ, &rest, &err))
	{
		tell(&check, VERDICT_FAIL, "%s. %s", err.message, err.hint);
		return 2;
	}
	if (rest < argc)
	{
		tell(&check, VERDICT_FAIL, "unexpected argument \"%s\"", argv[rest]);
		return 2;
	}
	tell(&check, VERDICT_OK, "settings");
	control_init();
	if (!http_client_init(&err))
		tell(&check, VERDICT_FAIL, "%s", err.message);
	check_process(&check);
	check.db = control_new("rotor check", "", "");
	if (check.db != NULL && check_control(&check))
	{
		check_all(&check, false);
		check_all(&check, true);
	}
	else if (check.db == NULL)
		tell(&check, VERDICT_FAIL, "out of memory");
	control_free(check.db);
	if (check.failed > 0)
		(void) printf("%d of these would fail\n", check.failed);
	return check.failed > 0 ? 1 : 0;
}

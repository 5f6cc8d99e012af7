/*
 * target_command.c - a program of the user's own that sets and verifies a value: for API keys and whatever else.
 *
 * Options of the target: "command", a list whose first element is the program's absolute path; "timeout_s", how long it
 * may run (default 10). The program reads one JSON object from standard input:
 *
 *     {"action": "set" or "login", "secret":…, "version": uuid, "username":…, "password":…,
 *      "by": {"username":…, "password":…} or null, "options": {the account's options}}
 *
 * and answers by its exit status, and if it likes by a JSON object {"message":…, "code":…} on standard output:
 *
 *     0   done; of a login: accepted
 *     1   permanent: nothing was changed, and will not be
 *     2   refused: the value is not accepted; of set as 1
 *     75  transient (EX_TEMPFAIL): nothing was changed; it is tried again
 *     any other, a signal, or no end in time: of set unknown, what became of it is looked into by a login; of a login
 *         transient
 *
 * It has to be idempotent: the same version may be set again. The password is never in its arguments or environment; how
 * it is confined is in child.h. A program that others could replace is not run.
 */
#include "target.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "child.h"

#define MAX_ARGUMENTS  32
#define MAX_OUTPUT	   (16 * 1024)
#define TIMEOUT_S	   10
#define TIMEOUT_S_MOST 3600
#define EXIT_PERMANENT 1
#define EXIT_REFUSED   2
#define EXIT_TRANSIENT 75 /* EX_TEMPFAIL of sysexits.h */

typedef struct Command
{
	const char *argv[MAX_ARGUMENTS + 1];
	int64_t timeout_ms;
} Command;

static Outcome
bad_option(const char *name, const char *allowed)
{
	return outcome_make(OUTCOME_PERMANENT, NULL, "option \"%s\" of the command target must be %s",
						name, allowed);
}

/* Of the program's file: can it be run, and by nobody else be replaced? */
static Outcome
check_program(const char *path)
{
	struct stat st;

	if (stat(path, &st) != 0)
		return outcome_make(OUTCOME_PERMANENT, strerrorname_np(errno), "the program \"%s\": %m",
							path);
	if (!S_ISREG(st.st_mode) || faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) != 0)
		return outcome_make(OUTCOME_PERMANENT, "EACCES", "\"%s\" is no program that may be run",
							path);
	if ((st.st_uid != 0 && st.st_uid != geteuid()) || (st.st_mode & S_IWOTH) != 0 ||
		((st.st_mode & S_IWGRP) != 0 && st.st_gid != 0))
		return outcome_make(OUTCOME_PERMANENT, "EPERM",
							"others can change the program \"%s\"; let it belong to root or to the "
							"user rotor runs as, and run: chmod go-w on it",
							path);
	return outcome_make(OUTCOME_OK, NULL, NULL);
}

static Outcome
read_command(const Job *job, Command *command)
{
	const cJSON *options = cJSON_GetObjectItemCaseSensitive(job->target, "options");
	const cJSON *list = cJSON_GetObjectItemCaseSensitive(options, "command");
	double timeout = job_number(options, "timeout_s", TIMEOUT_S);
	const cJSON *item;
	size_t count = 0;

	memset(command, 0, sizeof(*command));
	if (!cJSON_IsArray(list) || cJSON_GetArraySize(list) > MAX_ARGUMENTS)
		return bad_option("command", "a list of a program's absolute path and its arguments");
	cJSON_ArrayForEach(item, list)
	{
		if (!cJSON_IsString(item))
			return bad_option("command", "a list of strings");
		command->argv[count++] = item->valuestring;
	}
	if (count == 0 || command->argv[0][0] != '/')
		return bad_option("command", "a list that begins with an absolute path");
	if (!(timeout > 0 && timeout <= TIMEOUT_S_MOST))
		return bad_option("timeout_s", "a number of seconds up to 3600");
	command->timeout_ms = (int64_t) (timeout * 1000);
	return check_program(command->argv[0]);
}

static bool
add_value(cJSON *object, const JobValue *value)
{
	return cJSON_AddStringToObject(object, "username", value->username) != NULL &&
		   cJSON_AddStringToObject(object, "password", value->password.data) != NULL;
}

/* What the program reads; NULL: out of memory. Wiped and freed by cJSON_free(). */
static char *
make_input(const Job *job, const char *action, const JobValue *value, const JobValue *by)
{
	cJSON *tree = cJSON_CreateObject();
	bool is_by = by != NULL && by->username != NULL;
	cJSON *credential =
		is_by ? cJSON_AddObjectToObject(tree, "by") : cJSON_AddNullToObject(tree, "by");
	cJSON *options =
		cJSON_IsObject(job->account) ? cJSON_Duplicate(job->account, true) : cJSON_CreateObject();
	char *text = NULL;

	if (options != NULL && !cJSON_AddItemToObject(tree, "options", options))
		cJSON_Delete(options);
	else if (options != NULL && cJSON_AddStringToObject(tree, "action", action) != NULL &&
			 cJSON_AddStringToObject(tree, "secret", job->secret) != NULL &&
			 cJSON_AddStringToObject(tree, "version", value->id) != NULL &&
			 add_value(tree, value) && credential != NULL && (!is_by || add_value(credential, by)))
		text = cJSON_PrintUnformatted(tree);
	cJSON_Delete(tree);
	return text;
}

/* The program's own words, where it has any. */
static void
add_words(Outcome *outcome, const char *output)
{
	cJSON *tree = cJSON_Parse(output);
	const char *message = job_string(tree, "message");
	const char *code = job_string(tree, "code");

	if (message != NULL)
		(void) snprintf(outcome->message, sizeof(outcome->message), "%s", message);
	if (code != NULL)
		(void) snprintf(outcome->code, sizeof(outcome->code), "%s", code);
	cJSON_Delete(tree);
}

static Outcome
of_start(int number)
{
	bool passing = number == EAGAIN || number == ENOMEM || number == EMFILE || number == ENFILE ||
				   number == ETXTBSY || number == ETIMEDOUT || number == EINTR;

	errno = number;
	return outcome_make(passing ? OUTCOME_TRANSIENT : OUTCOME_PERMANENT, strerrorname_np(number),
						"the program could not be started: %m");
}

static Outcome
of_status(int status, bool sets, const char *output)
{
	OutcomeClass unclear = sets ? OUTCOME_UNKNOWN : OUTCOME_TRANSIENT;
	Outcome outcome = {.class = unclear};

	switch (status)
	{
		case 0:
			outcome.class = OUTCOME_OK;
			break;
		case EXIT_PERMANENT:
			outcome.class = OUTCOME_PERMANENT;
			break;
		case EXIT_REFUSED:
			outcome.class = sets ? OUTCOME_PERMANENT : OUTCOME_REFUSED;
			break;
		case EXIT_TRANSIENT:
			outcome.class = OUTCOME_TRANSIENT;
			break;
		default:
			break;
	}
	if (status != 0)
	{
		(void) snprintf(outcome.code, sizeof(outcome.code), "exit %d", status);
		(void) snprintf(outcome.message, sizeof(outcome.message),
						"the program ended with status %d", status);
	}
	add_words(&outcome, output);
	return outcome;
}

static Outcome
run(const Job *job, bool sets, const JobValue *value, const JobValue *by, Deadline deadline)
{
	OutcomeClass unclear = sets ? OUTCOME_UNKNOWN : OUTCOME_TRANSIENT;
	char output[MAX_OUTPUT];
	Command command;
	Child child = {.output = output, .output_size = sizeof(output)};
	Outcome outcome = read_command(job, &command);
	char *input;

	if (outcome.class != OUTCOME_OK)
		return outcome;
	input = make_input(job, sets ? "set" : "login", value, by);
	if (input == NULL)
		return outcome_make(OUTCOME_TRANSIENT, "ENOMEM", "out of memory");
	child.argv = command.argv;
	child.input = input;
	child.input_len = strlen(input);
	child.deadline =
		deadline_sooner(deadline_in(command.timeout_ms), deadline_sooner(deadline, job->lease_end));
	switch (child_run(&child))
	{
		case CHILD_NOT_STARTED:
			outcome = of_start(child.number);
			break;
		case CHILD_EXITED:
			outcome = of_status(child.number, sets, output);
			break;
		case CHILD_SIGNALED:
			outcome =
				outcome_make(unclear, NULL, "the program was ended by signal %d", child.number);
			(void) snprintf(outcome.code, sizeof(outcome.code), "SIG%s",
							sigabbrev_np(child.number) != NULL ? sigabbrev_np(child.number) : "");
			break;
		case CHILD_TIMED_OUT:
			outcome = outcome_make(unclear, "ETIMEDOUT", "the program did not end in time");
			break;
	}
	secret_wipe(output, child.output_len);
	cJSON_free(input);
	return outcome;
}

static Outcome
target_command_set(const Job *job, const JobValue *value, const JobValue *by, Deadline deadline)
{
	return run(job, true, value, by, deadline);
}

/* The program does the policy's verification as it likes; query is of databases. */
static Outcome
target_command_login(const Job *job, const JobValue *value, bool query __attribute__((unused)),
					 Deadline deadline)
{
	return run(job, false, value, NULL, deadline);
}

static Outcome
target_command_check(const Job *job, const JobValue *by __attribute__((unused)),
					 Deadline deadline __attribute__((unused)))
{
	Command command;
	Outcome outcome = read_command(job, &command);

	return outcome.class == OUTCOME_OK
			   ? outcome_make(OUTCOME_OK, NULL, "its program can be run, and was not")
			   : outcome;
}

const TargetClass target_command = {
	.type = "command",
	.set = target_command_set,
	.login = target_command_login,
	.check = target_command_check,
};

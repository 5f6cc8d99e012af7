/*
 * command_set.c - `rotor set NAME`; see command_set.h.
 */
#include "command_set.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "control_check.h"
#include "control_db.h"
#include "http_client.h"
#include "options.h"
#include "store.h"
#include "target.h"

static int
complain(const char *message, const char *hint)
{
	(void) fprintf(stderr, "rotor set: %s\n", message);
	if (hint != NULL && hint[0] != '\0')
		(void) fprintf(stderr, "%s\n", hint);
	return 2;
}

/* All of standard input, without one line's end at its end. */
static bool
read_all(SecretBuf *value, RotorError *err)
{
	char part[512];
	ssize_t count;
	bool fits = true;

	while (fits &&
		   ((count = read(STDIN_FILENO, part, sizeof(part))) > 0 || (count < 0 && errno == EINTR)))
	{
		if (count > 0)
			fits = secret_buf_append(value, part, (size_t) count, err);
		/* From a terminal a line is all. */
		if (count > 0 && part[count - 1] == '\n' && isatty(STDIN_FILENO) == 1)
			break;
	}
	secret_wipe(part, sizeof(part));
	if (fits && value->len > 0 && value->data[value->len - 1] == '\n')
		value->data[--value->len] = '\0';
	if (fits && value->len > 0 && value->data[value->len - 1] == '\r')
		value->data[--value->len] = '\0';
	if (!fits)
		return false;
	if (value->len == 0)
		return error_set(err, ROTOR_ERROR_ARGUMENT, "standard input has no value");
	if (strlen(value->data) != value->len || strchr(value->data, '\n') != NULL)
		return error_set(err, ROTOR_ERROR_ARGUMENT, "the value has a line feed or a NUL");
	return true;
}

/* From a terminal it is not shown. */
static bool
read_value(SecretBuf *value, RotorError *err)
{
	struct termios before;
	struct termios silent;
	bool is_terminal = tcgetattr(STDIN_FILENO, &before) == 0;
	bool done;

	if (is_terminal)
	{
		silent = before;
		silent.c_lflag &= ~(tcflag_t) ECHO;
		(void) fputs("Value: ", stderr);
		(void) tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent);
	}
	done = read_all(value, err);
	if (is_terminal)
	{
		(void) tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
		(void) fputs("\n", stderr);
	}
	return done;
}

/* Takes the flag out of the arguments; the rest are settings. */
static bool
take_flag(int *argc, char **argv, const char *flag)
{
	for (int i = 1; i < *argc; i++)
	{
		if (strcmp(argv[i], flag) != 0)
			continue;
		memmove(&argv[i], &argv[i + 1], (size_t) (*argc - i) * sizeof(*argv));
		(*argc)--;
		return true;
	}
	return false;
}

/* The value that the secret's store has as current; what is wrong is in *err. */
static bool
read_from_store(const Job *job, SecretBuf *value, PgError *err)
{
	const StoreClass *store = store_find(job->store_type);
	SecretBuf username = {0};
	Outcome outcome;
	bool done = false;

	if (store == NULL || store->read == NULL)
	{
		pg_error_say(err, "the secret is in no store outside");
		return false;
	}
	outcome = store->read(job, &username, value, deadline_in(option_number(OPT_ACT_TIMEOUT)));
	outcome_scrub(&outcome, value);
	if (outcome.class != OUTCOME_OK)
		pg_error_say(err, outcome.message[0] != '\0' ? outcome.message : outcome.code);
	else if (value->len == 0)
		pg_error_say(err, "the store has no password for it");
	else if (username.len > 0 && strcmp(username.data, job->username) != 0)
		pg_error_say(err, "the store has the password of another account");
	/* In this cluster the role's own verifier says so. */
	else if (username.len == 0 && strcmp(job->target_type, "self") != 0)
		pg_error_say(err, "the store does not say whose password it has");
	else
		done = true;
	secret_buf_wipe(&username);
	return done;
}

/* Does the account have the value? In this cluster the server itself sees to that. */
static bool
is_accepted(Job *job, const SecretBuf *value, PgError *err)
{
	const TargetClass *target = target_find(job->target_type);
	char words[OUTCOME_MESSAGE_SIZE + 128];
	RotorError bad;
	Outcome outcome;

	if (strcmp(job->target_type, "self") == 0)
		return true;
	if (target == NULL)
		outcome = outcome_make(OUTCOME_PERMANENT, NULL, "this program has no targets of type %.64s",
							   job->target_type);
	else if (!secret_buf_set(&job->version.password, value->data, value->len, &bad))
		outcome = outcome_of_error(OUTCOME_PERMANENT, &bad);
	else
		outcome =
			target->login(job, &job->version, false, deadline_in(option_number(OPT_ACT_TIMEOUT)));
	if (outcome.class == OUTCOME_OK || outcome.class == OUTCOME_PROVED)
		return true;
	outcome_scrub(&outcome, value);
	(void) snprintf(words, sizeof(words), "the store's value is not proved at target \"%.64s\": %s",
					job->target_name,
					outcome.message[0] != '\0' ? outcome.message : outcome_name(outcome.class));
	pg_error_say(err, words);
	return false;
}

static bool
adopt_from_store(ControlDb *db, const char *secret, SecretBuf *value, PgError *err)
{
	char current[UUID_SIZE];
	RotorError bad;
	Job *job;
	bool done = false;

	if (control_secret_job(db, secret, &job, err) != CONTROL_DONE)
		return false;
	/* What is current is asked before the store is: a rotation between the two is met at the end. */
	if (!http_client_init(&bad))
		pg_error_say(err, bad.message);
	else
		done = control_labelled_version(db, job->secret, "current", current, err) == CONTROL_DONE &&
			   read_from_store(job, value, err) && is_accepted(job, value, err) &&
			   control_adopt(db, job->secret, current, value, err) == CONTROL_DONE;
	job_free(job);
	return done;
}

/* Sends the value, or first reads it from the store. */
static int
send_value(const char *secret, SecretBuf *value, bool adopt, bool from_store)
{
	ControlDb *db;
	PgError err = {0};
	char rotation[UUID_SIZE];
	bool done = false;

	control_init();
	db = control_new("rotor set", "", "");
	if (db == NULL)
		pg_error_say(&err, "out of memory");
	else if (control_connect(db, &err) == CONTROL_CONNECTED)
		done = from_store
				   ? adopt_from_store(db, secret, value, &err)
				   : control_set_value(db, secret, value, adopt, rotation, &err) == CONTROL_DONE;
	if (!done)
		(void) fprintf(stderr, "rotor set: %s%s%s\n", err.sqlstate,
					   err.sqlstate[0] != '\0' ? ": " : "", err.message);
	else if (adopt)
		(void) printf("adopted\n");
	else
		(void) printf("%s\n", rotation);
	control_free(db);
	return done ? 0 : 1;
}

int
command_set(int argc, char **argv)
{
	SecretBuf value = {0};
	RotorError err;
	bool from_store = take_flag(&argc, argv, "--from-store");
	/* What the store has is what applications use: it is never a value to rotate to. */
	bool adopt = take_flag(&argc, argv, "--adopt") || from_store;
	int status;
	int rest;

	if (!options_init(argc, argv, environ, &rest, &err))
		return complain(err.message, err.hint);
	if (rest != argc - 1)
		return complain("one secret must be named",
						"The value is read from standard input, or with --from-store from there.");
	if (from_store || read_value(&value, &err))
		status = send_value(argv[rest], &value, adopt, from_store);
	else
		status = complain(err.message, err.hint);
	secret_buf_wipe(&value);
	return status;
}

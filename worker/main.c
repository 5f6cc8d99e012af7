/*
 * main.c - the program rotor: what its first argument asks for.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "command_check.h"
#include "command_set.h"
#include "log.h"
#include "loop.h"
#include "options.h"
#include "process.h"

static const char usage[] =
	"Usage: rotor COMMAND [OPTION]...\n"
	"\n"
	"Rotates credentials outside the server that has the extension rotor.\n"
	"\n"
	"  rotor worker            claims steps of rotations, does them, reports; runs until SIGTERM\n"
	"\n"
	"  rotor check             connects to everything that is configured, reports line by line\n"
	"  rotor set NAME          reads a value from standard input and rotates the secret to it\n"
	"      --adopt             the account has the value already: it only becomes current\n"
	"      --from-store        adopts the value that the secret's store has as current\n"
	"\n"
	"      --help              prints this; after a command, also its settings\n"
	"      --help=markdown     after a command: its settings as a page\n"
	"      --version           prints the version\n";

typedef struct Command
{
	const char *name;
	int (*run)(int argc, char **argv);
} Command;

static int
complain(const RotorError *err)
{
	(void) fprintf(stderr, "rotor: %s\n", err->message);
	if (err->detail[0] != '\0')
		(void) fprintf(stderr, "%s\n", err->detail);
	if (err->hint[0] != '\0')
		(void) fprintf(stderr, "%s\n", err->hint);
	return 2;
}

static int
run_worker(int argc, char **argv)
{
	RotorError err;
	int rest;

	if (!options_init(argc, argv, environ, &rest, &err))
		return complain(&err);
	if (rest < argc)
	{
		(void) error_set(&err, ROTOR_ERROR_ARGUMENT, "unexpected argument \"%s\"", argv[rest]);
		return complain(&err);
	}
	log_init((LogFormat) option_number(OPT_LOG_FORMAT), (LogLevel) option_number(OPT_LOG_LEVEL));
	return loop_run();
}

static const Command commands[] = {
	{"worker", run_worker},
	{"check", command_check},
	{"set", command_set},
};

/* Help of a command, if it is asked for. */
static bool
help_of_command(int argc, char **argv)
{
	for (int i = 2; i < argc; i++)
	{
		if (strcmp(argv[i], "--help=markdown") == 0)
		{
			options_print_markdown(stdout);
			return true;
		}
		if (strcmp(argv[i], "--help") == 0)
		{
			(void) printf(
				"%s\nSettings, also as ROTOR_NAME in the environment and name = value in the file:\n\n",
				usage);
			options_print_help(stdout);
			return true;
		}
	}
	return false;
}

int
main(int argc, char **argv)
{
	process_protect();
	if (argc == 2 && strcmp(argv[1], "--version") == 0)
		return printf("rotor %s\n", ROTOR_VERSION) < 0;
	if (argc == 2 && strcmp(argv[1], "--help") == 0)
		return fputs(usage, stdout) == EOF;
	for (size_t i = 0; argc > 1 && i < sizeof(commands) / sizeof(commands[0]); i++)
	{
		if (strcmp(argv[1], commands[i].name) != 0)
			continue;
		if (help_of_command(argc, argv))
			return ferror(stdout) != 0;
		return commands[i].run(argc - 1, argv + 1);
	}
	(void) fputs(usage, stderr);
	return 2;
}

/*
 * options.h - the settings of the program, from one table (options_list.h).
 *
 * A flag goes before the environment (ROTOR_NAME), that before the file, that before the profile's
 * default. Everything is checked before anything is used; what is not known is an error. An error names
 * the setting, where it was set and what is allowed.
 *
 * What always holds: before options_init() every setting has its default of profile prod, so that parts
 * of the program can be tested alone; texts never change after it, so pointers to them stay; numbers
 * may, by options_reload(), and can be read by any thread.
 */
#ifndef ROTOR_WORKER_OPTIONS_H
#define ROTOR_WORKER_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "error.h"

typedef enum OptionId
{
#define OPTION(id, ...) OPT_##id,
#include "options_list.h"
#undef OPTION
	OPT_COUNT
} OptionId;

typedef enum OptionKind
{
	OPTION_TEXT,
	OPTION_FILE, /* an absolute path */
	OPTION_INTEGER,
	OPTION_DURATION, /* 500ms, 5s, 2min, 1h; its number is in milliseconds */
	OPTION_BOOLEAN,	 /* on, off, and what else means them */
	OPTION_CHOICE	 /* its number is the place in choices, from 0 */
} OptionKind;

typedef enum Profile
{
	PROFILE_DEV,
	PROFILE_STAGING,
	PROFILE_PROD,
	PROFILE_COUNT
} Profile;

typedef struct OptionSpec
{
	const char *name;
	OptionKind kind;
	bool reload;						 /* follows a SIGHUP */
	const char *defaults[PROFILE_COUNT]; /* NULL: empty */
	int64_t least, most;				 /* of an integer, or of a duration in milliseconds */
	const char *unit;					 /* of an integer */
	const char *choices;				 /* joined by | */
	/* For a text that is not empty: NULL if it may be, else what is allowed. */
	const char *(*check)(const char *text);
	const char *about;
} OptionSpec;

extern const OptionSpec option_table[OPT_COUNT];

/*
 * Reads flags, environment and file. argv[0] is skipped; the first argument that is no flag has the
 * index *rest. Errors: ARGUMENT; the settings are then as before.
 */
extern bool options_init(int argc, char **argv, char **environment, int *rest, RotorError *err);

/*
 * Reads the file anew. What does not follow a reload keeps its value; the names of those that differ
 * are put into ignored, joined by commas. On an error nothing changes.
 */
extern bool options_reload(char *ignored, size_t ignored_size, RotorError *err);

/* Sets one by hand, as a flag does; for tests. */
extern bool options_set(OptionId id, const char *text, RotorError *err);
/* Every setting has its default again. */
extern void options_reset(void);

/* Never NULL. */
extern const char *option_text(OptionId id);
extern int64_t option_number(OptionId id);
extern bool option_flag(OptionId id);
/* Where it was set: "default of profile prod", "environment variable ROTOR_X", "--x", "file:line". */
extern const char *option_source(OptionId id);

/* The part of --help that is about settings; the page docs/worker-settings.md. */
extern void options_print_help(FILE *out);
extern void options_print_markdown(FILE *out);

/* For option_table: NULL, or what is allowed. */
extern const char *option_check_listen(const char *text);
extern const char *option_check_ports(const char *text);
extern const char *option_check_sslmode(const char *text);

#endif

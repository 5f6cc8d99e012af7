/*
 * options.c - reads the settings; see options.h.
 *
 * Each reading fills a Reading of its own, which becomes the settings only when all of it is valid.
 */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <regex.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "options_file.h"
#include "options_value.h"

#define SOURCE_SIZE	  320
#define NAME_MAX_SIZE 64

typedef struct Entry
{
	char *text; /* NULL: not set */
	int64_t number;
	char source[SOURCE_SIZE];
} Entry;

typedef struct Reading
{
	Entry entries[OPT_COUNT];
} Reading;

typedef struct FileReader
{
	Reading *reading;
	const char *path;
} FileReader;

/* What the accessors read. Texts are freed by options_reset() alone. */
static struct
{
	char *text;
	_Atomic int64_t number;
	char source[SOURCE_SIZE];
} settings[OPT_COUNT];

static _Atomic bool is_ready;
static pthread_mutex_t defaults_lock = PTHREAD_MUTEX_INITIALIZER;

/* What a reload starts from. */
static int saved_argc;
static char **saved_argv;
static char **saved_environment;

static void
reading_clear(Reading *reading)
{
	for (int i = 0; i < OPT_COUNT; i++)
		free(reading->entries[i].text);
	memset(reading, 0, sizeof(*reading));
}

/* Checks text and keeps it, unless a source that goes first has set it already. */
static bool
take(Reading *reading, OptionId id, const char *text, const char *source, RotorError *err)
{
	Entry *entry = &reading->entries[id];
	int64_t number;
	char *copy;

	if (!option_value_check(&option_table[id], text, source, &number, err))
		return false;
	if (entry->text != NULL)
		return true;
	copy = strdup(text);
	if (copy == NULL)
		return error_set(err, ROTOR_ERROR_SPACE, "out of memory");
	entry->text = copy;
	entry->number = number;
	(void) snprintf(entry->source, sizeof(entry->source), "%s", source);
	return true;
}

/* ------------------------------------------------------------------------------------------------
 * Flags
 */

/* "per_target_limit" as "per-target-limit", or back. */
static void
spell(char *out, size_t size, const char *name, char from, char to)
{
	(void) snprintf(out, size, "%s", name);
	for (char *c = out; *c != '\0'; c++)
	{
		if (*c == from)
			*c = to;
	}
}

static bool
unknown_flag(const char *argument, RotorError *err)
{
	char name[NAME_MAX_SIZE];

	spell(name, sizeof(name), argument + strspn(argument, "-"), '-', '_');
	name[strcspn(name, "=")] = '\0';
	(void) error_set(err, ROTOR_ERROR_ARGUMENT, "there is no flag \"%.*s\"",
					 (int) strcspn(argument, "="), argument);
	return option_suggest(name, "--", '-', err);
}

static bool
read_flags(Reading *reading, int argc, char **argv, int *rest, RotorError *err)
{
	static char names[OPT_COUNT][NAME_MAX_SIZE];
	struct option flags[OPT_COUNT + 1];
	char source[NAME_MAX_SIZE + 2];
	int found;

	memset(flags, 0, sizeof(flags));
	for (int i = 0; i < OPT_COUNT; i++)
	{
		spell(names[i], sizeof(names[i]), option_table[i].name, '_', '-');
		flags[i] = (struct option){
			.name = names[i],
			.has_arg =
				option_table[i].kind == OPTION_BOOLEAN ? optional_argument : required_argument,
			.val = 256 + i,
		};
	}
	optind = 0;
	opterr = 0;
	/* NOLINTNEXTLINE(concurrency-mt-unsafe): before any thread, and when none reads flags. */
	while ((found = getopt_long(argc, argv, ":", flags, NULL)) != -1)
	{
		if (found == ':')
			return error_set(err, ROTOR_ERROR_ARGUMENT, "the flag \"%s\" needs a value",
							 argv[optind - 1]);
		if (found < 256)
			return unknown_flag(argv[optind - 1], err);
		(void) snprintf(source, sizeof(source), "--%s", names[found - 256]);
		/* Of several the first counts, as everywhere here: it is told. */
		if (reading->entries[found - 256].text != NULL)
			return error_set(err, ROTOR_ERROR_ARGUMENT, "the flag \"%s\" is given twice", source);
		if (!take(reading, (OptionId) (found - 256), optarg != NULL ? optarg : "on", source, err))
			return false;
	}
	if (rest != NULL)
		*rest = optind;
	return true;
}

/* ------------------------------------------------------------------------------------------------
 * Environment
 */

/*
 * What Kubernetes sets in each container for a service whose name begins with rotor. A port alone, which settings have
 * too, is a URL there.
 */
static bool
is_of_kubernetes(const char *variable)
{
	static const char forms[] =
		"^ROTOR(_[A-Z0-9_]+)?_(SERVICE_HOST=|SERVICE_PORT(_[A-Z0-9_]+)?=|"
		"PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?=|PORT=(tcp|udp|sctp)://)";
	regex_t pattern;
	bool matches;

	if (regcomp(&pattern, forms, REG_EXTENDED | REG_NOSUB) != 0)
		return false;
	matches = regexec(&pattern, variable, 0, NULL, 0) == 0;
	regfree(&pattern);
	return matches;
}

static bool
read_variable(Reading *reading, const char *variable, RotorError *err)
{
	const char *equals = strchr(variable, '=');
	size_t length = (size_t) (equals - variable);
	char name[NAME_MAX_SIZE];
	char source[NAME_MAX_SIZE + 32];
	int id;

	if (is_of_kubernetes(variable))
		return true;
	(void) snprintf(name, sizeof(name), "%.*s", (int) (length - 6), variable + 6);
	for (char *c = name; *c != '\0'; c++)
	{
		if (*c >= 'A' && *c <= 'Z')
			*c = (char) (*c - 'A' + 'a');
	}
	id = option_find(name);
	if (id < 0)
	{
		(void) error_set(err, ROTOR_ERROR_ARGUMENT,
						 "the environment variable \"%.*s\" is no setting",
						 length < 100 ? (int) length : 100, variable);
		return option_suggest(name, "ROTOR_", '_', err);
	}
	(void) snprintf(source, sizeof(source), "environment variable ROTOR_%.*s", (int) (length - 6),
					variable + 6);
	return take(reading, (OptionId) id, equals + 1, source, err);
}

static bool
read_environment(Reading *reading, char **environment, RotorError *err)
{
	for (char **variable = environment; variable != NULL && *variable != NULL; variable++)
	{
		if (strncmp(*variable, "ROTOR_", 6) == 0 && strchr(*variable, '=') != NULL &&
			!read_variable(reading, *variable, err))
			return false;
	}
	return true;
}

/* ------------------------------------------------------------------------------------------------
 * File and defaults
 */

static bool
read_file_entry(void *context, const char *name, const char *value, int line, RotorError *err)
{
	FileReader *reader = context;
	char source[SOURCE_SIZE];
	int id = option_find(name);

	(void) snprintf(source, sizeof(source), "%s:%d", reader->path, line);
	if (id < 0)
	{
		(void) error_set(err, ROTOR_ERROR_ARGUMENT, "%s: \"%.60s\" is no setting", source, name);
		return option_suggest(name, "", '_', err);
	}
	if (id == OPT_CONFIG)
		return error_set(err, ROTOR_ERROR_ARGUMENT,
						 "%s: \"config\" cannot be set in the file itself", source);
	return take(reader->reading, (OptionId) id, value, source, err);
}

static bool
read_file(Reading *reading, RotorError *err)
{
	const char *named = reading->entries[OPT_CONFIG].text;
	FileReader reader = {.reading = reading,
						 .path = named != NULL ? named
											   : option_table[OPT_CONFIG].defaults[PROFILE_PROD]};

	return options_file_read(reader.path, named != NULL, read_file_entry, &reader, err);
}

static bool
fill_defaults(Reading *reading, RotorError *err)
{
	Entry *profile = &reading->entries[OPT_PROFILE];
	int64_t number = profile->text != NULL ? profile->number : PROFILE_PROD;
	static const char *const names[PROFILE_COUNT] = {"dev", "staging", "prod"};
	char source[64];

	(void) snprintf(source, sizeof(source), "default of profile %s", names[number]);
	for (int i = 0; i < OPT_COUNT; i++)
	{
		const char *text = option_table[i].defaults[number];

		if (reading->entries[i].text == NULL &&
			!take(reading, (OptionId) i, text != NULL ? text : "", source, err))
			return false;
	}
	return true;
}

static bool
read_all(Reading *reading, int argc, char **argv, char **environment, int *rest, RotorError *err)
{
	return read_flags(reading, argc, argv, rest, err) &&
		   read_environment(reading, environment, err) && read_file(reading, err) &&
		   fill_defaults(reading, err);
}

/* ------------------------------------------------------------------------------------------------
 * The settings
 */

static void
settings_take(OptionId id, Entry *entry)
{
	free(settings[id].text);
	settings[id].text = entry->text;
	entry->text = NULL;
	atomic_store(&settings[id].number, entry->number);
	memcpy(settings[id].source, entry->source, sizeof(entry->source));
}

static void
settings_take_all(Reading *reading)
{
	for (int i = 0; i < OPT_COUNT; i++)
		settings_take((OptionId) i, &reading->entries[i]);
	atomic_store(&is_ready, true);
}

/* Parts of the program that are tested alone do without options_init(). */
static void
need_settings(void)
{
	Reading reading = {0};
	RotorError err;

	if (atomic_load(&is_ready))
		return;
	(void) pthread_mutex_lock(&defaults_lock);
	if (!atomic_load(&is_ready))
	{
		if (!fill_defaults(&reading, &err))
			abort(); /* a default of the table is bad, or there is no memory at all */
		settings_take_all(&reading);
	}
	(void) pthread_mutex_unlock(&defaults_lock);
}

bool
options_init(int argc, char **argv, char **environment, int *rest, RotorError *err)
{
	Reading reading = {0};

	if (!read_all(&reading, argc, argv, environment, rest, err))
	{
		reading_clear(&reading);
		return false;
	}
	settings_take_all(&reading);
	saved_argc = argc;
	saved_argv = argv;
	saved_environment = environment;
	return true;
}

bool
options_reload(char *ignored, size_t ignored_size, RotorError *err)
{
	Reading reading = {0};
	size_t used = 0;

	ignored[0] = '\0';
	if (!read_all(&reading, saved_argc, saved_argv, saved_environment, NULL, err))
	{
		reading_clear(&reading);
		return false;
	}
	for (int i = 0; i < OPT_COUNT; i++)
	{
		/* Of what follows a reload nobody reads the text, see options.h. */
		if (option_table[i].reload)
			atomic_store(&settings[i].number, reading.entries[i].number);
		else if (strcmp(settings[i].text, reading.entries[i].text) != 0 && used < ignored_size)
			used += (size_t) snprintf(ignored + used, ignored_size - used, "%s%s",
									  used > 0 ? ", " : "", option_table[i].name);
	}
	reading_clear(&reading);
	return true;
}

bool
options_set(OptionId id, const char *text, RotorError *err)
{
	Reading reading = {0};

	need_settings();
	if (!take(&reading, id, text, "test", err))
		return false;
	settings_take(id, &reading.entries[id]);
	return true;
}

void
options_reset(void)
{
	atomic_store(&is_ready, false);
	for (int i = 0; i < OPT_COUNT; i++)
	{
		free(settings[i].text);
		settings[i].text = NULL;
	}
}

const char *
option_text(OptionId id)
{
	need_settings();
	return settings[id].text;
}

int64_t
option_number(OptionId id)
{
	need_settings();
	return atomic_load(&settings[id].number);
}

bool
option_flag(OptionId id)
{
	return option_number(id) != 0;
}

const char *
option_source(OptionId id)
{
	need_settings();
	return settings[id].source;
}

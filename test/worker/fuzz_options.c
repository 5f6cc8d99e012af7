/*
 * fuzz_options.c
 *		Settings: the input is a file of them.
 *
 * Either all of it is taken, and every number is within its bounds, or nothing is and an error says in which line.
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/mman.h>

#include "options.h"

static int file = -1;
static char path[64];

/* The file of this input; opening it by its path begins at its start. */
static void
write_file(const uint8_t *data, size_t size)
{
	if (file < 0)
	{
		file = memfd_create("settings", MFD_CLOEXEC);
		MUST(file >= 0);
		(void) snprintf(path, sizeof(path), "--config=/proc/self/fd/%d", file);
	}
	MUST(ftruncate(file, 0) == 0);
	MUST(pwrite(file, data, size, 0) == (ssize_t) size);
}

static void
must_be_within_bounds(void)
{
	for (int i = 0; i < OPT_COUNT; i++)
	{
		const OptionSpec *spec = &option_table[i];
		const char *text = option_text((OptionId) i);

		MUST(text != NULL && option_source((OptionId) i) != NULL);
		if (spec->kind == OPTION_INTEGER || spec->kind == OPTION_DURATION)
			MUST(option_number((OptionId) i) >= spec->least &&
				 option_number((OptionId) i) <= spec->most);
		if (spec->kind == OPTION_FILE)
			MUST(text[0] == '\0' || text[0] == '/');
		if (spec->kind == OPTION_BOOLEAN)
			MUST(option_number((OptionId) i) == 0 || option_number((OptionId) i) == 1);
		if (spec->check != NULL && text[0] != '\0')
			MUST(spec->check(text) == NULL);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char program[] = "rotor";
	char *argv[] = {program, path, NULL};
	char *environment[] = {NULL};
	char before[64];
	char ignored[1024];
	RotorError err;
	int rest = -1;

	write_file(data, size);
	options_reset();
	(void) snprintf(before, sizeof(before), "%s", option_text(OPT_CONTROL_PORT));
	if (options_init(2, argv, environment, &rest, &err))
	{
		MUST(rest == 2);
		must_be_within_bounds();
		/* Read again, the same file changes nothing. */
		MUST(options_reload(ignored, sizeof(ignored), &err));
		MUST(ignored[0] == '\0');
		must_be_within_bounds();
	}
	else
	{
		must_be_error(&err, ROTOR_ERROR_ARGUMENT, ROTOR_ERROR_ARGUMENT);
		MUST(strcmp(option_text(OPT_CONTROL_PORT), before) == 0);
	}
	options_reset();
	return 0;
}

/*
 * options_file.c - reads an INI file; see options_file.h.
 */
#include "options_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ini_lines.h"

#define NAME_SIZE	128
#define ENTRIES_MAX 256

typedef struct FileState
{
	FILE *file;
	const char *path;
	int line;
	bool failed; /* *err is filled: nothing more is read */
	char names[ENTRIES_MAX][NAME_SIZE];
	int lines[ENTRIES_MAX];
	int count;
	OptionsFileEntry entry;
	void *context;
	RotorError *err;
} FileState;

static bool
fail(FileState *state, const char *what)
{
	state->failed = true;
	return error_set(state->err, ROTOR_ERROR_ARGUMENT, "%s:%d: %s", state->path, state->line, what);
}

/* Gives one line, and counts it. */
static char *
read_line(char *line, int size, void *context)
{
	FileState *state = context;
	size_t length;

	if (state->failed || fgets(line, size, state->file) == NULL)
		return NULL;
	state->line++;
	length = strlen(line);
	if (length + 1 == (size_t) size && line[length - 1] != '\n' && !feof(state->file))
	{
		(void) fail(state, "the line is too long");
		return NULL;
	}
	return line;
}

static bool
take_name(FileState *state, const char *name)
{
	for (int i = 0; i < state->count; i++)
	{
		if (strcmp(state->names[i], name) == 0)
		{
			state->failed = true;
			return error_set(state->err, ROTOR_ERROR_ARGUMENT,
							 "%s:%d: the setting \"%.60s\" is set already, in line %d", state->path,
							 state->line, name, state->lines[i]);
		}
	}
	if (state->count == ENTRIES_MAX)
		return fail(state, "there are too many settings");
	(void) snprintf(state->names[state->count], NAME_SIZE, "%s", name);
	state->lines[state->count] = state->line;
	state->count++;
	return true;
}

static int
handle(void *context, const char *section, const char *key, const char *value)
{
	FileState *state = context;
	char name[NAME_SIZE];
	bool is_plain = section[0] == '\0' || strcmp(section, "rotor") == 0;

	if (state->failed)
		return 1;
	(void) snprintf(name, sizeof(name), "%s%s%s", is_plain ? "" : section, is_plain ? "" : "_",
					key);
	if (take_name(state, name) &&
		!state->entry(state->context, name, value, state->line, state->err))
		state->failed = true;
	return 1;
}

bool
options_file_read(const char *path, bool must_exist, OptionsFileEntry entry, void *context,
				  RotorError *err)
{
	FileState *state;
	int bad_line;
	bool done = false;
	FILE *file = fopen(path, "re");

	if (file == NULL)
	{
		int reason = errno;

		if (reason == ENOENT && !must_exist)
			return true;
		return error_set(err, ROTOR_ERROR_NOT_FOUND, "could not open %s: %s", path,
						 strerrordesc_np(reason));
	}
	state = calloc(1, sizeof(*state));
	if (state == NULL)
	{
		(void) error_set(err, ROTOR_ERROR_SPACE, "out of memory");
		goto cleanup;
	}
	*state =
		(FileState){.file = file, .path = path, .entry = entry, .context = context, .err = err};
	bad_line = ini_read_lines(read_line, state, handle, state);
	if (state->failed)
		goto cleanup;
	if (ferror(file))
	{
		(void) error_set(err, ROTOR_ERROR_ARGUMENT, "could not read %s", path);
		goto cleanup;
	}
	if (bad_line != 0)
	{
		state->line = bad_line;
		(void) fail(state, "this is neither a setting, as in key = value, nor a [section]");
		goto cleanup;
	}
	done = true;

cleanup:
	free(state);
	(void) fclose(file);
	return done;
}

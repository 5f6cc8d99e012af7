/*
 * options_value.c - reads the text of one setting; see options_value.h.
 */
#include "options_value.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Names that differ by more than this many letters are not taken for slips. */
#define SLIP_MAX 3

#define ALLOWED_SIZE 160

static bool
not_allowed(const OptionSpec *spec, const char *text, const char *source, const char *allowed,
			RotorError *err)
{
	bool is_shown = spec->kind != OPTION_TEXT && spec->kind != OPTION_FILE;

	if (is_shown)
		(void) error_set(err, ROTOR_ERROR_ARGUMENT, "%s: the setting \"%s\" cannot be \"%.40s\"",
						 source, spec->name, text);
	else
		(void) error_set(err, ROTOR_ERROR_ARGUMENT, "%s: the setting \"%s\" has a bad value",
						 source, spec->name);
	return error_hint(err, "Allowed: %s.", allowed);
}

static bool
check_integer(const OptionSpec *spec, const char *text, const char *source, int64_t *number,
			  RotorError *err)
{
	char allowed[ALLOWED_SIZE];
	char *end;

	errno = 0;
	*number = strtoll(text, &end, 10);
	if (errno == 0 && end != text && *end == '\0' && !isspace((unsigned char) *text) &&
		*number >= spec->least && *number <= spec->most)
		return true;
	(void) snprintf(allowed, sizeof(allowed), "a whole number from %ld to %ld%s%s",
					(long) spec->least, (long) spec->most, spec->unit != NULL ? ", in " : "",
					spec->unit != NULL ? spec->unit : "");
	return not_allowed(spec, text, source, allowed, err);
}

static bool
check_duration(const OptionSpec *spec, const char *text, const char *source, int64_t *number,
			   RotorError *err)
{
	static const struct
	{
		const char *name;
		int64_t ms;
	} units[] = {{"ms", 1}, {"s", 1000}, {"min", 60000}, {"h", 3600000}};
	char allowed[ALLOWED_SIZE];
	char *end;
	long long count;

	errno = 0;
	count = strtoll(text, &end, 10);
	if (errno == 0 && end != text && isdigit((unsigned char) *text))
	{
		end += strspn(end, " ");
		if (count == 0 && *end == '\0')
			end = (char *) "ms";
		for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		{
			if (strcmp(end, units[i].name) == 0 &&
				!__builtin_mul_overflow(count, units[i].ms, number) && *number >= spec->least &&
				*number <= spec->most)
				return true;
		}
	}
	(void) snprintf(allowed, sizeof(allowed),
					"a whole number with its unit, ms, s, min or h, from %ld ms to %ld ms",
					(long) spec->least, (long) spec->most);
	return not_allowed(spec, text, source, allowed, err);
}

static bool
check_boolean(const OptionSpec *spec, const char *text, const char *source, int64_t *number,
			  RotorError *err)
{
	static const char *const words[] = {"off", "on", "false", "true", "no", "yes", "0", "1"};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
	{
		if (strcasecmp(text, words[i]) == 0)
		{
			*number = (int64_t) (i % 2);
			return true;
		}
	}
	return not_allowed(spec, text, source, "on or off", err);
}

static bool
check_choice(const OptionSpec *spec, const char *text, const char *source, int64_t *number,
			 RotorError *err)
{
	char allowed[ALLOWED_SIZE];
	size_t used = 0;

	*number = 0;
	for (const char *choice = spec->choices; choice != NULL; (*number)++)
	{
		size_t length = strcspn(choice, "|");

		if (strlen(text) == length && memcmp(text, choice, length) == 0)
			return true;
		choice = choice[length] == '|' ? choice + length + 1 : NULL;
	}
	for (const char *c = spec->choices; c != NULL && *c != '\0' && used < sizeof(allowed) - 3; c++)
	{
		if (*c == '|')
			allowed[used++] = ',';
		allowed[used++] = (char) (*c == '|' ? ' ' : *c);
	}
	allowed[used] = '\0';
	return not_allowed(spec, text, source, allowed, err);
}

bool
option_value_check(const OptionSpec *spec, const char *text, const char *source, int64_t *number,
				   RotorError *err)
{
	const char *allowed;

	*number = 0;
	switch (spec->kind)
	{
		case OPTION_INTEGER:
			return check_integer(spec, text, source, number, err);
		case OPTION_DURATION:
			return check_duration(spec, text, source, number, err);
		case OPTION_BOOLEAN:
			return check_boolean(spec, text, source, number, err);
		case OPTION_CHOICE:
			return check_choice(spec, text, source, number, err);
		case OPTION_FILE:
			if (*text != '\0' && *text != '/')
				return not_allowed(spec, text, source, "an absolute path", err);
			break;
		case OPTION_TEXT:
			break;
	}
	allowed = spec->check != NULL && *text != '\0' ? spec->check(text) : NULL;
	return allowed == NULL || not_allowed(spec, text, source, allowed, err);
}

int
option_find(const char *name)
{
	for (int i = 0; i < OPT_COUNT; i++)
	{
		if (strcmp(option_table[i].name, name) == 0)
			return i;
	}
	return -1;
}

/* How many letters must be added, taken away or changed; names longer than the array are not near. */
static int
distance(const char *a, const char *b)
{
	int row[64];
	size_t length = strlen(b);

	if (length >= sizeof(row) / sizeof(row[0]))
		return SLIP_MAX + 1;
	for (size_t j = 0; j <= length; j++)
		row[j] = (int) j;
	for (size_t i = 1; a[i - 1] != '\0'; i++)
	{
		int diagonal = row[0];

		row[0] = (int) i;
		for (size_t j = 1; j <= length; j++)
		{
			int best = diagonal + (a[i - 1] != b[j - 1]);

			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			diagonal = row[j];
			row[j] = best;
		}
	}
	return row[length];
}

bool
option_suggest(const char *name, const char *prefix, char joint, RotorError *err)
{
	int nearest = -1;
	int least = SLIP_MAX + 1;
	char spelt[64];

	for (int i = 0; i < OPT_COUNT; i++)
	{
		int far = distance(name, option_table[i].name);

		if (far < least)
		{
			least = far;
			nearest = i;
		}
	}
	if (nearest < 0)
		return error_hint(err, "All settings are listed by rotor worker --help.");
	(void) snprintf(spelt, sizeof(spelt), "%s", option_table[nearest].name);
	for (char *c = spelt; *c != '\0'; c++)
	{
		if (*c == '_')
			*c = joint;
		else if (prefix[0] == 'R')
			*c = (char) toupper((unsigned char) *c);
	}
	return error_hint(err, "The nearest is %s%s.", prefix, spelt);
}

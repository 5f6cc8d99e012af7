/*
 * options_table.c - the table of settings, from options_list.h, and the pages made of it.
 */
#include "options.h"

#include <stdlib.h>
#include <string.h>

#include "http_server.h"

#define SAME(text)				 .defaults = {text, text, text}
#define EACH(dev, staging, prod) .defaults = {dev, staging, prod}

const OptionSpec option_table[OPT_COUNT] = {
#define OPTION(id, option_name, ...) [OPT_##id] = {.name = option_name, __VA_ARGS__},
#include "options_list.h"
#undef OPTION
};

const char *
option_check_listen(const char *text)
{
	RotorError err;

	return http_server_check(text, &err) ? NULL
										 : "an address and a port, as in " HTTP_SERVER_LISTEN
										   " or [::1]:9469, or off";
}

const char *
option_check_ports(const char *text)
{
	static const char allowed[] = "ports from 1 to 65535, joined by commas";

	for (const char *place = text;; place++)
	{
		char *end;
		long port = strtol(place, &end, 10);

		if (*place < '0' || *place > '9' || port < 1 || port > 65535)
			return allowed;
		place = end;
		if (*place != ',')
			return *place == '\0' ? NULL : allowed;
	}
}

const char *
option_check_sslmode(const char *text)
{
	static const char *const modes[] = {"disable", "require", "verify-ca", "verify-full"};

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
	{
		if (strcmp(text, modes[i]) == 0)
			return NULL;
	}
	return "disable, require, verify-ca, verify-full";
}

/* Milliseconds as the largest unit that shows them whole. */
static void
print_duration(FILE *out, int64_t ms)
{
	if (ms != 0 && ms % 3600000 == 0)
		(void) fprintf(out, "%ldh", (long) (ms / 3600000));
	else if (ms != 0 && ms % 60000 == 0)
		(void) fprintf(out, "%ldmin", (long) (ms / 60000));
	else if (ms % 1000 == 0)
		(void) fprintf(out, "%lds", (long) (ms / 1000));
	else
		(void) fprintf(out, "%ldms", (long) ms);
}

static void
print_allowed(FILE *out, const OptionSpec *spec)
{
	const char *choices = spec->choices;

	switch (spec->kind)
	{
		case OPTION_TEXT:
			(void) fputs("text", out);
			break;
		case OPTION_FILE:
			(void) fputs("absolute path", out);
			break;
		case OPTION_INTEGER:
			(void) fprintf(out, "%ld to %ld", (long) spec->least, (long) spec->most);
			if (spec->unit != NULL)
				(void) fprintf(out, " %s", spec->unit);
			break;
		case OPTION_DURATION:
			print_duration(out, spec->least);
			(void) fputs(" to ", out);
			print_duration(out, spec->most);
			break;
		case OPTION_BOOLEAN:
			(void) fputs("on, off", out);
			break;
		case OPTION_CHOICE:
			for (; *choices != '\0'; choices++)
			{
				if (*choices == '|')
					(void) fputs(", ", out);
				else
					(void) fputc(*choices, out);
			}
			break;
	}
}

static void
print_defaults(FILE *out, const OptionSpec *spec)
{
	const char *const *text = spec->defaults;

	if (text[PROFILE_DEV] == NULL)
		(void) fputs("none", out);
	else if (strcmp(text[PROFILE_DEV], text[PROFILE_PROD]) == 0 &&
			 strcmp(text[PROFILE_DEV], text[PROFILE_STAGING]) == 0)
		(void) fputs(text[PROFILE_PROD], out);
	else
		(void) fprintf(out, "%s (dev: %s, staging: %s)", text[PROFILE_PROD], text[PROFILE_DEV],
					   text[PROFILE_STAGING]);
}

static void
print_flag(FILE *out, const OptionSpec *spec)
{
	(void) fputs("--", out);
	for (const char *c = spec->name; *c != '\0'; c++)
		(void) fputc(*c == '_' ? '-' : *c, out);
}

static void
print_variable(FILE *out, const OptionSpec *spec)
{
	(void) fputs("ROTOR_", out);
	for (const char *c = spec->name; *c != '\0'; c++)
		(void) fputc(*c >= 'a' && *c <= 'z' ? *c - 'a' + 'A' : *c, out);
}

/* The words of text, in lines of at most width columns that begin with an indent. */
static void
print_wrapped(FILE *out, const char *text, int indent, int width)
{
	int column = 0;

	while (*text != '\0')
	{
		int length = (int) strcspn(text, " ");

		if (column > 0 && column + 1 + length > width)
		{
			(void) fputc('\n', out);
			column = 0;
		}
		if (column == 0)
			column = fprintf(out, "%*s%.*s", indent, "", length, text);
		else
			column += fprintf(out, " %.*s", length, text);
		text += length;
		text += strspn(text, " ");
	}
	(void) fputc('\n', out);
}

void
options_print_help(FILE *out)
{
	for (int i = 0; i < OPT_COUNT; i++)
	{
		const OptionSpec *spec = &option_table[i];

		(void) fputs("  ", out);
		print_flag(out, spec);
		(void) fputs(spec->kind == OPTION_BOOLEAN ? "[=" : "=", out);
		print_allowed(out, spec);
		(void) fputs(spec->kind == OPTION_BOOLEAN ? "]" : "", out);
		if (spec->defaults[PROFILE_PROD] != NULL)
		{
			(void) fputs("  default ", out);
			print_defaults(out, spec);
		}
		(void) fputc('\n', out);
		print_wrapped(out, spec->about, 10, 100);
	}
}

void
options_print_markdown(FILE *out)
{
	(void) fputs(
		"# Settings of the worker\n"
		"\n"
		"A flag goes before the environment, that before the file, that before the profile's default. The file is\n"
		"`key = value`, a line each; `key` under `[section]` is the setting `section_key`, and `[rotor]` is the same as\n"
		"no section. Lines that begin with `;` or `#` are comments, and so is what follows ` ;`. What is not known, or\n"
		"set twice in the file, is an error. Durations have a unit: `ms`, `s`, `min` or `h`. Those marked with SIGHUP are\n"
		"read anew from the file by that signal.\n"
		"\n"
		"`rotor worker --help=markdown` prints this page.\n",
		out);
	for (int i = 0; i < OPT_COUNT; i++)
	{
		const OptionSpec *spec = &option_table[i];

		(void) fprintf(out, "\n## `%s`\n\n%s\n\n", spec->name, spec->about);
		(void) fputs("Flag `", out);
		print_flag(out, spec);
		(void) fputs("`, environment `", out);
		print_variable(out, spec);
		(void) fputs("`. Allowed: ", out);
		print_allowed(out, spec);
		(void) fputs(". Default: ", out);
		print_defaults(out, spec);
		(void) fputs(spec->reload ? ". SIGHUP.\n" : ".\n", out);
	}
}

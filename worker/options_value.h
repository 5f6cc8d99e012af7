/*
 * options_value.h - reads the text of one setting, and finds settings by name; for options.c.
 */
#ifndef ROTOR_WORKER_OPTIONS_VALUE_H
#define ROTOR_WORKER_OPTIONS_VALUE_H

#include "options.h"

/*
 * Is text a value of spec? Sets *number as OptionKind says, 0 for texts. An empty text is one of texts
 * and files only. Error: ARGUMENT, which names the setting, its source and what is allowed; of a text
 * it does not show the value, which may hold what does not belong there.
 */
extern bool option_value_check(const OptionSpec *spec, const char *text, const char *source,
							   int64_t *number, RotorError *err);

/* The id of the setting with that name, or -1. */
extern int option_find(const char *name);

/* Adds the name that is nearest, if one is near, as the hint of *err; always returns false. */
extern bool option_suggest(const char *name, const char *prefix, char joint, RotorError *err);

#endif

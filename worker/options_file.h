/*
 * options_file.h - reads an INI file of settings.
 */
#ifndef ROTOR_WORKER_OPTIONS_FILE_H
#define ROTOR_WORKER_OPTIONS_FILE_H

#include <stdbool.h>

#include "error.h"

/* One entry; false, with *err filled, ends the reading. */
typedef bool (*OptionsFileEntry)(void *context, const char *name, const char *value, int line,
								 RotorError *err);

/*
 * Calls entry for each entry of the file; name is section_key, or key alone without a section or in
 * [rotor]. A file that is missing is no error unless must_exist.
 * Errors: those of entry; NOT_FOUND; ARGUMENT, which names the line, for one that is no entry, is too
 * long, or sets what is set already.
 */
extern bool options_file_read(const char *path, bool must_exist, OptionsFileEntry entry,
							  void *context, RotorError *err);

#endif

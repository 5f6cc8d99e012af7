/*
 * ini_lines.h - reads INI text by libinih, which only ini_lines.c knows.
 *
 * Called by options_file.c and aws_profile.c. Long lines are read whole, and of what was read nothing is
 * left on the stack: values may be secret.
 */
#ifndef ROTOR_WORKER_INI_LINES_H
#define ROTOR_WORKER_INI_LINES_H

/* Bytes of a line with its newline and NUL; what is longer, libinih reads as several. */
#define INI_LINE_MAX 8192

/* One setting; section is empty before the first one. Non-zero goes on. */
typedef int (*IniEntry)(void *context, const char *section, const char *name, const char *value);

/* Like fgets(): at most size bytes of the next line with the NUL, or NULL at the end. */
typedef char *(*IniReadLine)(char *line, int size, void *source);

/* Each returns 0, or the number of the first line that is neither a setting nor a [section]. */
extern int ini_read_lines(IniReadLine read_line, void *source, IniEntry entry, void *context);
extern int ini_read_text(const char *text, IniEntry entry, void *context);

#endif

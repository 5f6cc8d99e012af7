/*
 * ini_lines.c - INI text by libinih; see ini_lines.h.
 *
 * The library's line lies on the stack, which is wiped afterwards.
 */
#include "ini_lines.h"

#include <ini.h>

#include "secret_buf.h"

/* Before there are threads: the library has it as a variable, and cuts lines at 200 bytes otherwise. */
__attribute__((constructor)) static void
allow_long_lines(void)
{
	ini_max_line = INI_LINE_MAX;
}

/* Overwrites the part of the stack where the library had its line. */
__attribute__((noinline)) static void
wipe_stack(void)
{
	char below[4 * INI_LINE_MAX];

	secret_wipe(below, sizeof(below));
}

int
ini_read_lines(IniReadLine read_line, void *source, IniEntry entry, void *context)
{
	int bad_line = ini_parse_stream(read_line, source, entry, context);

	wipe_stack();
	return bad_line;
}

int
ini_read_text(const char *text, IniEntry entry, void *context)
{
	int bad_line = ini_parse_string(text, entry, context);

	wipe_stack();
	return bad_line;
}

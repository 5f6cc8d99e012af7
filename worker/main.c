/*
 * main.c - the program rotor: what its first argument asks for.
 */
#include <stdio.h>
#include <string.h>

static const char usage[] = "Usage: rotor COMMAND [OPTION]...\n"
							"\n"
							"Rotates credentials outside the server that has the extension rotor.\n"
							"\n"
							"      --help     prints this\n"
							"      --version  prints the version\n";

int
main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "--version") == 0)
		return printf("rotor %s\n", ROTOR_VERSION) < 0;
	if (argc == 2 && strcmp(argv[1], "--help") == 0)
		return fputs(usage, stdout) == EOF;
	(void) fputs(usage, stderr);
	return 2;
}

/*
 * refuse_password.c - a password check for tests: refuses what its settings say, and may print the
 * password in its error, as careless ones do. RotorTest.pm builds and preloads it.
 */
#include "postgres.h"

#include <unistd.h>

#include "commands/user.h"
#include "fmgr.h"
#include "libpq/crypt.h"
#include "utils/builtins.h"
#include "utils/guc.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_init(void);

static bool refuse_plaintexts;
static bool refuse_verifiers;
static int refuse_first; /* so many plaintexts of a process */
static char *leak;		 /* none, plain or quoted */
static char *record;	 /* a file that gets every refused plaintext, a line each */

static check_password_hook_type next_hook;
static int refused;

static void
note(const char *password)
{
	FILE *file = record[0] ? fopen(record, "ae") : NULL;

	if (file == NULL)
		return;
	(void) fprintf(file, "%s\n", password);
	(void) fclose(file);
}

static void
refuse_password_check(const char *username, const char *shadow_pass, PasswordType password_type,
					  Datum validuntil_time, bool validuntil_null)
{
	const char *shown = strcmp(leak, "plain") == 0	  ? shadow_pass
						: strcmp(leak, "quoted") == 0 ? quote_literal_cstr(shadow_pass)
													  : "it";

	if (password_type != PASSWORD_TYPE_PLAINTEXT)
	{
		if (refuse_verifiers)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("this server takes no hashed passwords")));
	}
	else if (refuse_plaintexts || refused < refuse_first)
	{
		refused++;
		note(shadow_pass);
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("password refused: %s is not good enough", shown),
						errdetail("Password: %s", shown), errhint("Choose better than %s.", shown),
						errcontext("while judging %s", shown)));
	}
	if (next_hook)
		next_hook(username, shadow_pass, password_type, validuntil_time, validuntil_null);
}

void
_PG_init(void)
{
	DefineCustomBoolVariable("refuse_password.plaintexts", "Refuse every plaintext.", NULL,
							 &refuse_plaintexts, false, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("refuse_password.verifiers", "Refuse every verifier.", NULL,
							 &refuse_verifiers, false, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("refuse_password.first", "Refuse a process's first plaintexts.", NULL,
							&refuse_first, 0, 0, 1000, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("refuse_password.leak", "How the error shows the password.", NULL,
							   &leak, "none", PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("refuse_password.record", "File of refused plaintexts.", NULL,
							   &record, "", PGC_SIGHUP, 0, NULL, NULL, NULL);
	next_hook = check_password_hook;
	check_password_hook = refuse_password_check;
}

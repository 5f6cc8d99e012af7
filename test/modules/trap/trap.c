/*
 * trap.c - a trap for tests: trap_called() stands in functions, operators and views that a hostile
 * search_path puts in front of the server's own, and says in the server's log if it is reached from
 * one of rotor's workers, or from within one of rotor's functions. Whoever else steps in passes.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_init(void);
PG_FUNCTION_INFO_V1(trap_called);

static needs_fmgr_hook_type next_needs_hook;
static fmgr_hook_type next_hook;
static int depth; /* of functions of rotor's that are running */

static bool
is_ours(Oid function)
{
	return get_func_namespace(function) == get_namespace_oid("rotor", true);
}

static bool
needs_hook(Oid function)
{
	return is_ours(function) || (next_needs_hook && next_needs_hook(function));
}

static void
count_depth(FmgrHookEventType event, FmgrInfo *info, Datum *arg)
{
	if (is_ours(info->fn_oid))
		depth += event == FHET_START ? 1 : -1;
	if (next_hook)
		next_hook(event, info, arg);
}

Datum
trap_called(PG_FUNCTION_ARGS)
{
	if (MyBgworkerEntry != NULL || depth > 0)
		ereport(LOG, (errmsg("TRAP SPRUNG: %s was reached from rotor's %s",
							 text_to_cstring(PG_GETARG_TEXT_PP(0)),
							 MyBgworkerEntry != NULL ? "worker" : "functions")));
	PG_RETURN_BOOL(true);
}

void
_PG_init(void)
{
	next_needs_hook = needs_fmgr_hook;
	needs_fmgr_hook = needs_hook;
	next_hook = fmgr_hook;
	fmgr_hook = count_depth;
}

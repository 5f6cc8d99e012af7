/*
 * rotor.c - module initialisation, nothing else.
 */
#include "postgres.h"

#include "bgworker.h"
#include "compat.h"
#include "fmgr.h"
#include "guc.h"
#include "request.h"
#include "statement.h"
#include "watch.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	guc_define();
	/* pg_upgrade's server runs no workers. */
	if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade)
		return;
	request_shmem_init();
	watch_shmem_init();
	bgworker_register();
	statement_install_hook();
}

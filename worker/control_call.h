/*
 * control_call.h - one statement at the control database, for control_db.c and control_check.c alone.
 */
#ifndef ROTOR_WORKER_CONTROL_CALL_H
#define ROTOR_WORKER_CONTROL_CALL_H

#include "control_db.h"

/* CONTROL_DONE fills *answer, which the caller frees; else it is NULL. */
extern ControlResult control_call(ControlDb *db, const char *sql, int count,
								  const char *const *values, PgAnswer **answer, PgError *err);

#endif

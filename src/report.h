/*
 * report.h - from RotorError and Failure to PostgreSQL's errors and back. Used everywhere in src/.
 */
#ifndef ROTOR_REPORT_H
#define ROTOR_REPORT_H

#include "error.h"
#include "types.h"
#include "secret_buf.h"

/* SQLSTATE that belongs to the class of err. */
extern int report_sqlstate(const RotorError *err);

/* Raises err with its SQLSTATE. */
extern void report_raise(const RotorError *err) ROTOR_NORETURN;

/* Raises failure; rotation, if not NULL, is named in the DETAIL. */
extern void report_failure(const Failure *failure, const pg_uuid_t *rotation) ROTOR_NORETURN;

/* Fills failure. The texts are printf formats' results; NULL stands for none. */
extern void failure_set(Failure *failure, int sqlstate, const char *message, const char *detail,
						const char *hint);

/*
 * Fills failure from the error being handled (inside PG_CATCH), and clears the error state. A
 * message that could tell something of the value in plain (a password hook may print it) is
 * withheld; plain may be NULL.
 */
extern void failure_catch(Failure *failure, const SecretBuf *plain);

#endif

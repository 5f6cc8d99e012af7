/*
 * catalog_run.h - running prepared statements; private to the files of catalog*.c.
 */
#ifndef ROTOR_CATALOG_RUN_H
#define ROTOR_CATALOG_RUN_H

#include "executor/spi.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#define MAX_ARGS 27

typedef struct Statement
{
	const char *sql;
	int nargs;
	Oid types[MAX_ARGS];
	SPIPlanPtr plan; /* kept for the life of the process */
} Statement;

/* Arguments of one execution, collected in order; start with {0}. */
typedef struct Args
{
	int count;
	Datum values[MAX_ARGS];
	char nulls[MAX_ARGS];
} Args;

extern void arg(Args *args, Datum value);
extern void arg_null(Args *args);
/* NULL and the empty string both stand for SQL's null. */
extern void arg_text(Args *args, const char *value);
/* Infinity stands for SQL's null. */
extern void arg_time(Args *args, TimestampTz value);
/* NULL stands for SQL's null. */
extern void arg_uuid(Args *args, const pg_uuid_t *value);
/* A negative number stands for SQL's null. */
extern void arg_positive(Args *args, double value);

/* Prepares the statement once a process, runs it; how many rows there were. */
extern uint64 run(Statement *statement, Args *args);

/* Column number (from 0) of a row of the last result; null may be NULL where there is none. */
extern Datum result(uint64 row, int number, bool *null);
/* A text column of a row; null becomes the empty string. */
extern void result_text_of(uint64 row, int number, char *out, size_t size);
/* Of the first row: a text column; null becomes the empty string. */
extern void result_text(int number, char *out, size_t size);
/* Of the first row: a text column, allocated in keep; NULL if it is null. */
extern char *result_string(int number, MemoryContext keep);
/* Of the first row: a uuid column; false if it is null. */
extern bool result_uuid(int number, pg_uuid_t *out);

#endif

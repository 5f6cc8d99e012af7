/*
 * catalog_run.c - see catalog_run.h.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog.h"
#include "catalog_run.h"
#include "compat.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

void
arg(Args *args, Datum value)
{
	args->values[args->count] = value;
	args->nulls[args->count++] = ' ';
}

void
arg_null(Args *args)
{
	args->values[args->count] = (Datum) 0;
	args->nulls[args->count++] = 'n';
}

void
arg_text(Args *args, const char *value)
{
	if (value != NULL && value[0] != '\0')
		arg(args, CStringGetTextDatum(value));
	else
		arg_null(args);
}

void
arg_time(Args *args, TimestampTz value)
{
	if (TIMESTAMP_NOT_FINITE(value))
		arg_null(args);
	else
		arg(args, TimestampTzGetDatum(value));
}

void
arg_uuid(Args *args, const pg_uuid_t *value)
{
	if (value != NULL)
		arg(args, UUIDPGetDatum(value));
	else
		arg_null(args);
}

void
arg_positive(Args *args, double value)
{
	if (value >= 0)
		arg(args, Float8GetDatum(value));
	else
		arg_null(args);
}

/* In PG_CATCH(): foreign keys look with the transaction's snapshot, and may not see what we see. */
static void
explain_foreign_key(void)
{
	if (!IsolationUsesXactSnapshot() || geterrcode() != ERRCODE_FOREIGN_KEY_VIOLATION)
		PG_RE_THROW();
	FlushErrorState();
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not serialize access due to a concurrent change of rotor's tables"),
			 errdetail("What this refers to was committed after the transaction's snapshot."),
			 errhint("Do it in a new transaction.")));
}

/*
 * Runs a plan at the newest snapshot: what workers have committed since a caller's transaction began
 * is seen, and can be changed, under every isolation level.
 */
static int
execute_newest(SPIPlanPtr plan, Datum *values, const char *nulls)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	volatile int code = 0;

	PG_TRY();
	{
		code = SPI_execute_snapshot(plan, values, nulls, snapshot, InvalidSnapshot, false, true, 0);
	}
	PG_CATCH();
	{
		explain_foreign_key();
	}
	PG_END_TRY();
	UnregisterSnapshot(snapshot);
	return code;
}

uint64
catalog_execute(const char *sql, int nargs, Oid *types, Datum *values, const char *nulls)
{
	SPIPlanPtr plan = SPI_prepare(sql, nargs, types);
	int code;

	if (plan == NULL)
		elog(ERROR, "could not prepare \"%s\": %s", sql, SPI_result_code_string(SPI_result));
	code = execute_newest(plan, values, nulls);
	if (code < 0)
		elog(ERROR, "could not run \"%s\": %s", sql, SPI_result_code_string(code));
	(void) SPI_freeplan(plan);
	return SPI_processed;
}

uint64
run(Statement *statement, Args *args)
{
	int result;

	Assert(args->count == statement->nargs);
	if (statement->plan == NULL)
	{
		SPIPlanPtr plan = SPI_prepare(statement->sql, statement->nargs, statement->types);

		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "could not prepare \"%s\": %s", statement->sql,
				 SPI_result_code_string(SPI_result));
		statement->plan = plan;
	}
	result = execute_newest(statement->plan, args->values, args->nulls);
	if (result < 0)
		elog(ERROR, "could not run \"%s\": %s", statement->sql, SPI_result_code_string(result));
	return SPI_processed;
}

Datum
result(uint64 row, int number, bool *null)
{
	bool is_null;
	Datum value =
		SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, number + 1, &is_null);

	if (null != NULL)
		*null = is_null;
	else if (is_null)
		elog(ERROR, "unexpected null in column %d", number);
	return value;
}

void
result_text(int number, char *out, size_t size)
{
	result_text_of(0, number, out, size);
}

void
result_text_of(uint64 row, int number, char *out, size_t size)
{
	bool null;
	Datum value = result(row, number, &null);

	out[0] = '\0';
	if (!null)
		text_to_cstring_buffer(DatumGetTextPP(value), out, size);
}

char *
result_string(int number, MemoryContext keep)
{
	bool null;
	Datum value = result(0, number, &null);

	return null ? NULL : MemoryContextStrdup(keep, TextDatumGetCString(value));
}

bool
result_uuid(int number, pg_uuid_t *out)
{
	bool null;
	Datum value = result(0, number, &null);

	if (!null)
		*out = *DatumGetUUIDP(value);
	return !null;
}

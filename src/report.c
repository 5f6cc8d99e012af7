/*
 * report.c - see report.h.
 */
#include "postgres.h"

#include <ctype.h>

#include "mb/pg_wchar.h"
#include "report.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

int
report_sqlstate(const RotorError *err)
{
	switch (err->code)
	{
		case ROTOR_ERROR_ARGUMENT:
			return ERRCODE_INVALID_PARAMETER_VALUE;
		case ROTOR_ERROR_FORMAT:
			return ERRCODE_CONFIG_FILE_ERROR;
		case ROTOR_ERROR_NOT_FOUND:
		case ROTOR_ERROR_AUTHENTICATION:
			return ERRCODE_UNDEFINED_FILE;
		case ROTOR_ERROR_SPACE:
			return ERRCODE_PROGRAM_LIMIT_EXCEEDED;
		default:
			return ERRCODE_INTERNAL_ERROR;
	}
}

void
report_raise(const RotorError *err)
{
	ereport(ERROR, (errcode(report_sqlstate(err)), errmsg("%s", err->message),
					err->detail[0] ? errdetail("%s", err->detail) : 0,
					err->hint[0] ? errhint("%s", err->hint) : 0));
}

void
report_failure(const Failure *failure, const pg_uuid_t *rotation)
{
	char *detail = NULL;

	if (rotation != NULL)
		detail = psprintf("%s%sRotation %s.", failure->detail, failure->detail[0] ? " " : "",
						  DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(rotation))));
	else if (failure->detail[0])
		detail = pstrdup(failure->detail);
	ereport(ERROR, (errcode(failure->sqlstate), errmsg("%s", failure->message),
					detail ? errdetail("%s", detail) : 0,
					failure->hint[0] ? errhint("%s", failure->hint) : 0));
}

/* Cut to fit, but never within a character: peers speak many languages, and a table has to hold it. */
static void
copy_words(char *out, const char *words, size_t size)
{
	size_t len = words ? (size_t) pg_mbcliplen(words, (int) strlen(words), (int) size - 1) : 0;

	if (len > 0)
		memcpy(out, words, len);
	out[len] = '\0';
}

void
failure_set(Failure *failure, int sqlstate, const char *message, const char *detail,
			const char *hint)
{
	failure->sqlstate = sqlstate;
	copy_words(failure->message, message, sizeof(failure->message));
	copy_words(failure->detail, detail, sizeof(failure->detail));
	copy_words(failure->hint, hint, sizeof(failure->hint));
}

#define STRETCH 4

/* The letters and digits of text, as far as out has room; how many there were. */
static size_t
letters_and_digits(const char *text, char *out, size_t size)
{
	size_t len = 0;

	for (; *text && len + 1 < size; text++)
	{
		if (isalnum((unsigned char) *text))
			out[len++] = *text;
	}
	out[len] = '\0';
	return len;
}

/*
 * Could text tell something of the value? A password hook may print it whole, in part or escaped,
 * so both are compared without punctuation, four characters at a time; a value with hardly any
 * letters and digits is not compared at all.
 */
static bool
may_tell(const char *text, const SecretBuf *plain)
{
	SecretBuf value = {0};
	char *words = palloc(strlen(text) + 1);
	bool found;

	(void) letters_and_digits(text, words, strlen(text) + 1);
	value.len = letters_and_digits(plain->data, value.data, sizeof(value.data));
	found = value.len < (size_t) 2 * STRETCH;
	for (size_t i = 0; !found && i + STRETCH <= value.len; i++)
	{
		char stretch[STRETCH + 1] = {0};

		memcpy(stretch, value.data + i, STRETCH);
		found = strstr(words, stretch) != NULL;
		secret_wipe(stretch, sizeof(stretch));
	}
	secret_buf_wipe(&value);
	secret_wipe(words, strlen(text) + 1);
	pfree(words);
	return found;
}

static const char *
without_secret(const char *text, const SecretBuf *plain)
{
	if (text != NULL && plain != NULL && plain->len > 0 && may_tell(text, plain))
		return "(withheld: it could tell something of the value)";
	return text;
}

void
failure_catch(Failure *failure, const SecretBuf *plain)
{
	ErrorData *edata;

	/* CopyErrorData must not run in ErrorContext, and the caller's context outlives an abort. */
	if (CurrentMemoryContext == ErrorContext)
		MemoryContextSwitchTo(TopMemoryContext);
	edata = CopyErrorData();
	FlushErrorState();
	failure_set(failure, edata->sqlerrcode, without_secret(edata->message, plain),
				without_secret(edata->detail, plain), without_secret(edata->hint, plain));
	if (edata->message != NULL)
		secret_wipe(edata->message, strlen(edata->message));
	if (edata->detail != NULL)
		secret_wipe(edata->detail, strlen(edata->detail));
	FreeErrorData(edata);
}

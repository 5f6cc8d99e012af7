/*
 * login.c - see login.h.
 */
#include "postgres.h"

#include <libpq-fe.h>
#include <unistd.h>

#include "compat.h"
#include "libpq/libpq.h"
#include "login.h"
#include "pgstat.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "storage/procarray.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

/* Milliseconds left until the deadline, never negative. */
static long
time_left(TimestampTz deadline)
{
	return TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);
}

/* Waits for the socket; false when the deadline has passed. */
static bool
wait_for(PGconn *conn, int event, TimestampTz deadline)
{
	for (;;)
	{
		long left = time_left(deadline);
		int happened;

		if (left <= 0)
			return false;
		happened =
			WaitLatchOrSocket(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH | event,
							  PQsocket(conn), left, PG_WAIT_EXTENSION);
		if (happened & WL_LATCH_SET)
		{
			ResetLatch(MyLatch);
			CHECK_FOR_INTERRUPTS();
		}
		if (happened & event)
			return true;
	}
}

/*
 * The SQLSTATE of a refused connection. With PQERRORS_SQLSTATE libpq's text ends in the severity, in
 * whatever language, a colon, two spaces and the code; there is no other way to get it for a
 * connection that failed.
 */
static void
refusal_sqlstate(PGconn *conn, char sqlstate[6])
{
	const char *text = PQerrorMessage(conn);
	size_t end = strlen(text);

	sqlstate[0] = '\0';
	while (end > 0 && (text[end - 1] == '\n' || text[end - 1] == ' '))
		end--;
	if (end < 8 || strncmp(text + end - 8, ":  ", 3) != 0 ||
		strspn(text + end - 5, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") < 5)
		return;
	memcpy(sqlstate, text + end - 5, 5);
	sqlstate[5] = '\0';
}

static void
connect_to(PGconn *conn, TimestampTz deadline, LoginResult *result)
{
	PostgresPollingStatusType status = PGRES_POLLING_WRITING;

	while (PQstatus(conn) != CONNECTION_BAD &&
		   (status == PGRES_POLLING_READING || status == PGRES_POLLING_WRITING))
	{
		int event = status == PGRES_POLLING_READING ? WL_SOCKET_READABLE : WL_SOCKET_WRITEABLE;

		if (!wait_for(conn, event, deadline))
		{
			result->timed_out = true;
			return;
		}
		status = PQconnectPoll(conn);
	}
	result->connected = PQstatus(conn) == CONNECTION_OK;
	result->used_password = PQconnectionUsedPassword(conn);
	if (!result->connected)
		refusal_sqlstate(conn, result->sqlstate);
}

static void
run_query(PGconn *conn, const char *query, TimestampTz deadline, LoginResult *result)
{
	PGresult *answer;
	bool failed;

	/* The extended protocol takes one statement and no more. */
	failed =
		!PQsendQueryParams(conn, query, 0, NULL, NULL, NULL, NULL, 0) || !PQsetSingleRowMode(conn);
	while (!failed)
	{
		if (PQisBusy(conn))
		{
			if (!wait_for(conn, WL_SOCKET_READABLE, deadline))
			{
				result->timed_out = true;
				return;
			}
			failed = !PQconsumeInput(conn);
			continue;
		}
		answer = PQgetResult(conn);
		if (answer == NULL)
			break;
		if (PQresultStatus(answer) != PGRES_SINGLE_TUPLE &&
			PQresultStatus(answer) != PGRES_TUPLES_OK)
		{
			const char *code = PQresultErrorField(answer, PG_DIAG_SQLSTATE);

			strlcpy(result->sqlstate, code ? code : "", sizeof(result->sqlstate));
			failed = true;
		}
		PQclear(answer);
	}
	result->queried = !failed;
}

static bool
is_backend_here(int pid, Oid role)
{
	PGPROC *proc = BackendPidGetProc(pid);

	return proc != NULL && proc->roleId == role;
}

static PGconn *
start(const LoginOrder *order)
{
	char port[12];
	char options[224];
	bool verify = strncmp(order->sslmode, "verify", 6) == 0;
	const struct
	{
		const char *keyword;
		const char *value;
	} fields[] = {
		{"host", order->host},
		{"port", port},
		{"dbname", order->dbname},
		{"user", order->user},
		{"password", order->password->data},
		{"sslmode", order->sslmode},
		/* No client certificate: the password must do. The CA is the server's own. */
		{"sslcert", "/nonexistent"},
		{"sslkey", "/nonexistent"},
		{"sslcrl", "/nonexistent"},
		{"sslrootcert", verify && ssl_ca_file[0] ? ssl_ca_file : "/nonexistent"},
		{"gssencmode", "disable"},
		{"options", options},
		{"application_name", VERIFICATION_NAME},
		{"client_encoding", "SQL_ASCII"},
		{"target_session_attrs", "any"},
		{"passfile", "/nonexistent"},
	};
	const char *keywords[lengthof(fields) + 1];
	const char *values[lengthof(fields) + 1];

	snprintf(port, sizeof(port), "%d", order->port);
	/* Serializable, read-only and deferrable, the query would wait until nobody else writes. */
	snprintf(options, sizeof(options),
			 "-c default_transaction_read_only=on -c default_transaction_deferrable=off "
			 "-c default_transaction_isolation=read\\ committed -c statement_timeout=%d%s",
			 order->timeout_ms, NO_TRANSACTION_TIMEOUT);
	for (size_t i = 0; i <= lengthof(fields); i++)
	{
		keywords[i] = i < lengthof(fields) ? fields[i].keyword : NULL;
		values[i] = i < lengthof(fields) ? fields[i].value : NULL;
	}
	return PQconnectStartParams(keywords, values, 0);
}

void
login_forget_environment(void)
{
	char **entry = environ;

	/* All of libpq's variables begin with PG, and a worker has no use for any other that does. */
	while (*entry != NULL)
	{
		size_t len = strcspn(*entry, "=");
		char name[64];

		if (strncmp(*entry, "PG", 2) != 0 || len >= sizeof(name))
		{
			entry++;
			continue;
		}
		memcpy(name, *entry, len);
		name[len] = '\0';
		unsetenv(name);	 /* NOLINT(concurrency-mt-unsafe): the process has one thread. */
		entry = environ; /* unsetenv() moved the others */
	}
}

static void
log_in(PGconn *conn, const LoginOrder *order, Oid role, TimestampTz deadline, LoginResult *result)
{
	PQsetErrorVerbosity(conn, PQERRORS_SQLSTATE);
	connect_to(conn, deadline, result);
	if (!result->connected)
		return;
	result->backend_pid = PQbackendPID(conn);
	result->same_server = is_backend_here(result->backend_pid, role);
	if (order->query != NULL)
		run_query(conn, order->query, deadline, result);
	else
		result->queried = true;
}

void
login_try(const LoginOrder *order, Oid role, LoginResult *result)
{
	TimestampTz deadline =
		TimestampTzPlusMilliseconds(GetCurrentTimestamp(), (int64) order->timeout_ms);
	PGconn *volatile conn = NULL;

	memset(result, 0, sizeof(*result));
	if (!AcquireExternalFD())
	{
		strlcpy(result->sqlstate, "53000", sizeof(result->sqlstate));
		return;
	}
	PG_TRY();
	{
		conn = start(order);
		if (conn == NULL) /* there is no memory for it */
			strlcpy(result->sqlstate, "53200", sizeof(result->sqlstate));
		else
			log_in(conn, order, role, deadline, result);
	}
	PG_FINALLY();
	{
		PQfinish(conn);
		ReleaseExternalFD();
	}
	PG_END_TRY();
}

/*
 * login.c - see login.h.
 */
#include "postgres.h"

#include <libpq-fe.h>
#include <unistd.h>

#include "compat.h"
#include "libpq/libpq.h"
#include "login.h"
#include "login_slots.h"
#include "pgstat.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "storage/procarray.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#define SLOT_PAUSE_MS 20 /* before asking for a slot again */
/* The session ends soon after its worker, whatever the policy's query is at. */
#ifdef __linux__
#define END_WITH_CLIENT " -c client_connection_check_interval=1000"
#else
#define END_WITH_CLIENT ""
#endif

/* A login under way. */
typedef struct Login
{
	const LoginOrder *order;
	LoginResult *result;
	enum
	{
		LOGIN_WAITING, /* for a slot */
		LOGIN_CONNECTING,
		LOGIN_QUERYING,
		LOGIN_OVER
	} state;
	PGconn *conn;
	bool has_slot;
	int event; /* what its socket is waited for */
	TimestampTz begun;
	TimestampTz deadline;
} Login;

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
	char options[384];
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
	/* A parallel worker would begin with what is set for database or role, a time limit of 1 ms say. */
	snprintf(options, sizeof(options),
			 "-c default_transaction_read_only=on -c default_transaction_deferrable=off "
			 "-c default_transaction_isolation=read\\ committed "
			 "-c max_parallel_workers_per_gather=0 -c statement_timeout=%d%s%s",
			 order->timeout_ms, NO_TRANSACTION_TIMEOUT, END_WITH_CLIENT);
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

/* Ends a login, however far it came. */
static void
finish(Login *login)
{
	if (login->state == LOGIN_CONNECTING || login->state == LOGIN_QUERYING)
	{
		PQfinish(login->conn);
		ReleaseExternalFD();
		login->result->ms = (double) (GetCurrentTimestamp() - login->begun) / 1000.0;
	}
	login->conn = NULL;
	login->state = LOGIN_OVER;
	if (login->has_slot)
		login_slot_free();
	login->has_slot = false;
}

/* Begins a login if there is a slot for it. */
static void
begin(Login *login)
{
	login->has_slot = login_slot_take();
	if (!login->has_slot)
		return;
	login->begun = GetCurrentTimestamp();
	login->deadline = TimestampTzPlusMilliseconds(login->begun, login->order->timeout_ms);
	if (!AcquireExternalFD())
	{
		strlcpy(login->result->sqlstate, "53000", sizeof(login->result->sqlstate));
		finish(login);
		return;
	}
	login->conn = start(login->order);
	login->state = LOGIN_CONNECTING;
	login->event = WL_SOCKET_WRITEABLE;
	if (login->conn == NULL) /* there is no memory for it */
	{
		strlcpy(login->result->sqlstate, "53200", sizeof(login->result->sqlstate));
		finish(login);
		return;
	}
	PQsetErrorVerbosity(login->conn, PQERRORS_SQLSTATE);
	if (PQstatus(login->conn) == CONNECTION_BAD)
		finish(login);
}

/* The server has let us in. */
static void
let_in(Login *login)
{
	LoginResult *result = login->result;

	result->connected = true;
	result->backend_pid = PQbackendPID(login->conn);
	result->same_server = is_backend_here(result->backend_pid, login->order->role);
	login->state = LOGIN_QUERYING;
	login->event = WL_SOCKET_READABLE;
	result->queried = login->order->query == NULL;
	/* The extended protocol takes one statement and no more. */
	if (result->queried ||
		!PQsendQueryParams(login->conn, login->order->query, 0, NULL, NULL, NULL, NULL, 0) ||
		!PQsetSingleRowMode(login->conn))
		finish(login);
}

static void
go_on_connecting(Login *login)
{
	switch (PQconnectPoll(login->conn))
	{
		case PGRES_POLLING_READING:
			login->event = WL_SOCKET_READABLE;
			return;
		case PGRES_POLLING_WRITING:
			login->event = WL_SOCKET_WRITEABLE;
			return;
		case PGRES_POLLING_OK:
			login->result->used_password = PQconnectionUsedPassword(login->conn);
			let_in(login);
			return;
		default:
			login->result->used_password = PQconnectionUsedPassword(login->conn);
			refusal_sqlstate(login->conn, login->result->sqlstate);
			finish(login);
	}
}

static void
go_on_querying(Login *login)
{
	bool failed = !PQconsumeInput(login->conn);

	while (!failed && !PQisBusy(login->conn))
	{
		PGresult *answer = PQgetResult(login->conn);

		if (answer == NULL)
		{
			login->result->queried = true;
			break;
		}
		if (PQresultStatus(answer) != PGRES_SINGLE_TUPLE &&
			PQresultStatus(answer) != PGRES_TUPLES_OK)
		{
			const char *code = PQresultErrorField(answer, PG_DIAG_SQLSTATE);

			strlcpy(login->result->sqlstate, code ? code : "", sizeof(login->result->sqlstate));
			failed = true;
		}
		PQclear(answer);
	}
	if (failed || login->result->queried)
		finish(login);
}

/* Begins what has a slot, ends what has no time left; how many are still to be waited for. */
static int
look_at_all(Login *logins, int count)
{
	TimestampTz now = GetCurrentTimestamp();
	int open = 0;

	for (int i = 0; i < count; i++)
	{
		Login *login = &logins[i];

		if (login->state == LOGIN_WAITING)
			begin(login);
		else if (login->state != LOGIN_OVER && now >= login->deadline)
		{
			login->result->timed_out = true;
			finish(login);
		}
		open += login->state != LOGIN_OVER;
	}
	return open;
}

/* Waits until something happens to one of them, and goes on with those to which it did. */
static void
wait_for_some(Login *logins, int count, WaitEvent *events)
{
	WaitEventSet *set = CREATE_WAIT_EVENT_SET(count + 2);
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz first = DT_NOEND;
	int happened;

	AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	for (int i = 0; i < count; i++)
	{
		if (logins[i].state == LOGIN_WAITING)
			first = Min(first, now + INT64CONST(1000) * SLOT_PAUSE_MS);
		if (logins[i].state != LOGIN_CONNECTING && logins[i].state != LOGIN_QUERYING)
			continue;
		AddWaitEventToSet(set, logins[i].event, PQsocket(logins[i].conn), NULL, &logins[i]);
		first = Min(first, logins[i].deadline);
	}
	happened = WaitEventSetWait(set, TimestampDifferenceMilliseconds(now, first) + 1, events,
								count + 2, PG_WAIT_EXTENSION);
	FreeWaitEventSet(set);
	for (int i = 0; i < happened; i++)
	{
		Login *login = events[i].user_data;

		if (events[i].events & WL_LATCH_SET)
			ResetLatch(MyLatch);
		else if (login != NULL && login->state == LOGIN_CONNECTING)
			go_on_connecting(login);
		else if (login != NULL && login->state == LOGIN_QUERYING)
			go_on_querying(login);
	}
}

void
login_try(const LoginOrder *const *orders, LoginResult *const *results, int count)
{
	Login logins[LOGIN_MAX] = {{0}}; /* nothing is allocated: an error here would end the worker */
	WaitEvent events[LOGIN_MAX + 2];

	for (int i = 0; i < count; i++)
	{
		memset(results[i], 0, sizeof(*results[i]));
		logins[i].order = orders[i];
		logins[i].result = results[i];
	}
	PG_TRY();
	{
		while (look_at_all(logins, count) > 0)
		{
			wait_for_some(logins, count, events);
			CHECK_FOR_INTERRUPTS();
		}
	}
	PG_FINALLY();
	{
		for (int i = 0; i < count; i++)
			finish(&logins[i]);
	}
	PG_END_TRY();
}

/*
 * pg_client.c - see pg_client.h.
 */
#include "pg_client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libpq-fe.h>

#include "authorities.h"
#include "pg_error.h"
#include "resolve.h"

#define NOWHERE	   "/nonexistent" /* for a file that libpq must not find */
#define MAX_FIELDS 40
#define MAX_FDS	   8

struct PgClient
{
	PGconn *conn;
	PGnotify *notice; /* arrived, not yet taken */
};

struct PgAnswer
{
	PGresult *result;
};

/* One address of one host. */
typedef struct Place
{
	const char *host;
	const char *address; /* NULL: a socket's folder */
	const char *port;
	bool loopback;
} Place;

void
pg_client_init(void)
{
	char **entry = environ;

	PQinitOpenSSL(0, 0);
	while (*entry != NULL)
	{
		size_t len = strcspn(*entry, "=");
		char *name;

		if (strncmp(*entry, "PG", 2) != 0 || (name = strndup(*entry, len)) == NULL)
		{
			entry++;
			continue;
		}
		unsetenv(name);	 /* NOLINT(concurrency-mt-unsafe): before any thread. */
		entry = environ; /* unsetenv() moved the others */
		free(name);
	}
}

/* The authorities that the system trusts; libpq knows the word "system" from 16 on. */
static const char *
system_authorities(const char *sslmode)
{
	if (PQlibVersion() >= 160000 && strcmp(sslmode, "verify-full") == 0)
		return "system";
	return authorities_file();
}

static const char *
mode_of(const PgServer *server, const Place *place)
{
	if (server->sslmode != NULL && server->sslmode[0] != '\0')
		return server->sslmode;
	return place->loopback ? "disable" : "verify-full";
}

static bool
mode_is_known(const char *mode)
{
	return strcmp(mode, "disable") == 0 || strcmp(mode, "require") == 0 ||
		   strcmp(mode, "verify-ca") == 0 || strcmp(mode, "verify-full") == 0;
}

static const char *
or_nowhere(const char *file)
{
	return file != NULL && file[0] != '\0' ? file : NOWHERE;
}

static PGconn *
start(const PgServer *server, const Place *place)
{
	const char *mode = mode_of(server, place);
	bool verify = strncmp(mode, "verify", 6) == 0;
	bool has_password = server->password != NULL && server->password->len > 0;
	const char *root = server->sslrootcert;
	/* An empty value would let libpq look at the environment. */
	const char *const fields[][2] = {
		{"host", place->host},
		{"hostaddr", place->address},
		{"port", place->port},
		{"dbname", server->dbname},
		{"user", server->user},
		{"password", has_password ? server->password->data : NULL},
		{"passfile", NOWHERE},
		{"sslmode", mode},
		{"sslrootcert",
		 verify && (root == NULL || root[0] == '\0') ? system_authorities(mode) : or_nowhere(root)},
		{"sslcert", or_nowhere(server->sslcert)},
		{"sslkey", or_nowhere(server->sslkey)},
		{"sslcrl", NOWHERE},
		{"sslcrldir", NOWHERE},
		{"ssl_min_protocol_version", "TLSv1.2"},
		{"gssencmode", "disable"},
		{"channel_binding", strcmp(mode, "disable") == 0 ? "disable" : "prefer"},
		{"client_encoding", "UTF8"},
		{"application_name", server->application_name},
		{"target_session_attrs", server->read_write ? "read-write" : "any"},
		/* A connection that waits for notifications must notice that its server is gone. */
		{"keepalives", "1"},
		{"keepalives_idle", "30"},
		{"keepalives_interval", "10"},
		{"keepalives_count", "3"},
		/* In clear, and not to ourselves: the password must not travel. */
		{"require_auth",
		 PQlibVersion() >= 160000 && strcmp(mode, "disable") == 0 && !place->loopback
			 ? "scram-sha-256,md5,none"
			 : NULL},
	};
	const char *keywords[MAX_FIELDS];
	const char *values[MAX_FIELDS];
	size_t count = 0;

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
	{
		if (fields[i][1] == NULL)
			continue;
		keywords[count] = fields[i][0];
		values[count++] = fields[i][1];
	}
	keywords[count] = values[count] = NULL;
	return PQconnectStartParams(keywords, values, 0);
}

/* Waits for the socket; false if the deadline comes first. */
static bool
wait_for_socket(PGconn *conn, short events, Deadline deadline)
{
	struct pollfd fd = {.fd = PQsocket(conn), .events = events};
	int happened;

	do
	{
		int64_t left = deadline_left(deadline);

		if (left <= 0)
			return false;
		happened = poll(&fd, 1, left > 60000 ? 60000 : (int) left);
	} while (happened == 0 || (happened < 0 && errno == EINTR));
	return true; /* an error of the socket is libpq's to find */
}

/*
 * Drives a connection to its end. Where other addresses are left, reaching this one may take until
 * reach_by; from then on it is this server's own time.
 */
static bool
finish_connecting(PGconn *conn, Deadline reach_by, Deadline deadline, bool all_by, PgError *err)
{
	PostgresPollingStatusType next = PGRES_POLLING_WRITING;

	while (next != PGRES_POLLING_OK)
	{
		bool reached = PQstatus(conn) != CONNECTION_STARTED;

		if (next == PGRES_POLLING_FAILED || PQstatus(conn) == CONNECTION_BAD)
		{
			err->used_password = PQconnectionUsedPassword(conn) == 1;
			pg_error_read(err, PQerrorMessage(conn));
			return false;
		}
		if (!wait_for_socket(conn, next == PGRES_POLLING_READING ? POLLIN : POLLOUT,
							 reached && !all_by ? deadline : reach_by))
		{
			err->used_password = PQconnectionUsedPassword(conn) == 1;
			pg_error_say(err, reached ? "the server did not answer in time"
									  : "the server could not be reached in time");
			return false;
		}
		next = PQconnectPoll(conn);
	}
	err->used_password = PQconnectionUsedPassword(conn) == 1;
	return true;
}

/* libpq would write notices, and what a server says as it ends a session, to standard error. */
static void
be_quiet(void *argument __attribute__((unused)), const PGresult *notice __attribute__((unused)))
{
}

/*
 * A server, or who stands in the middle, may ask for the password in clear. That libpq refuses it (require_auth)
 * is so from 16 on; before, nothing does.
 */
static bool
may_show_password(const PgServer *server, const Place *place)
{
	return PQlibVersion() < 160000 && !place->loopback && server->password != NULL &&
		   server->password->len > 0 && strcmp(mode_of(server, place), "disable") == 0;
}

static PgClient *
connect_place(const PgServer *server, const Place *place, Deadline reach_by, Deadline deadline,
			  PgError *err)
{
	PgClient *client;
	PGconn *conn;

	memset(err, 0, sizeof(*err));
	if (!mode_is_known(mode_of(server, place)))
	{
		pg_error_say(err, "sslmode must be disable, require, verify-ca or verify-full");
		return NULL;
	}
	if (may_show_password(server, place))
	{
		pg_error_say(err, "with sslmode disable only libpq 16 or later keeps a password from being "
						  "sent in clear to another machine: use verify-full or require");
		return NULL;
	}
	conn = start(server, place);
	if (conn == NULL)
	{
		pg_error_say(err, "out of memory");
		return NULL;
	}
	(void) PQsetErrorVerbosity(conn, PQERRORS_VERBOSE);
	(void) PQsetNoticeReceiver(conn, be_quiet, NULL);
	client = calloc(1, sizeof(*client));
	/* Else closing could wait for a server that reads nothing. */
	if (client == NULL || !finish_connecting(conn, reach_by, deadline, server->read_write, err) ||
		PQsetnonblocking(conn, 1) != 0)
	{
		if (err->message[0] == '\0')
			pg_error_say(err, "out of memory");
		PQfinish(conn);
		free(client);
		return NULL;
	}
	client->conn = conn;
	return client;
}

/* Whether a server has spoken, so that asking the next one could not help or would be a second attempt. */
static bool
is_final(const PgServer *server, const PgError *err)
{
	if (server->read_write)
		return false;
	return err->used_password || (err->sqlstate[0] != '\0' && strcmp(err->sqlstate, "57P03") != 0);
}

/*
 * Of two failures in succession the one to be told: that a password or a role was refused (class 28) stays, for a host
 * that is down says nothing against it; 28P01 is what another password can help against.
 */
static void
keep_refusal(PgError *err, const PgError *former)
{
	if (strncmp(former->sqlstate, "28", 2) == 0 && strcmp(err->sqlstate, "28P01") != 0)
		*err = *former;
}

/* Tries the addresses of one host; others: how many hosts come after it. */
static PgClient *
connect_host(const PgServer *server, Place *place, int others, Deadline deadline, PgError *err)
{
	bool is_folder = place->host[0] == '/' || place->host[0] == '@';
	ResolvedHost addresses = {.count = 1};
	Deadline share = deadline_in(deadline_left(deadline) / (others + 1));
	const char *why = is_folder ? NULL : resolve_host(place->host, share, &addresses);
	PgClient *client = NULL;

	memset(err, 0, sizeof(*err));
	if (why != NULL)
		(void) snprintf(err->message, sizeof(err->message), "host %.200s: %s", place->host, why);
	for (int i = 0; why == NULL && i < addresses.count; i++)
	{
		int64_t left = deadline_left(deadline) / (addresses.count - i + others);
		PgError former = *err;

		place->address = is_folder ? NULL : addresses.address[i];
		client = connect_place(server, place, deadline_in(left), deadline, err);
		if (client != NULL || is_final(server, err))
			break;
		keep_refusal(err, &former);
	}
	place->address = NULL; /* it was one of ours */
	return client;
}

/* Cuts a list at its commas, in place; how many parts, at most PG_MAX_HOSTS. */
static int
split(char *list, const char *parts[PG_MAX_HOSTS])
{
	int count = 0;

	for (char *at = list; count < PG_MAX_HOSTS; at++)
	{
		parts[count++] = at;
		at += strcspn(at, ",");
		if (*at == '\0')
			break;
		*at = '\0';
	}
	return count;
}

PgClient *
pg_connect(const PgServer *server, Deadline deadline, PgError *err)
{
	const char *host_parts[PG_MAX_HOSTS];
	const char *port_parts[PG_MAX_HOSTS];
	char *hosts = strdup(server->host != NULL ? server->host : "");
	char *ports = strdup(server->port != NULL && server->port[0] != '\0' ? server->port : "5432");
	PgClient *client = NULL;
	int host_count;
	int port_count;

	memset(err, 0, sizeof(*err));
	if (hosts == NULL || ports == NULL)
	{
		pg_error_say(err, "out of memory");
		goto cleanup;
	}
	host_count = split(hosts, host_parts);
	port_count = split(ports, port_parts);
	if (host_parts[0][0] == '\0' || (port_count != 1 && port_count != host_count))
	{
		pg_error_say(err, "a host is needed, and one port for all or one for each");
		goto cleanup;
	}
	for (int i = 0; i < host_count; i++)
	{
		Place place = {.host = host_parts[i],
					   .port = port_parts[port_count == 1 ? 0 : i],
					   .loopback = resolve_is_loopback(host_parts[i])};
		PgError former = *err;

		client = connect_host(server, &place, host_count - 1 - i, deadline, err);
		if (client != NULL || is_final(server, err))
			break;
		keep_refusal(err, &former);
	}

cleanup:
	free(hosts);
	free(ports);
	return client;
}

void
pg_close(PgClient *client)
{
	if (client == NULL)
		return;
	if (client->notice != NULL)
		PQfreemem(client->notice);
	PQfinish(client->conn);
	free(client);
}

/* The values lie in the result's own memory, which is ours to overwrite before it is freed. */
static void
wipe_result(PGresult *result)
{
	for (int row = 0; row < PQntuples(result); row++)
	{
		for (int column = 0; column < PQnfields(result); column++)
			secret_wipe(PQgetvalue(result, row, column), (size_t) PQgetlength(result, row, column));
	}
	PQclear(result);
}

static PgReach
read_error(PGconn *conn, const PGresult *result, PgError *err)
{
	const char *code = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
	const char *words = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	const char *detail = PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL);
	const char *hint = PQresultErrorField(result, PG_DIAG_MESSAGE_HINT);

	memset(err, 0, sizeof(*err));
	if (words == NULL)
		pg_error_say(err, PQerrorMessage(conn));
	else
	{
		char text[3 * PG_MESSAGE_SIZE];

		(void) snprintf(text, sizeof(text), "%.500s%s%.500s%s%.500s", words, detail ? "; " : "",
						detail ? detail : "", hint ? "; " : "", hint ? hint : "");
		pg_error_say(err, text);
	}
	if (err->message[0] == '\0')
		pg_error_say(err, "the server reported an error");
	if (code != NULL && strlen(code) == 5)
		memcpy(err->sqlstate, code, 5);
	/* An end of the session may come behind a commit; a pooler speaks of its server in class 08. */
	if (code == NULL || severity == NULL || strcmp(severity, "ERROR") != 0 ||
		strncmp(code, "08", 2) == 0)
		return PG_LOST;
	return PG_REFUSED;
}

static PgReach
lost(PgError *err, const char *words)
{
	memset(err, 0, sizeof(*err));
	pg_error_say(err, words[0] != '\0' ? words : "the connection was lost");
	return PG_LOST;
}

/* Hands all to the network, then waits until the next result can be taken without waiting. */
static PgReach
wait_for_result(PGconn *conn, Deadline deadline, PgError *err)
{
	for (;;)
	{
		int unsent = PQflush(conn);

		if (unsent == 0 && !PQisBusy(conn))
			return PG_DONE;
		if (unsent < 0 && PQstatus(conn) == CONNECTION_BAD)
			return lost(err, PQerrorMessage(conn));
		if (!wait_for_socket(conn, (short) (unsent != 0 ? POLLIN | POLLOUT : POLLIN), deadline))
			return lost(err, "the server did not answer in time");
		if (!PQconsumeInput(conn))
			return lost(err, PQerrorMessage(conn));
	}
}

/* Reads all results of what was sent; keeps the last good one, or the first error. */
static PgReach
take_results(PGconn *conn, Deadline deadline, PGresult **last, PgError *err)
{
	PgReach reach = PG_DONE;

	for (;;)
	{
		PgError later;
		PgReach waited = wait_for_result(conn, deadline, reach == PG_DONE ? err : &later);
		PGresult *result;

		if (waited != PG_DONE)
			return reach == PG_DONE ? waited : reach; /* an error undid it, whatever came then */
		result = PQgetResult(conn);
		if (result == NULL)
			return reach;
		switch (PQresultStatus(result))
		{
			case PGRES_COMMAND_OK:
			case PGRES_TUPLES_OK:
			case PGRES_SINGLE_TUPLE:
			case PGRES_EMPTY_QUERY:
				if (*last != NULL)
					wipe_result(*last);
				*last = result;
				continue;
			case PGRES_COPY_IN:
			case PGRES_COPY_OUT:
			case PGRES_COPY_BOTH:
				wipe_result(result);
				return lost(err, "COPY between client and server is not possible here");
			default:
				if (reach == PG_DONE)
					reach = read_error(conn, result, err);
				wipe_result(result);
		}
	}
}

/* Whether the connection still stands, as far as can be seen; what it has sent by itself is read. */
static bool
is_ready(PGconn *conn, PgError *err)
{
	memset(err, 0, sizeof(*err));
	if (PQstatus(conn) == CONNECTION_OK && PQconsumeInput(conn))
		return true;
	pg_error_say(err, PQerrorMessage(conn));
	if (err->message[0] == '\0')
		pg_error_say(err, "the connection was lost");
	return false;
}

static PgReach
finish_exec(PGconn *conn, int was_sent, Deadline deadline, PgAnswer **answer, PgError *err)
{
	PGresult *last = NULL;
	PgReach reach;

	if (!was_sent && PQstatus(conn) == CONNECTION_OK)
	{
		pg_error_say(err, PQerrorMessage(conn));
		if (err->message[0] == '\0')
			pg_error_say(err, "the statement could not be sent");
		return PG_NOT_SENT;
	}
	/* There will be no result to wait for, and a part may have gone out before the connection broke. */
	if (!was_sent)
		return lost(err, PQerrorMessage(conn));
	/* Nobody wants the rows: they need not all be held at once. */
	if (answer == NULL)
		(void) PQsetSingleRowMode(conn);
	reach = take_results(conn, deadline, &last, err);
	if (reach == PG_DONE && answer != NULL)
	{
		*answer = calloc(1, sizeof(**answer));
		if (*answer != NULL)
		{
			(*answer)->result = last;
			return PG_DONE;
		}
		reach = lost(err, "out of memory");
	}
	if (last != NULL)
		wipe_result(last);
	return reach;
}

PgReach
pg_exec(PgClient *client, const char *sql, int count, const char *const *values, Deadline deadline,
		PgAnswer **answer, PgError *err)
{
	if (answer != NULL)
		*answer = NULL;
	if (!is_ready(client->conn, err))
		return PG_NOT_SENT;
	return finish_exec(client->conn,
					   PQsendQueryParams(client->conn, sql, count, NULL, values, NULL, NULL, 0),
					   deadline, answer, err);
}

PgReach
pg_exec_script(PgClient *client, const char *sql, Deadline deadline, PgAnswer **answer,
			   PgError *err)
{
	if (answer != NULL)
		*answer = NULL;
	if (!is_ready(client->conn, err))
		return PG_NOT_SENT;
	return finish_exec(client->conn, PQsendQuery(client->conn, sql), deadline, answer, err);
}

int
pg_rows(const PgAnswer *answer)
{
	return PQntuples(answer->result);
}

const char *
pg_value(const PgAnswer *answer, int row, int column)
{
	if (row < 0 || row >= PQntuples(answer->result) || column < 0 ||
		column >= PQnfields(answer->result) || PQgetisnull(answer->result, row, column))
		return NULL;
	return PQgetvalue(answer->result, row, column);
}

bool
pg_flag(const PgAnswer *answer, int row, int column)
{
	const char *value = pg_value(answer, row, column);

	return value != NULL && value[0] == 't';
}

void
pg_answer_free(PgAnswer *answer)
{
	if (answer == NULL)
		return;
	if (answer->result != NULL)
		wipe_result(answer->result);
	free(answer);
}

char *
pg_quote_name(PgClient *client, const char *name)
{
	return PQescapeIdentifier(client->conn, name, strlen(name));
}

char *
pg_quote_text(PgClient *client, const char *text)
{
	return PQescapeLiteral(client->conn, text, strlen(text));
}

void
pg_quoted_free(char *quoted)
{
	if (quoted == NULL)
		return;
	secret_wipe(quoted, strlen(quoted));
	PQfreemem(quoted);
}

/* Whether a notification is at hand, without waiting. */
static bool
has_notification(PgClient *client)
{
	if (client->notice == NULL)
		client->notice = PQnotifies(client->conn);
	return client->notice != NULL;
}

PgWake
pg_wait(PgClient *client, const int *fds, int count, Deadline deadline)
{
	struct pollfd polled[MAX_FDS + 1];
	int used = count < MAX_FDS ? count : MAX_FDS;

	for (int i = 0; i < used; i++)
		polled[i] = (struct pollfd){.fd = fds[i], .events = POLLIN};
	for (;;)
	{
		int64_t left = deadline_left(deadline);
		int happened;

		if (client != NULL && has_notification(client))
			return PG_WAKE_NOTIFY;
		if (client != NULL && PQstatus(client->conn) != CONNECTION_OK)
			return PG_WAKE_BROKEN;
		polled[used] =
			(struct pollfd){.fd = client != NULL ? PQsocket(client->conn) : -1, .events = POLLIN};
		happened = poll(polled, (nfds_t) used + 1, left > 60000 ? 60000 : (int) left);
		for (int i = 0; happened > 0 && i < used; i++)
		{
			if (polled[i].revents != 0)
				return PG_WAKE_FD;
		}
		if (client != NULL && happened > 0 && polled[used].revents != 0 &&
			!PQconsumeInput(client->conn))
			return PG_WAKE_BROKEN;
		if (happened == 0 && left <= 60000)
			return PG_WAKE_TIME;
	}
}

bool
pg_notification(PgClient *client, char *channel, size_t size)
{
	if (!has_notification(client))
		return false;
	(void) snprintf(channel, size, "%s", client->notice->relname);
	PQfreemem(client->notice);
	client->notice = NULL;
	return true;
}

bool
pg_is_alive(const PgClient *client)
{
	return PQstatus(client->conn) == CONNECTION_OK;
}

int
pg_server_version(const PgClient *client)
{
	return PQserverVersion(client->conn);
}

int
pg_backend_pid(const PgClient *client)
{
	return PQbackendPID(client->conn);
}

const char *
pg_tls_version(const PgClient *client)
{
	const char *version =
		PQsslInUse(client->conn) ? PQsslAttribute(client->conn, "protocol") : NULL;

	return version != NULL ? version : "";
}

/*
 * mysql_client.c - see mysql_client.h.
 */
#include "mysql_client.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <mysql.h>
#include <errmsg.h>

#include "authorities.h"
#include "resolve.h"
#include "words.h"

/* What may be asked of us: all that keep the password to themselves. No dialog, no clear text. */
#define PLUGINS		   "mysql_native_password,caching_sha2_password,sha256_password,client_ed25519"
#define MAX_ANSWER	   (4UL * 1024 * 1024) /* bytes of a row */
#define MAX_GIVING_UPS 64 /* steps the library may need to let go: one for each address */

struct MyClient
{
	MYSQL handle;
	/* What the call under way gives, when it is over. */
	MYSQL *connected;
	MYSQL_RES *result;
	int failed;
};

struct MyAnswer
{
	MYSQL_RES *result; /* NULL: the statement gives no rows */
	const char *const *row;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void
init_library(void)
{
	(void) mysql_library_init(0, NULL, NULL);
}

static void
say(MyError *err, unsigned number, const char *words)
{
	err->number = number;
	words_copy(err->message, sizeof(err->message), words, strlen(words));
	if (err->message[0] == '\0')
		(void) snprintf(err->message, sizeof(err->message), "the connection failed");
}

static MyReach
fail(MyClient *client, MyReach reach, MyError *err)
{
	say(err, mysql_errno(&client->handle), mysql_error(&client->handle));
	return reach;
}

/* ---- driving the library: it says what it waits for, and is gone on with when that has come */

typedef int (*GoOn)(MyClient *client, int events);

/* What of it happened; 0 if the deadline came first. */
static int
wait_for(MyClient *client, int wanted, Deadline deadline)
{
	struct pollfd fd = {.fd = mysql_get_socket(&client->handle)};
	int happened;

	fd.events = (short) ((wanted & MYSQL_WAIT_READ ? POLLIN : 0) |
						 (wanted & MYSQL_WAIT_WRITE ? POLLOUT : 0) |
						 (wanted & MYSQL_WAIT_EXCEPT ? POLLPRI : 0));
	do
	{
		int64_t left = deadline_left(deadline);

		if (left <= 0)
			return 0;
		happened = poll(&fd, 1, left > 60000 ? 60000 : (int) left);
	} while (happened == 0 || (happened < 0 && errno == EINTR));
	if (fd.revents & (POLLERR | POLLHUP | POLLNVAL))
		return wanted & (MYSQL_WAIT_READ | MYSQL_WAIT_WRITE);
	return ((fd.revents & POLLIN) != 0 ? MYSQL_WAIT_READ : 0) |
		   ((fd.revents & POLLOUT) != 0 ? MYSQL_WAIT_WRITE : 0) |
		   ((fd.revents & POLLPRI) != 0 ? MYSQL_WAIT_EXCEPT : 0);
}

/* Drives a call to its end. False if the deadline came first: nothing more can be sent then. */
static bool
drive(MyClient *client, int wanted, GoOn go_on, Deadline deadline)
{
	while (wanted != 0)
	{
		int happened = wait_for(client, wanted, deadline);

		if (happened == 0)
			break;
		wanted = go_on(client, happened);
	}
	if (wanted == 0)
		return true;
	/* The library lets go of what it has when it hears that time is up; no call of it can wait any more. */
	for (int i = 0; wanted != 0 && i < MAX_GIVING_UPS; i++)
	{
		(void) shutdown(mysql_get_socket(&client->handle), SHUT_RDWR);
		wanted = go_on(client, MYSQL_WAIT_TIMEOUT);
	}
	return false;
}

static int
go_on_connecting(MyClient *client, int events)
{
	return mysql_real_connect_cont(&client->connected, &client->handle, events);
}

static int
go_on_querying(MyClient *client, int events)
{
	return mysql_real_query_cont(&client->failed, &client->handle, events);
}

static int
go_on_storing(MyClient *client, int events)
{
	return mysql_store_result_cont(&client->result, &client->handle, events);
}

static int
go_on_throwing_away(MyClient *client, int events)
{
	return mysql_free_result_cont(client->result, events);
}

static int
go_on_to_next(MyClient *client, int events)
{
	return mysql_next_result_cont(&client->failed, &client->handle, events);
}

/* ---- connections */

/* What the mode asks for; false if there is no such mode. */
static bool
set_tls(MYSQL *handle, const MyServer *server, bool *is_wanted)
{
	bool loopback = resolve_is_loopback(server->host);
	const char *mode = server->sslmode != NULL ? server->sslmode
					   : loopback			   ? "disable"
											   : "verify-full";
	bool verify = strcmp(mode, "verify-full") == 0;
	my_bool enforce;
	my_bool verified = verify ? 1 : 0;

	*is_wanted = verify || strcmp(mode, "require") == 0;
	if (!*is_wanted && strcmp(mode, "disable") != 0)
		return false;
	enforce = *is_wanted ? 1 : 0;
	(void) mysql_options(handle, MYSQL_OPT_SSL_ENFORCE, &enforce);
	(void) mysql_options(handle, MYSQL_OPT_SSL_VERIFY_SERVER_CERT, &verified);
	if (*is_wanted)
		(void) mysql_optionsv(handle, MARIADB_OPT_TLS_VERSION, "TLSv1.2,TLSv1.3");
	if (verify)
		(void) mysql_options(handle, MYSQL_OPT_SSL_CA,
							 server->ca_file != NULL ? server->ca_file : authorities_file());
	if (*is_wanted && server->cert_file != NULL)
		(void) mysql_options(handle, MYSQL_OPT_SSL_CERT, server->cert_file);
	if (*is_wanted && server->key_file != NULL)
		(void) mysql_options(handle, MYSQL_OPT_SSL_KEY, server->key_file);
	return true;
}

static void
set_options(MYSQL *handle, bool is_socket)
{
	unsigned protocol = is_socket ? MYSQL_PROTOCOL_SOCKET : MYSQL_PROTOCOL_TCP;
	unsigned no_files = 0;
	my_bool no_second = 0;
	unsigned long size = MAX_ANSWER;

	(void) mysql_options(handle, MYSQL_OPT_NONBLOCK, NULL);
	(void) mysql_options(handle, MYSQL_OPT_PROTOCOL, &protocol);
	(void) mysql_options(handle, MYSQL_OPT_LOCAL_INFILE, &no_files);
	(void) mysql_options(handle, MYSQL_OPT_RECONNECT, &no_second);
	(void) mysql_options(handle, MYSQL_OPT_MAX_ALLOWED_PACKET, &size);
	(void) mysql_options(handle, MYSQL_SET_CHARSET_NAME, "utf8mb4");
	(void) mysql_optionsv(handle, MARIADB_OPT_RESTRICTED_AUTH, PLUGINS);
	(void) mysql_options4(handle, MYSQL_OPT_CONNECT_ATTR_ADD, "program_name", "rotor");
}

/*
 * Whether the name can be resolved by the deadline: the library will ask again, and nothing ends that but
 * the resolver. It must be given the name, which the certificate is compared with.
 */
static bool
can_be_resolved(const char *host, Deadline deadline, MyError *err)
{
	ResolvedHost addresses;
	const char *why = resolve_host(host, deadline, &addresses);

	if (why == NULL)
		return true;
	err->number = CR_UNKNOWN_HOST;
	(void) snprintf(err->message, sizeof(err->message), "host %.200s: %s", host, why);
	return false;
}

static bool
finish_connecting(MyClient *client, const MyServer *server, bool is_socket, Deadline deadline,
				  MyError *err)
{
	unsigned long flags = server->scripts ? CLIENT_MULTI_STATEMENTS : 0;
	int wanted = mysql_real_connect_start(
		&client->connected, &client->handle, is_socket ? NULL : server->host, server->user,
		server->password != NULL ? server->password->data : "", server->dbname, server->port,
		is_socket ? server->host : NULL, flags);

	if (!drive(client, wanted, go_on_connecting, deadline))
	{
		say(err, CR_CONNECTION_ERROR, "the server did not answer in time");
		return false;
	}
	if (client->connected == NULL)
	{
		(void) fail(client, MY_NOT_SENT, err);
		return false;
	}
	return true;
}

/*
 * Whether the server has no TLS, which is a setting, though the library tells it by the number of a handshake
 * that broke. There is such a number only after the server has said what it can do.
 */
static bool
has_no_tls(MyClient *client, const MyError *err)
{
	unsigned long can = 0;

	return err->number == CR_SSL_CONNECTION_ERROR &&
		   mariadb_get_infov(&client->handle, MARIADB_CONNECTION_SERVER_CAPABILITIES, &can) == 0 &&
		   (can & CLIENT_SSL) == 0;
}

MyClient *
my_connect(const MyServer *server, Deadline deadline, MyError *err)
{
	bool is_socket = server->host[0] == '/';
	bool wants_tls;
	MyClient *client;

	(void) pthread_once(&once, init_library);
	memset(err, 0, sizeof(*err));
	client = calloc(1, sizeof(*client));
	if (client == NULL || mysql_init(&client->handle) == NULL)
	{
		say(err, CR_OUT_OF_MEMORY, "out of memory");
		free(client);
		return NULL;
	}
	set_options(&client->handle, is_socket);
	if (!set_tls(&client->handle, server, &wants_tls))
		say(err, 0, "sslmode must be disable, require or verify-full");
	else if ((is_socket || can_be_resolved(server->host, deadline, err)) &&
			 finish_connecting(client, server, is_socket, deadline, err))
	{
		if (!wants_tls || mysql_get_ssl_cipher(&client->handle) != NULL)
			return client;
		say(err, 0, "the server does not support TLS");
	}
	else if (has_no_tls(client, err))
		say(err, 0, "the server does not support TLS");
	my_close(client);
	return NULL;
}

void
my_close(MyClient *client)
{
	if (client == NULL)
		return;
	/* It would say good-bye, and could wait for a server that reads nothing. */
	(void) shutdown(mysql_get_socket(&client->handle), SHUT_RDWR);
	/* It has kept a copy, and would only free it. */
	if (client->handle.passwd != NULL)
		secret_wipe(client->handle.passwd, strlen(client->handle.passwd));
	mysql_close(&client->handle);
	free(client);
}

/* ---- statements */

static MyReach
late(MyError *err)
{
	say(err, CR_SERVER_LOST, "the server did not answer in time");
	return MY_LOST;
}

/* What an error says of the statement: those of the library mean that the answer is missing. */
static MyReach
judge(MyClient *client, MyError *err)
{
	unsigned number = mysql_errno(&client->handle);
	bool is_ours = (number >= CR_MIN_ERROR && number <= CR_MAX_ERROR) ||
				   (number >= 5000 && number <= 5999) || number == 0;

	return fail(client, is_ours ? MY_LOST : MY_REFUSED, err);
}

/* Takes the rows of a result, or throws them away if answer is NULL. */
static MyReach
take_rows(MyClient *client, Deadline deadline, MyAnswer **answer, MyError *err)
{
	if (mysql_field_count(&client->handle) == 0)
		return MY_DONE;
	if (answer == NULL)
	{
		client->result = mysql_use_result(&client->handle);
		if (client->result != NULL &&
			!drive(client, mysql_free_result_start(client->result), go_on_throwing_away, deadline))
			return late(err);
		/* An error behind the first rows. */
		return mysql_errno(&client->handle) != 0 ? judge(client, err) : MY_DONE;
	}
	if (!drive(client, mysql_store_result_start(&client->result, &client->handle), go_on_storing,
			   deadline))
		return late(err);
	if (client->result == NULL)
		return judge(client, err);
	(*answer)->result = client->result;
	return MY_DONE;
}

static MyReach
send_query(MyClient *client, const char *sql, Deadline deadline, MyError *err)
{
	int wanted =
		mysql_real_query_start(&client->failed, &client->handle, sql, (unsigned long) strlen(sql));

	if (!drive(client, wanted, go_on_querying, deadline))
		return late(err);
	return client->failed ? judge(client, err) : MY_DONE;
}

MyReach
my_exec(MyClient *client, const char *sql, Deadline deadline, MyAnswer **answer, MyError *err)
{
	MyReach reach;

	if (answer != NULL)
	{
		*answer = calloc(1, sizeof(**answer));
		if (*answer == NULL)
		{
			say(err, CR_OUT_OF_MEMORY, "out of memory");
			return MY_NOT_SENT;
		}
	}
	reach = send_query(client, sql, deadline, err);
	if (reach == MY_DONE)
		reach = take_rows(client, deadline, answer, err);
	if (reach != MY_DONE && answer != NULL)
	{
		my_answer_free(*answer);
		*answer = NULL;
	}
	return reach;
}

MyReach
my_exec_script(MyClient *client, const char *sql, Deadline deadline, int *done, MyError *err)
{
	MyReach reach = send_query(client, sql, deadline, err);

	*done = 0;
	while (reach == MY_DONE)
	{
		reach = take_rows(client, deadline, NULL, err);
		if (reach != MY_DONE)
			break;
		++*done;
		if (!mysql_more_results(&client->handle))
			break;
		if (!drive(client, mysql_next_result_start(&client->failed, &client->handle), go_on_to_next,
				   deadline))
			return late(err);
		if (client->failed > 0)
			reach = judge(client, err);
	}
	return reach;
}

bool
my_next(MyAnswer *answer, const char *const **values, unsigned *count)
{
	answer->row = answer->result != NULL
					  ? (const char *const *) (void *) mysql_fetch_row(answer->result)
					  : NULL;
	*values = answer->row;
	*count = answer->row != NULL ? mysql_num_fields(answer->result) : 0;
	return answer->row != NULL;
}

void
my_answer_free(MyAnswer *answer)
{
	if (answer == NULL)
		return;
	if (answer->result != NULL)
		mysql_free_result(answer->result);
	free(answer);
}

char *
my_quote(MyClient *client, const char *text)
{
	size_t len = strlen(text);
	char *out = malloc(2 * len + 3);

	if (out == NULL)
		return NULL;
	out[0] = '\'';
	len = mysql_real_escape_string(&client->handle, out + 1, text, (unsigned long) len);
	out[len + 1] = '\'';
	out[len + 2] = '\0';
	return out;
}

bool
my_is_mariadb(MyClient *client)
{
	return mariadb_connection(&client->handle);
}

unsigned long
my_server_version(MyClient *client)
{
	return mysql_get_server_version(&client->handle);
}

const char *
my_tls_version(MyClient *client)
{
	const char *version = NULL;

	if (mysql_get_ssl_cipher(&client->handle) != NULL)
		(void) mariadb_get_infov(&client->handle, MARIADB_CONNECTION_TLS_VERSION, &version);
	return version != NULL ? version : "";
}

/*
 * http_server.c - the HTTP port by libmicrohttpd; see http_server.h.
 */
#include "http_server.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cjson/cJSON.h>
#include <microhttpd.h>

#include "deadline.h"
#include "metrics.h"

enum
{
	CONNECTION_MEMORY = 16 * 1024,
	BACKLOG = 16
};

unsigned http_server_idle_seconds = 10;

struct HttpServer
{
	struct MHD_Daemon *daemon;
	int64_t stall_ms;
	unsigned port;
	_Atomic int64_t turned_at;
	pthread_mutex_t lock;				  /* guards reason */
	char reason[HTTP_SERVER_REASON_SIZE]; /* empty: ready */
};

/* ---- where to listen */

/* The parts of "address:port"; false if it has another form. Nothing is looked up. */
static bool
split_listen(const char *listen, char *host, size_t host_size, const char **port)
{
	const char *colon = strrchr(listen, ':');
	size_t len;

	if (colon == NULL || colon[1] == '\0' || strspn(colon + 1, "0123456789") != strlen(colon + 1) ||
		strlen(colon + 1) > 5 || strtoul(colon + 1, NULL, 10) > 65535)
		return false;
	len = (size_t) (colon - listen);
	if (listen[0] == '[')
	{
		if (len < 2 || listen[len - 1] != ']')
			return false;
		listen++;
		len -= 2;
	}
	else if (memchr(listen, ':', len) != NULL)
		return false;
	if (len == 0 || len >= host_size)
		return false;
	memcpy(host, listen, len);
	host[len] = '\0';
	*port = colon + 1;
	return true;
}

typedef union Address
{
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
} Address;

/* The address of "address:port"; Error: ARGUMENT. */
static bool
parse_listen(const char *listen, Address *address, RotorError *err)
{
	char host[64];
	const char *port;
	bool ok = split_listen(listen, host, sizeof(host), &port);

	memset(address, 0, sizeof(*address));
	if (ok && listen[0] == '[')
	{
		address->v6.sin6_family = AF_INET6;
		address->v6.sin6_port = htons((uint16_t) strtoul(port, NULL, 10));
		ok = inet_pton(AF_INET6, host, &address->v6.sin6_addr) == 1;
	}
	else if (ok)
	{
		address->v4.sin_family = AF_INET;
		address->v4.sin_port = htons((uint16_t) strtoul(port, NULL, 10));
		ok = inet_pton(AF_INET, host, &address->v4.sin_addr) == 1;
	}
	if (!ok)
	{
		(void) error_set(err, ROTOR_ERROR_ARGUMENT, "cannot listen at \"%.100s\"", listen);
		(void) error_detail(err, "It is no numeric address with a port.");
		(void) error_hint(err, "Write it as in %s or [::1]:9469, or off.", HTTP_SERVER_LISTEN);
	}
	return ok;
}

bool
http_server_check(const char *listen, RotorError *err)
{
	Address address;

	return strcmp(listen, "off") == 0 || parse_listen(listen, &address, err);
}

/* A socket that listens, not blocking; -1 with *err. */
static int
open_socket(const char *listen_at, RotorError *err)
{
	const int yes = 1;
	Address address;
	char why[128];
	bool six;
	int fd;

	if (!parse_listen(listen_at, &address, err))
		return -1;
	six = address.any.sa_family == AF_INET6;
	fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) != 0 ||
		(six && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &yes, sizeof(yes)) != 0) ||
		bind(fd, &address.any, six ? sizeof(address.v6) : sizeof(address.v4)) != 0 ||
		listen(fd, BACKLOG) != 0)
	{
		int error = errno;

		(void) error_set(err, ROTOR_ERROR_ARGUMENT, "cannot listen at \"%.100s\"", listen_at);
		(void) error_detail(err, "The system says: %s.", strerror_r(error, why, sizeof(why)));
		if (error == EADDRINUSE)
			(void) error_hint(err, "Another program, or another worker, has that port: choose one, "
								   "or switch the HTTP port off.");
		if (fd >= 0)
			(void) close(fd);
		fd = -1;
	}
	return fd;
}

static unsigned
port_of(int fd)
{
	Address bound = {0};
	socklen_t len = sizeof(bound);

	memset(&bound, 0, sizeof(bound));
	if (getsockname(fd, &bound.any, &len) != 0)
		return 0;
	return ntohs(bound.any.sa_family == AF_INET6 ? bound.v6.sin6_port : bound.v4.sin_port);
}

/* ---- answers */

/* Sends the text, which is free()d by the library, also if sending fails. */
static enum MHD_Result
send_text(struct MHD_Connection *connection, unsigned status, char *text, size_t len,
		  const char *type)
{
	struct MHD_Response *response =
		MHD_create_response_from_buffer(len, text, MHD_RESPMEM_MUST_FREE);
	enum MHD_Result result;

	if (response == NULL)
	{
		free(text);
		return MHD_NO;
	}
	(void) MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	(void) MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
	(void) MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
	if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
		(void) MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
	result = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return result;
}

/* {"status":…, "reason":…}; no reason if it is NULL. */
static enum MHD_Result
send_json(struct MHD_Connection *connection, unsigned status, const char *word, const char *reason)
{
	cJSON *body = cJSON_CreateObject();
	char *text = NULL;

	if (body != NULL && cJSON_AddStringToObject(body, "status", word) != NULL &&
		(reason == NULL || cJSON_AddStringToObject(body, "reason", reason) != NULL))
		text = cJSON_PrintUnformatted(body);
	cJSON_Delete(body);
	if (text == NULL)
		return MHD_NO;
	return send_text(connection, status, text, strlen(text), "application/json");
}

static enum MHD_Result
answer_metrics(HttpServer *server __attribute__((unused)), struct MHD_Connection *connection)
{
	size_t len = 0;
	char *text = metrics_text(&len);

	if (text == NULL)
		return MHD_NO;
	return send_text(connection, MHD_HTTP_OK, text, len, METRICS_CONTENT_TYPE);
}

static enum MHD_Result
answer_health(HttpServer *server, struct MHD_Connection *connection)
{
	int64_t since = clock_ms() - atomic_load(&server->turned_at);
	char reason[HTTP_SERVER_REASON_SIZE];

	if (since <= server->stall_ms)
		return send_json(connection, MHD_HTTP_OK, "alive", NULL);
	(void) snprintf(reason, sizeof(reason), "the main loop has not turned for %lld s",
					(long long) since / 1000);
	return send_json(connection, MHD_HTTP_SERVICE_UNAVAILABLE, "stalled", reason);
}

static enum MHD_Result
answer_ready(HttpServer *server, struct MHD_Connection *connection)
{
	char reason[HTTP_SERVER_REASON_SIZE];

	(void) pthread_mutex_lock(&server->lock);
	memcpy(reason, server->reason, sizeof(reason));
	(void) pthread_mutex_unlock(&server->lock);
	if (reason[0] == '\0')
		return send_json(connection, MHD_HTTP_OK, "ready", NULL);
	return send_json(connection, MHD_HTTP_SERVICE_UNAVAILABLE, "not ready", reason);
}

typedef struct Page
{
	const char *path;
	enum MHD_Result (*answer)(HttpServer *server, struct MHD_Connection *connection);
} Page;

static const Page pages[] = {
	{"/metrics", answer_metrics},
	{"/healthz", answer_health},
	{"/readyz", answer_ready},
};

/* libmicrohttpd's handler: once when the head of a request is there, again when all of it is. */
static enum MHD_Result
handle_request(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
			   const char *version __attribute__((unused)),
			   const char *upload __attribute__((unused)), size_t *upload_size, void **state)
{
	static char head_seen;
	HttpServer *server = cls;
	const Page *page = NULL;

	for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++)
	{
		if (strcmp(url, pages[i].path) == 0)
			page = &pages[i];
	}
	/* Refused at once, so that a body is not waited for. */
	if (page == NULL)
		return send_json(connection, MHD_HTTP_NOT_FOUND, "not found",
						 "there are /metrics, /healthz and /readyz");
	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
		return send_json(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "method not allowed",
						 "there are GET and HEAD");
	if (*state == NULL)
	{
		*state = &head_seen;
		return MHD_YES;
	}
	/* What somebody sends along with a GET is thrown away. */
	if (*upload_size > 0)
	{
		*upload_size = 0;
		return MHD_YES;
	}
	return page->answer(server, connection);
}

/* What libmicrohttpd would write to standard error: words on a client that went away. */
static void
ignore_message(void *cls __attribute__((unused)), const char *format __attribute__((unused)),
			   va_list args __attribute__((unused)))
{
}

/* Its thread takes no signal: they are the main loop's. */
static struct MHD_Daemon *
start_daemon(HttpServer *server, int fd)
{
	struct MHD_Daemon *daemon;
	sigset_t all;
	sigset_t former;

	(void) sigfillset(&all);
	(void) pthread_sigmask(SIG_SETMASK, &all, &former);
	daemon = MHD_start_daemon(MHD_USE_POLL_INTERNAL_THREAD | MHD_USE_ERROR_LOG, 0, NULL, NULL,
							  handle_request, server, MHD_OPTION_EXTERNAL_LOGGER, ignore_message,
							  NULL, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
							  (unsigned) HTTP_SERVER_CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT,
							  http_server_idle_seconds, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
							  (size_t) CONNECTION_MEMORY, MHD_OPTION_END);
	(void) pthread_sigmask(SIG_SETMASK, &former, NULL);
	return daemon;
}

bool
http_server_start(const char *listen, int64_t stall_ms, HttpServer **server, RotorError *err)
{
	HttpServer *made = NULL;
	int fd;

	*server = NULL;
	if (strcmp(listen, "off") == 0)
		return true;
	fd = open_socket(listen, err);
	if (fd < 0)
		return false;
	made = calloc(1, sizeof(*made));
	if (made != NULL)
	{
		(void) pthread_mutex_init(&made->lock, NULL);
		made->stall_ms = stall_ms;
		made->port = port_of(fd);
		http_server_turned(made);
		http_server_ready(made, "starting");
		made->daemon = start_daemon(made, fd); /* which closes fd when it ends */
	}
	if (made == NULL || made->daemon == NULL)
	{
		(void) error_set(err, ROTOR_ERROR_SPACE, "could not start the HTTP server");
		(void) close(fd);
		if (made != NULL)
			(void) pthread_mutex_destroy(&made->lock);
		free(made);
		return false;
	}
	*server = made;
	return true;
}

unsigned
http_server_port(const HttpServer *server)
{
	return server != NULL ? server->port : 0;
}

void
http_server_turned(HttpServer *server)
{
	if (server != NULL)
		atomic_store(&server->turned_at, clock_ms());
}

void
http_server_ready(HttpServer *server, const char *reason)
{
	if (server == NULL)
		return;
	(void) pthread_mutex_lock(&server->lock);
	(void) snprintf(server->reason, sizeof(server->reason), "%s", reason != NULL ? reason : "");
	(void) pthread_mutex_unlock(&server->lock);
}

void
http_server_stop(HttpServer *server)
{
	if (server == NULL)
		return;
	MHD_stop_daemon(server->daemon);
	(void) pthread_mutex_destroy(&server->lock);
	free(server);
}

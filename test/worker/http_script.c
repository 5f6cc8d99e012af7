/*
 * http_script.c - an HTTP server that answers what it was told; see http_script.h.
 */
#include "support.h"

#include "http_script.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_ANSWERS		64
#define MAX_REQUESTS	256
#define MAX_CONNECTIONS 256
#define REQUEST_SIZE	((size_t) 256 * 1024)

typedef struct Answer
{
	char *bytes;
	size_t len;
	ScriptEnd end;
} Answer;

typedef struct Connection
{
	Script *script;
	int fd;
	pthread_t thread;
} Connection;

struct Script
{
	int listener, port;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool stopping, released;
	Answer answers[MAX_ANSWERS];
	int answer_count, next_answer;
	char *requests[MAX_REQUESTS];
	int request_count;
	Connection connections[MAX_CONNECTIONS];
	int connection_count;
	char text[REQUEST_SIZE];
};

static void
send_all(int fd, const char *bytes, size_t len)
{
	while (len > 0)
	{
		ssize_t sent = send(fd, bytes, len, MSG_NOSIGNAL);

		if (sent <= 0)
			return;
		bytes += sent;
		len -= (size_t) sent;
	}
}

/* Reads one request; its text, to be freed, or NULL at the end of the connection. */
static char *
read_request(int fd)
{
	char *text = calloc(1, REQUEST_SIZE);
	size_t len = 0;
	size_t body = 0;
	const char *end;

	assert_non_null(text);
	while (len < REQUEST_SIZE - 1)
	{
		ssize_t got = recv(fd, text + len, REQUEST_SIZE - 1 - len, 0);

		if (got <= 0)
			break;
		len += (size_t) got;
		end = strstr(text, "\r\n\r\n");
		if (end == NULL)
			continue;
		if (strcasestr(text, "\r\nContent-Length: ") != NULL)
			body = strtoul(strcasestr(text, "\r\nContent-Length: ") + 18, NULL, 10);
		if (len >= (size_t) (end + 4 - text) + body)
			return text;
	}
	free(text);
	return NULL;
}

/* Notes the request and finds its answer, waiting for the release if it is one to be held. */
static Answer
take_answer(Script *script, char *request)
{
	static char unexpected[] = "HTTP/1.1 599 Unexpected\r\nContent-Length: 0\r\n\r\n";
	Answer answer = {unexpected, sizeof(unexpected) - 1, SCRIPT_KEEP};

	pthread_mutex_lock(&script->lock);
	if (script->request_count < MAX_REQUESTS)
		script->requests[script->request_count++] = request;
	else
		free(request);
	if (script->next_answer < script->answer_count)
		answer = script->answers[script->next_answer++];
	pthread_cond_broadcast(&script->changed);
	while (answer.end == SCRIPT_HOLD && !script->released && !script->stopping)
		pthread_cond_wait(&script->changed, &script->lock);
	pthread_mutex_unlock(&script->lock);
	return answer;
}

static void *
connection_main(void *connection_)
{
	Connection *connection = connection_;
	char *request;
	char byte;

	while ((request = read_request(connection->fd)) != NULL)
	{
		Answer answer = take_answer(connection->script, request);

		send_all(connection->fd, answer.bytes, answer.len);
		if (answer.end == SCRIPT_HANG)
		{
			while (recv(connection->fd, &byte, 1, 0) > 0)
				;
		}
		if (answer.end == SCRIPT_CLOSE || answer.end == SCRIPT_HANG)
			break;
	}
	(void) shutdown(connection->fd, SHUT_RDWR);
	return NULL;
}

static void *
listener_main(void *script_)
{
	Script *script = script_;
	int fd;

	while ((fd = accept(script->listener, NULL, NULL)) >= 0)
	{
		Connection *connection;

		pthread_mutex_lock(&script->lock);
		if (script->stopping || script->connection_count == MAX_CONNECTIONS)
			(void) close(fd);
		else
		{
			connection = &script->connections[script->connection_count++];
			connection->script = script;
			connection->fd = fd;
			assert_int_equal(pthread_create(&connection->thread, NULL, connection_main, connection),
							 0);
		}
		pthread_mutex_unlock(&script->lock);
	}
	return NULL;
}

Script *
script_start(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	Script *script = calloc(1, sizeof(*script));

	assert_non_null(script);
	pthread_mutex_init(&script->lock, NULL);
	pthread_cond_init(&script->changed, NULL);
	script->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(script->listener, (struct sockaddr *) &address, sizeof(address)), 0);
	assert_int_equal(listen(script->listener, 64), 0);
	assert_int_equal(getsockname(script->listener, (struct sockaddr *) &address, &len), 0);
	script->port = ntohs(address.sin_port);
	assert_int_equal(pthread_create(&script->thread, NULL, listener_main, script), 0);
	return script;
}

void
script_stop(Script *script)
{
	pthread_mutex_lock(&script->lock);
	script->stopping = true;
	pthread_cond_broadcast(&script->changed);
	pthread_mutex_unlock(&script->lock);
	(void) shutdown(script->listener, SHUT_RDWR);
	pthread_join(script->thread, NULL);
	(void) close(script->listener);
	for (int i = 0; i < script->connection_count; i++)
	{
		(void) shutdown(script->connections[i].fd, SHUT_RDWR);
		pthread_join(script->connections[i].thread, NULL);
		(void) close(script->connections[i].fd);
	}
	for (int i = 0; i < script->answer_count; i++)
		free(script->answers[i].bytes);
	for (int i = 0; i < script->request_count; i++)
		free(script->requests[i]);
	pthread_mutex_destroy(&script->lock);
	pthread_cond_destroy(&script->changed);
	free(script);
}

const char *
script_url(Script *script, const char *path)
{
	(void) snprintf(script->text, sizeof(script->text), "http://127.0.0.1:%d%s", script->port,
					path);
	return script->text;
}

void
script_bytes(Script *script, const void *bytes, size_t len, ScriptEnd end)
{
	Answer *answer;

	pthread_mutex_lock(&script->lock);
	assert_true(script->answer_count < MAX_ANSWERS);
	answer = &script->answers[script->answer_count++];
	answer->bytes = malloc(len + 1);
	assert_non_null(answer->bytes);
	memcpy(answer->bytes, bytes, len);
	answer->len = len;
	answer->end = end;
	pthread_mutex_unlock(&script->lock);
}

void
script_answer_end(Script *script, int status, const char *headers, const char *body, ScriptEnd end)
{
	char *bytes = NULL;

	assert_true(asprintf(&bytes, "HTTP/1.1 %d Word\r\nContent-Length: %zu\r\n%s\r\n%s", status,
						 strlen(body), headers, body) > 0);
	script_bytes(script, bytes, strlen(bytes), end);
	free(bytes);
}

void
script_answer(Script *script, int status, const char *headers, const char *body)
{
	script_answer_end(script, status, headers, body, SCRIPT_KEEP);
}

void
script_release(Script *script)
{
	pthread_mutex_lock(&script->lock);
	script->released = true;
	pthread_cond_broadcast(&script->changed);
	pthread_mutex_unlock(&script->lock);
}

void
script_wait(Script *script, int requests)
{
	pthread_mutex_lock(&script->lock);
	while (script->request_count < requests)
		pthread_cond_wait(&script->changed, &script->lock);
	pthread_mutex_unlock(&script->lock);
}

int
script_requests(Script *script)
{
	int count;

	pthread_mutex_lock(&script->lock);
	count = script->request_count;
	pthread_mutex_unlock(&script->lock);
	return count;
}

int
script_connections(Script *script)
{
	int count;

	pthread_mutex_lock(&script->lock);
	count = script->connection_count;
	pthread_mutex_unlock(&script->lock);
	return count;
}

const char *
script_request(Script *script, int number)
{
	assert_true(number < script_requests(script));
	return script->requests[number];
}

const char *
script_header(Script *script, int number, const char *name)
{
	const char *request = script_request(script, number);
	const char *line = strstr(request, "\r\n") + 2;
	size_t len = strlen(name);

	while (strncmp(line, "\r\n", 2) != 0)
	{
		const char *end = strstr(line, "\r\n");

		if (strncasecmp(line, name, len) == 0 && strncmp(line + len, ": ", 2) == 0)
		{
			(void) snprintf(script->text, sizeof(script->text), "%.*s",
							(int) (end - line - (ptrdiff_t) len - 2), line + len + 2);
			return script->text;
		}
		line = end + 2;
	}
	return NULL;
}

const char *
script_body(Script *script, int number)
{
	return strstr(script_request(script, number), "\r\n\r\n") + 4;
}

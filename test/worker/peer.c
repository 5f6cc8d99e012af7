/*
 * peer.c - see peer.h.
 */
#include "support.h"

#include "peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define RELAY_SIZE (64 * 1024)

/* ---- peers ---- */

static _Noreturn void
run_script(const char *name, int input, int output)
{
	char path[256];

	(void) snprintf(path, sizeof(path), "peers/%s.sh", name);
	(void) dup2(input, STDIN_FILENO);
	(void) dup2(output, STDOUT_FILENO);
	for (int fd = 3; fd < 256; fd++)
		(void) close(fd);
	(void) setpgid(0, 0);
	execl("/bin/bash", "bash", path, (char *) NULL);
	_exit(127);
}

/* Reads the lines up to "ready"; false if they end before. */
static bool
read_lines(Peer *peer, int fd)
{
	size_t line = 0;
	char c;

	while (peer->len + 1 < sizeof(peer->text) && read(fd, &c, 1) == 1)
	{
		peer->text[peer->len++] = c;
		if (c != '\n')
			continue;
		peer->text[peer->len - 1] = '\0';
		if (strcmp(peer->text + line, "ready") == 0)
			return true;
		line = peer->len;
	}
	return false;
}

bool
peer_start(Peer *peer, const char *name)
{
	int to[2];
	int from[2];
	bool ready;

	memset(peer, 0, sizeof(*peer));
	(void) signal(SIGPIPE, SIG_IGN);
	if (pipe(to) != 0 || pipe(from) != 0)
		return false;
	peer->pid = fork();
	if (peer->pid == 0)
		run_script(name, to[0], from[1]);
	(void) close(to[0]);
	(void) close(from[1]);
	peer->input = to[1];
	ready = peer->pid > 0 && read_lines(peer, from[0]);
	(void) close(from[0]);
	if (!ready)
		peer_stop(peer);
	return ready;
}

static const char *
find_value(const Peer *peer, const char *name)
{
	size_t len = strlen(name);

	for (size_t at = 0; at < peer->len; at += strlen(peer->text + at) + 1)
	{
		if (strncmp(peer->text + at, name, len) == 0 && peer->text[at + len] == '=')
			return peer->text + at + len + 1;
	}
	return NULL;
}

bool
peer_has(const Peer *peer, const char *name)
{
	return find_value(peer, name) != NULL;
}

const char *
peer_value(const Peer *peer, const char *name)
{
	const char *value = find_value(peer, name);

	if (value == NULL)
		fail_msg("the peer did not say its %s", name);
	return value;
}

void
peer_stop(Peer *peer)
{
	if (peer->pid <= 0)
		return;
	(void) close(peer->input);
	(void) waitpid(peer->pid, NULL, 0);
	peer->pid = 0;
}

char *
read_whole_file(const char *path)
{
	FILE *file = fopen(path, "r");
	char *text = NULL;
	size_t size = 0;

	if (file == NULL)
	{
		fail_msg("cannot read %s: %s", path, strerror(errno));
		return NULL;
	}
	if (getdelim(&text, &size, '\0', file) < 0)
		fail_msg("%s is empty", path);
	(void) fclose(file);
	return text;
}

Job *
make_job(const char *format, ...)
{
	char text[8192];
	RotorError err;
	va_list args;
	Job *job;

	va_start(args, format);
	assert_true(vsnprintf(text, sizeof(text), format, args) < (int) sizeof(text));
	va_end(args);
	job = job_parse(text, clock_ms(), &err);
	if (job == NULL)
		fail_msg("%s", err.message);
	return job;
}

JobValue
value_of(const char *username, const char *password)
{
	JobValue value = {.username = username};
	RotorError err;

	(void) snprintf(value.id, sizeof(value.id), "00000000-0000-0000-0000-000000000000");
	assert_true(secret_buf_set(&value.password, password, strlen(password), &err));
	return value;
}

/* ---- relay ---- */

struct Relay
{
	pthread_t thread;
	int listener;
	int port;
	int server_port;
	RelayAct act;
	const char *mark;
	const char *from;
	const char *to;
	int stop[2];	/* closing stop[1] ends the thread */
	int release[2]; /* a byte lets go what is held */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool answered;
	char answer[8192]; /* of what was held, printable */
};

static int
listen_on_loopback(int *port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *) &address, sizeof(address)) != 0 ||
		listen(fd, 16) != 0 || getsockname(fd, (struct sockaddr *) &address, &len) != 0)
		return -1;
	*port = ntohs(address.sin_port);
	return fd;
}

static int
connect_to(int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
								  .sin_port = htons((uint16_t) port),
								  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (connect(fd, (struct sockaddr *) &address, sizeof(address)) != 0)
	{
		(void) close(fd);
		return -1;
	}
	return fd;
}

static bool
send_all(int fd, const char *data, size_t len)
{
	while (len > 0)
	{
		ssize_t sent = send(fd, data, len, MSG_NOSIGNAL);

		if (sent <= 0)
			return false;
		data += sent;
		len -= (size_t) sent;
	}
	return true;
}

/* Sends what was held, says that this was all, and reads what the server answers until it is gone. */
static void
answer_for(Relay *relay, int server, const char *data, size_t len)
{
	static char bytes[sizeof(relay->answer)];
	size_t used = 0;
	ssize_t got;

	if (send_all(server, data, len) && shutdown(server, SHUT_WR) == 0)
	{
		while (used < sizeof(bytes) - 1 &&
			   (got = recv(server, bytes + used, sizeof(bytes) - 1 - used, 0)) > 0)
			used += (size_t) got;
	}
	for (size_t i = 0; i < used; i++)
	{
		if (bytes[i] < ' ' || bytes[i] > '~')
			bytes[i] = ' ';
	}
	bytes[used] = '\0';
	(void) pthread_mutex_lock(&relay->lock);
	memcpy(relay->answer, bytes, used + 1);
	relay->answered = true;
	(void) pthread_cond_signal(&relay->changed);
	(void) pthread_mutex_unlock(&relay->lock);
}

static void
change_bytes(const Relay *relay, char *data, size_t len)
{
	size_t size = relay->from != NULL ? strlen(relay->from) : 0;
	char *at = size > 0 ? memmem(data, len, relay->from, size) : NULL;

	if (at != NULL)
		memcpy(at, relay->to, size);
}

/* One read of the client's; false if the connection is over. */
static bool
from_client(Relay *relay, int client, int server)
{
	static char data[RELAY_SIZE];
	ssize_t got = recv(client, data, sizeof(data), 0);
	char byte;

	if (got <= 0)
		return false;
	change_bytes(relay, data, (size_t) got);
	if (relay->act == RELAY_ALL ||
		memmem(data, (size_t) got, relay->mark, strlen(relay->mark)) == NULL)
		return send_all(server, data, (size_t) got);
	if (relay->act == RELAY_MUTE)
		answer_for(relay, server, data, (size_t) got);
	if (relay->act == RELAY_HOLD && read(relay->release[0], &byte, 1) == 1)
		answer_for(relay, server, data, (size_t) got);
	return false;
}

static void
serve(Relay *relay, int client)
{
	static char data[RELAY_SIZE];
	int server = connect_to(relay->server_port);
	bool open = server >= 0;

	while (open)
	{
		struct pollfd fds[] = {{.fd = client, .events = POLLIN},
							   {.fd = server, .events = POLLIN},
							   {.fd = relay->stop[0], .events = POLLIN}};

		if (poll(fds, 3, -1) < 0 || fds[2].revents != 0)
			break;
		if (fds[0].revents != 0)
			open = from_client(relay, client, server);
		else if (fds[1].revents != 0)
		{
			ssize_t got = recv(server, data, sizeof(data), 0);

			open = got > 0 && send_all(client, data, (size_t) got);
		}
	}
	(void) close(client);
	if (server >= 0)
		(void) close(server);
}

static void *
relay_main(void *argument)
{
	Relay *relay = argument;

	for (;;)
	{
		struct pollfd fds[] = {{.fd = relay->listener, .events = POLLIN},
							   {.fd = relay->stop[0], .events = POLLIN}};
		int client;

		if (poll(fds, 2, -1) < 0 || fds[1].revents != 0)
			return NULL;
		client = accept(relay->listener, NULL, NULL);
		if (client >= 0)
			serve(relay, client);
	}
}

Relay *
relay_start(int server_port, RelayAct act, const char *mark, const char *from, const char *to)
{
	Relay *relay = calloc(1, sizeof(*relay));

	assert_non_null(relay);
	relay->server_port = server_port;
	relay->act = act;
	relay->mark = mark;
	relay->from = from;
	relay->to = to;
	relay->listener = listen_on_loopback(&relay->port);
	assert_true(relay->listener >= 0);
	assert_int_equal(pipe(relay->stop), 0);
	assert_int_equal(pipe(relay->release), 0);
	(void) pthread_mutex_init(&relay->lock, NULL);
	(void) pthread_cond_init(&relay->changed, NULL);
	assert_int_equal(pthread_create(&relay->thread, NULL, relay_main, relay), 0);
	return relay;
}

int
relay_port(const Relay *relay)
{
	return relay->port;
}

const char *
relay_release(Relay *relay)
{
	if (relay->act == RELAY_HOLD)
		assert_int_equal(write(relay->release[1], "x", 1), 1);
	(void) pthread_mutex_lock(&relay->lock);
	while (!relay->answered)
		(void) pthread_cond_wait(&relay->changed, &relay->lock);
	(void) pthread_mutex_unlock(&relay->lock);
	return relay->answer;
}

void
relay_stop(Relay *relay)
{
	(void) close(relay->stop[1]);
	(void) close(relay->release[1]);
	(void) pthread_join(relay->thread, NULL);
	(void) close(relay->stop[0]);
	(void) close(relay->release[0]);
	(void) close(relay->listener);
	(void) pthread_cond_destroy(&relay->changed);
	(void) pthread_mutex_destroy(&relay->lock);
	free(relay);
}

int
silent_port(int *listener)
{
	int port = -1;

	*listener = listen_on_loopback(&port);
	return *listener >= 0 ? port : -1;
}

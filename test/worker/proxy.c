/*
 * proxy.c - a TCP proxy for tests that makes a network bad, on command.
 *
 *   proxy ADDRESS:PORT [LISTEN-PORT]
 *
 * Listens at a port of 127.0.0.1 (a free one unless it is given), prints it, and forwards to a numeric address. Reads
 * commands, a line each, from standard input, a pipe, and ends with it. Each is answered by a line on standard output,
 * "ok" or "error …", once it is in force:
 *
 *   pass       forward, without delay; what was held back goes on
 *   delay MS   what is read from now on is sent so much later, in each direction; 0: at once. Goes with all below
 *   reset      reset connections, those that are open and new ones
 *   blackhole  accept and keep, forward nothing
 *   half up    throw away what clients send; half down: what they would be answered
 *   cut N      end each connection after N more bytes of answers; a new one after N bytes
 *   refuse     do not listen; open connections go on
 *   stats      "ok OPEN ACCEPTED UP DOWN": connections that are open and that there were, bytes sent on each way
 *
 * What always holds: one thread, nothing blocks, so that no connection's delay is another's; bytes keep their
 * order; nothing that passes is kept or shown.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CHUNK_SIZE 16384
#define MAX_QUEUED (1024 * 1024) /* bytes a direction; then its sender has to wait */
#define MAX_LINE   128

typedef enum Mode
{
	PASS,
	RESET,
	BLACKHOLE,
	HALF_UP,
	HALF_DOWN,
	CUT,
	REFUSE
} Mode;

typedef enum Way
{
	UP,	 /* to the target */
	DOWN /* to the client */
} Way;

typedef struct Chunk
{
	struct Chunk *next;
	int64_t due; /* microseconds */
	size_t len;	 /* 0: the end */
	size_t sent;
	char data[];
} Chunk;

/* What epoll tells of: a descriptor and what to do with it. */
typedef struct Source
{
	void (*ready)(struct Source *source, uint32_t events);
	int fd;
	uint32_t watched;
} Source;

typedef struct Connection Connection;

/* One end of a connection, and what is on its way to it. */
typedef struct End
{
	Source source;
	Connection *connection;
	Way way; /* of what is on its way to it */
	Chunk *first;
	Chunk **last;
	size_t queued;
	bool finished; /* nothing more will be read from it */
} End;

struct Connection
{
	Connection *next;
	End ends[2]; /* by the way that leads there: ends[UP] is the target's */
	bool dead;
	int64_t until_cut; /* bytes of answers that may pass; < 0: any */
};

static struct
{
	int epoll;
	Mode mode;
	int64_t delay; /* microseconds */
	int64_t cut;
	struct sockaddr_in listen_at;
	struct sockaddr_in target;
	Source listener;
	Source control;
	char line[MAX_LINE];
	size_t line_len;
	Connection *connections;
	unsigned long accepted;
	unsigned long bytes[2];
	bool ended;
} proxy;

static void
die(const char *what)
{
	(void) fprintf(stderr, "proxy: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void *
allocate(size_t size)
{
	void *memory = calloc(1, size);

	if (memory == NULL)
		die("memory");
	return memory;
}

static int64_t
now_us(void)
{
	struct timespec now;

	(void) clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void
watch(Source *source, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = source};
	int action = source->watched == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;

	if (source->watched == events)
		return;
	if (epoll_ctl(proxy.epoll, events == 0 ? EPOLL_CTL_DEL : action, source->fd, &event) != 0)
		die("epoll_ctl");
	source->watched = events;
}

/* The system forgets then that it was watched. */
static void
close_source(Source *source)
{
	if (source->fd >= 0)
		(void) close(source->fd);
	source->fd = -1;
	source->watched = 0;
}

/* ---- connections */

/* Ends it, by a reset or as usual; it is freed when the turn is over. */
static void
end_connection(Connection *connection, bool reset)
{
	const struct linger at_once = {.l_onoff = 1, .l_linger = 0};

	for (int i = 0; i < 2; i++)
	{
		End *end = &connection->ends[i];

		if (reset && end->source.fd >= 0)
			(void) setsockopt(end->source.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
		close_source(&end->source);
		while (end->first != NULL)
		{
			Chunk *chunk = end->first;

			end->first = chunk->next;
			free(chunk);
		}
	}
	connection->dead = true;
}

static void
free_dead(void)
{
	Connection **at = &proxy.connections;

	while (*at != NULL)
	{
		Connection *connection = *at;

		if (!connection->dead)
		{
			at = &connection->next;
			continue;
		}
		*at = connection->next;
		free(connection);
	}
}

/* Whoever sends a chunk frees it. gcc's analyzer loses sight of what is behind two pointers, and calls it a leak. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wanalyzer-malloc-leak"
static void
enqueue(End *to, const char *data, size_t len)
{
	Chunk *chunk = allocate(sizeof(*chunk) + len);

	chunk->due = now_us() + proxy.delay;
	chunk->len = len;
	memcpy(chunk->data, data, len);
	*to->last = chunk;
	to->last = &chunk->next;
	to->queued += len;
}
#pragma GCC diagnostic pop

/* Takes what this end has to say, and puts it on its way to the other. */
static void
read_end(End *from)
{
	End *to = &from->connection->ends[1 - from->way];
	char data[CHUNK_SIZE];
	ssize_t len = recv(from->source.fd, data, sizeof(data), 0);

	if (len < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (len < 0)
		end_connection(from->connection, true);
	else
	{
		from->finished = len == 0;
		if (proxy.mode != (to->way == UP ? HALF_UP : HALF_DOWN))
			enqueue(to, data, (size_t) len);
	}
}

/* Sends one chunk on, or a part of it; false if no more can be sent now. */
static bool
send_chunk(End *to)
{
	Connection *connection = to->connection;
	bool counted = to->way == DOWN && connection->until_cut >= 0;
	Chunk *chunk = to->first;
	size_t len = chunk->len - chunk->sent;
	ssize_t sent = 0;

	if (counted && (int64_t) len > connection->until_cut)
		len = (size_t) connection->until_cut;
	if (chunk->len == 0)
		(void) shutdown(to->source.fd, SHUT_WR);
	else if (len > 0)
		sent = send(to->source.fd, chunk->data + chunk->sent, len, MSG_NOSIGNAL);
	if (sent < 0)
	{
		if (errno != EAGAIN && errno != EINTR)
			end_connection(connection, true);
		return false;
	}
	chunk->sent += (size_t) sent;
	to->queued -= (size_t) sent;
	proxy.bytes[to->way] += (unsigned long) sent;
	if (counted && chunk->len > 0)
	{
		connection->until_cut -= sent;
		if (connection->until_cut == 0)
		{
			end_connection(connection, false);
			return false;
		}
	}
	if (chunk->sent == chunk->len)
	{
		to->first = chunk->next;
		if (to->first == NULL)
			to->last = &to->first;
		free(chunk);
	}
	return true;
}

/* Sends all that is due to this end; returns when the next of it is due, or 0. */
static int64_t
send_due(End *to)
{
	int64_t now = now_us();

	while (!to->connection->dead && proxy.mode != BLACKHOLE && to->first != NULL)
	{
		if (to->first->due > now)
			return to->first->due;
		if (!send_chunk(to))
			break;
	}
	return 0;
}

static void
end_ready(Source *source, uint32_t events)
{
	End *end = (End *) source;

	if (!end->finished)
		read_end(end);
	else if ((events & (EPOLLERR | EPOLLHUP)) != 0)
		end_connection(end->connection, (events & EPOLLERR) != 0);
}

/* What to wait for at each end, once all is sent that can be. */
static void
watch_connection(Connection *connection)
{
	bool all_sent = true;

	for (int i = 0; i < 2; i++)
	{
		End *end = &connection->ends[i];
		End *other = &connection->ends[1 - i];
		uint32_t events = 0;

		if (proxy.mode != BLACKHOLE)
		{
			if (!end->finished && other->queued < MAX_QUEUED)
				events |= EPOLLIN;
			if (end->first != NULL && end->first->due <= now_us())
				events |= EPOLLOUT;
		}
		watch(&end->source, events);
		all_sent = all_sent && end->finished && end->first == NULL;
	}
	if (all_sent)
		end_connection(connection, false);
}

static void
accept_connection(Source *source, uint32_t events __attribute__((unused)))
{
	const int yes = 1;
	/* cppcheck-suppress nullPointer ; nobody wants the address */
	int fd = accept4(source->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	Connection *connection;

	if (fd < 0)
		return;
	proxy.accepted++;
	connection = allocate(sizeof(*connection));
	connection->until_cut = proxy.mode == CUT ? proxy.cut : -1;
	connection->ends[DOWN].source.fd = fd;
	connection->ends[UP].source.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (connection->ends[UP].source.fd < 0)
		die("socket");
	for (int i = 0; i < 2; i++)
	{
		End *end = &connection->ends[i];

		end->source.ready = end_ready;
		end->connection = connection;
		end->way = (Way) i;
		end->last = &end->first;
		(void) setsockopt(end->source.fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
	}
	connection->next = proxy.connections;
	proxy.connections = connection;
	if (proxy.mode == RESET ||
		(connect(connection->ends[UP].source.fd, (struct sockaddr *) &proxy.target,
				 sizeof(proxy.target)) != 0 &&
		 errno != EINPROGRESS))
		end_connection(connection, true);
}

/* Takes the port, so that it stays ours while nobody listens at it. */
static void
bind_listener(void)
{
	const int yes = 1;
	socklen_t len = sizeof(proxy.listen_at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	close_source(&proxy.listener);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) != 0 ||
		bind(fd, (struct sockaddr *) &proxy.listen_at, sizeof(proxy.listen_at)) != 0 ||
		getsockname(fd, (struct sockaddr *) &proxy.listen_at, &len) != 0)
		die("cannot listen");
	proxy.listener = (Source){.ready = accept_connection, .fd = fd};
}

static void
start_listening(void)
{
	if (proxy.listener.watched != 0)
		return;
	if (listen(proxy.listener.fd, 512) != 0)
		die("cannot listen");
	watch(&proxy.listener, EPOLLIN);
}

/* ---- commands */

static bool
read_number(const char *text, int64_t *number)
{
	char *end;

	errno = 0;
	*number = strtoll(text, &end, 10);
	return text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0 && *number < 1000000000;
}

static void
set_mode(Mode mode)
{
	proxy.mode = mode;
	if (mode == REFUSE)
		bind_listener();
	else
		start_listening();
	for (Connection *at = proxy.connections; at != NULL; at = at->next)
	{
		at->until_cut = mode == CUT ? proxy.cut : -1;
		for (int i = 0; i < 2 && mode == PASS; i++)
		{
			for (Chunk *chunk = at->ends[i].first; chunk != NULL; chunk = chunk->next)
				chunk->due = 0;
		}
		if (mode == RESET && !at->dead)
			end_connection(at, true);
	}
}

/* Does what the line says; false if it says nothing that is known. */
static bool
obey(const char *line)
{
	static const struct
	{
		const char *word;
		Mode mode;
	} modes[] = {{"pass", PASS},	   {"reset", RESET},		 {"blackhole", BLACKHOLE},
				 {"half up", HALF_UP}, {"half down", HALF_DOWN}, {"refuse", REFUSE}};
	int64_t number;

	if (strncmp(line, "delay ", 6) == 0 && read_number(line + 6, &number))
	{
		proxy.delay = number * 1000;
		return true;
	}
	if (strncmp(line, "cut ", 4) == 0 && read_number(line + 4, &number))
	{
		proxy.cut = number;
		set_mode(CUT);
		return true;
	}
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
	{
		if (strcmp(line, modes[i].word) != 0)
			continue;
		if (modes[i].mode == PASS)
			proxy.delay = 0;
		set_mode(modes[i].mode);
		return true;
	}
	return false;
}

static void
answer_command(void)
{
	unsigned long open = 0;
	int result;

	for (const Connection *at = proxy.connections; at != NULL; at = at->next)
		open += !at->dead;
	if (strcmp(proxy.line, "stats") == 0)
		result = printf("ok %lu %lu %lu %lu\n", open, proxy.accepted, proxy.bytes[UP],
						proxy.bytes[DOWN]);
	else if (obey(proxy.line))
		result = printf("ok\n");
	else
		result = printf("error: no such command: %s\n", proxy.line);
	if (result < 0 || fflush(stdout) != 0)
		die("standard output");
}

static void
control_ready(Source *source, uint32_t events __attribute__((unused)))
{
	char byte;
	ssize_t got = read(source->fd, &byte, 1);

	if (got <= 0)
		proxy.ended = got == 0 || errno != EINTR;
	else if (byte != '\n' && proxy.line_len < MAX_LINE - 1)
		proxy.line[proxy.line_len++] = byte;
	else if (byte == '\n')
	{
		proxy.line[proxy.line_len] = '\0';
		proxy.line_len = 0;
		answer_command();
	}
}

/* ---- */

/* Sends what is due everywhere; microseconds until the next is, or -1. */
static int64_t
turn(void)
{
	int64_t next = 0;

	for (Connection *at = proxy.connections; at != NULL; at = at->next)
	{
		for (int i = 0; i < 2 && !at->dead; i++)
		{
			int64_t due = send_due(&at->ends[i]);

			if (due != 0 && (next == 0 || due < next))
				next = due;
		}
		if (!at->dead)
			watch_connection(at);
	}
	free_dead();
	if (next == 0)
		return -1;
	next -= now_us();
	return next > 0 ? next : 0;
}

static void
run(void)
{
	struct epoll_event events[64];

	while (!proxy.ended)
	{
		int64_t left = turn();
		struct timespec wait = {.tv_sec = left / 1000000, .tv_nsec = left % 1000000 * 1000};
		int count = epoll_pwait2(proxy.epoll, events, 64, left < 0 ? NULL : &wait, NULL);

		if (count < 0 && errno != EINTR)
			die("epoll_pwait2");
		for (int i = 0; i < count; i++)
		{
			Source *source = events[i].data.ptr;

			if (source->watched != 0)
				source->ready(source, events[i].events);
		}
	}
}

/* "address:port" into *target. */
static bool
read_target(char *text, struct sockaddr_in *target)
{
	char *colon = strrchr(text, ':');
	int64_t port;

	if (colon == NULL || !read_number(colon + 1, &port) || port > 65535)
		return false;
	*colon = '\0';
	target->sin_family = AF_INET;
	target->sin_port = htons((uint16_t) port);
	return inet_pton(AF_INET, text, &target->sin_addr) == 1;
}

int
main(int argc, char **argv)
{
	int64_t port = 0;

	if (argc < 2 || argc > 3 || !read_target(argv[1], &proxy.target) ||
		(argc == 3 && (!read_number(argv[2], &port) || port > 65535)))
	{
		(void) fputs("usage: proxy ADDRESS:PORT [LISTEN-PORT]\n", stderr);
		return 2;
	}
	proxy.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (proxy.epoll < 0)
		die("epoll_create1");
	proxy.listener.fd = -1;
	proxy.listen_at.sin_family = AF_INET;
	proxy.listen_at.sin_port = htons((uint16_t) port);
	proxy.listen_at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	bind_listener();
	start_listening();
	proxy.control = (Source){.ready = control_ready, .fd = STDIN_FILENO};
	watch(&proxy.control, EPOLLIN);
	if (printf("%u\n", ntohs(proxy.listen_at.sin_port)) < 0 || fflush(stdout) != 0)
		die("standard output");
	run();
	return 0;
}

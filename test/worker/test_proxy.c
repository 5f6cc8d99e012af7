/*
 * test_proxy.c
 *		Each toxin of proxy.c does what it says, and nothing besides.
 *
 * The target is a thread of this test that sends back what it gets, and ends when its client does.  Reads wait
 * for a minute before they fail; where nothing may come, something else that was sent later has come first.
 */
#include "support.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "toxic.h"

static int echo_listener;
static unsigned echo_port;
static pthread_t echo_thread;
static atomic_ulong echoed; /* bytes that the target has sent back */
static Toxic *toxic;

/* ---- the target */

static void *
echo_connection(void *arg)
{
	int fd = (int) (intptr_t) arg;
	char data[4096];
	ssize_t len;

	while ((len = recv(fd, data, sizeof(data), 0)) > 0)
	{
		for (ssize_t sent = 0, part; sent < len; sent += part)
		{
			part = send(fd, data + sent, (size_t) (len - sent), MSG_NOSIGNAL);
			if (part < 0)
				break;
			atomic_fetch_add(&echoed, (unsigned long) part);
		}
	}
	(void) close(fd);
	return NULL;
}

static void *
echo_all(void *arg __attribute__((unused)))
{
	int fd;

	while ((fd = accept(echo_listener, NULL, NULL)) >= 0)
	{
		pthread_t thread;

		/* NOLINTNEXTLINE(performance-no-int-to-ptr): the number is all that the thread is given. */
		if (pthread_create(&thread, NULL, echo_connection, (void *) (intptr_t) fd) == 0)
			(void) pthread_detach(thread);
	}
	return NULL;
}

static int
start_echo(void **state __attribute__((unused)))
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(at);

	echo_listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(echo_listener, (struct sockaddr *) &at, sizeof(at)), 0);
	assert_int_equal(listen(echo_listener, 128), 0);
	assert_int_equal(getsockname(echo_listener, (struct sockaddr *) &at, &len), 0);
	echo_port = ntohs(at.sin_port);
	return pthread_create(&echo_thread, NULL, echo_all, NULL);
}

static int
stop_echo(void **state __attribute__((unused)))
{
	(void) shutdown(echo_listener, SHUT_RDWR);
	(void) pthread_join(echo_thread, NULL);
	return close(echo_listener);
}

static int
start(void **state __attribute__((unused)))
{
	toxic = toxic_start(echo_port);
	return 0;
}

static int
stop(void **state __attribute__((unused)))
{
	toxic_stop(toxic);
	return 0;
}

/* ---- a client */

static int
try_to_dial(void)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
							 .sin_port = htons((uint16_t) toxic_port(toxic)),
							 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct timeval limit = {.tv_sec = 60};
	const int yes = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int failed;

	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
	assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes)), 0);
	if (connect(fd, (struct sockaddr *) &to, sizeof(to)) == 0)
		return fd;
	failed = errno;
	(void) close(fd);
	errno = failed;
	return -1;
}

static int
dial(void)
{
	int fd = try_to_dial();

	assert_true(fd >= 0);
	return fd;
}

static void
say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void
must_hear(int fd, const char *text)
{
	char got[256] = "";

	for (size_t i = 0; i < strlen(text); i++)
		assert_int_equal(recv(fd, got + i, 1, 0), 1);
	assert_string_equal(got, text);
}

/* A connection that was there before, and works. */
static int
dial_and_prove(void)
{
	int fd = dial();

	say(fd, "hello");
	must_hear(fd, "hello");
	return fd;
}

static void
must_end(int fd, bool reset)
{
	char byte;
	ssize_t got = recv(fd, &byte, 1, 0);
	int error = errno;

	if (reset)
	{
		assert_int_equal(got, -1);
		assert_int_equal(error, ECONNRESET);
	}
	else
		assert_int_equal(got, 0);
	(void) close(fd);
}

/* Whoever comes now is reset, if not before connect() has returned then after it. */
static void
a_newcomer_is_reset(void)
{
	int fd = try_to_dial();

	if (fd < 0)
		assert_int_equal(errno, ECONNRESET);
	else
		must_end(fd, true);
}

static void
must_be_silent(int fd)
{
	struct pollfd now = {.fd = fd, .events = POLLIN};

	assert_int_equal(poll(&now, 1, 0), 0);
}

static int64_t
now_ms(void)
{
	struct timespec now;

	(void) clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* The target has answered with as many bytes as that, and the proxy had the time to take them. */
static void
await_echo(unsigned long bytes)
{
	int64_t limit = now_ms() + 60000;

	/* The proxy turns with each question. */
	while (atomic_load(&echoed) < bytes)
	{
		(void) toxic_stats(toxic);
		assert_true(now_ms() < limit);
	}
	(void) toxic_stats(toxic);
}

static void
await_open(unsigned long count)
{
	int64_t limit = now_ms() + 60000;

	while (toxic_stats(toxic).open != count)
		assert_true(now_ms() < limit);
}

/* ---- what is done */

TEST(it_forwards_all_bytes_in_order_and_both_ends)
{
	enum
	{
		SIZE = 4 * 1024 * 1024
	};
	char *data = malloc(SIZE);
	int fd = dial();
	size_t got = 0;
	ToxicStats stats;

	assert_non_null(data);
	for (size_t i = 0; i < SIZE; i++)
		data[i] = (char) (i * 31 + i / 251);
	/* More than all buffers hold: a thread would be needed, were the proxy to take no more than it can send on. */
	for (size_t sent = 0; got < SIZE;)
	{
		struct pollfd both = {.fd = fd, .events = (short) (POLLIN | (sent < SIZE ? POLLOUT : 0))};
		char part[65536];
		ssize_t len;

		assert_int_equal(poll(&both, 1, 60000), 1);
		if ((both.revents & POLLOUT) != 0)
		{
			len = send(fd, data + sent, SIZE - sent < 65536 ? SIZE - sent : 65536,
					   MSG_NOSIGNAL | MSG_DONTWAIT);
			assert_true(len > 0);
			sent += (size_t) len;
			if (sent == SIZE)
				assert_int_equal(shutdown(fd, SHUT_WR), 0);
		}
		if ((both.revents & POLLIN) != 0)
		{
			len = recv(fd, part, sizeof(part), 0);
			assert_true(len > 0 && (size_t) len <= SIZE - got);
			assert_memory_equal(part, data + got, len);
			got += (size_t) len;
		}
	}
	must_end(fd, false);
	free(data);
	await_open(0);
	stats = toxic_stats(toxic);
	assert_int_equal(stats.accepted, 1);
	assert_int_equal(stats.up, SIZE);
	assert_int_equal(stats.down, SIZE);
}

TEST(a_delay_lasts_as_long_as_it_was_told_in_each_direction)
{
	int fd = dial_and_prove();
	int64_t begun;

	toxic_say(toxic, "delay 50");
	begun = now_ms();
	say(fd, "abc");
	must_hear(fd, "abc");
	assert_true(now_ms() - begun >= 2 * 50);
	/* Also the end. */
	begun = now_ms();
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	must_end(fd, false);
	assert_true(now_ms() - begun >= 2 * 50);
}

TEST(one_delay_is_nobody_elses)
{
	enum
	{
		COUNT = 32,
		DELAY = 200
	};
	int fds[COUNT];
	int patient = dial_and_prove();
	int64_t begun;

	/* What waits for ten minutes does not hold up what comes after it. */
	toxic_say(toxic, "delay 600000");
	say(patient, "later");
	toxic_say(toxic, "delay 0");
	(void) close(dial_and_prove());
	toxic_say(toxic, "delay %d", DELAY);
	begun = now_ms();
	for (int i = 0; i < COUNT; i++)
	{
		fds[i] = dial();
		say(fds[i], "x");
	}
	for (int i = 0; i < COUNT; i++)
	{
		must_hear(fds[i], "x");
		(void) close(fds[i]);
	}
	assert_true(now_ms() - begun >= 2 * DELAY);
	/* One after the other they would take 32 times as long. */
	assert_true(now_ms() - begun < 2 * DELAY * COUNT / 2);
	must_be_silent(patient);
	toxic_say(toxic, "pass");
	must_hear(patient, "later");
	(void) close(patient);
}

TEST(bytes_keep_their_order_when_the_delay_shrinks)
{
	int fd = dial_and_prove();

	toxic_say(toxic, "delay 100");
	say(fd, "first");
	/* Taken before the delay changes: the proxy reads what is there before the next command. */
	(void) close(dial());
	for (int i = 0; i < 10; i++)
		(void) toxic_stats(toxic);
	toxic_say(toxic, "delay 0");
	say(fd, "second");
	must_hear(fd, "firstsecond");
	(void) close(fd);
}

TEST(reset_ends_what_is_open_and_what_comes)
{
	int fd = dial_and_prove();

	toxic_say(toxic, "reset");
	must_end(fd, true);
	assert_int_equal(toxic_stats(toxic).open, 0);
	a_newcomer_is_reset();
	toxic_say(toxic, "pass");
	(void) close(dial_and_prove());
}

TEST(a_black_hole_takes_everything_and_gives_nothing_until_it_passes)
{
	int fd = dial_and_prove();
	unsigned long up = toxic_stats(toxic).up;
	int late;

	toxic_say(toxic, "blackhole");
	late = dial();
	say(fd, "one");
	say(late, "two");
	await_open(2);
	for (int i = 0; i < 10; i++)
		assert_int_equal(toxic_stats(toxic).up, up);
	must_be_silent(fd);
	must_be_silent(late);
	toxic_say(toxic, "pass");
	must_hear(fd, "one");
	must_hear(late, "two");
	(void) close(fd);
	(void) close(late);
}

TEST(half_open_loses_the_one_direction_and_keeps_the_other)
{
	int fd = dial_and_prove();
	int other = dial_and_prove();
	unsigned long up = toxic_stats(toxic).up;
	unsigned long down = toxic_stats(toxic).down;
	unsigned long before = atomic_load(&echoed);

	/* What is answered gets lost: the target has it, and the client does not know. */
	toxic_say(toxic, "half down");
	say(fd, "lost");
	await_echo(before + 4);
	must_be_silent(fd);
	assert_int_equal(toxic_stats(toxic).up, up + 4);
	assert_int_equal(toxic_stats(toxic).down, down);

	toxic_say(toxic, "half up");
	say(other, "gone");
	assert_int_equal(toxic_stats(toxic).up, up + 4);
	toxic_say(toxic, "pass");
	say(other, "kept");
	must_hear(other, "kept");
	assert_int_equal(toxic_stats(toxic).up, up + 8);
	(void) close(fd);
	(void) close(other);
}

TEST(an_answer_is_cut_after_so_many_bytes)
{
	int fd = dial_and_prove();
	int late;

	toxic_say(toxic, "cut 3");
	say(fd, "abcdef");
	must_hear(fd, "abc");
	must_end(fd, false);
	late = dial();
	say(late, "ab");
	must_hear(late, "ab");
	say(late, "cd");
	must_hear(late, "c");
	must_end(late, false);
	toxic_say(toxic, "pass");
	(void) close(dial_and_prove());
}

TEST(cut_at_nothing_takes_the_question_and_loses_the_answer)
{
	int fd = dial_and_prove();
	unsigned long up = toxic_stats(toxic).up;

	toxic_say(toxic, "cut 0");
	say(fd, "question");
	must_end(fd, false);
	assert_int_equal(toxic_stats(toxic).up, up + 8);
}

TEST(refused_is_who_comes_not_who_is_there)
{
	int fd = dial_and_prove();
	unsigned long accepted = toxic_stats(toxic).accepted;

	toxic_say(toxic, "refuse");
	assert_int_equal(try_to_dial(), -1);
	assert_int_equal(errno, ECONNREFUSED);
	say(fd, "still");
	must_hear(fd, "still");
	assert_int_equal(toxic_stats(toxic).accepted, accepted);
	toxic_say(toxic, "pass");
	(void) close(dial_and_prove());
	(void) close(fd);
}

TEST(a_target_that_is_not_there_resets_its_clients)
{
	Toxic *former = toxic;
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(at);
	int held = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	/* A port that is taken, and that nobody listens at. */
	assert_int_equal(bind(held, (struct sockaddr *) &at, sizeof(at)), 0);
	assert_int_equal(getsockname(held, (struct sockaddr *) &at, &len), 0);
	toxic = toxic_start(ntohs(at.sin_port));
	a_newcomer_is_reset();
	await_open(0);
	toxic_stop(toxic);
	toxic = former;
	(void) close(held);
}

TEST(connections_that_are_over_are_forgotten)
{
	for (int i = 0; i < 200; i++)
		(void) close(dial_and_prove());
	await_open(0);
	assert_int_equal(toxic_stats(toxic).accepted, 200);
}

#define WITH_PROXY(test) cmocka_unit_test_setup_teardown(test, start, stop)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_PROXY(it_forwards_all_bytes_in_order_and_both_ends),
		WITH_PROXY(a_delay_lasts_as_long_as_it_was_told_in_each_direction),
		WITH_PROXY(one_delay_is_nobody_elses),
		WITH_PROXY(bytes_keep_their_order_when_the_delay_shrinks),
		WITH_PROXY(reset_ends_what_is_open_and_what_comes),
		WITH_PROXY(a_black_hole_takes_everything_and_gives_nothing_until_it_passes),
		WITH_PROXY(half_open_loses_the_one_direction_and_keeps_the_other),
		WITH_PROXY(an_answer_is_cut_after_so_many_bytes),
		WITH_PROXY(cut_at_nothing_takes_the_question_and_loses_the_answer),
		WITH_PROXY(refused_is_who_comes_not_who_is_there),
		WITH_PROXY(a_target_that_is_not_there_resets_its_clients),
		WITH_PROXY(connections_that_are_over_are_forgotten),
	};

	return cmocka_run_group_tests_name("proxy", tests, start_echo, stop_echo);
}

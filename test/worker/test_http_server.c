/*
 * test_http_server.c
 *		Tests of worker/http_server.c, by a client that writes and reads bytes.
 *
 * The clock is this test's own, so that the main loop hangs for as long as a test says.
 */
#include "support.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cjson/cJSON.h>

#include "deadline.h"
#include "http_server.h"
#include "metrics.h"

#define STALL_MS 30000

static _Atomic int64_t now = 1000000;

int64_t
clock_ms(void)
{
	return atomic_load(&now);
}

static HttpServer *server;

static int
start(void **state __attribute__((unused)))
{
	RotorError err = fresh_error();

	metrics_init("1.0");
	assert_true(http_server_start("127.0.0.1:0", STALL_MS, &server, &err));
	assert_non_null(server);
	return 0;
}

static int
stop(void **state __attribute__((unused)))
{
	http_server_stop(server);
	server = NULL;
	return 0;
}

/* ---- a client */

/* Nothing here takes longer than a moment: a read that waits for a minute is a failure. */
static int
dial_at(const char *address, unsigned port)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t) port)};
	struct timeval limit = {.tv_sec = 60};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(inet_pton(AF_INET, address, &to.sin_addr), 1);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
	if (connect(fd, (struct sockaddr *) &to, sizeof(to)) != 0)
	{
		(void) close(fd);
		return -1;
	}
	return fd;
}

static int
dial(void)
{
	int fd = dial_at("127.0.0.1", http_server_port(server));

	assert_true(fd >= 0);
	return fd;
}

static void
say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

typedef struct Answer
{
	int status;
	char head[2048];
	char body[65536];
	size_t body_len;
} Answer;

/* The length that the head announces. */
static size_t
announced(const Answer *answer)
{
	const char *length = strstr(answer->head, "\r\nContent-Length: ");

	assert_non_null(length);
	return strtoul(length + strlen("\r\nContent-Length: "), NULL, 10);
}

/* Reads one answer, with the body that it announces if it has one. */
static void
hear(int fd, Answer *answer, bool with_body)
{
	size_t len = 0;

	memset(answer, 0, sizeof(*answer));
	while (strstr(answer->head, "\r\n\r\n") == NULL)
	{
		assert_true(len < sizeof(answer->head) - 1);
		assert_int_equal(recv(fd, answer->head + len, 1, 0), 1);
		len++;
	}
	assert_int_equal(strncmp(answer->head, "HTTP/1.1 ", 9), 0);
	answer->status = (int) strtol(answer->head + 9, NULL, 10);
	while (with_body && answer->body_len < announced(answer))
	{
		ssize_t got;

		assert_true(announced(answer) < sizeof(answer->body));
		got = recv(fd, answer->body + answer->body_len, announced(answer) - answer->body_len, 0);
		assert_true(got > 0);
		answer->body_len += (size_t) got;
	}
}

/* The status of one request on a connection of its own. */
static int
ask(const char *method, const char *path, Answer *answer)
{
	char request[256];
	int fd = dial();

	(void) snprintf(request, sizeof(request),
					"%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", method, path);
	say(fd, request);
	hear(fd, answer, strcmp(method, "HEAD") != 0);
	/* Nothing follows. */
	assert_int_equal(recv(fd, request, 1, 0), 0);
	(void) close(fd);
	return answer->status;
}

static void
must_say(const Answer *answer, const char *status, const char *reason)
{
	cJSON *body = cJSON_Parse(answer->body);
	const cJSON *found = cJSON_GetObjectItemCaseSensitive(body, "reason");

	assert_non_null(strstr(answer->head, "\r\nContent-Type: application/json\r\n"));
	assert_non_null(body);
	assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(body, "status")),
						status);
	if (reason == NULL)
		assert_null(found);
	else
		assert_string_equal(cJSON_GetStringValue(found), reason);
	cJSON_Delete(body);
}

/* ---- pages */

TEST(metrics_are_shown_as_prometheus_wants_them)
{
	Answer answer;

	metrics_add(METRIC_CLAIMS, 5, METRIC_NO_LABELS);
	assert_int_equal(ask("GET", "/metrics", &answer), 200);
	assert_non_null(
		strstr(answer.head, "\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
	assert_non_null(strstr(answer.head, "\r\nCache-Control: no-store\r\n"));
	assert_non_null(strstr(answer.body, "\nrotor_claims_total 5\n"));
	assert_non_null(strstr(answer.body, "\nprocess_open_fds "));
	/* With a query, as some ask. */
	assert_int_equal(ask("GET", "/metrics?name[]=rotor_claims_total", &answer), 200);
}

TEST(head_answers_as_get_does_without_a_body)
{
	static const char *const paths[] = {"/metrics", "/healthz", "/readyz", "/nothing"};
	Answer with;
	Answer without;

	for (size_t i = 0; i < COUNT_OF(paths); i++)
	{
		assert_int_equal(ask("GET", paths[i], &with), ask("HEAD", paths[i], &without));
		assert_int_equal(without.body_len, 0);
		assert_true(announced(&without) > 0);
		/* The process's own figures may have other digits. */
		if (i > 0)
			assert_int_equal(announced(&without), announced(&with));
	}
}

TEST(it_is_healthy_as_long_as_the_main_loop_turns)
{
	Answer answer;

	assert_int_equal(ask("GET", "/healthz", &answer), 200);
	must_say(&answer, "alive", NULL);
	atomic_fetch_add(&now, STALL_MS);
	assert_int_equal(ask("GET", "/healthz", &answer), 200);
	atomic_fetch_add(&now, 1);
	assert_int_equal(ask("GET", "/healthz", &answer), 503);
	must_say(&answer, "stalled", "the main loop has not turned for 30 s");
	/* A hanging worker still shows its metrics. */
	assert_int_equal(ask("GET", "/metrics", &answer), 200);
	http_server_turned(server);
	assert_int_equal(ask("GET", "/healthz", &answer), 200);
}

TEST(it_is_ready_only_when_it_was_told_so_and_says_why_not)
{
	char longer[2 * HTTP_SERVER_REASON_SIZE];
	Answer answer;

	assert_int_equal(ask("GET", "/readyz", &answer), 503);
	must_say(&answer, "not ready", "starting");
	http_server_ready(server, NULL);
	assert_int_equal(ask("GET", "/readyz", &answer), 200);
	must_say(&answer, "ready", NULL);
	http_server_ready(server, "host \"db\"\nsays: no\\");
	assert_int_equal(ask("GET", "/readyz", &answer), 503);
	must_say(&answer, "not ready", "host \"db\"\nsays: no\\");
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	http_server_ready(server, longer);
	longer[HTTP_SERVER_REASON_SIZE - 1] = '\0';
	assert_int_equal(ask("GET", "/readyz", &answer), 503);
	must_say(&answer, "not ready", longer);
	/* Not being ready is no reason to be started anew. */
	assert_int_equal(ask("GET", "/healthz", &answer), 200);
}

TEST(what_is_not_there_is_404_and_what_one_may_not_do_is_405)
{
	static const char *const missing[] = {"/", "/metrics/", "/Metrics", "/healthz/../metrics",
										  "//metrics"};
	static const char *const methods[] = {"POST",  "PUT",	"DELETE", "OPTIONS",
										  "PATCH", "TRACE", "get",	  "X"};
	Answer answer;

	for (size_t i = 0; i < COUNT_OF(missing); i++)
	{
		assert_int_equal(ask("GET", missing[i], &answer), 404);
		must_say(&answer, "not found", "there are /metrics, /healthz and /readyz");
	}
	for (size_t i = 0; i < COUNT_OF(methods); i++)
	{
		assert_int_equal(ask(methods[i], "/metrics", &answer), 405);
		must_say(&answer, "method not allowed", "there are GET and HEAD");
		assert_non_null(strstr(answer.head, "\r\nAllow: GET, HEAD\r\n"));
	}
}

TEST(a_body_is_not_waited_for)
{
	Answer answer;
	int fd = dial();

	/* Announced, and never sent. */
	say(fd, "POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n");
	hear(fd, &answer, true);
	assert_int_equal(answer.status, 405);
	(void) close(fd);
	/* A body that comes with a GET is read and thrown away. */
	fd = dial();
	say(fd, "GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
	say(fd, "GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n");
	hear(fd, &answer, true);
	assert_int_equal(answer.status, 200);
	hear(fd, &answer, true);
	assert_int_equal(answer.status, 503);
	(void) close(fd);
}

/* ---- clients that mean no good */

TEST(what_is_no_http_is_turned_away_and_the_next_one_served)
{
	static const char *const rubbish[] = {
		"\r\n\r\n\r\n\r\nhello\r\n\r\n",
		"GET\r\n\r\n",
		"GET /metrics HTTP/9.9\r\n\r\n",
		"GET /healthz HTTP/1.1\r\nContent-Length: x\r\n\r\n",
		"GET /healthz HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
	};
	Answer answer;

	for (size_t i = 0; i < COUNT_OF(rubbish); i++)
	{
		char byte[256];
		int fd = dial();

		say(fd, rubbish[i]);
		assert_int_equal(shutdown(fd, SHUT_WR), 0);
		/* An answer or none, but an end. */
		while (recv(fd, byte, sizeof(byte), 0) > 0)
			;
		(void) close(fd);
		assert_int_equal(ask("GET", "/healthz", &answer), 200);
	}
}

TEST(a_head_without_end_is_cut_off)
{
	char line[1024];
	Answer answer;
	int fd = dial();
	size_t sent = 0;
	ssize_t got;

	say(fd, "GET /metrics HTTP/1.1\r\n");
	memset(line, 'a', sizeof(line));
	memcpy(line, "X: ", 3);
	memcpy(line + sizeof(line) - 2, "\r\n", 2);
	while (send(fd, line, sizeof(line), MSG_NOSIGNAL) > 0 && sent < 64 * 1024 * 1024)
		sent += sizeof(line);
	/* What the sockets' own buffers took comes on top of the 16 kB that the server keeps. */
	assert_true(sent < 64 * 1024 * 1024);
	do
		got = recv(fd, line, sizeof(line), 0);
	while (got > 0);
	assert_true(got == 0 || errno == ECONNRESET);
	(void) close(fd);
	assert_int_equal(ask("GET", "/healthz", &answer), 200);
}

/* Asks once more on a connection that stays open. */
static void
ask_again(int fd)
{
	Answer answer;

	say(fd, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
	hear(fd, &answer, true);
	assert_int_equal(answer.status, 200);
}

TEST(no_more_than_so_many_connections_are_served_at_a_time)
{
	int fds[HTTP_SERVER_CONNECTIONS];
	struct pollfd late = {.events = POLLIN};
	RotorError err = fresh_error();
	Answer answer;

	/* None of them is taken for one that says nothing, however long this takes. */
	http_server_stop(server);
	http_server_idle_seconds = 600;
	assert_true(http_server_start("127.0.0.1:0", STALL_MS, &server, &err));
	for (int i = 0; i < HTTP_SERVER_CONNECTIONS; i++)
	{
		fds[i] = dial();
		ask_again(fds[i]);
	}
	late.fd = dial();
	say(late.fd, "GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n");
	/* The server's loop turns with each of these, and had the time to see the late one. */
	for (int i = 0; i < 10; i++)
		ask_again(fds[1]);
	assert_int_equal(poll(&late, 1, 0), 0);
	(void) close(fds[0]);
	hear(late.fd, &answer, true);
	assert_int_equal(answer.status, 503);
	(void) close(late.fd);
	for (int i = 1; i < HTTP_SERVER_CONNECTIONS; i++)
		(void) close(fds[i]);
	http_server_idle_seconds = 10;
}

TEST(who_says_nothing_is_not_waited_for)
{
	RotorError err = fresh_error();
	char byte;
	int fd;

	http_server_stop(server);
	http_server_idle_seconds = 1;
	assert_true(http_server_start("127.0.0.1:0", STALL_MS, &server, &err));
	fd = dial();
	say(fd, "GET /metrics HTTP/1.1\r\nHost: ");
	assert_int_equal(recv(fd, &byte, 1, 0), 0);
	(void) close(fd);
	http_server_idle_seconds = 10;
}

/* ---- start and end */

TEST(off_is_no_server_and_all_calls_do_nothing)
{
	RotorError err = fresh_error();
	HttpServer *none = (HttpServer *) 1;

	assert_true(http_server_check("off", &err));
	assert_true(http_server_start("off", STALL_MS, &none, &err));
	assert_null(none);
	assert_int_equal(http_server_port(none), 0);
	http_server_turned(none);
	http_server_ready(none, "no");
	http_server_stop(none);
}

TEST(a_place_is_a_numeric_address_and_a_port)
{
	static const char *const good[] = {HTTP_SERVER_LISTEN, "0.0.0.0:80",	  "[::1]:9469",
									   "[::]:0",		   "127.0.0.1:65535", "off"};
	static const char *const bad[] = {
		"",
		"on",
		"9469",
		":9469",
		"127.0.0.1",
		"127.0.0.1:",
		"127.0.0.1:x",
		"127.0.0.1:-1",
		"127.0.0.1:65536",
		"127.0.0.1:000080",
		"127.0.0.1:80 ",
		" 127.0.0.1:80",
		"127.0.0.1:0x50",
		"localhost:9469",
		"*:9469",
		"127.1:9469",
		"0x7f.0.0.1:9469",
		"::1:9469",
		"[::1]",
		"[::1",
		"[]:80",
		"[127.0.0.1]:80",
		"[::1]]:80",
		"300.0.0.1:80",
		"http://127.0.0.1:80",
		"[0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000]:80"};
	RotorError err = fresh_error();

	for (size_t i = 0; i < COUNT_OF(good); i++)
		assert_true(http_server_check(good[i], &err));
	for (size_t i = 0; i < COUNT_OF(bad); i++)
	{
		HttpServer *none = (HttpServer *) 1;

		err = fresh_error();
		assert_false(http_server_check(bad[i], &err));
		assert_error(&err, ROTOR_ERROR_ARGUMENT);
		assert_non_null(strstr(err.hint, "127.0.0.1:9469"));
		err = fresh_error();
		assert_false(http_server_start(bad[i], STALL_MS, &none, &err));
		assert_error(&err, ROTOR_ERROR_ARGUMENT);
		assert_null(none);
	}
}

TEST(a_port_in_use_is_a_clear_error_and_free_again_after_the_stop)
{
	RotorError err = fresh_error();
	HttpServer *second = NULL;
	char place[64];
	char expected[128];
	int fd = dial();

	ask_again(fd);
	(void) snprintf(place, sizeof(place), "127.0.0.1:%u", http_server_port(server));
	assert_false(http_server_start(place, STALL_MS, &second, &err));
	assert_error(&err, ROTOR_ERROR_ARGUMENT);
	(void) snprintf(expected, sizeof(expected), "cannot listen at \"%s\"", place);
	assert_string_equal(err.message, expected);
	assert_string_equal(err.detail, "The system says: Address already in use.");
	assert_non_null(strstr(err.hint, "choose one"));
	/* With a connection that is open. */
	http_server_stop(server);
	server = NULL;
	assert_true(http_server_start(place, STALL_MS, &server, &err));
	(void) close(fd);
}

TEST(an_address_that_is_not_this_machines_is_a_clear_error)
{
	RotorError err = fresh_error();
	HttpServer *none = NULL;

	assert_false(http_server_start("192.0.2.1:0", STALL_MS, &none, &err));
	assert_error(&err, ROTOR_ERROR_ARGUMENT);
	assert_string_equal(err.detail, "The system says: Cannot assign requested address.");
}

TEST(loopback_is_not_every_address)
{
	assert_int_equal(dial_at("127.0.0.2", http_server_port(server)), -1);
}

TEST(ipv6_is_served_too)
{
	struct sockaddr_in6 to = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	RotorError err = fresh_error();
	HttpServer *six = NULL;
	Answer answer;
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *) &to, sizeof(to)) != 0)
	{
		print_message("# there is no IPv6\n");
		skip();
	}
	(void) close(fd);
	assert_true(http_server_start("[::1]:0", STALL_MS, &six, &err));
	to.sin6_port = htons((uint16_t) http_server_port(six));
	fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (struct sockaddr *) &to, sizeof(to)), 0);
	say(fd, "GET /healthz HTTP/1.0\r\n\r\n");
	hear(fd, &answer, true);
	assert_int_equal(answer.status, 200);
	(void) close(fd);
	http_server_stop(six);
}

/* The main loop waits for signals: were the server's thread to take one, this one would end the process. */
TEST(its_thread_takes_no_signal)
{
	sigset_t mine;
	sigset_t former;
	sigset_t pending;
	Answer answer;
	int number;

	(void) sigemptyset(&mine);
	(void) sigaddset(&mine, SIGUSR1);
	assert_int_equal(pthread_sigmask(SIG_BLOCK, &mine, &former), 0);
	http_server_stop(server);
	assert_int_equal(pthread_sigmask(SIG_SETMASK, &former, NULL), 0);
	assert_int_equal(start(NULL), 0);
	assert_int_equal(pthread_sigmask(SIG_BLOCK, &mine, &former), 0);
	assert_int_equal(kill(getpid(), SIGUSR1), 0);
	assert_int_equal(ask("GET", "/healthz", &answer), 200);
	assert_int_equal(sigpending(&pending), 0);
	assert_int_equal(sigismember(&pending, SIGUSR1), 1);
	assert_int_equal(sigwait(&mine, &number), 0);
	assert_int_equal(pthread_sigmask(SIG_SETMASK, &former, NULL), 0);
}

static atomic_bool enough;

static void *
work_on(void *arg __attribute__((unused)))
{
	while (!atomic_load(&enough))
	{
		metrics_add(METRIC_CLAIMS, 1, METRIC_NO_LABELS);
		http_server_turned(server);
		http_server_ready(server, NULL);
		http_server_ready(server, "for a moment");
	}
	return NULL;
}

TEST(it_answers_while_others_count)
{
	static const char *const paths[] = {"/metrics", "/readyz", "/healthz"};
	pthread_t threads[4];
	Answer answer;

	atomic_store(&enough, false);
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, work_on, NULL), 0);
	for (size_t i = 0; i < 60; i++)
	{
		int status = ask("GET", paths[i % COUNT_OF(paths)], &answer);

		assert_true(status == 200 || (i % COUNT_OF(paths) == 1 && status == 503));
	}
	atomic_store(&enough, true);
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
}

#define SERVED(test) cmocka_unit_test_setup_teardown(test, start, stop)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		SERVED(metrics_are_shown_as_prometheus_wants_them),
		SERVED(head_answers_as_get_does_without_a_body),
		SERVED(it_is_healthy_as_long_as_the_main_loop_turns),
		SERVED(it_is_ready_only_when_it_was_told_so_and_says_why_not),
		SERVED(what_is_not_there_is_404_and_what_one_may_not_do_is_405),
		SERVED(a_body_is_not_waited_for),
		SERVED(what_is_no_http_is_turned_away_and_the_next_one_served),
		SERVED(a_head_without_end_is_cut_off),
		SERVED(no_more_than_so_many_connections_are_served_at_a_time),
		SERVED(who_says_nothing_is_not_waited_for),
		cmocka_unit_test(off_is_no_server_and_all_calls_do_nothing),
		cmocka_unit_test(a_place_is_a_numeric_address_and_a_port),
		SERVED(a_port_in_use_is_a_clear_error_and_free_again_after_the_stop),
		cmocka_unit_test(an_address_that_is_not_this_machines_is_a_clear_error),
		SERVED(loopback_is_not_every_address),
		cmocka_unit_test(ipv6_is_served_too),
		SERVED(its_thread_takes_no_signal),
		SERVED(it_answers_while_others_count),
	};

	return cmocka_run_group_tests_name("http_server", tests, NULL, NULL);
}

/*
 * test_http_client.c - what http_client.h promises, against servers that answer byte for byte what they
 * were told, and one with TLS.
 */
#include "support.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "http_client.h"
#include "http_script.h"
#include "peer.h"
#include "traces.h"

static Script *script;

/* ---- libcurl's heap: the linker puts these before those of wipe_heap.c ---- */

static _Thread_local int allocations_left; /* the one that makes it 0 gets nothing */

/* The names are the linker's: --wrap. */
extern void *real_malloc(size_t size) __asm__("__real_wipe_malloc");
extern void *real_calloc(size_t count, size_t size) __asm__("__real_wipe_calloc");
extern void *real_realloc(void *block, size_t size) __asm__("__real_wipe_realloc");
extern char *real_strdup(const char *text) __asm__("__real_wipe_strdup");
extern void *short_malloc(size_t size) __asm__("__wrap_wipe_malloc");
extern void *short_calloc(size_t count, size_t size) __asm__("__wrap_wipe_calloc");
extern void *short_realloc(void *block, size_t size) __asm__("__wrap_wipe_realloc");
extern char *short_strdup(const char *text) __asm__("__wrap_wipe_strdup");

void *
short_malloc(size_t size)
{
	return --allocations_left != 0 ? real_malloc(size) : NULL;
}

void *
short_calloc(size_t count, size_t size)
{
	return --allocations_left != 0 ? real_calloc(count, size) : NULL;
}

void *
short_realloc(void *block, size_t size)
{
	return --allocations_left != 0 ? real_realloc(block, size) : NULL;
}

char *
short_strdup(const char *text)
{
	return --allocations_left != 0 ? real_strdup(text) : NULL;
}

/* ---- what the tests are made of ---- */

static int
start_script(void **state __attribute__((unused)))
{
	script = script_start();
	return 0;
}

static int
stop_script(void **state __attribute__((unused)))
{
	script_stop(script);
	return 0;
}

/* Sends and keeps nothing but the result and the status. */
static HttpResult
send_it(const char *method, const char *url, const char *body, long *status)
{
	HttpRequest request = {.method = method,
						   .url = url,
						   .body = body,
						   .body_len = body != NULL ? strlen(body) : 0,
						   .deadline = deadline_in(30000)};
	RotorError err = fresh_error();
	HttpAnswer answer;
	HttpResult result = http_send(&request, &answer, &err);

	if (status != NULL)
		*status = answer.status;
	if (result != HTTP_ANSWERED)
	{
		assert_null(answer.body);
		assert_string_not_equal(err.message, "");
	}
	http_answer_free(&answer);
	return result;
}

TEST(an_answer_has_status_body_error_type_and_time_to_wait)
{
	HttpRequest request = {.method = "GET", .deadline = deadline_in(30000)};
	HttpAnswer answer;
	RotorError err = fresh_error();

	script_answer(script, 429, "X-Amzn-ErrorType: Throttling:http://x/\r\nRetry-After: 7\r\n",
				  "{\"a\":1}");
	request.url = script_url(script, "/path?query=1");
	assert_int_equal(http_send(&request, &answer, &err), HTTP_ANSWERED);
	assert_int_equal(answer.status, 429);
	assert_string_equal(answer.body, "{\"a\":1}");
	assert_int_equal(answer.body_len, 7);
	assert_string_equal(answer.error_type, "Throttling:http://x/");
	assert_int_equal(answer.retry_after_ms, 7000);
	http_answer_free(&answer);
	assert_null(answer.body);
	http_answer_free(&answer); /* nothing happens */
	assert_memory_equal(script_request(script, 0), "GET /path?query=1 HTTP/1.1\r\n", 28);
}

TEST(an_answer_without_a_body_has_an_empty_one)
{
	HttpRequest request = {.method = "GET", .deadline = deadline_in(30000)};
	HttpAnswer answer;
	RotorError err = fresh_error();

	script_answer(script, 204, "Retry-After: 999999999\r\n", "");
	request.url = script_url(script, "/");
	assert_int_equal(http_send(&request, &answer, &err), HTTP_ANSWERED);
	assert_string_equal(answer.body, "");
	assert_int_equal(answer.body_len, 0);
	assert_string_equal(answer.error_type, "");
	assert_int_equal(answer.retry_after_ms, 3600 * 1000); /* no peer puts a job off for ever */
	http_answer_free(&answer);
}

TEST(each_method_is_sent_as_it_is_with_its_body)
{
	static const char *const methods[] = {"POST", "PUT", "PATCH", "DELETE", "LIST"};

	for (size_t i = 0; i < COUNT_OF(methods); i++)
	{
		int number = (int) (2 * i);
		size_t len = strlen(methods[i]);

		script_answer(script, 200, "", "");
		script_answer(script, 200, "", "");
		assert_int_equal(send_it(methods[i], script_url(script, "/p"), "the body", NULL),
						 HTTP_ANSWERED);
		assert_int_equal(send_it(methods[i], script_url(script, "/p"), NULL, NULL), HTTP_ANSWERED);
		assert_memory_equal(script_request(script, number), methods[i], len);
		assert_memory_equal(script_request(script, number) + len, " /p ", 4);
		assert_string_equal(script_body(script, number), "the body");
		assert_string_equal(script_header(script, number, "Content-Length"), "8");
		assert_memory_equal(script_request(script, number + 1), methods[i], len);
		assert_string_equal(script_body(script, number + 1), "");
	}
	/* A PUT of nothing says so; AWS's metadata wants it. */
	assert_string_equal(script_header(script, 3, "Content-Length"), "0");
}

TEST(nothing_of_one_request_reaches_the_next)
{
	HttpRequest request = {.method = "POST",
						   .body = "one",
						   .body_len = 3,
						   .headers = {"X-Vault-Token: t", "Content-Type: a/b"},
						   .aws_sigv4 = "aws:amz:eu-west-1:s",
						   .aws_userpwd = "id:key",
						   .deadline = deadline_in(30000)};
	HttpAnswer answer;
	RotorError err = fresh_error();

	script_answer(script, 200, "", "x");
	script_answer(script, 200, "", "y");
	request.url = script_url(script, "/");
	assert_int_equal(http_send(&request, &answer, &err), HTTP_ANSWERED);
	http_answer_free(&answer);
	assert_string_equal(script_header(script, 0, "X-Vault-Token"), "t");
	assert_string_equal(script_header(script, 0, "Content-Type"), "a/b");
	assert_int_equal(send_it("GET", script_url(script, "/"), NULL, NULL), HTTP_ANSWERED);
	assert_null(script_header(script, 1, "X-Vault-Token"));
	assert_null(script_header(script, 1, "Authorization"));
	assert_string_equal(script_body(script, 1), "");
}

static void *
send_two(void *url)
{
	assert_int_equal(send_it("GET", url, NULL, NULL), HTTP_ANSWERED);
	assert_int_equal(send_it("POST", url, "b", NULL), HTTP_ANSWERED);
	return NULL;
}

TEST(a_thread_keeps_its_connection_and_another_has_its_own)
{
	char url[64];
	pthread_t thread;

	(void) snprintf(url, sizeof(url), "%s", script_url(script, "/"));
	for (int i = 0; i < 4; i++)
		script_answer(script, 200, "", "x");
	send_two(url);
	assert_int_equal(script_connections(script), 1);
	assert_int_equal(pthread_create(&thread, NULL, send_two, url), 0);
	pthread_join(thread, NULL);
	assert_int_equal(script_connections(script), 2);
	assert_int_equal(script_requests(script), 4);
}

TEST(a_redirect_is_an_answer_and_is_not_followed)
{
	long status;

	script_answer(script, 307, "Location: /elsewhere\r\n", "");
	assert_int_equal(send_it("POST", script_url(script, "/"), "b", &status), HTTP_ANSWERED);
	assert_int_equal(status, 307);
	assert_int_equal(script_requests(script), 1);
}

TEST(an_answer_of_the_largest_size_is_taken_and_a_longer_one_is_not)
{
	char *body = malloc(HTTP_MAX_ANSWER + 2);

	assert_non_null(body);
	memset(body, 'x', HTTP_MAX_ANSWER + 1);
	body[HTTP_MAX_ANSWER] = '\0';
	script_answer(script, 200, "", body);
	assert_int_equal(send_it("GET", script_url(script, "/"), NULL, NULL), HTTP_ANSWERED);
	body[HTTP_MAX_ANSWER] = 'x';
	body[HTTP_MAX_ANSWER + 1] = '\0';
	script_answer(script, 200, "", body);
	assert_int_equal(send_it("GET", script_url(script, "/"), NULL, NULL), HTTP_NO_ANSWER);
	free(body);
}

TEST(headers_without_end_are_cut)
{
	char *bytes = malloc((size_t) 100 * 1024);
	size_t len;

	assert_non_null(bytes);
	len = (size_t) sprintf(bytes, "HTTP/1.1 200 OK\r\n");
	while (len < (size_t) 90 * 1024)
		len += (size_t) sprintf(bytes + len, "X-%zu: %080d\r\n", len, 1);
	script_bytes(script, bytes, len, SCRIPT_HANG);
	assert_int_equal(send_it("GET", script_url(script, "/"), NULL, NULL), HTTP_NO_ANSWER);
	free(bytes);
}

TEST(half_an_answer_is_none)
{
	static const char half[] = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"half\":";

	script_bytes(script, half, strlen(half), SCRIPT_CLOSE);
	script_bytes(script, "HTTP/1.1 20", 11, SCRIPT_CLOSE);
	script_bytes(script, "garbage\r\n\r\n", 11, SCRIPT_CLOSE);
	assert_int_equal(send_it("POST", script_url(script, "/"), "b", NULL), HTTP_NO_ANSWER);
	assert_int_equal(send_it("POST", script_url(script, "/"), "b", NULL), HTTP_NO_ANSWER);
	assert_int_equal(send_it("POST", script_url(script, "/"), "b", NULL), HTTP_NO_ANSWER);
}

TEST(a_peer_that_says_nothing_holds_up_no_longer_than_the_deadline)
{
	HttpRequest request = {.method = "POST", .body = "b", .body_len = 1};
	HttpAnswer answer;
	RotorError err = fresh_error();
	HttpResult result;
	int64_t begun;
	int64_t ms;

	script_bytes(script, "", 0, SCRIPT_HANG);
	request.url = script_url(script, "/");
	/* A deadline within which a busy machine sends it; what was not sent takes no answer. */
	for (ms = 200;; ms *= 4)
	{
		begun = clock_ms();
		request.deadline = deadline_in(ms);
		result = http_send(&request, &answer, &err);
		if (result != HTTP_NOT_SENT || ms > 20000)
			break;
	}
	assert_int_equal(result, HTTP_NO_ANSWER);
	assert_true(clock_ms() - begun >= ms);
	assert_true(clock_ms() - begun < ms + 20000);
}

TEST(a_time_out_before_the_handshake_is_over_means_nothing_was_sent)
{
	int listener;
	char url[64];
	HttpRequest request = {.method = "POST", .url = url, .body = "b", .body_len = 1};
	HttpAnswer answer;
	RotorError err = fresh_error();

	(void) snprintf(url, sizeof(url), "https://127.0.0.1:%d/", silent_port(&listener));
	request.deadline = deadline_in(200);
	assert_int_equal(http_send(&request, &answer, &err), HTTP_NOT_SENT);
	(void) close(listener);
}

TEST(a_port_that_refuses_means_nothing_was_sent)
{
	int listener;
	char url[64];

	(void) snprintf(url, sizeof(url), "http://127.0.0.1:%d/", silent_port(&listener));
	(void) close(listener);
	assert_int_equal(send_it("POST", url, "b", NULL), HTTP_NOT_SENT);
}

TEST(no_time_left_means_nothing_was_sent)
{
	HttpRequest request = {.method = "GET", .deadline = deadline_in(-1)};
	HttpAnswer answer;
	RotorError err = fresh_error();

	request.url = script_url(script, "/");
	assert_int_equal(http_send(&request, &answer, &err), HTTP_NOT_SENT);
	assert_int_equal(script_connections(script), 0);
}

TEST(a_write_is_not_sent_again_when_the_kept_connection_dies)
{
	script_answer(script, 200, "", "x");
	script_bytes(script, "", 0, SCRIPT_CLOSE);
	script_answer(script, 200, "", "never asked for");
	assert_int_equal(send_it("POST", script_url(script, "/"), "1", NULL), HTTP_ANSWERED);
	assert_int_equal(send_it("POST", script_url(script, "/"), "2", NULL), HTTP_NO_ANSWER);
	assert_int_equal(script_requests(script), 2);
}

TEST(a_read_is_sent_again_when_the_kept_connection_dies)
{
	script_answer(script, 200, "", "x");
	script_bytes(script, "", 0, SCRIPT_CLOSE);
	script_answer(script, 200, "", "y");
	assert_int_equal(send_it("POST", script_url(script, "/"), "1", NULL), HTTP_ANSWERED);
	assert_int_equal(send_it("GET", script_url(script, "/"), NULL, NULL), HTTP_ANSWERED);
	assert_int_equal(script_requests(script), 3);
}

TEST(a_post_that_only_reads_is_sent_again_if_it_says_so)
{
	HttpRequest request = {.method = "POST",
						   .body = "{}",
						   .body_len = 2,
						   .repeatable = true,
						   .deadline = deadline_in(30000)};
	HttpAnswer answer;
	RotorError err = fresh_error();

	script_answer(script, 200, "", "x");
	script_bytes(script, "", 0, SCRIPT_CLOSE);
	script_answer(script, 200, "", "y");
	assert_int_equal(send_it("POST", script_url(script, "/"), "1", NULL), HTTP_ANSWERED);
	request.url = script_url(script, "/");
	assert_int_equal(http_send(&request, &answer, &err), HTTP_ANSWERED);
	http_answer_free(&answer);
	assert_int_equal(script_requests(script), 3);
}

TEST(what_is_to_be_sent_once_has_a_connection_of_its_own_and_is_not_sent_again)
{
	HttpRequest request = {.method = "GET", .once = true, .deadline = deadline_in(30000)};
	HttpAnswer answer;
	RotorError err = fresh_error();

	script_answer(script, 200, "", "x");
	script_answer(script, 200, "", "y");
	script_bytes(script, "", 0, SCRIPT_CLOSE);
	script_answer(script, 200, "", "never asked for");
	assert_int_equal(send_it("GET", script_url(script, "/"), NULL, NULL), HTTP_ANSWERED);
	request.url = script_url(script, "/");
	assert_int_equal(http_send(&request, &answer, &err), HTTP_ANSWERED);
	http_answer_free(&answer);
	assert_int_equal(script_connections(script), 2);
	assert_int_equal(http_send(&request, &answer, &err), HTTP_NO_ANSWER);
	assert_int_equal(script_requests(script), 3);
	assert_int_equal(script_connections(script), 3);
}

TEST(plain_http_goes_to_this_machine_alone_unless_it_is_allowed)
{
	HttpRequest request = {
		.method = "GET", .url = "http://192.0.2.1/", .deadline = deadline_in(100)};
	HttpAnswer answer;
	RotorError err = fresh_error();
	long status;
	char url[64];

	assert_int_equal(http_send(&request, &answer, &err), HTTP_BAD);
	assert_error(&err, ROTOR_ERROR_ARGUMENT);
	request.allow_http = true;
	request.deadline = deadline_in(100);
	assert_int_not_equal(http_send(&request, &answer, &err), HTTP_BAD);
	http_answer_free(&answer);

	script_answer(script, 200, "", "x");
	(void) snprintf(url, sizeof(url), "http://localhost%s", strrchr(script_url(script, ""), ':'));
	assert_int_equal(send_it("GET", url, NULL, &status), HTTP_ANSWERED);
	assert_int_equal(status, 200);
	/* Names that only look like this machine. */
	assert_int_equal(send_it("GET", "http://localhost.example/", NULL, NULL), HTTP_BAD);
	assert_int_equal(send_it("GET", "http://127.0.0.1.example/", NULL, NULL), HTTP_BAD);
	assert_int_equal(send_it("GET", "http://[::ffff:1.2.3.4]/", NULL, NULL), HTTP_BAD);
}

TEST(what_is_no_usable_url_is_refused_without_showing_it)
{
	static const char *const urls[] = {"",
									   "localhost",
									   "ftp://localhost/s3cret",
									   "file:///etc/s3cret",
									   "https://",
									   "https://user:s3cret@localhost/",
									   "https://s3cret@localhost/",
									   "http://127.0.0.1:99999/?s3cret",
									   "https://local host/?s3cret",
									   "gopher://localhost/s3cret"};

	for (size_t i = 0; i < COUNT_OF(urls); i++)
	{
		HttpRequest request = {.method = "GET", .url = urls[i], .deadline = deadline_in(30000)};
		RotorError err = fresh_error();
		HttpAnswer answer;

		assert_int_equal(http_send(&request, &answer, &err), HTTP_BAD);
		assert_error_lacks(&err, "s3cret");
	}
}

TEST(a_header_or_method_that_could_become_two_is_refused)
{
	static const char *const headers[] = {"A: b\r\nC: d", "A: b\nC: d", "A: b\r", "no colon",
										  ": x"};
	RotorError err = fresh_error();
	HttpAnswer answer;

	for (size_t i = 0; i < COUNT_OF(headers); i++)
	{
		HttpRequest request = {.method = "GET",
							   .url = script_url(script, "/"),
							   .headers = {headers[i]},
							   .deadline = deadline_in(30000)};

		assert_int_equal(http_send(&request, &answer, &err), HTTP_BAD);
	}
	assert_int_equal(send_it("GET / HTTP/1.1\r\nA: b", script_url(script, "/"), NULL, NULL),
					 HTTP_BAD);
	assert_int_equal(send_it("", script_url(script, "/"), NULL, NULL), HTTP_BAD);
	assert_int_equal(script_connections(script), 0);
}

TEST(memory_that_runs_out_says_nothing_against_the_request)
{
	bool failed = true;

	for (int n = 1; failed; n++)
	{
		HttpRequest request = {.method = "POST",
							   .url = script_url(script, "/path?q=1"),
							   .headers = {"A: b", "C: d"},
							   .body = "b",
							   .body_len = 1,
							   .deadline = deadline_in(30000)};
		RotorError err = fresh_error();
		HttpAnswer answer;
		HttpResult result;
		int before = script_requests(script);

		script_answer(script, 200, "", "x");
		allocations_left = n;
		result = http_send(&request, &answer, &err);
		failed = allocations_left <= 0;
		allocations_left = 0;
		assert_int_not_equal(result, HTTP_BAD);
		if (result == HTTP_NOT_SENT)
			assert_int_equal(script_requests(script), before);
		if (!failed)
			assert_int_equal(result, HTTP_ANSWERED);
		http_answer_free(&answer);
	}
}

TEST(errors_show_neither_query_nor_header_nor_body)
{
	HttpRequest request = {.method = "POST",
						   .headers = {"X-Vault-Token: s3cret"},
						   .body = "s3cret",
						   .body_len = 6,
						   .deadline = deadline_in(30000)};
	HttpAnswer answer;
	RotorError err = fresh_error();

	script_bytes(script, "HTTP/1.1 s3cret\r\ns3cret\r\n\r\ns3cret", 33, SCRIPT_CLOSE);
	request.url = script_url(script, "/?q=s3cret");
	assert_int_equal(http_send(&request, &answer, &err), HTTP_NO_ANSWER);
	assert_error_lacks(&err, "s3cret");
	request.url = "https://127.0.0.1:1/s3cret?q=s3cret";
	assert_int_equal(http_send(&request, &answer, &err), HTTP_NOT_SENT);
	assert_error_lacks(&err, "s3cret");
}

TEST(a_proxy_of_the_environment_gets_nothing_that_stays_on_this_machine)
{
	Script *proxy = script_start();

	script_answer(script, 200, "", "x");
	setenv("http_proxy", script_url(proxy, ""), 1);
	setenv("all_proxy", script_url(proxy, ""), 1);
	assert_int_equal(send_it("POST", script_url(script, "/"), "b", NULL), HTTP_ANSWERED);
	unsetenv("http_proxy");
	unsetenv("all_proxy");
	assert_int_equal(script_connections(proxy), 0);
	assert_int_equal(script_requests(script), 1);
	script_stop(proxy);
}

TEST(plain_http_to_another_host_never_goes_by_a_proxy)
{
	static const char *const names[] = {"http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"};
	HttpRequest request = {.method = "POST",
						   .url = "http://192.0.2.1/",
						   .headers = {"X-Vault-Token: t"},
						   .body = "b",
						   .body_len = 1,
						   .allow_http = true};
	HttpAnswer answer;
	RotorError err = fresh_error();

	for (size_t i = 0; i < COUNT_OF(names); i++)
	{
		script_answer(script, 200, "", "x");
		setenv(names[i], script_url(script, ""), 1);
		request.deadline = deadline_in(100);
		assert_int_not_equal(http_send(&request, &answer, &err), HTTP_ANSWERED);
		http_answer_free(&answer);
		unsetenv(names[i]);
	}
	assert_int_equal(script_connections(script), 0);
}

TEST(https_to_another_host_goes_through_a_proxy_that_sees_nothing_but_the_host)
{
	HttpRequest request = {.method = "POST",
						   .url = "https://192.0.2.1/s3cret",
						   .headers = {"X-Vault-Token: s3cret"},
						   .body = "s3cret",
						   .body_len = 6,
						   .deadline = deadline_in(30000)};
	HttpAnswer answer;
	RotorError err = fresh_error();

	script_answer(script, 403, "", "");
	setenv("https_proxy", script_url(script, ""), 1);
	assert_int_equal(http_send(&request, &answer, &err), HTTP_NOT_SENT);
	unsetenv("https_proxy");
	assert_int_equal(script_requests(script), 1);
	assert_memory_equal(script_request(script, 0), "CONNECT 192.0.2.1:443 ", 22);
	assert_null(strstr(script_request(script, 0), "s3cret"));
	http_answer_free(&answer);
}

/* ---- TLS ---- */

static HttpResult
send_tls(const char *host, const char *port, const char *ca_file)
{
	char url[64];
	HttpRequest request = {
		.method = "GET", .url = url, .ca_file = ca_file, .deadline = deadline_in(30000)};
	HttpAnswer answer;
	RotorError err = fresh_error();
	HttpResult result;

	(void) snprintf(url, sizeof(url), "https://%s:%s/", host, port);
	result = http_send(&request, &answer, &err);
	http_answer_free(&answer);
	return result;
}

TEST(a_certificate_is_checked_with_its_authority_and_name)
{
	Peer peer;
	const char *port;

	assert_true(peer_start(&peer, "tls"));
	port = peer_value(&peer, "port");
	assert_int_equal(send_tls("localhost", port, peer_value(&peer, "ca")), HTTP_ANSWERED);
	assert_int_equal(send_tls("localhost", port, NULL), HTTP_NOT_SENT);
	assert_int_equal(send_tls("localhost", port, peer_value(&peer, "other_ca")), HTTP_NOT_SENT);
	assert_int_equal(send_tls("127.0.0.1", port, peer_value(&peer, "ca")), HTTP_NOT_SENT);
	assert_int_equal(send_tls("localhost", port, "/nonexistent/ca.crt"), HTTP_NOT_SENT);
	peer_stop(&peer);
}

/* ---- SigV4 ---- */

static void
hex_of(const unsigned char *bytes, unsigned len, char *hex)
{
	for (unsigned i = 0; i < len; i++)
		(void) sprintf(hex + 2 * (size_t) i, "%02x", bytes[i]);
}

static void
hmac(const void *key, size_t key_len, const char *text, unsigned char out[32])
{
	unsigned len = 32;

	assert_non_null(HMAC(EVP_sha256(), key, (int) key_len, (const unsigned char *) text,
						 strlen(text), out, &len));
}

static void
sha256_hex(const char *text, char hex[65])
{
	unsigned char digest[32];
	unsigned len = 32;

	assert_int_equal(EVP_Digest(text, strlen(text), digest, &len, EVP_sha256(), NULL), 1);
	hex_of(digest, 32, hex);
}

/* The signature, straight from AWS's description: path /, no query; headers in canonical form. */
static void
sign(const char *secret, const char *date, const char *region, const char *service,
	 const char *method, const char *headers, const char *signed_headers, const char *body,
	 char signature[65])
{
	char payload[65];
	char hash[65];
	char canonical[8192];
	char to_sign[512];
	char key0[128];
	char day[9];
	unsigned char key[32];
	unsigned char next[32];

	(void) snprintf(day, sizeof(day), "%.8s", date);
	sha256_hex(body, payload);
	assert_true(snprintf(canonical, sizeof(canonical), "%s\n/\n\n%s\n%s\n%s", method, headers,
						 signed_headers, payload) < (int) sizeof(canonical));
	sha256_hex(canonical, hash);
	(void) snprintf(to_sign, sizeof(to_sign), "AWS4-HMAC-SHA256\n%s\n%s/%s/%s/aws4_request\n%s",
					date, day, region, service, hash);
	(void) snprintf(key0, sizeof(key0), "AWS4%s", secret);
	hmac(key0, strlen(key0), day, key);
	hmac(key, 32, region, next);
	hmac(next, 32, service, key);
	hmac(key, 32, "aws4_request", next);
	hmac(next, 32, to_sign, key);
	hex_of(key, 32, signature);
}

TEST(the_signature_computed_here_is_the_one_of_the_published_vectors)
{
	static const char headers[] = "host:example.amazonaws.com\nx-amz-date:20150830T123600Z\n";
	static const char secret[] = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
	char signature[65];

	sign(secret, "20150830T123600Z", "us-east-1", "service", "GET", headers, "host;x-amz-date", "",
		 signature);
	assert_string_equal(signature,
						"5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
	sign(secret, "20150830T123600Z", "us-east-1", "service", "POST", headers, "host;x-amz-date", "",
		 signature);
	assert_string_equal(signature,
						"5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b");
}

/* What stands behind name= in the request's Authorization, up to a comma or the end. */
static void
authorization_part(const char *name, char *part, size_t size)
{
	const char *header = script_header(script, 0, "Authorization");
	const char *start;

	assert_non_null(header);
	start = strstr(header, name);
	assert_non_null(start);
	start += strlen(name);
	(void) snprintf(part, size, "%.*s", (int) strcspn(start, ","), start);
}

TEST(a_request_is_signed_as_the_vectors_are)
{
	static const char body[] = "{\"SecretId\":\"db/app\",\"x\":\"\xc3\xa4 \\u0000\"}";
	HttpRequest request = {.method = "POST",
						   .headers = {"Content-Type: application/x-amz-json-1.1",
									   "X-Amz-Target: secretsmanager.GetSecretValue",
									   "X-Amz-Security-Token: IQoJb3JpZ2luX2VjE/+=="},
						   .body = body,
						   .body_len = strlen(body),
						   .aws_sigv4 = "aws:amz:eu-central-1:secretsmanager",
						   .aws_userpwd = "AKIDEXAMPLE:wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
						   .deadline = deadline_in(30000)};
	char names[512];
	char signature[128];
	char expected[65];
	char date[32];
	char headers[4096] = "";
	char credential[256];
	char copy[512];
	RotorError err = fresh_error();
	HttpAnswer answer;
	char *rest = copy;
	const char *name;

	script_answer(script, 200, "", "{}");
	request.url = script_url(script, "/");
	assert_int_equal(http_send(&request, &answer, &err), HTTP_ANSWERED);
	http_answer_free(&answer);

	authorization_part("SignedHeaders=", names, sizeof(names));
	authorization_part("Signature=", signature, sizeof(signature));
	authorization_part("Credential=", credential, sizeof(credential));
	/* All that says what is asked for, and of whom, is signed. */
	assert_string_equal(names, "content-type;host;x-amz-date;x-amz-security-token;x-amz-target");
	(void) snprintf(date, sizeof(date), "%s", script_header(script, 0, "X-Amz-Date"));
	(void) snprintf(copy, sizeof(copy), "AKIDEXAMPLE/%.8s/eu-central-1/secretsmanager/aws4_request",
					date);
	assert_string_equal(credential, copy);
	(void) snprintf(copy, sizeof(copy), "%s", names);
	while ((name = strsep(&rest, ";")) != NULL)
	{
		size_t len = strlen(headers);

		(void) snprintf(headers + len, sizeof(headers) - len, "%s:%s\n", name,
						script_header(script, 0, name));
	}
	sign("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", date, "eu-central-1", "secretsmanager", "POST",
		 headers, names, body, expected);
	assert_string_equal(signature, expected);
}

/* ---- memory ---- */

#define MASKED_ANSWER "kDY]OX^B^KDY]OXeL^BO{z"

/* What a request holds, masked: body, session token, signing key; and what its answer does. */
typedef struct Secrets
{
	const char *url;
	const char *body, *token, *key, *answer;
} Secrets;

/* What is left of them, as bits; gone: the thread that sent has ended. */
static int
traces(const Secrets *secrets, bool gone)
{
	return (traces_of(secrets->body) > 0 ? 1 : 0) | (traces_of(secrets->token) > 0 ? 2 : 0) |
		   (traces_of(secrets->answer) > 0 ? 4 : 0) | (gone && traces_of(secrets->key) > 0 ? 8 : 0);
}

/* Sends, gives back, and looks; NULL if all is as it should be. */
static void *
send_and_look(void *secrets_)
{
	const Secrets *secrets = secrets_;
	char body[64];
	char token[64];
	char key[64];
	char header[128];
	char userpwd[128];
	HttpRequest request = {.method = "POST",
						   .url = secrets->url,
						   .headers = {header},
						   .body = body,
						   .aws_sigv4 = "aws:amz:r:s",
						   .aws_userpwd = userpwd,
						   .deadline = deadline_in(30000)};
	HttpAnswer answer;
	RotorError err;
	bool found;

	unmask(secrets->body, body);
	unmask(secrets->token, token);
	unmask(secrets->key, key);
	(void) snprintf(header, sizeof(header), "X-Amz-Security-Token: %s", token);
	(void) snprintf(userpwd, sizeof(userpwd), "id:%s", key);
	request.body_len = strlen(body);
	if (http_send(&request, &answer, &err) != HTTP_ANSWERED)
		return "not answered";
	/* The search finds what is there. */
	found = traces(secrets, true) == 15;
	http_answer_free(&answer);
	secret_wipe(body, sizeof(body));
	secret_wipe(token, sizeof(token));
	secret_wipe(key, sizeof(key));
	secret_wipe(header, sizeof(header));
	secret_wipe(userpwd, sizeof(userpwd));
	if (!found)
		return "the search finds nothing";
	return traces(secrets, false) == 0 ? NULL : "something is left";
}

/*
 * The child's part; its exit status. The first time, the dynamic linker looks up what is called, and leaves the
 * registers of that moment on the stack; the second time is as in a worker that has run for a while.
 */
static int
send_in_threads(int go, const char *url)
{
	Secrets first = {url, "XYrXYrXYrXYrXYrXYrXYrX", "YXrYXrYXrYXrYXrYXrYXrY",
					 "rXYrXYrXYrXYrXYrXYrXYr", "rYXrYXrYXrYXrYXrYXrYXr"};
	Secrets second = {url, "hE^S^BO^HENSOnO^BO^HENS", "~EAODNO^B^EAODNOC^cYxeo",
					  "aOSY^AOSXeyO^AOSY^AxOSk", MASKED_ANSWER};
	pthread_t thread;
	void *fault = NULL;
	char byte;

	if (read(go, &byte, 1) != 1 || pthread_create(&thread, NULL, send_and_look, &first) != 0 ||
		pthread_join(thread, NULL) != 0 ||
		pthread_create(&thread, NULL, send_and_look, &second) != 0 ||
		pthread_join(thread, &fault) != 0)
		return 100;
	if (fault != NULL)
	{
		(void) fprintf(stderr, "%s: %d\n", (const char *) fault, traces(&second, false));
		return 101;
	}
	return traces(&second, true);
}

TEST(no_trace_of_a_request_or_its_answer_is_left_in_memory)
{
	if (!CAN_LOOK_FOR_TRACES)
		skip();
	int go[2];
	int status;
	char text[64];
	char url[64];
	pid_t child;

	/* What the server has read must not be in the process that looks. */
	(void) snprintf(url, sizeof(url), "%s", script_url(script, "/"));
	assert_int_equal(pipe2(go, O_CLOEXEC), 0);
	child = fork();
	if (child == 0)
		_exit(send_in_threads(go[0], url));
	unmask(MASKED_ANSWER, text);
	script_answer(script, 200, "", "x");
	script_answer(script, 200, "", text);
	assert_int_equal(write(go[1], "x", 1), 1);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_int_equal(script_requests(script), 2);
	(void) close(go[0]);
	(void) close(go[1]);
}

#define WITH_SCRIPT(test) cmocka_unit_test_setup_teardown(test, start_script, stop_script)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_SCRIPT(no_trace_of_a_request_or_its_answer_is_left_in_memory),
		WITH_SCRIPT(an_answer_has_status_body_error_type_and_time_to_wait),
		WITH_SCRIPT(an_answer_without_a_body_has_an_empty_one),
		WITH_SCRIPT(each_method_is_sent_as_it_is_with_its_body),
		WITH_SCRIPT(nothing_of_one_request_reaches_the_next),
		WITH_SCRIPT(a_thread_keeps_its_connection_and_another_has_its_own),
		WITH_SCRIPT(a_redirect_is_an_answer_and_is_not_followed),
		WITH_SCRIPT(an_answer_of_the_largest_size_is_taken_and_a_longer_one_is_not),
		WITH_SCRIPT(headers_without_end_are_cut),
		WITH_SCRIPT(half_an_answer_is_none),
		WITH_SCRIPT(a_peer_that_says_nothing_holds_up_no_longer_than_the_deadline),
		cmocka_unit_test(a_time_out_before_the_handshake_is_over_means_nothing_was_sent),
		cmocka_unit_test(a_port_that_refuses_means_nothing_was_sent),
		WITH_SCRIPT(no_time_left_means_nothing_was_sent),
		WITH_SCRIPT(a_write_is_not_sent_again_when_the_kept_connection_dies),
		WITH_SCRIPT(a_read_is_sent_again_when_the_kept_connection_dies),
		WITH_SCRIPT(a_post_that_only_reads_is_sent_again_if_it_says_so),
		WITH_SCRIPT(what_is_to_be_sent_once_has_a_connection_of_its_own_and_is_not_sent_again),
		WITH_SCRIPT(plain_http_goes_to_this_machine_alone_unless_it_is_allowed),
		cmocka_unit_test(what_is_no_usable_url_is_refused_without_showing_it),
		WITH_SCRIPT(a_header_or_method_that_could_become_two_is_refused),
		WITH_SCRIPT(memory_that_runs_out_says_nothing_against_the_request),
		WITH_SCRIPT(errors_show_neither_query_nor_header_nor_body),
		WITH_SCRIPT(a_proxy_of_the_environment_gets_nothing_that_stays_on_this_machine),
		WITH_SCRIPT(plain_http_to_another_host_never_goes_by_a_proxy),
		WITH_SCRIPT(https_to_another_host_goes_through_a_proxy_that_sees_nothing_but_the_host),
		cmocka_unit_test(a_certificate_is_checked_with_its_authority_and_name),
		cmocka_unit_test(the_signature_computed_here_is_the_one_of_the_published_vectors),
		WITH_SCRIPT(a_request_is_signed_as_the_vectors_are),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

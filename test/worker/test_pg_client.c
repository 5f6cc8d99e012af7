/*
 * test_pg_client.c
 *		Tests of worker/pg_client.c, pg_error.c and resolve.c, against a server of their own.
 */
#include "support.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <libpq-fe.h>

#include "peer.h"
#include "pg_client.h"
#include "resolve.h"

static Peer peer;

/* By a flag of the linker these stand before libpq's own: the connection can break when all has been looked at. */
extern int real_send(PGconn *conn, const char *sql) __asm__("__real_PQsendQuery");
extern int wrap_send(PGconn *conn, const char *sql) __asm__("__wrap_PQsendQuery");
extern int real_send_params(PGconn *conn, const char *sql, int count, const Oid *types,
							const char *const *values, const int *lengths, const int *formats,
							int result_format) __asm__("__real_PQsendQueryParams");
extern int wrap_send_params(PGconn *conn, const char *sql, int count, const Oid *types,
							const char *const *values, const int *lengths, const int *formats,
							int result_format) __asm__("__wrap_PQsendQueryParams");

static bool breaks_before_sending;
static bool is_seen_to_break; /* else libpq keeps a failure to send for the result */

static void
break_connection(PGconn *conn)
{
	if (!breaks_before_sending)
		return;
	assert_int_equal(shutdown(PQsocket(conn), SHUT_RDWR), 0);
	if (is_seen_to_break)
		assert_int_equal(PQconsumeInput(conn), 0);
}

int
wrap_send(PGconn *conn, const char *sql)
{
	break_connection(conn);
	return real_send(conn, sql);
}

int
wrap_send_params(PGconn *conn, const char *sql, int count, const Oid *types,
				 const char *const *values, const int *lengths, const int *formats,
				 int result_format)
{
	break_connection(conn);
	return real_send_params(conn, sql, count, types, values, lengths, formats, result_format);
}

static int
start_peer(void **state __attribute__((unused)))
{
	/* All of them would lead elsewhere, or nowhere. */
	(void) setenv("PGHOST", "192.0.2.1", 1);
	(void) setenv("PGHOSTADDR", "192.0.2.1", 1);
	(void) setenv("PGSSLMODE", "verify-full", 1);
	(void) setenv("PGOPTIONS", "-c no_such_setting=1", 1);
	(void) setenv("PGSERVICE", "nowhere", 1);
	(void) setenv("PGPASSFILE", "/etc/passwd", 1);
	pg_client_init();
	return peer_start(&peer, "postgres") ? 0 : -1;
}

static int
stop_peer(void **state __attribute__((unused)))
{
	peer_stop(&peer);
	return 0;
}

static PgServer
the_server(const char *user, const SecretBuf *password)
{
	return (PgServer){.host = "127.0.0.1",
					  .port = peer_value(&peer, "port"),
					  .dbname = "postgres",
					  .user = user,
					  .password = password,
					  .application_name = "test"};
}

static PgClient *
connected(const char *user, const char *password)
{
	JobValue value = value_of(user, password);
	PgServer server = the_server(user, &value.password);
	PgError err;
	PgClient *client = pg_connect(&server, deadline_in(20000), &err);

	if (client == NULL)
		fail_msg("%s", err.message);
	return client;
}

TEST(variables_of_libpq_are_gone_and_steer_nothing)
{
	PgClient *client = connected("app", "app-password");

	assert_null(getenv("PGHOST"));
	assert_null(getenv("PGSERVICE"));
	assert_string_equal(pg_tls_version(client), "");
	pg_close(client);
}

TEST(a_statement_with_parameters_answers_with_values_nulls_and_flags)
{
	PgClient *client = connected("app", "app-password");
	const char *values[] = {"it's", NULL, "t"};
	PgAnswer *answer;
	PgError err;

	assert_int_equal(pg_exec(client, "SELECT $1::text, $2::text, $3::boolean", 3, values,
							 deadline_in(20000), &answer, &err),
					 PG_DONE);
	assert_int_equal(pg_rows(answer), 1);
	assert_string_equal(pg_value(answer, 0, 0), "it's");
	assert_null(pg_value(answer, 0, 1));
	assert_true(pg_flag(answer, 0, 2));
	assert_null(pg_value(answer, 0, 3));
	assert_null(pg_value(answer, 1, 0));
	pg_answer_free(answer);
	pg_close(client);
}

TEST(an_error_of_the_server_has_its_code_and_the_session_goes_on)
{
	PgClient *client = connected("app", "app-password");
	PgAnswer *answer;
	PgError err;

	assert_int_equal(pg_exec_script(client, "SELECT 1; SELECT 1 / 0; SELECT 2", deadline_in(20000),
									&answer, &err),
					 PG_REFUSED);
	assert_null(answer);
	assert_string_equal(err.sqlstate, "22012");
	assert_string_equal(err.message, "division by zero");
	assert_int_equal(pg_exec(client, "SELECT 1; SELECT 2", 0, NULL, deadline_in(20000), NULL, &err),
					 PG_REFUSED);
	assert_string_equal(err.sqlstate, "42601");
	assert_int_equal(
		pg_exec_script(client, "SELECT 1; SELECT 2", deadline_in(20000), &answer, &err), PG_DONE);
	assert_string_equal(pg_value(answer, 0, 0), "2");
	pg_answer_free(answer);
	pg_close(client);
}

TEST(copy_is_refused_instead_of_waited_for)
{
	PgClient *client = connected("app", "app-password");
	PgError err;

	assert_int_equal(
		pg_exec(client, "COPY (SELECT 1) TO STDOUT", 0, NULL, deadline_in(20000), NULL, &err),
		PG_LOST);
	pg_close(client);
}

TEST(a_session_that_is_ended_within_a_statement_is_lost_and_before_one_nothing_was_sent)
{
	PgClient *client = connected("app", "app-password");
	PgError err;

	assert_int_equal(pg_exec(client, "SELECT pg_terminate_backend(pg_backend_pid())", 0, NULL,
							 deadline_in(20000), NULL, &err),
					 PG_LOST);
	assert_string_equal(err.sqlstate, "57P01");
	assert_int_equal(pg_exec(client, "SELECT 1", 0, NULL, deadline_in(20000), NULL, &err),
					 PG_NOT_SENT);
	assert_true(err.message[0] != '\0');
	pg_close(client);
}

TEST(a_statement_that_could_not_be_sent_is_never_done)
{
	PgAnswer *answer = NULL;
	PgError err;

	/* With and without an answer, by both protocols, told by libpq as a result and at once. */
	for (int i = 0; i < 8; i++)
	{
		PgClient *client = connected("app", "app-password");
		PgAnswer **wanted = i % 2 == 0 ? &answer : NULL;

		breaks_before_sending = true;
		is_seen_to_break = i >= 4;
		assert_int_equal(
			i % 4 < 2 ? pg_exec(client, "SELECT 1", 0, NULL, deadline_in(20000), wanted, &err)
					  : pg_exec_script(client, "SELECT 1", deadline_in(20000), wanted, &err),
			PG_LOST);
		breaks_before_sending = false;
		assert_null(answer);
		assert_true(err.message[0] != '\0');
		pg_close(client);
	}
}

TEST(a_statement_ends_by_its_deadline)
{
	PgClient *client = connected("app", "app-password");
	PgError err;

	assert_int_equal(pg_exec(client, "SELECT pg_sleep(600)", 0, NULL, deadline_in(100), NULL, &err),
					 PG_LOST);
	assert_string_equal(err.sqlstate, "");
	pg_close(client);
}

TEST(a_server_that_says_nothing_ends_by_the_deadline)
{
	char port[16];
	int listener;
	PgError err;
	JobValue value = value_of("app", "app-password");
	PgServer server = the_server("app", &value.password);

	(void) snprintf(port, sizeof(port), "%d", silent_port(&listener));
	server.port = port;
	assert_null(pg_connect(&server, deadline_in(100), &err));
	assert_string_equal(err.sqlstate, "");
	assert_false(err.used_password);
	(void) close(listener);
}

TEST(of_several_hosts_the_first_that_lets_us_in_is_taken)
{
	char ports[32];
	int listener;
	int closed = silent_port(&listener);
	PgError err;
	JobValue value = value_of("app", "app-password");
	PgServer server = the_server("app", &value.password);
	PgClient *client;

	(void) close(listener);
	(void) snprintf(ports, sizeof(ports), "%d,%s", closed, peer_value(&peer, "port"));
	server.host = "127.0.0.1,localhost";
	server.port = ports;
	client = pg_connect(&server, deadline_in(20000), &err);
	assert_non_null(client);
	pg_close(client);
	server.read_write = true;
	client = pg_connect(&server, deadline_in(20000), &err);
	assert_non_null(client);
	pg_close(client);
}

/* How often the server's log has the text. */
static int
times_in_log(const char *text)
{
	char *log = read_whole_file(peer_value(&peer, "log"));
	int times = 0;

	for (const char *at = strstr(log, text); at != NULL; at = strstr(at + 1, text))
		times++;
	free(log);
	return times;
}

TEST(a_server_that_was_given_the_password_is_the_last_one)
{
	static const char failure[] = "password authentication failed for user \"plain\"";
	char ports[32];
	PgError err;
	JobValue wrong = value_of("plain", "no");
	PgServer server = the_server("plain", &wrong.password);
	int before = times_in_log(failure);

	(void) snprintf(ports, sizeof(ports), "%s,%s", server.port, server.port);
	server.host = "127.0.0.1,127.0.0.1";
	server.port = ports;
	assert_null(pg_connect(&server, deadline_in(20000), &err));
	assert_string_equal(err.sqlstate, "28P01");
	assert_string_equal(err.message, failure);
	assert_true(err.used_password);
	assert_true(err.in_authentication);
	assert_int_equal(times_in_log(failure), before + 1);
}

TEST(that_a_password_was_refused_is_not_hidden_by_another_host)
{
	char closed[16];
	int listener;
	const char *others[] = {closed, peer_value(&peer, "port")};
	PgError err;
	JobValue wrong = value_of("plain", "no");
	PgServer server = the_server("plain", &wrong.password);

	(void) snprintf(closed, sizeof(closed), "%d", silent_port(&listener));
	(void) close(listener);
	server.host = "127.0.0.1,127.0.0.1";
	server.read_write = true;
	for (int i = 0; i < 2; i++)
	{
		char ports[32];

		(void) snprintf(ports, sizeof(ports), "%s,%s", others[1 - i], others[i]);
		server.port = ports;
		assert_null(pg_connect(&server, deadline_in(20000), &err));
		assert_string_equal(err.sqlstate, "28P01");
		assert_true(err.used_password);
	}
}

TEST(without_a_password_a_server_that_wants_one_is_not_answered)
{
	PgError err;
	PgServer server = the_server("app", NULL);

	assert_null(pg_connect(&server, deadline_in(20000), &err));
	assert_string_equal(err.sqlstate, "");
}

/* Connects to host by TLS; the message if it fails. */
static const char *
tls(const char *host, const char *mode, const char *root, PgError *err)
{
	JobValue value = value_of("tls_only", "tls-password");
	PgServer server = the_server("tls_only", &value.password);
	PgClient *client;

	server.host = host;
	server.sslmode = mode;
	server.sslrootcert = root;
	client = pg_connect(&server, deadline_in(20000), err);
	if (client == NULL)
		return err->message;
	assert_true(strncmp(pg_tls_version(client), "TLSv1.", 6) == 0);
	pg_close(client);
	return NULL;
}

TEST(certificates_are_verified_and_never_is_a_weaker_mode_tried)
{
	const char *ca = peer_value(&peer, "ca");
	const char *other = peer_value(&peer, "other_ca");
	PgError err;

	assert_null(tls("localhost", "verify-full", ca, &err));
	assert_null(tls("127.0.0.1", "verify-ca", ca, &err));
	assert_null(tls("127.0.0.1", "require", NULL, &err));
	/* the certificate is localhost's */
	assert_non_null(tls("127.0.0.1", "verify-full", ca, &err));
	assert_false(err.used_password);
	assert_non_null(tls("localhost", "verify-full", other, &err));
	assert_false(err.used_password);
	assert_non_null(tls("localhost", "verify-ca", other, &err));
	/* the system's authorities do not know ours */
	assert_non_null(tls("localhost", "verify-full", NULL, &err));
	assert_false(err.used_password);
}

TEST(modes_in_which_libpq_would_ask_twice_do_not_exist)
{
	static const char *const modes[] = {"prefer", "allow", "no-such-mode"};
	PgError err;

	for (size_t i = 0; i < COUNT_OF(modes); i++)
	{
		assert_non_null(tls("localhost", modes[i], NULL, &err));
		assert_false(err.used_password);
		assert_true(strstr(err.message, "sslmode must be") != NULL);
	}
}

TEST(a_host_that_is_not_loopback_is_verified_by_default)
{
	/* 127.0.0.1 under a name that is not known to be it. */
	PgError err;
	JobValue value = value_of("app", "app-password");
	PgServer server = the_server("app", &value.password);

	server.host = "127.1";
	assert_false(resolve_is_loopback(server.host));
	assert_null(pg_connect(&server, deadline_in(20000), &err));
	assert_false(err.used_password);
}

TEST(without_tls_a_password_leaves_this_machine_only_where_libpq_never_shows_it)
{
	PgError err;
	JobValue value = value_of("app", "app-password");
	PgServer server = the_server("app", &value.password);
	PgClient *client;

	server.host = "127.1";
	server.sslmode = "disable";
	client = pg_connect(&server, deadline_in(20000), &err);
	if (PQlibVersion() < 160000)
	{
		assert_null(client);
		assert_false(err.used_password);
		assert_non_null(strstr(err.message, "libpq 16"));
	}
	else
		assert_non_null(client);
	pg_close(client);
}

TEST(names_and_texts_are_quoted)
{
	PgClient *client = connected("app", "app-password");
	char *name = pg_quote_name(client, "a\"b'c\\d %s");
	char *text = pg_quote_text(client, "a\"b'c\\d %s");

	assert_string_equal(name, "\"a\"\"b'c\\d %s\"");
	assert_string_equal(text, " E'a\"b''c\\\\d %s'");
	assert_null(pg_quote_name(client, "\xff"));
	pg_quoted_free(name);
	pg_quoted_free(text);
	pg_close(client);
}

TEST(a_notification_wakes_and_so_do_file_descriptors_and_the_deadline)
{
	PgClient *client = connected("app", "app-password");
	PgClient *other = connected("plain", "plain-password");
	char channel[64];
	int fds[2];
	PgError err;

	assert_int_equal(pipe(fds), 0);
	assert_int_equal(pg_exec_script(client, "LISTEN rotor_worker", deadline_in(20000), NULL, &err),
					 PG_DONE);
	assert_int_equal(pg_wait(client, fds, 1, deadline_in(0)), PG_WAKE_TIME);
	assert_int_equal(pg_wait(NULL, fds, 1, deadline_in(1)), PG_WAKE_TIME);
	assert_int_equal(pg_exec_script(other, "NOTIFY rotor_worker", deadline_in(20000), NULL, &err),
					 PG_DONE);
	assert_int_equal(pg_wait(client, fds, 1, deadline_in(20000)), PG_WAKE_NOTIFY);
	assert_true(pg_notification(client, channel, sizeof(channel)));
	assert_string_equal(channel, "rotor_worker");
	assert_false(pg_notification(client, channel, sizeof(channel)));
	assert_int_equal(write(fds[1], "x", 1), 1);
	assert_int_equal(pg_wait(client, fds, 1, deadline_in(20000)), PG_WAKE_FD);
	assert_int_equal(pg_wait(NULL, fds, 1, deadline_in(20000)), PG_WAKE_FD);
	(void) close(fds[0]);
	(void) close(fds[1]);
	pg_close(other);
	pg_close(client);
}

TEST(a_connection_that_ends_wakes_who_waits)
{
	PgClient *client = connected("app", "app-password");
	PgClient *other = connected("app", "app-password");
	PgAnswer *answer;
	PgError err;
	const char *pid;

	assert_int_equal(
		pg_exec(client, "SELECT pg_backend_pid()", 0, NULL, deadline_in(20000), &answer, &err),
		PG_DONE);
	pid = pg_value(answer, 0, 0);
	assert_int_equal(
		pg_exec(other, "SELECT pg_terminate_backend($1)", 1, &pid, deadline_in(20000), NULL, &err),
		PG_DONE);
	assert_int_equal(pg_wait(client, NULL, 0, deadline_in(20000)), PG_WAKE_BROKEN);
	assert_false(pg_is_alive(client));
	pg_answer_free(answer);
	pg_close(other);
	pg_close(client);
}

TEST(refusals_are_read_from_the_verbose_text)
{
	static const struct
	{
		const char *text;
		const char *sqlstate;
		const char *message;
		bool in_authentication;
		bool location_known;
	} cases[] = {
		{"connection to server at \"h\" (::1), port 1 failed: Connection refused\n"
		 "connection to server at \"h\" (127.0.0.1), port 1 failed: SCHWERWIEGEND:  28P01: Passwort "
		 "falsch\nORT:  auth_failed, auth.c:326\n",
		 "28P01", "Passwort falsch", true, true},
		{"failed: FATAL:  28000: role \"x\" is not permitted to log in\nLOCATION:  "
		 "InitializeSessionUserId, miscinit.c:786\n",
		 "28000", "role \"x\" is not permitted to log in", false, true},
		{"failed: FATAL:  3D000: no such\nDETAIL:  It went:  away, today\nLOCATION:  InitPostgres, "
		 "postinit.c:1\n",
		 "3D000", "no such DETAIL: It went: away, today", false, true},
		{"failed: FATAL:  28P01: from a pooler\n", "28P01", "from a pooler", false, false},
		{"failed: FATAL:  53300: \n", "53300", "the server refused the connection", false, false},
		{"could not translate host name", "", "could not translate host name", false, false},
		{"a:  b:  28P: x", "", "a: b: 28P: x", false, false},
		{":  28P01", "", ": 28P01", false, false},
		{"", "", "the connection failed", false, false},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++)
	{
		PgError err = {.sqlstate = "XXXXX", .in_authentication = true};

		pg_error_read(&err, cases[i].text);
		assert_string_equal(err.sqlstate, cases[i].sqlstate);
		assert_string_equal(err.message, cases[i].message);
		assert_int_equal(err.in_authentication, cases[i].in_authentication);
		assert_int_equal(err.location_known, cases[i].location_known);
	}
}

TEST(a_name_is_resolved_an_address_is_itself_and_a_wrong_name_has_a_reason)
{
	ResolvedHost host;

	assert_null(resolve_host("192.0.2.7", deadline_in(0), &host));
	assert_int_equal(host.count, 1);
	assert_string_equal(host.address[0], "192.0.2.7");
	assert_null(resolve_host("localhost", deadline_in(20000), &host));
	assert_true(host.count >= 1);
	assert_true(resolve_is_loopback(host.address[0]));
	assert_non_null(resolve_host("no such name", deadline_in(20000), &host));
}

TEST(loopback_is_told_from_what_only_looks_like_it)
{
	assert_true(resolve_is_loopback("127.0.0.1"));
	assert_true(resolve_is_loopback("127.9.9.9"));
	assert_true(resolve_is_loopback("::1"));
	assert_true(resolve_is_loopback("LocalHost"));
	assert_true(resolve_is_loopback("/run/postgresql"));
	assert_false(resolve_is_loopback("127.0.0.1.example.com"));
	assert_false(resolve_is_loopback("localhost.example.com"));
	assert_false(resolve_is_loopback("128.0.0.1"));
	assert_false(resolve_is_loopback("::2"));
	assert_false(resolve_is_loopback(""));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(variables_of_libpq_are_gone_and_steer_nothing),
		cmocka_unit_test(a_statement_with_parameters_answers_with_values_nulls_and_flags),
		cmocka_unit_test(an_error_of_the_server_has_its_code_and_the_session_goes_on),
		cmocka_unit_test(copy_is_refused_instead_of_waited_for),
		cmocka_unit_test(
			a_session_that_is_ended_within_a_statement_is_lost_and_before_one_nothing_was_sent),
		cmocka_unit_test(a_statement_that_could_not_be_sent_is_never_done),
		cmocka_unit_test(a_statement_ends_by_its_deadline),
		cmocka_unit_test(a_server_that_says_nothing_ends_by_the_deadline),
		cmocka_unit_test(of_several_hosts_the_first_that_lets_us_in_is_taken),
		cmocka_unit_test(a_server_that_was_given_the_password_is_the_last_one),
		cmocka_unit_test(that_a_password_was_refused_is_not_hidden_by_another_host),
		cmocka_unit_test(without_a_password_a_server_that_wants_one_is_not_answered),
		cmocka_unit_test(certificates_are_verified_and_never_is_a_weaker_mode_tried),
		cmocka_unit_test(modes_in_which_libpq_would_ask_twice_do_not_exist),
		cmocka_unit_test(a_host_that_is_not_loopback_is_verified_by_default),
		cmocka_unit_test(
			without_tls_a_password_leaves_this_machine_only_where_libpq_never_shows_it),
		cmocka_unit_test(names_and_texts_are_quoted),
		cmocka_unit_test(a_notification_wakes_and_so_do_file_descriptors_and_the_deadline),
		cmocka_unit_test(a_connection_that_ends_wakes_who_waits),
		cmocka_unit_test(refusals_are_read_from_the_verbose_text),
		cmocka_unit_test(a_name_is_resolved_an_address_is_itself_and_a_wrong_name_has_a_reason),
		cmocka_unit_test(loopback_is_told_from_what_only_looks_like_it),
	};

	return cmocka_run_group_tests(tests, start_peer, stop_peer);
}

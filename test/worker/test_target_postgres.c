/*
 * test_target_postgres.c - tests of worker/target_postgres.c, against a server of their own.
 *
 * The server logs every statement and every failed one; nothing of what these tests set may be there.
 */
#include "support.h"

#include <stdlib.h>
#include <unistd.h>

#include "peer.h"
#include "pg_client.h"
#include "target.h"

#define NEW_ID	"11111111-1111-4111-8111-111111111111"
#define MARK	"Plaintext-that-nobody-may-see" /* in every password that is set here */
#define WEIRD	"we\"ird 'r\\ole %s $1"
#define TIMEOUT "idle_in_transaction_session_timeout"

static Peer peer;
static PgClient *witness; /* a superuser, to see what became of it */

static int
start_peer(void **state __attribute__((unused)))
{
	PgServer server = {.user = "postgres", .dbname = "postgres", .application_name = "witness"};
	PgError err;

	pg_client_init();
	if (!peer_start(&peer, "postgres"))
		return -1;
	server.host = peer_value(&peer, "socket");
	server.port = peer_value(&peer, "port");
	witness = pg_connect(&server, deadline_in(20000), &err);
	return witness != NULL ? 0 : -1;
}

static int
stop_peer(void **state __attribute__((unused)))
{
	pg_close(witness);
	peer_stop(&peer);
	return 0;
}

static void
run(const char *sql)
{
	PgError err;

	if (pg_exec_script(witness, sql, deadline_in(20000), NULL, &err) != PG_DONE)
		fail_msg("%s", err.message);
}

/* One value, which the caller frees. */
static char *
ask(const char *sql, const char *parameter)
{
	PgAnswer *answer;
	PgError err;
	char *value;

	if (pg_exec(witness, sql, parameter != NULL, &parameter, deadline_in(20000), &answer, &err) !=
		PG_DONE)
		fail_msg("%s", err.message);
	value = pg_value(answer, 0, 0) != NULL ? strdup(pg_value(answer, 0, 0)) : NULL;
	pg_answer_free(answer);
	return value;
}

static char *
verifier_of(const char *role)
{
	char *verifier = ask("SELECT rolpassword FROM pg_authid WHERE rolname = $1", role);

	if (verifier == NULL)
		abort();
	return verifier;
}

/* The JSON form of a name; static. */
static const char *
escaped(const char *text)
{
	static char out[256];
	size_t used = 0;

	for (; *text != '\0'; text++)
	{
		if (*text == '"' || *text == '\\')
			out[used++] = '\\';
		out[used++] = *text;
	}
	out[used] = '\0';
	return out;
}

/* A job that sets the password for the role; port 0: the peer's. */
static Job *
job_at(const char *role, const char *password, int port, const char *policy)
{
	char name[256];

	(void) snprintf(name, sizeof(name), "%s", escaped(role));
	return make_job("{\"rotation\":\"" NEW_ID "\",\"lease\":\"" NEW_ID "\",\"lease_seconds\":60,"
					"\"step\":\"set\",\"attempt\":0,\"secret\":\"s\",\"trigger\":\"manual\","
					"\"version\":{\"id\":\"" NEW_ID "\",\"username\":\"%s\",\"password\":\"%s\"},"
					"\"account\":{\"username\":\"%s\"},\"target\":{\"name\":\"t\",\"type\":"
					"\"postgresql\",\"host\":\"127.0.0.1\",\"port\":%d,\"dbname\":\"postgres\"},"
					"\"store\":{\"name\":\"local\",\"type\":\"local\"},\"policy\":%s}",
					name, password, name, port != 0 ? port : atoi(peer_value(&peer, "port")),
					policy);
}

static Job *
job_of(const char *role)
{
	return job_at(role, MARK, 0, "{\"scram_iterations\":300}");
}

static Outcome
set_as(const Job *job, const char *by, const char *password)
{
	JobValue admin = value_of(by, password);

	return target_postgres.set(job, &job->version, &admin, deadline_in(20000));
}

static Outcome
login_of(const Job *job, const char *password)
{
	JobValue value = value_of(job->username, password);

	return target_postgres.login(job, &value, true, deadline_in(20000));
}

static void
assert_outcome(Outcome outcome, OutcomeClass class, const char *code)
{
	if (outcome.class != class || strcmp(outcome.code, code) != 0)
		fail_msg("%s %s %s", outcome_name(outcome.class), outcome.code, outcome.message);
	assert_true((class == OUTCOME_OK) || outcome.message[0] != '\0');
}

TEST(an_administrator_without_superuser_sets_a_password_that_then_logs_in)
{
	Job *job = job_of("app");
	char *verifier;

	assert_outcome(set_as(job, "admin", "admin-password"), OUTCOME_OK, "");
	verifier = verifier_of("app");
	assert_true(strncmp(verifier, "SCRAM-SHA-256$300:", 18) == 0);
	assert_outcome(target_postgres.login(job, &job->version, true, deadline_in(20000)), OUTCOME_OK,
				   "");
	assert_outcome(login_of(job, "app-password"), OUTCOME_REFUSED, "28P01");
	free(verifier);
	job_free(job);
}

TEST(an_account_sets_its_own_password)
{
	Job *job = job_of("own");

	assert_outcome(set_as(job, "own", "own-password"), OUTCOME_OK, "");
	assert_outcome(login_of(job, MARK), OUTCOME_OK, "");
	job_free(job);
}

TEST(a_name_with_quotes_blanks_and_percent_signs_is_that_role_and_no_other)
{
	Job *job = job_of(WEIRD);

	assert_outcome(set_as(job, "admin", "admin-password"), OUTCOME_OK, "");
	assert_outcome(login_of(job, MARK), OUTCOME_OK, "");
	job_free(job);
}

TEST(a_password_of_all_printable_characters_survives)
{
	char every[128] = MARK;
	char json[256] = MARK;
	size_t used = strlen(every);
	Job *job;

	for (int c = ' '; c <= '~'; c++)
		every[used++] = (char) c;
	every[used] = '\0';
	(void) snprintf(json, sizeof(json), "%s", escaped(every));
	job = job_at("app", json, 0, "{}");
	assert_outcome(set_as(job, "admin", "admin-password"), OUTCOME_OK, "");
	assert_outcome(login_of(job, every), OUTCOME_OK, "");
	job_free(job);
}

TEST(who_may_not_change_a_role_is_refused_for_good_with_a_remedy)
{
	static const struct
	{
		const char *role;
		const char *by;
		const char *password;
		const char *remedy;
	} cases[] = {{"app", "plain", "plain-password", "CREATEROLE"},
				 {"boss", "admin", "admin-password", "superuser"}};

	for (size_t i = 0; i < COUNT_OF(cases); i++)
	{
		Job *job = job_of(cases[i].role);
		char *before = verifier_of(cases[i].role);
		char *after;
		Outcome outcome = set_as(job, cases[i].by, cases[i].password);
		JobValue by = value_of(cases[i].by, cases[i].password);

		assert_outcome(outcome, OUTCOME_PERMANENT, "42501");
		assert_non_null(strstr(outcome.message, cases[i].remedy));
		outcome = target_postgres.check(job, &by, deadline_in(20000));
		assert_outcome(outcome, OUTCOME_PERMANENT, "42501");
		assert_non_null(strstr(outcome.message, cases[i].remedy));
		after = verifier_of(cases[i].role);
		assert_string_equal(before, after);
		free(before);
		free(after);
		job_free(job);
	}
}

TEST(from_16_on_an_administrator_needs_admin_option_on_the_role)
{
	Job *job = job_of("foreign_app");
	Outcome outcome = set_as(job, "admin", "admin-password");

	if (pg_server_version(witness) < 160000)
		assert_outcome(outcome, OUTCOME_OK, "");
	else
	{
		assert_outcome(outcome, OUTCOME_PERMANENT, "42501");
		assert_non_null(strstr(outcome.message, "ADMIN OPTION"));
	}
	job_free(job);
}

TEST(a_name_that_libpq_does_not_quote_may_be_one_that_it_had_no_memory_for)
{
	Job *job = job_of("\xff");

	assert_outcome(set_as(job, "admin", "admin-password"), OUTCOME_TRANSIENT, "");
	job_free(job);
}

TEST(a_role_that_could_not_use_a_new_password_does_not_get_one)
{
	static const char *const roles[][2] = {
		{"nologin", "28000"}, {"expired", "28P01"}, {"no such role", "42704"}};

	for (size_t i = 0; i < COUNT_OF(roles); i++)
	{
		Job *job = job_of(roles[i][0]);
		char *before = verifier_of("nologin");
		char *after;

		assert_outcome(set_as(job, "boss", "boss-password"), OUTCOME_PERMANENT, roles[i][1]);
		after = verifier_of("nologin");
		assert_string_equal(before, after);
		free(before);
		free(after);
		job_free(job);
	}
}

TEST(a_former_password_is_given_back_even_to_a_role_that_cannot_use_it_now)
{
	Job *job = job_of("nologin");
	JobValue former = value_of("nologin", MARK "-former");
	JobValue by = value_of("admin", "admin-password");
	char *before = verifier_of("nologin");
	char *after;

	assert_outcome(target_postgres.set(job, &former, &by, deadline_in(20000)), OUTCOME_OK, "");
	after = verifier_of("nologin");
	assert_string_not_equal(before, after);
	free(before);
	free(after);
	job_free(job);
}

TEST(a_credential_that_is_refused_changes_nothing_and_may_be_newer_next_time)
{
	Job *job = job_of("app");
	Outcome outcome = set_as(job, "admin", "not the password");

	assert_outcome(outcome, OUTCOME_TRANSIENT, "28P01");
	assert_true(outcome.peer_answered && outcome.by_refused);
	job_free(job);
}

TEST(a_change_waits_for_the_disk_even_if_the_administrators_commits_do_not)
{
	/* The change is replaced by a question, and the relay keeps what the server answers. */
	static const char guard[] = "SELECT 1 / (extract(epoch FROM clock_timestamp()) * 1000 <";
	static const char asked[] = "SELECT 'it is ' || current_setting('synchronous_commit')--";
	Relay *relay =
		relay_start(atoi(peer_value(&peer, "port")), RELAY_MUTE, "'it is '", guard, asked);
	Job *job = job_at("lazy", MARK, relay_port(relay), "{\"scram_iterations\":300}");

	assert_int_equal(strlen(asked), strlen(guard));
	assert_outcome(set_as(job, "lazy", "lazy-password"), OUTCOME_UNKNOWN, "");
	assert_non_null(strstr(relay_release(relay), "it is on"));
	relay_stop(relay);
	job_free(job);
}

TEST(a_server_that_asks_for_no_password_proves_nothing)
{
	Job *job = job_of("trusted");

	assert_outcome(login_of(job, "trusted-password"), OUTCOME_INCONCLUSIVE, "");
	assert_outcome(login_of(job, "another"), OUTCOME_INCONCLUSIVE, "");
	job_free(job);
}

TEST(a_refusal_before_the_password_was_asked_for_proves_nothing)
{
	Job *job = job_of("unwanted");

	assert_outcome(login_of(job, "unwanted-password"), OUTCOME_INCONCLUSIVE, "28000");
	job_free(job);
}

TEST(a_directory_that_refuses_is_not_taken_for_a_role_that_may_not_log_in)
{
	Job *job = job_of("directory");

	assert_outcome(login_of(job, "directory-password"), OUTCOME_REFUSED, "28000");
	job_free(job);
}

TEST(what_bars_a_login_behind_the_password_proves_the_password)
{
	static const struct
	{
		const char *role;
		const char *password;
		const char *policy;
		const char *code;
	} cases[] = {
		{"crowded", "crowded-password", "{}", "53300"},
		{"nologin", "nologin-password", "{}", "28000"},
		{"plain", "plain-password", "{\"verify_database\":\"barred\"}", "42501"},
		{"plain", "plain-password", "{\"verify_database\":\"closed\"}", "55000"},
		{"plain", "plain-password", "{\"verify_database\":\"missing\"}", "3D000"},
	};

	run("ALTER ROLE nologin PASSWORD 'nologin-password'");
	for (size_t i = 0; i < COUNT_OF(cases); i++)
	{
		Job *job = job_at(cases[i].role, MARK, 0, cases[i].policy);

		assert_outcome(login_of(job, cases[i].password), OUTCOME_PROVED, cases[i].code);
		assert_outcome(login_of(job, "wrong"), OUTCOME_REFUSED, "28P01");
		job_free(job);
	}
}

TEST(an_expired_password_is_refused)
{
	Job *job = job_of("expired");

	assert_outcome(login_of(job, "expired-password"), OUTCOME_REFUSED, "28P01");
	job_free(job);
}

TEST(each_login_is_one_attempt)
{
	static const char failure[] = "password authentication failed for user \"plain\"";
	Job *job = job_of("plain");
	char *log = read_whole_file(peer_value(&peer, "log"));
	int before = 0;
	int after = 0;

	for (const char *at = strstr(log, failure); at != NULL; at = strstr(at + 1, failure))
		before++;
	free(log);
	assert_outcome(login_of(job, "wrong"), OUTCOME_REFUSED, "28P01");
	log = read_whole_file(peer_value(&peer, "log"));
	for (const char *at = strstr(log, failure); at != NULL; at = strstr(at + 1, failure))
		after++;
	free(log);
	assert_int_equal(after, before + 1);
	job_free(job);
}

TEST(the_verification_query_reads_only_and_says_whether_the_account_can_work)
{
	static const struct
	{
		const char *query;
		OutcomeClass class;
		const char *code;
	} cases[] = {
		{"SELECT 1", OUTCOME_OK, ""},
		{"SELECT generate_series(1, 100000)", OUTCOME_OK, ""},
		{"INSERT INTO public.seen VALUES (1)", OUTCOME_PROVED, "25006"},
		{"SELECT * FROM pg_authid", OUTCOME_PROVED, "42501"},
		{"SELECT 1; COMMIT", OUTCOME_PROVED, "42601"},
		{"COMMIT", OUTCOME_OK, ""},
		{"SELECT pg_terminate_backend(pg_backend_pid())", OUTCOME_TRANSIENT, "57P01"},
	};

	run("GRANT INSERT ON public.seen TO plain");
	for (size_t i = 0; i < COUNT_OF(cases); i++)
	{
		char policy[128];
		Job *job;

		(void) snprintf(policy, sizeof(policy), "{\"verify_query\":\"%s\"}", cases[i].query);
		job = job_at("plain", MARK, 0, policy);
		assert_outcome(login_of(job, "plain-password"), cases[i].class, cases[i].code);
		job_free(job);
	}
}

TEST(a_query_that_is_not_wanted_is_not_run)
{
	Job *job = job_at("plain", MARK, 0, "{\"verify_query\":\"SELECT 1 / 0\"}");
	JobValue value = value_of("plain", "plain-password");

	assert_outcome(target_postgres.login(job, &value, false, deadline_in(20000)), OUTCOME_OK, "");
	job_free(job);
}

TEST(a_server_that_cannot_be_reached_or_says_nothing_changes_nothing)
{
	int listener;
	int port = silent_port(&listener);
	Job *job = job_at("app", MARK, port, "{}");
	JobValue admin = value_of("admin", "admin-password");

	assert_outcome(target_postgres.set(job, &job->version, &admin, deadline_in(100)),
				   OUTCOME_TRANSIENT, "");
	assert_outcome(target_postgres.login(job, &job->version, true, deadline_in(100)),
				   OUTCOME_TRANSIENT, "");
	(void) close(listener);
	assert_outcome(set_as(job, "admin", "admin-password"), OUTCOME_TRANSIENT, "");
	assert_outcome(login_of(job, MARK), OUTCOME_TRANSIENT, "");
	job_free(job);
}

/* Sets app's password by way of a relay. */
static Outcome
set_through(Relay *relay, const char *password, Deadline deadline)
{
	Job *job = job_at("app", password, relay_port(relay), "{\"scram_iterations\":300}");
	JobValue admin = value_of("admin", "admin-password");
	Outcome outcome = target_postgres.set(job, &job->version, &admin, deadline);

	job_free(job);
	return outcome;
}

TEST(a_connection_that_breaks_before_the_change_is_sent_changed_nothing)
{
	int port = atoi(peer_value(&peer, "port"));
	Relay *relay = relay_start(port, RELAY_DROP, "BEGIN", NULL, NULL);

	assert_outcome(set_through(relay, MARK "-1", deadline_in(20000)), OUTCOME_TRANSIENT, "");
	relay_stop(relay);
}

TEST(a_change_that_is_lost_on_its_way_is_unknown_and_did_not_happen)
{
	int port = atoi(peer_value(&peer, "port"));
	Relay *relay = relay_start(port, RELAY_DROP, "ALTER ROLE", NULL, NULL);
	Job *job = job_of("app");
	char *before = verifier_of("app");
	char *after;

	assert_outcome(set_through(relay, MARK "-2", deadline_in(20000)), OUTCOME_UNKNOWN, "");
	relay_stop(relay);
	after = verifier_of("app");
	assert_string_equal(before, after);
	free(before);
	free(after);
	job_free(job);
}

TEST(a_change_whose_answer_is_lost_is_unknown_and_did_happen)
{
	int port = atoi(peer_value(&peer, "port"));
	Relay *relay = relay_start(port, RELAY_MUTE, "ALTER ROLE", NULL, NULL);
	Job *job = job_of("app");

	assert_outcome(set_through(relay, MARK "-3", deadline_in(20000)), OUTCOME_UNKNOWN, "");
	assert_non_null(strstr(relay_release(relay), "COMMIT"));
	relay_stop(relay);
	assert_outcome(login_of(job, MARK "-3"), OUTCOME_OK, "");
	job_free(job);
}

/* A change that was held back until its time was over is refused by the server with that code. */
static void
assert_late_change_is_refused(const char *from, const char *to, const char *code)
{
	int port = atoi(peer_value(&peer, "port"));
	Relay *relay = relay_start(port, RELAY_HOLD, "ALTER ROLE", from, to);
	char *before = verifier_of("app");
	char *after;
	const char *answer;
	Outcome outcome = {.class = OUTCOME_TRANSIENT};

	/* On a busy machine the time may be over before the change is even sent: then with more of it. */
	for (int64_t ms = 400; outcome.class == OUTCOME_TRANSIENT && ms < 100000; ms *= 4)
		outcome = set_through(relay, MARK "-4", deadline_in(ms));
	assert_outcome(outcome, OUTCOME_UNKNOWN, "");
	answer = relay_release(relay);
	if (code != NULL)
		assert_non_null(strstr(answer, code));
	assert_null(strstr(answer, "COMMIT"));
	relay_stop(relay);
	after = verifier_of("app");
	assert_string_equal(before, after);
	free(before);
	free(after);
}

TEST(a_change_that_arrives_after_the_lease_is_refused_by_the_guard)
{
	/* Without the session's own limit, so that the guard alone stands in the way. */
	assert_late_change_is_refused("'" TIMEOUT "'", "'x.le_in_transaction_session_timeout'",
								  "22012");
}

TEST(a_change_that_arrives_after_the_lease_is_refused_by_guard_or_time_limit)
{
	assert_late_change_is_refused(NULL, NULL, NULL);
}

TEST(an_earlier_end_of_the_lease_counts_more_than_the_deadline)
{
	int listener;
	int port = silent_port(&listener);
	Job *job = job_at("app", MARK, port, "{}");

	job->lease_end = deadline_in(100);
	assert_outcome(set_as(job, "admin", "admin-password"), OUTCOME_TRANSIENT, "");
	assert_outcome(login_of(job, MARK), OUTCOME_TRANSIENT, "");
	(void) close(listener);
	job_free(job);
}

TEST(sessions_of_the_account_are_ended_and_those_of_others_stay)
{
	Job *job = job_of("plain");
	JobValue value = value_of("plain", "plain-password");
	JobValue by = value_of("boss", "boss-password");
	PgServer server = {.host = "127.0.0.1",
					   .port = peer_value(&peer, "port"),
					   .dbname = "postgres",
					   .user = "plain",
					   .password = &value.password};
	PgError err;
	PgClient *session = pg_connect(&server, deadline_in(20000), &err);
	Outcome outcome;

	assert_non_null(session);
	/* Those of the tests before may still be ending. */
	run("DO $$BEGIN WHILE (SELECT count(*) FROM pg_stat_activity WHERE usename = 'plain') > 1 "
		"LOOP PERFORM pg_sleep(0.01), pg_stat_clear_snapshot(); END LOOP; END$$");
	outcome = target_postgres.end_sessions(job, &by, deadline_in(20000));
	assert_outcome(outcome, OUTCOME_OK, "");
	assert_string_equal(outcome.message, "1 sessions ended");
	assert_int_equal(pg_wait(session, NULL, 0, deadline_in(20000)), PG_WAKE_BROKEN);
	assert_true(pg_is_alive(witness));
	run("SELECT 1");
	pg_close(session);
	job_free(job);
}

TEST(check_says_what_it_found_and_changes_nothing)
{
	Job *job = job_of("app");
	JobValue by = value_of("admin", "admin-password");
	char *before = verifier_of("app");
	char *after;
	Outcome outcome = target_postgres.check(job, &by, deadline_in(20000));

	assert_outcome(outcome, OUTCOME_OK, "");
	assert_non_null(strstr(outcome.message, "PostgreSQL"));
	assert_non_null(strstr(outcome.message, "no TLS"));
	after = verifier_of("app");
	assert_string_equal(before, after);
	free(before);
	free(after);
	job_free(job);
}

TEST(an_administrator_that_may_keeps_the_verifier_out_of_the_log)
{
	Job *job = job_of("app");
	char *verifier;
	char *log;

	assert_outcome(set_as(job, "boss", "boss-password"), OUTCOME_OK, "");
	verifier = verifier_of("app");
	log = read_whole_file(peer_value(&peer, "log"));
	assert_null(strstr(log, verifier));
	free(log);
	free(verifier);
	job_free(job);
}

TEST(through_a_pooler_a_password_is_set_and_logs_in)
{
	Job *job;
	Outcome wrong;

	if (!peer_has(&peer, "bouncer"))
		skip();
	job = job_at("app", MARK "-pooled", atoi(peer_value(&peer, "bouncer")), "{}");
	assert_outcome(set_as(job, "admin", "admin-password"), OUTCOME_OK, "");
	assert_outcome(login_of(job, MARK "-pooled"), OUTCOME_OK, "");
	/* pgbouncer's code for a wrong password depends on its version. */
	wrong = login_of(job, "wrong");
	assert_outcome(wrong, strcmp(wrong.code, "28P01") == 0 ? OUTCOME_REFUSED : OUTCOME_TRANSIENT,
				   strcmp(wrong.code, "28P01") == 0 ? "28P01" : "08P01");
	job_free(job);
}

TEST(a_pooled_session_keeps_nothing_of_what_a_change_set)
{
	static const char *const settings[] = {"log_statement", "log_min_duration_statement",
										   "statement_timeout", "search_path"};
	JobValue boss = value_of("boss", "boss-password");
	PgServer server = {.host = "127.0.0.1", .dbname = "postgres", .user = "boss"};
	Job *job;
	PgClient *client;
	PgError err;

	if (!peer_has(&peer, "bouncer"))
		skip();
	job = job_at("app", MARK "-pooled", atoi(peer_value(&peer, "bouncer")), "{}");
	assert_outcome(set_as(job, "boss", "boss-password"), OUTCOME_OK, "");
	server.port = peer_value(&peer, "bouncer");
	server.password = &boss.password;
	client = pg_connect(&server, deadline_in(20000), &err);
	assert_non_null(client);
	for (size_t i = 0; i < COUNT_OF(settings); i++)
	{
		char *expected = ask("SELECT current_setting($1)", settings[i]);
		PgAnswer *answer;

		assert_int_equal(pg_exec(client, "SELECT current_setting($1)", 1, &settings[i],
								 deadline_in(20000), &answer, &err),
						 PG_DONE);
		assert_string_equal(pg_value(answer, 0, 0), expected);
		pg_answer_free(answer);
		free(expected);
	}
	pg_close(client);
	job_free(job);
}

/* Runs last. */
TEST(nothing_that_was_set_here_is_in_the_servers_log)
{
	char *log = read_whole_file(peer_value(&peer, "log"));

	/* the log does have the statements */
	assert_non_null(strstr(log, "ALTER ROLE \"app\" PASSWORD 'SCRAM-SHA-256$300:"));
	assert_null(strstr(log, MARK));
	free(log);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_administrator_without_superuser_sets_a_password_that_then_logs_in),
		cmocka_unit_test(an_account_sets_its_own_password),
		cmocka_unit_test(a_name_with_quotes_blanks_and_percent_signs_is_that_role_and_no_other),
		cmocka_unit_test(a_password_of_all_printable_characters_survives),
		cmocka_unit_test(who_may_not_change_a_role_is_refused_for_good_with_a_remedy),
		cmocka_unit_test(from_16_on_an_administrator_needs_admin_option_on_the_role),
		cmocka_unit_test(a_name_that_libpq_does_not_quote_may_be_one_that_it_had_no_memory_for),
		cmocka_unit_test(a_role_that_could_not_use_a_new_password_does_not_get_one),
		cmocka_unit_test(a_former_password_is_given_back_even_to_a_role_that_cannot_use_it_now),
		cmocka_unit_test(a_credential_that_is_refused_changes_nothing_and_may_be_newer_next_time),
		cmocka_unit_test(a_change_waits_for_the_disk_even_if_the_administrators_commits_do_not),
		cmocka_unit_test(a_server_that_asks_for_no_password_proves_nothing),
		cmocka_unit_test(a_refusal_before_the_password_was_asked_for_proves_nothing),
		cmocka_unit_test(a_directory_that_refuses_is_not_taken_for_a_role_that_may_not_log_in),
		cmocka_unit_test(what_bars_a_login_behind_the_password_proves_the_password),
		cmocka_unit_test(an_expired_password_is_refused),
		cmocka_unit_test(each_login_is_one_attempt),
		cmocka_unit_test(the_verification_query_reads_only_and_says_whether_the_account_can_work),
		cmocka_unit_test(a_query_that_is_not_wanted_is_not_run),
		cmocka_unit_test(a_server_that_cannot_be_reached_or_says_nothing_changes_nothing),
		cmocka_unit_test(a_connection_that_breaks_before_the_change_is_sent_changed_nothing),
		cmocka_unit_test(a_change_that_is_lost_on_its_way_is_unknown_and_did_not_happen),
		cmocka_unit_test(a_change_whose_answer_is_lost_is_unknown_and_did_happen),
		cmocka_unit_test(a_change_that_arrives_after_the_lease_is_refused_by_the_guard),
		cmocka_unit_test(a_change_that_arrives_after_the_lease_is_refused_by_guard_or_time_limit),
		cmocka_unit_test(an_earlier_end_of_the_lease_counts_more_than_the_deadline),
		cmocka_unit_test(sessions_of_the_account_are_ended_and_those_of_others_stay),
		cmocka_unit_test(check_says_what_it_found_and_changes_nothing),
		cmocka_unit_test(an_administrator_that_may_keeps_the_verifier_out_of_the_log),
		cmocka_unit_test(through_a_pooler_a_password_is_set_and_logs_in),
		cmocka_unit_test(a_pooled_session_keeps_nothing_of_what_a_change_set),
		cmocka_unit_test(nothing_that_was_set_here_is_in_the_servers_log),
	};

	return cmocka_run_group_tests(tests, start_peer, stop_peer);
}

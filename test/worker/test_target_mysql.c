/*
 * test_target_mysql.c
 *		Tests of worker/target_mysql.c and mysql_client.c, against a MariaDB of their own.
 *
 * The server logs every statement; nothing of what these tests set may be there.
 */
#include "support.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "mysql_session.h"
#include "mysql_support.h"

static int
start_mariadb(void **state __attribute__((unused)))
{
	return start_mysql_peer("mariadb") ? 0 : -1;
}

TEST(an_administrator_sets_the_password_of_all_accounts_of_the_name)
{
	static const char *const hosts[] = {"%", "127.0.0.1", "10.1.2.3"};
	Job *job = job_of(&(Order){.user = "app"});
	char *first = NULL;

	assert_outcome(set_by_admin(job), OUTCOME_OK, "");
	assert_outcome(login_of(job, MARK), OUTCOME_OK, "");
	assert_outcome(login_of(job, "app-password"), OUTCOME_REFUSED, "1045");
	for (size_t i = 0; i < COUNT_OF(hosts); i++)
	{
		char *hash = stored("app", hosts[i]);

		if (first == NULL)
			first = strdup(hash);
		assert_string_equal(hash, first);
		free(hash);
	}
	free(first);
	job_free(job);
}

TEST(an_account_that_the_option_host_names_is_changed_alone)
{
	Job *job = job_of(
		&(Order){.user = "app", .password = MARK "-host", .options = "{\"host\":\"10.1.2.3\"}"});
	char *others = stored("app", "%");
	char *before = stored("app", "10.1.2.3");
	char *after;

	assert_outcome(set_by_admin(job), OUTCOME_OK, "");
	after = stored("app", "10.1.2.3");
	assert_string_not_equal(before, after);
	free(after);
	after = stored("app", "%");
	assert_string_equal(others, after);
	free(after);
	free(before);
	free(others);
	job_free(job);
}

TEST(an_account_with_ed25519_keeps_its_plugin)
{
	Job *job = job_of(&(Order){.user = "curve"});

	assert_outcome(set_by_admin(job), OUTCOME_OK, "");
	assert_outcome(login_of(job, MARK), OUTCOME_OK, "");
	assert_outcome(login_of(job, "curve-password"), OUTCOME_REFUSED, "1045");
	job_free(job);
}

TEST(an_account_sets_its_own_password)
{
	Job *native = job_of(&(Order){.user = "own"});
	Job *curve = job_of(&(Order){.user = "owncurve"});

	assert_outcome(set_as(native, "own", "own-password"), OUTCOME_OK, "");
	assert_outcome(login_of(native, MARK), OUTCOME_OK, "");
	assert_outcome(set_as(curve, "owncurve", "curve-password"), OUTCOME_OK, "");
	assert_outcome(login_of(curve, MARK), OUTCOME_OK, "");
	job_free(native);
	job_free(curve);
}

TEST(a_name_with_quotes_backslashes_and_percent_signs_is_that_account_and_no_other)
{
	Job *job = job_of(&(Order){.user = WEIRD});

	assert_outcome(set_by_admin(job), OUTCOME_OK, "");
	assert_outcome(login_of(job, MARK), OUTCOME_OK, "");
	job_free(job);
}

TEST(a_server_whose_mode_has_no_backslash_escapes_gets_the_same_name)
{
	Job *job = job_of(&(Order){.user = WEIRD, .password = MARK "-mode"});

	run(witness, "SET GLOBAL sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'");
	assert_outcome(set_by_admin(job), OUTCOME_OK, "");
	run(witness, "SET GLOBAL sql_mode = DEFAULT");
	assert_outcome(login_of(job, MARK "-mode"), OUTCOME_OK, "");
	job_free(job);
}

TEST(a_password_of_all_printable_characters_survives)
{
	char every[128] = MARK;
	char json[256];
	size_t used = strlen(every);
	Job *job;

	for (int c = ' '; c <= '~'; c++)
		every[used++] = (char) c;
	every[used] = '\0';
	(void) snprintf(json, sizeof(json), "%s", json_text(every));
	job = job_of(&(Order){.user = "curve", .password = json});
	assert_outcome(set_by_admin(job), OUTCOME_OK, "");
	assert_outcome(login_of(job, every), OUTCOME_OK, "");
	job_free(job);
}

TEST(what_cannot_be_done_is_refused_for_good_and_changes_nothing)
{
	static const struct
	{
		const char *user;
		const char *by;
		const char *password;
		const char *code;
		const char *words;
	} cases[] = {{"nobody", "admin", "admin-password", "1396", "nobody"},
				 {"local", "admin", "admin-password", "", "unix_socket"},
				 {"app", "plain", "plain-password", "1142", "denied"}};

	for (size_t i = 0; i < COUNT_OF(cases); i++)
	{
		Job *job = job_of(&(Order){.user = cases[i].user, .password = MARK "-not"});
		char *before = stored("app", "%");
		char *after;
		Outcome outcome = set_as(job, cases[i].by, cases[i].password);

		assert_outcome(outcome, OUTCOME_PERMANENT, cases[i].code);
		assert_non_null(strstr(outcome.message, cases[i].words));
		after = stored("app", "%");
		assert_string_equal(before, after);
		free(before);
		free(after);
		job_free(job);
	}
}

TEST(a_library_that_fails_may_work_again_and_a_plugin_that_is_not_known_does_not)
{
	RotorError bad;

	(void) error_set(&bad, ROTOR_ERROR_CRYPTO, "no hash");
	assert_outcome(mysql_not_hashed(&bad), OUTCOME_TRANSIENT, "");
	(void) error_set(&bad, ROTOR_ERROR_NOT_FOUND, "no hash");
	assert_outcome(mysql_not_hashed(&bad), OUTCOME_PERMANENT, "");
}

TEST(as_many_accounts_as_there_is_room_for_are_changed_and_one_more_is_refused_for_good)
{
	char sql[512];
	Job *job;
	Outcome outcome;

	for (int i = 0; i < MYSQL_MAX_ACCOUNTS; i++)
	{
		/* The longest name of a host, so that the statements are as long as can be. */
		(void) snprintf(sql, sizeof(sql), "CREATE USER many@'%0255d'", i);
		run(witness, sql);
	}
	job = job_of(&(Order){.user = "many"});
	outcome = set_by_admin(job);
	assert_outcome(outcome, OUTCOME_OK, "");
	run(witness, "CREATE USER many@'10.0.0.1'");
	outcome = set_by_admin(job);
	assert_outcome(outcome, OUTCOME_PERMANENT, "");
	assert_non_null(strstr(outcome.message, "at most 32"));
	job_free(job);
}

TEST(two_passwords_at_once_are_refused_where_the_engine_has_one)
{
	Job *job = job_of(&(Order){
		.user = "app", .password = MARK "-dual", .policy = "{\"strategy\":\"dual_write\"}"});
	Outcome outcome = set_by_admin(job);

	assert_outcome(outcome, OUTCOME_PERMANENT, "");
	assert_non_null(strstr(outcome.message, "dual_write"));
	job_free(job);
}

TEST(a_credential_that_is_refused_changes_nothing_and_may_be_newer_next_time)
{
	Job *job = job_of(&(Order){.user = "app"});
	Outcome outcome = set_as(job, "admin", "not the password");

	assert_outcome(outcome, OUTCOME_TRANSIENT, "1045");
	assert_true(outcome.peer_answered && outcome.by_refused);
	job_free(job);
}

/* A server, or a proxy before one, that answers each connection with an error, until its listener is shut down. */
typedef struct Denier
{
	int listener;
	unsigned number;
} Denier;

static void *
deny(void *arg)
{
	const Denier *denier = arg;
	int client;

	while ((client = accept(denier->listener, NULL, NULL)) >= 0)
	{
		const char packet[] = {5,
							   0,
							   0,
							   0,
							   (char) 0xff,
							   (char) (denier->number & 0xff),
							   (char) (denier->number >> 8),
							   'n',
							   'o'};

		(void) !write(client, packet, sizeof(packet));
		(void) close(client);
	}
	return NULL;
}

TEST(a_connection_that_is_denied_as_a_change_would_be_changes_nothing)
{
	static const unsigned numbers[] = {1044, 1142, 1143, 1227, 1370, 1396};

	for (size_t i = 0; i < COUNT_OF(numbers); i++)
	{
		Denier denier = {.number = numbers[i]};
		int port = silent_port(&denier.listener);
		Job *job = job_of(&(Order){.user = "own",
								   .port = port,
								   .pair = "{\"name\":\"p\",\"owner\":\"o\",\"locked\":true}"});
		JobValue own = value_of("own", "own-password");
		pthread_t thread;
		char code[16];

		(void) snprintf(code, sizeof(code), "%u", numbers[i]);
		assert_int_equal(pthread_create(&thread, NULL, deny, &denier), 0);
		assert_outcome(set_as(job, "own", "own-password"), OUTCOME_PERMANENT, code);
		assert_outcome(target_mysql.retire(job, &own, deadline_in(20000)), OUTCOME_PERMANENT, code);
		assert_outcome(target_mysql.check(job, &own, deadline_in(20000)), OUTCOME_PERMANENT, code);
		(void) shutdown(denier.listener, SHUT_RDWR);
		assert_int_equal(pthread_join(thread, NULL), 0);
		(void) close(denier.listener);
		job_free(job);
	}
}

TEST(a_server_that_is_read_only_is_tried_again)
{
	Job *job = job_of(&(Order){.user = "app", .password = MARK "-ro"});

	run(witness, "SET GLOBAL read_only = 1");
	assert_outcome(set_by_admin(job), OUTCOME_TRANSIENT, "1290");
	run(witness, "SET GLOBAL read_only = 0");
	assert_outcome(login_of(job, MARK), OUTCOME_OK, "");
	job_free(job);
}

TEST(what_bars_a_login_behind_the_password_proves_the_password)
{
	static const struct
	{
		const char *user;
		const char *password;
		const char *policy;
		const char *code;
	} cases[] = {
		{"locked", "locked-password", "{}", "4151"},
		{"plain", "plain-password", "{\"verify_database\":\"barred\"}", "1044"},
		{"plain", "plain-password", "{\"verify_database\":\"mysql\"}", "1044"},
		{"crowded", "crowded-password", "{}", "1226"},
	};
	JobValue value = value_of("crowded", "crowded-password");
	MyServer server = {.host = "127.0.0.1",
					   .port = (unsigned) atoi(peer_value(&peer, "port")),
					   .user = "crowded",
					   .password = &value.password};
	MyError err;
	MyClient *crowd = my_connect(&server, deadline_in(20000), &err);

	assert_non_null(crowd);
	for (size_t i = 0; i < COUNT_OF(cases); i++)
	{
		Job *job = job_of(&(Order){.user = cases[i].user, .policy = cases[i].policy});

		assert_outcome(login_of(job, cases[i].password), OUTCOME_PROVED, cases[i].code);
		assert_outcome(login_of(job, "wrong"), OUTCOME_REFUSED, "1045");
		job_free(job);
	}
	my_close(crowd);
}

TEST(a_database_that_is_not_there_proves_the_password)
{
	Job *job = job_of(&(Order){.user = "chief", .policy = "{\"verify_database\":\"missing\"}"});

	assert_outcome(login_of(job, "chief-password"), OUTCOME_PROVED, "1049");
	assert_outcome(login_of(job, "wrong"), OUTCOME_REFUSED, "1045");
	job_free(job);
}

TEST(another_accounts_password_proves_nothing)
{
	/* The anonymous account takes every name that there is no account for. */
	Job *job = job_of(&(Order){.user = "nobody"});

	assert_outcome(login_of(job, "anonymous-password"), OUTCOME_INCONCLUSIVE, "");
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
		{"SELECT seq FROM shop.seq_1_to_100000", OUTCOME_OK, ""},
		{"INSERT INTO shop.seen VALUES (1)", OUTCOME_PROVED, "1792"},
		{"CREATE TABLE shop.made (n int)", OUTCOME_PROVED, "1792"},
		{"SELECT * FROM mysql.user", OUTCOME_PROVED, "1142"},
		{"SELECT 1; SELECT 2", OUTCOME_PROVED, "1064"},
		{"SELECT * FROM shop.missing", OUTCOME_PROVED, "1146"},
		{"KILL CONNECTION_ID()", OUTCOME_TRANSIENT, "1927"},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++)
	{
		char policy[128];
		Job *job;

		(void) snprintf(policy, sizeof(policy), "{\"verify_query\":\"%s\"}", cases[i].query);
		job = job_of(&(Order){.user = "plain", .policy = policy});
		assert_outcome(login_of(job, "plain-password"), cases[i].class, cases[i].code);
		job_free(job);
	}
}

/* Logs in to host by TLS. */
static Outcome
tls(const char *host, const char *mode, const char *ca)
{
	char target[512];
	Job *job;
	Outcome outcome;

	(void) snprintf(target, sizeof(target),
					",\"sslmode\":\"%s\",\"options\":{\"sslrootcert\":\"%s\"}", mode, ca);
	job = job_of(&(Order){.user = "secure", .host = host, .target = target});
	outcome = login_of(job, "secure-password");
	job_free(job);
	return outcome;
}

TEST(certificates_are_verified_and_never_is_a_weaker_mode_tried)
{
	const char *ca = peer_value(&peer, "ca");
	const char *other = peer_value(&peer, "other_ca");

	assert_outcome(tls("localhost", "verify-full", ca), OUTCOME_OK, "");
	assert_outcome(tls("127.0.0.1", "require", ""), OUTCOME_OK, "");
	/* the certificate is localhost's */
	assert_outcome(tls("127.0.0.1", "verify-full", ca), OUTCOME_TRANSIENT, "2026");
	assert_outcome(tls("localhost", "verify-full", other), OUTCOME_TRANSIENT, "2026");
	/* the system's authorities do not know ours */
	assert_outcome(tls("localhost", "verify-full", ""), OUTCOME_TRANSIENT, "2026");
	assert_outcome(tls("localhost", "prefer", ca), OUTCOME_INCONCLUSIVE, "");
	assert_outcome(tls("localhost", "verify-ca", ca), OUTCOME_INCONCLUSIVE, "");
	/* the account wants TLS, and there is none */
	assert_outcome(tls("127.0.0.1", "disable", ""), OUTCOME_REFUSED, "1045");
}

/* A server that greets, and ends each connection at its first message; without TLS it lets everybody in first. */
typedef struct Dropper
{
	int listener;
	bool has_tls;
} Dropper;

static void *
greet_and_drop(void *arg)
{
	const Dropper *dropper = arg;
	int client;

	while ((client = accept(dropper->listener, NULL, NULL)) >= 0)
	{
		/* the protocol, the version, the connection, a salt, what it can do, and its plugin */
		char packet[] = "\x4a\0\0\0\x0a"
						"8.0.0\0"
						"\1\0\0\0"
						"saltsalt\0"
						"\x01\x82"
						"\x2d"
						"\2\0"
						"\x08\0"
						"\x15"
						"\0\0\0\0\0\0\0\0\0\0"
						"saltsaltsalt\0"
						"mysql_native_password";
		char message[64];

		packet[0] = (char) (sizeof(packet) - 4);
		if (dropper->has_tls)
			packet[25] |= 0x08; /* CLIENT_SSL */
		(void) !write(client, packet, sizeof(packet));
		(void) !read(client, message, sizeof(message));
		if (!dropper->has_tls)
			(void) !write(client, "\7\0\0\2\0\0\0\2\0\0\0", 11);
		(void) close(client);
	}
	return NULL;
}

TEST(a_handshake_that_breaks_may_pass_and_a_server_without_tls_does_not)
{
	static const struct
	{
		const char *mode;
		bool has_tls;
		OutcomeClass of_set, of_login;
		const char *code;
	} cases[] = {
		{"require", true, OUTCOME_TRANSIENT, OUTCOME_TRANSIENT, "2026"},
		{"verify-full", true, OUTCOME_TRANSIENT, OUTCOME_TRANSIENT, "2026"},
		{"require", false, OUTCOME_PERMANENT, OUTCOME_INCONCLUSIVE, ""},
		{"verify-full", false, OUTCOME_PERMANENT, OUTCOME_INCONCLUSIVE, ""},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++)
	{
		Dropper dropper = {.has_tls = cases[i].has_tls};
		int port = silent_port(&dropper.listener);
		char target[64];
		pthread_t thread;
		Job *job;

		(void) snprintf(target, sizeof(target), ",\"sslmode\":\"%s\"", cases[i].mode);
		job = job_of(&(Order){.user = "app", .port = port, .target = target});
		assert_int_equal(pthread_create(&thread, NULL, greet_and_drop, &dropper), 0);
		assert_outcome(set_by_admin(job), cases[i].of_set, cases[i].code);
		assert_outcome(login_of(job, MARK), cases[i].of_login, cases[i].code);
		(void) shutdown(dropper.listener, SHUT_RDWR);
		assert_int_equal(pthread_join(thread, NULL), 0);
		(void) close(dropper.listener);
		job_free(job);
	}
}

TEST(a_server_that_cannot_be_reached_or_says_nothing_changes_nothing)
{
	int listener;
	int port = silent_port(&listener);
	Job *job = job_of(&(Order){.user = "app", .port = port});
	JobValue admin = value_of("admin", "admin-password");

	assert_outcome(target_mysql.set(job, &job->version, &admin, deadline_in(100)),
				   OUTCOME_TRANSIENT, "2002");
	assert_outcome(target_mysql.login(job, &job->version, true, deadline_in(100)),
				   OUTCOME_TRANSIENT, "2002");
	job->lease_end = deadline_in(100);
	assert_outcome(set_by_admin(job), OUTCOME_TRANSIENT, "2002");
	job->lease_end = deadline_in(60000);
	(void) close(listener);
	assert_outcome(set_by_admin(job), OUTCOME_TRANSIENT, "2002");
	assert_outcome(login_of(job, MARK), OUTCOME_TRANSIENT, "2002");
	job_free(job);
}

/* Sets app's passwords by way of a relay, which stops where the change comes. */
static Outcome
set_through(Relay *relay, const char *password, Deadline deadline)
{
	Job *job = job_of(&(Order){.user = "app", .password = password, .port = relay_port(relay)});
	JobValue admin = value_of("admin", "admin-password");
	Outcome outcome = target_mysql.set(job, &job->version, &admin, deadline);

	job_free(job);
	return outcome;
}

static Relay *
relay_to_peer(RelayAct act, const char *mark)
{
	return relay_start(atoi(peer_value(&peer, "port")), act, mark, NULL, NULL);
}

TEST(a_connection_that_breaks_before_the_change_is_sent_changed_nothing)
{
	Relay *relay = relay_to_peer(RELAY_DROP, "FROM mysql.user");

	assert_outcome(set_through(relay, MARK "-1", deadline_in(20000)), OUTCOME_TRANSIENT, "2013");
	relay_stop(relay);
}

TEST(a_change_that_is_lost_on_its_way_is_unknown_and_did_not_happen)
{
	Relay *relay = relay_to_peer(RELAY_DROP, "SET PASSWORD");
	char *before = stored("app", "%");
	char *after;

	assert_outcome(set_through(relay, MARK "-2", deadline_in(20000)), OUTCOME_UNKNOWN, "2013");
	relay_stop(relay);
	after = stored("app", "%");
	assert_string_equal(before, after);
	free(before);
	free(after);
}

TEST(a_change_whose_answer_is_lost_is_unknown_and_did_happen)
{
	Relay *relay = relay_to_peer(RELAY_MUTE, "SET PASSWORD");
	Job *job = job_of(&(Order){.user = "app"});

	assert_outcome(set_through(relay, MARK "-3", deadline_in(20000)), OUTCOME_UNKNOWN, "2013");
	(void) relay_release(relay);
	relay_stop(relay);
	assert_outcome(login_of(job, MARK "-3"), OUTCOME_OK, "");
	job_free(job);
}

TEST(a_change_that_arrives_after_the_lease_is_refused_by_the_server)
{
	Relay *relay = relay_to_peer(RELAY_HOLD, "SET PASSWORD");
	char *before = stored("app", "%");
	char *after;
	Outcome outcome = {.class = OUTCOME_TRANSIENT};

	/* On a busy machine the time may be over before the change is even sent: then with more of it. */
	for (int64_t ms = 400; outcome.class == OUTCOME_TRANSIENT && ms < 100000; ms *= 4)
		outcome = set_through(relay, MARK "-4", deadline_in(ms));
	assert_outcome(outcome, OUTCOME_UNKNOWN, "2013");
	assert_non_null(strstr(relay_release(relay), "'late'"));
	relay_stop(relay);
	after = stored("app", "%");
	assert_string_equal(before, after);
	free(before);
	free(after);
}

/* While somebody has what the change needs, until it is given up. */
static void
set_behind_lock(const char *lock, const char *unlock, const char *code)
{
	Job *job = job_of(&(Order){.user = "plain", .password = MARK "-lock"});
	JobValue admin = value_of("admin", "admin-password");
	char *before = stored("plain", "%");
	char *after;
	Outcome outcome;

	/* On a busy machine we may give up before we hear that the server has: then with more time. */
	for (int64_t ms = 4000;; ms *= 2)
	{
		run(witness, lock);
		outcome = target_mysql.set(job, &job->version, &admin, deadline_in(ms));
		run(witness, unlock);
		if (strcmp(outcome.code, code) == 0 || ms > 60000)
			break;
	}
	/* The server has given up, so nothing comes of it later. */
	assert_outcome(outcome, OUTCOME_UNKNOWN, code);
	(void) poll(NULL, 0, 300);
	after = stored("plain", "%");
	assert_string_equal(before, after);
	free(before);
	free(after);
	job_free(job);
}

TEST(a_change_waits_for_no_lock_beyond_the_lease)
{
	set_behind_lock("FLUSH TABLES WITH READ LOCK", "UNLOCK TABLES", "1969");
	set_behind_lock("LOCK TABLES mysql.global_priv READ", "UNLOCK TABLES", "1969");
}

/* MariaDB has changed the account by then. */
TEST(a_change_that_fails_behind_its_table_is_unknown)
{
	Job *job = job_of(&(Order){.user = "plain", .password = MARK "-stage"});
	Job *back = job_of(&(Order){.user = "plain", .password = "plain-password"});
	JobValue admin = value_of("admin", "admin-password");
	Outcome outcome;

	run(witness, "BACKUP STAGE START");
	run(witness, "BACKUP STAGE BLOCK_COMMIT");
	outcome = target_mysql.set(job, &job->version, &admin, deadline_in(4000));
	run(witness, "BACKUP STAGE END");
	assert_int_equal(outcome.class, OUTCOME_UNKNOWN);
	assert_outcome(login_of(job, MARK "-stage"), OUTCOME_OK, "");
	assert_outcome(set_by_admin(back), OUTCOME_OK, "");
	job_free(back);
	job_free(job);
}

TEST(what_a_server_says_of_a_change_tells_whether_it_can_have_been_made)
{
	static const struct
	{
		int number;
		OutcomeClass class;
	} cases[] = {{1026, OUTCOME_UNKNOWN},	{1598, OUTCOME_UNKNOWN},   {1180, OUTCOME_UNKNOWN},
				 {1021, OUTCOME_UNKNOWN},	{1205, OUTCOME_UNKNOWN},   {1317, OUTCOME_UNKNOWN},
				 {1105, OUTCOME_UNKNOWN},	{1231, OUTCOME_UNKNOWN},   {1227, OUTCOME_PERMANENT},
				 {1396, OUTCOME_PERMANENT}, {1699, OUTCOME_PERMANENT}, {1836, OUTCOME_TRANSIENT}};
	static const char change[] = "SET PASSWORD FOR 'we\\\"ird \\'r\\\\ole %s `x`'@'%' = '";

	for (size_t i = 0; i < COUNT_OF(cases); i++)
	{
		char instead[sizeof(change)];
		char code[16];
		Relay *relay;
		Job *job;

		/* What is behind it is a comment. */
		(void) snprintf(instead, sizeof(instead), "SIGNAL SQLSTATE'HY000'SET MYSQL_ERRNO=%d%*s#",
						cases[i].number, (int) sizeof(change) - 44, "");
		assert_int_equal(strlen(instead), strlen(change));
		(void) snprintf(code, sizeof(code), "%d", cases[i].number);
		relay = relay_start(atoi(peer_value(&peer, "port")), RELAY_ALL, NULL, change, instead);
		job = job_of(&(Order){.user = WEIRD, .password = MARK "-said", .port = relay_port(relay)});
		assert_outcome(set_by_admin(job), cases[i].class, code);
		relay_stop(relay);
		job_free(job);
	}
}

TEST(a_statement_ends_by_its_deadline)
{
	JobValue value = value_of("plain", "plain-password");
	MyServer server = {.host = "127.0.0.1",
					   .port = (unsigned) atoi(peer_value(&peer, "port")),
					   .user = "plain",
					   .password = &value.password};
	MyError err;
	MyClient *client = my_connect(&server, deadline_in(20000), &err);

	assert_non_null(client);
	assert_int_equal(my_exec(client, "SELECT SLEEP(600)", deadline_in(100), NULL, &err), MY_LOST);
	my_close(client);
}

TEST(sessions_of_the_account_are_ended_and_those_of_others_stay)
{
	Job *job = job_of(&(Order){.user = "curve"});
	JobValue value = value_of("curve", MARK);
	JobValue by = value_of("admin", "admin-password");
	MyServer server = {.host = "127.0.0.1",
					   .port = (unsigned) atoi(peer_value(&peer, "port")),
					   .user = "curve",
					   .password = &value.password};
	MyError err;
	MyClient *session;
	Outcome outcome;

	assert_outcome(set_by_admin(job), OUTCOME_OK, "");
	session = my_connect(&server, deadline_in(20000), &err);
	assert_non_null(session);
	outcome = target_mysql.end_sessions(job, &by, deadline_in(20000));
	assert_outcome(outcome, OUTCOME_OK, "");
	assert_string_equal(outcome.message, "1 sessions ended");
	assert_int_equal(my_exec(session, "SELECT 1", deadline_in(20000), NULL, &err), MY_LOST);
	run(witness, "SELECT 1");
	my_close(session);
	job_free(job);
}

TEST(check_says_what_it_found_or_what_is_missing)
{
	Job *job = job_of(&(Order){.user = "app"});
	JobValue admin = value_of("admin", "admin-password");
	JobValue plain = value_of("plain", "plain-password");
	Outcome outcome = target_mysql.check(job, &admin, deadline_in(20000));

	assert_outcome(outcome, OUTCOME_OK, "");
	assert_non_null(strstr(outcome.message, "MariaDB"));
	assert_non_null(strstr(outcome.message, "3 accounts"));
	assert_outcome(target_mysql.check(job, &plain, deadline_in(20000)), OUTCOME_PERMANENT, "1142");
	job_free(job);
}

TEST(an_administrator_that_may_keeps_the_hash_out_of_the_log)
{
	Job *job = job_of(&(Order){.user = "app", .password = MARK "-quiet"});
	char *hash;
	char *log;

	assert_outcome(set_as(job, "chief", "chief-password"), OUTCOME_OK, "");
	hash = stored("app", "%");
	log = read_whole_file(peer_value(&peer, "log"));
	assert_null(strstr(log, hash));
	free(log);
	free(hash);
	job_free(job);
}

/* Runs last. */
TEST(nothing_that_was_set_here_is_in_the_servers_log)
{
	char *log = read_whole_file(peer_value(&peer, "log"));

	/* the log does have the statements of those who may not silence it */
	assert_non_null(strstr(log, "SET PASSWORD FOR CURRENT_USER() = '*"));
	assert_null(strstr(log, MARK));
	free(log);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_administrator_sets_the_password_of_all_accounts_of_the_name),
		cmocka_unit_test(an_account_that_the_option_host_names_is_changed_alone),
		cmocka_unit_test(an_account_with_ed25519_keeps_its_plugin),
		cmocka_unit_test(an_account_sets_its_own_password),
		cmocka_unit_test(
			a_name_with_quotes_backslashes_and_percent_signs_is_that_account_and_no_other),
		cmocka_unit_test(a_server_whose_mode_has_no_backslash_escapes_gets_the_same_name),
		cmocka_unit_test(a_password_of_all_printable_characters_survives),
		cmocka_unit_test(what_cannot_be_done_is_refused_for_good_and_changes_nothing),
		cmocka_unit_test(
			a_library_that_fails_may_work_again_and_a_plugin_that_is_not_known_does_not),
		cmocka_unit_test(
			as_many_accounts_as_there_is_room_for_are_changed_and_one_more_is_refused_for_good),
		cmocka_unit_test(two_passwords_at_once_are_refused_where_the_engine_has_one),
		cmocka_unit_test(a_credential_that_is_refused_changes_nothing_and_may_be_newer_next_time),
		cmocka_unit_test(a_connection_that_is_denied_as_a_change_would_be_changes_nothing),
		cmocka_unit_test(a_server_that_is_read_only_is_tried_again),
		cmocka_unit_test(what_bars_a_login_behind_the_password_proves_the_password),
		cmocka_unit_test(a_database_that_is_not_there_proves_the_password),
		cmocka_unit_test(another_accounts_password_proves_nothing),
		cmocka_unit_test(the_verification_query_reads_only_and_says_whether_the_account_can_work),
		cmocka_unit_test(certificates_are_verified_and_never_is_a_weaker_mode_tried),
		cmocka_unit_test(a_handshake_that_breaks_may_pass_and_a_server_without_tls_does_not),
		cmocka_unit_test(a_server_that_cannot_be_reached_or_says_nothing_changes_nothing),
		cmocka_unit_test(a_connection_that_breaks_before_the_change_is_sent_changed_nothing),
		cmocka_unit_test(a_change_that_is_lost_on_its_way_is_unknown_and_did_not_happen),
		cmocka_unit_test(a_change_whose_answer_is_lost_is_unknown_and_did_happen),
		cmocka_unit_test(a_change_that_arrives_after_the_lease_is_refused_by_the_server),
		cmocka_unit_test(a_change_waits_for_no_lock_beyond_the_lease),
		cmocka_unit_test(a_change_that_fails_behind_its_table_is_unknown),
		cmocka_unit_test(what_a_server_says_of_a_change_tells_whether_it_can_have_been_made),
		cmocka_unit_test(a_statement_ends_by_its_deadline),
		cmocka_unit_test(sessions_of_the_account_are_ended_and_those_of_others_stay),
		cmocka_unit_test(check_says_what_it_found_or_what_is_missing),
		cmocka_unit_test(an_administrator_that_may_keeps_the_hash_out_of_the_log),
		cmocka_unit_test(nothing_that_was_set_here_is_in_the_servers_log),
	};

	return cmocka_run_group_tests(tests, start_mariadb, stop_mysql_peer);
}

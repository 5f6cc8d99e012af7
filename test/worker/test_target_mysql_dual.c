/*
 * test_target_mysql_dual.c
 *		Tests of worker/target_mysql.c against a MySQL of their own, where there is one: what MariaDB
 *		has not, such as caching_sha2_password and two passwords at once.
 */
#include "support.h"

#include <poll.h>
#include <stdlib.h>

#include "mysql_support.h"

#define DUAL "{\"strategy\":\"dual_write\"}"

/* A test that needs the server: without one it is skipped, by name. */
#define MYSQL_TEST(name)               \
	static void name##_there(void);    \
	TEST(name)                         \
	{                                  \
		if (peer_has(&peer, "absent")) \
			skip();                    \
		name##_there();                \
	}                                  \
	static void name##_there(void)

static int
start_mysql(void **state __attribute__((unused)))
{
	if (!start_mysql_peer("mysql"))
		return -1;
	if (peer_has(&peer, "absent"))
		print_message("# skipped: %s\n", peer_value(&peer, "absent"));
	return 0;
}

MYSQL_TEST(an_administrator_sets_the_password_of_all_accounts_of_the_name)
{
	Job *job = job_of(&(Order){.user = "app"});
	char *first;
	char *second;

	assert_outcome(set_by_admin(job), OUTCOME_OK, "");
	assert_outcome(login_of(job, MARK), OUTCOME_OK, "");
	assert_outcome(login_of(job, "app-password"), OUTCOME_REFUSED, "1045");
	first = stored("app", "%");
	second = stored("app", "127.0.0.1");
	assert_memory_equal(first, "$A$005$", 7);
	assert_memory_equal(second, "$A$005$", 7);
	assert_string_not_equal(first, second); /* each has a salt of its own */
	free(first);
	free(second);
	job_free(job);
}

MYSQL_TEST(a_login_by_tls_is_verified)
{
	char target[512];
	Job *job;

	(void) snprintf(target, sizeof(target),
					",\"sslmode\":\"verify-full\",\"options\":{\"sslrootcert\":\"%s\"}",
					peer_value(&peer, "ca"));
	job = job_of(&(Order){.user = "plain", .host = "localhost", .target = target});
	assert_outcome(login_of(job, "plain-password"), OUTCOME_OK, "");
	assert_outcome(login_of(job, "wrong"), OUTCOME_REFUSED, "1045");
	job_free(job);
}

MYSQL_TEST(a_name_with_quotes_backslashes_and_percent_signs_is_that_account_and_no_other)
{
	Job *job = job_of(&(Order){.user = WEIRD});

	assert_outcome(set_by_admin(job), OUTCOME_OK, "");
	assert_outcome(login_of(job, MARK), OUTCOME_OK, "");
	job_free(job);
}

MYSQL_TEST(a_password_of_all_printable_characters_survives)
{
	char every[128] = MARK;
	char json[256];
	size_t used = strlen(every);
	Job *job;

	for (int c = ' '; c <= '~'; c++)
		every[used++] = (char) c;
	every[used] = '\0';
	(void) snprintf(json, sizeof(json), "%s", json_text(every));
	job = job_of(&(Order){.user = "app", .password = json});
	assert_outcome(set_by_admin(job), OUTCOME_OK, "");
	assert_outcome(login_of(job, every), OUTCOME_OK, "");
	job_free(job);
}

MYSQL_TEST(with_dual_write_both_passwords_log_in_until_the_next_change)
{
	Job *first = job_of(&(Order){.user = "dual", .password = MARK "-1", .policy = DUAL});
	Job *second = job_of(&(Order){.user = "dual", .password = MARK "-2", .policy = DUAL});

	assert_outcome(set_by_admin(first), OUTCOME_OK, "");
	assert_outcome(login_of(first, "dual-password"), OUTCOME_OK, "");
	assert_outcome(login_of(first, MARK "-1"), OUTCOME_OK, "");
	assert_outcome(set_by_admin(second), OUTCOME_OK, "");
	assert_outcome(login_of(first, "dual-password"), OUTCOME_REFUSED, "1045");
	assert_outcome(login_of(first, MARK "-1"), OUTCOME_OK, "");
	assert_outcome(login_of(first, MARK "-2"), OUTCOME_OK, "");
	job_free(first);
	job_free(second);
}

/* A roll-back: the second password becomes the first again, and nobody knows whether it did already. */
MYSQL_TEST(a_change_that_is_sent_again_keeps_the_password_that_the_first_has_kept)
{
	Job *one = job_of(&(Order){.user = "dual", .password = MARK "-5", .policy = DUAL});
	Job *two = job_of(&(Order){.user = "dual", .password = MARK "-6", .policy = DUAL});
	Job *back =
		job_of(&(Order){.user = "dual", .password = MARK "-5", .policy = DUAL, .look = true});
	JobValue admin = value_of("admin", "admin-password");

	assert_outcome(set_by_admin(one), OUTCOME_OK, "");
	assert_outcome(set_by_admin(two), OUTCOME_OK, "");
	/* the first time it was not done, the other times it was */
	for (int i = 0; i < 3; i++)
	{
		assert_outcome(set_by_admin(back), OUTCOME_OK, "");
		assert_outcome(login_of(back, MARK "-5"), OUTCOME_OK, "");
		assert_outcome(login_of(back, MARK "-6"), OUTCOME_OK, "");
	}
	/* which of the two is the first one? */
	assert_outcome(target_mysql.retire(back, &admin, deadline_in(20000)), OUTCOME_OK, "");
	assert_outcome(login_of(back, MARK "-5"), OUTCOME_OK, "");
	assert_outcome(login_of(back, MARK "-6"), OUTCOME_REFUSED, "1045");
	job_free(back);
	job_free(two);
	job_free(one);
}

MYSQL_TEST(when_the_grace_period_is_over_the_former_password_is_discarded)
{
	Job *job = job_of(&(Order){.user = "dual", .password = MARK "-4", .policy = DUAL});
	JobValue admin = value_of("admin", "admin-password");

	assert_outcome(set_by_admin(job), OUTCOME_OK, "");
	assert_outcome(login_of(job, MARK "-5"), OUTCOME_OK, "");
	/* once more it changes nothing */
	for (int i = 0; i < 2; i++)
		assert_outcome(target_mysql.retire(job, &admin, deadline_in(20000)), OUTCOME_OK, "");
	assert_outcome(login_of(job, MARK "-5"), OUTCOME_REFUSED, "1045");
	assert_outcome(login_of(job, MARK "-4"), OUTCOME_OK, "");
	job_free(job);
}

MYSQL_TEST(in_an_emergency_no_former_password_stays)
{
	Job *job =
		job_of(&(Order){.user = "dual", .password = MARK "-3", .policy = DUAL, .emergency = true});

	assert_outcome(set_by_admin(job), OUTCOME_OK, "");
	assert_outcome(login_of(job, "dual-password"), OUTCOME_REFUSED, "1045");
	assert_outcome(login_of(job, MARK "-1"), OUTCOME_REFUSED, "1045");
	assert_outcome(login_of(job, MARK "-2"), OUTCOME_REFUSED, "1045");
	assert_outcome(login_of(job, MARK "-3"), OUTCOME_OK, "");
	job_free(job);
}

MYSQL_TEST(an_account_cannot_set_its_own_password_without_showing_it)
{
	Job *job = job_of(&(Order){.user = "own"});
	Outcome outcome = set_as(job, "own", "own-password");

	assert_outcome(outcome, OUTCOME_PERMANENT, "1227");
	assert_non_null(strstr(outcome.message, "administrator"));
	assert_outcome(login_of(job, "own-password"), OUTCOME_OK, "");
	job_free(job);
}

MYSQL_TEST(what_bars_a_login_behind_the_password_proves_the_password)
{
	static const struct
	{
		const char *user;
		const char *password;
		const char *policy;
		const char *code;
	} cases[] = {
		{"locked", "locked-password", "{}", "3118"},
		{"outdated", "outdated-password", "{}", "1862"},
		{"plain", "plain-password", "{\"verify_database\":\"barred\"}", "1044"},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++)
	{
		Job *job = job_of(&(Order){.user = cases[i].user, .policy = cases[i].policy});

		assert_outcome(login_of(job, cases[i].password), OUTCOME_PROVED, cases[i].code);
		assert_outcome(login_of(job, "wrong"), OUTCOME_REFUSED, "1045");
		job_free(job);
	}
}

MYSQL_TEST(the_verification_query_reads_only)
{
	static const struct
	{
		const char *query;
		OutcomeClass class;
		const char *code;
	} cases[] = {
		{"SELECT 1", OUTCOME_OK, ""},
		{"INSERT INTO shop.seen VALUES (1)", OUTCOME_PROVED, "1792"},
		{"CREATE TABLE shop.made (n int)", OUTCOME_PROVED, "1792"},
		{"SELECT 1; SELECT 2", OUTCOME_PROVED, "1064"},
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

MYSQL_TEST(a_change_whose_answer_is_lost_is_unknown_and_did_happen)
{
	Relay *relay =
		relay_start(atoi(peer_value(&peer, "port")), RELAY_MUTE, "ALTER USER", NULL, NULL);
	Job *job = job_of(&(Order){.user = "app", .password = MARK "-4", .port = relay_port(relay)});
	Job *direct = job_of(&(Order){.user = "app"});

	assert_outcome(set_by_admin(job), OUTCOME_UNKNOWN, "2013");
	(void) relay_release(relay);
	relay_stop(relay);
	assert_outcome(login_of(direct, MARK "-4"), OUTCOME_OK, "");
	job_free(job);
	job_free(direct);
}

MYSQL_TEST(a_change_that_arrives_after_the_lease_is_refused_by_the_server)
{
	Relay *relay =
		relay_start(atoi(peer_value(&peer, "port")), RELAY_HOLD, "ALTER USER", NULL, NULL);
	Job *job = job_of(&(Order){.user = "app", .password = MARK "-5", .port = relay_port(relay)});
	JobValue admin = value_of("admin", "admin-password");
	char *before = stored("app", "%");
	char *after;
	Outcome outcome = {.class = OUTCOME_TRANSIENT};

	/* On a busy machine the time may be over before the change is even sent: then with more of it. */
	for (int64_t ms = 400; outcome.class == OUTCOME_TRANSIENT && ms < 100000; ms *= 4)
		outcome = target_mysql.set(job, &job->version, &admin, deadline_in(ms));
	assert_outcome(outcome, OUTCOME_UNKNOWN, "2013");
	assert_non_null(strstr(relay_release(relay), "'late'"));
	relay_stop(relay);
	after = stored("app", "%");
	assert_string_equal(before, after);
	free(before);
	free(after);
	job_free(job);
}

MYSQL_TEST(a_change_waits_for_no_lock_beyond_the_lease)
{
	static const char *const locks[][2] = {
		{"LOCK INSTANCE FOR BACKUP", "UNLOCK INSTANCE"},
		{"FLUSH TABLES WITH READ LOCK", "UNLOCK TABLES"},
		{"LOCK TABLES mysql.user READ", "UNLOCK TABLES"},
	};
	Job *job = job_of(&(Order){.user = "app", .password = MARK "-lock"});
	JobValue admin = value_of("admin", "admin-password");

	for (size_t i = 0; i < COUNT_OF(locks); i++)
	{
		char *before = stored("app", "%");
		char *after;
		Outcome outcome;

		/* On a busy machine we may give up before we hear that the server has: then with more time. */
		for (int64_t ms = 4000;; ms *= 2)
		{
			run(witness, locks[i][0]);
			outcome = target_mysql.set(job, &job->version, &admin, deadline_in(ms));
			run(witness, locks[i][1]);
			if (strcmp(outcome.code, "1205") == 0 || ms > 60000)
				break;
		}
		(void) poll(NULL, 0, 300);
		after = stored("app", "%");
		/* Nothing comes of it later. */
		assert_outcome(outcome, OUTCOME_TRANSIENT, "1205");
		assert_true(outcome.peer_answered);
		assert_string_equal(before, after);
		free(before);
		free(after);
	}
	job_free(job);
}

MYSQL_TEST(sessions_are_ended_and_check_says_what_it_found)
{
	Job *job = job_of(&(Order){.user = "app"});
	JobValue admin = value_of("admin", "admin-password");
	Outcome outcome = target_mysql.check(job, &admin, deadline_in(20000));

	assert_outcome(outcome, OUTCOME_OK, "");
	assert_non_null(strstr(outcome.message, "MySQL"));
	assert_non_null(strstr(outcome.message, "2 accounts"));
	outcome = target_mysql.end_sessions(job, &admin, deadline_in(20000));
	assert_outcome(outcome, OUTCOME_OK, "");
	assert_string_equal(outcome.message, "0 sessions ended");
	job_free(job);
}

/* Runs last. */
MYSQL_TEST(nothing_that_was_set_here_is_in_the_servers_log)
{
	char *log = read_whole_file(peer_value(&peer, "log"));

	assert_non_null(strstr(log, "ALTER USER"));
	assert_null(strstr(log, MARK));
	free(log);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_administrator_sets_the_password_of_all_accounts_of_the_name),
		cmocka_unit_test(a_login_by_tls_is_verified),
		cmocka_unit_test(
			a_name_with_quotes_backslashes_and_percent_signs_is_that_account_and_no_other),
		cmocka_unit_test(a_password_of_all_printable_characters_survives),
		cmocka_unit_test(with_dual_write_both_passwords_log_in_until_the_next_change),
		cmocka_unit_test(a_change_that_is_sent_again_keeps_the_password_that_the_first_has_kept),
		cmocka_unit_test(when_the_grace_period_is_over_the_former_password_is_discarded),
		cmocka_unit_test(in_an_emergency_no_former_password_stays),
		cmocka_unit_test(an_account_cannot_set_its_own_password_without_showing_it),
		cmocka_unit_test(what_bars_a_login_behind_the_password_proves_the_password),
		cmocka_unit_test(the_verification_query_reads_only),
		cmocka_unit_test(a_change_whose_answer_is_lost_is_unknown_and_did_happen),
		cmocka_unit_test(a_change_that_arrives_after_the_lease_is_refused_by_the_server),
		cmocka_unit_test(a_change_waits_for_no_lock_beyond_the_lease),
		cmocka_unit_test(sessions_are_ended_and_check_says_what_it_found),
		cmocka_unit_test(nothing_that_was_set_here_is_in_the_servers_log),
	};

	return cmocka_run_group_tests(tests, start_mysql, stop_mysql_peer);
}

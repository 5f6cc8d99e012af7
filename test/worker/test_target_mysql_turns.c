/*
 * test_target_mysql_turns.c
 *		Tests of worker/target_mysql.c: two accounts that are used in turn, against a MariaDB of their own, and
 *		a MySQL where there is one.
 */
#include "support.h"

#include <stdlib.h>

#include "mysql_support.h"

#define PAIR(locked) "{\"name\":\"p\",\"owner\":\"ow'ner\",\"locked\":" locked "}"
#define MEMBER		 "mem\"ber's"
#define MEMBER_SQL	 "'mem\"ber''s'"

/* Without the server it is skipped, by name. */
#define TURN_TEST(name)                \
	static void name##_there(void);    \
	TEST(name)                         \
	{                                  \
		if (peer_has(&peer, "absent")) \
			skip();                    \
		name##_there();                \
	}                                  \
	static void name##_there(void)

static int
start(const char *name)
{
	if (!start_mysql_peer(name))
		return -1;
	if (peer_has(&peer, "absent"))
		return 0;
	run(witness, "CREATE ROLE 'ow''ner'");
	run(witness, "GRANT 'ow''ner' TO 'admin'@'%' WITH ADMIN OPTION");
	run(witness, "GRANT SELECT, INSERT, CREATE ON shop.* TO 'ow''ner'");
	return 0;
}

static int
start_mariadb(void **state __attribute__((unused)))
{
	return start("mariadb");
}

static int
start_mysql(void **state __attribute__((unused)))
{
	return start("mysql");
}

static Job *
turn(const char *password, const char *pair, const char *options)
{
	return job_of(&(Order){.user = MEMBER, .password = password, .pair = pair, .options = options});
}

static Outcome
retire(const Job *job)
{
	JobValue admin = value_of("admin", "admin-password");

	return target_mysql.retire(job, &admin, deadline_in(20000));
}

/* How many rows the query has. */
static int
rows(const char *sql)
{
	MyAnswer *answer;
	MyError err;
	const char *const *row;
	unsigned columns;
	int count = 0;

	if (my_exec(witness, sql, deadline_in(20000), &answer, &err) != MY_DONE)
		fail_msg("%s", err.message);
	while (my_next(answer, &row, &columns))
		count++;
	my_answer_free(answer);
	return count;
}

static int
locked_accounts(void)
{
	return rows(my_is_mariadb(witness) ? "SELECT 1 FROM mysql.global_priv WHERE User = " MEMBER_SQL
										 " AND JSON_VALUE(Priv, '$.account_locked') = 1"
									   : "SELECT 1 FROM mysql.user WHERE User = " MEMBER_SQL
										 " AND account_locked = 'Y'");
}

/* What a login as a locked account says once its password was found right. */
static const char *
locked_code(void)
{
	return my_is_mariadb(witness) ? "4151" : "3118";
}

TURN_TEST(an_account_that_is_missing_is_made_and_has_its_owners_grants_from_its_login_on)
{
	Job *job = job_of(&(Order){.user = MEMBER,
							   .pair = PAIR("true"),
							   .policy = "{\"verify_database\":\"shop\","
										 "\"verify_query\":\"SELECT n FROM seen\"}"});
	JobValue value = value_of(MEMBER, MARK);

	assert_outcome(set_by_admin(job), OUTCOME_OK, "");
	assert_outcome(target_mysql.login(job, &value, true, deadline_in(20000)), OUTCOME_OK, "");
	assert_int_equal(rows("SELECT 1 FROM mysql.user WHERE User = " MEMBER_SQL " AND Host = '%'"),
					 1);
	assert_int_equal(locked_accounts(), 0);
	job_free(job);
}

TURN_TEST(the_account_that_rests_is_locked_and_a_new_password_unlocks_it)
{
	Job *job = turn(MARK "-2", PAIR("false"), NULL);

	assert_outcome(retire(job), OUTCOME_OK, "");
	assert_int_equal(locked_accounts(), 1);
	assert_outcome(retire(job), OUTCOME_OK, "");
	/* the password is right, and of no use */
	assert_outcome(login_of(job, MARK), OUTCOME_INCONCLUSIVE, locked_code());
	assert_outcome(set_by_admin(job), OUTCOME_OK, "");
	assert_outcome(login_of(job, MARK "-2"), OUTCOME_OK, "");
	job_free(job);
}

TURN_TEST(a_former_password_comes_back_with_the_lock_that_it_was_under)
{
	Job *job = turn(MARK "-3", PAIR("true"), NULL);
	Job *back = job_of(&(Order){.user = MEMBER, .pair = PAIR("true"), .step = "undo"});
	JobValue admin = value_of("admin", "admin-password");
	JobValue former = value_of(MEMBER, MARK "-2");

	memset(former.id, '2', sizeof(former.id) - 1);
	assert_outcome(set_by_admin(job), OUTCOME_OK, "");
	assert_outcome(target_mysql.set(back, &former, &admin, deadline_in(20000)), OUTCOME_OK, "");
	assert_int_equal(locked_accounts(), 1);
	assert_outcome(login_of(job, MARK "-2"), OUTCOME_INCONCLUSIVE, locked_code());
	job_free(back);
	job_free(job);
}

TURN_TEST(a_former_password_comes_back_without_the_owner_but_not_without_the_account)
{
	Job *back = job_of(&(Order){.user = MEMBER,
								.pair = "{\"name\":\"p\",\"owner\":\"nobody\",\"locked\":false}",
								.step = "undo"});

	assert_outcome(set_by_admin(back), OUTCOME_OK, "");
	run(witness, "DROP USER " MEMBER_SQL "@'%'");
	/* nobody logs in as it */
	assert_outcome(retire(back), OUTCOME_OK, "");
	/* what rests is made by its next rotation */
	assert_outcome(set_by_admin(back), OUTCOME_OK, "");
	assert_int_equal(rows("SELECT 1 FROM mysql.user WHERE User = " MEMBER_SQL), 0);
	job_free(back);
}

/* MySQL's administrator here may write in spite of read_only alone. */
static void
set_read_only(bool on)
{
	if (!my_is_mariadb(witness))
		run(witness, on ? "SET GLOBAL super_read_only = 1" : "SET GLOBAL super_read_only = 0");
	run(witness, on ? "SET GLOBAL read_only = 1" : "SET GLOBAL read_only = 0");
}

TURN_TEST(where_a_server_is_read_only_an_account_is_not_made_yet)
{
	Job *job = turn(MARK, PAIR("true"), NULL);

	set_read_only(true);
	assert_outcome(set_by_admin(job), OUTCOME_TRANSIENT, "1290");
	set_read_only(false);
	assert_int_equal(rows("SELECT 1 FROM mysql.user WHERE User = " MEMBER_SQL), 0);
	assert_outcome(set_by_admin(job), OUTCOME_OK, "");
	set_read_only(true);
	assert_outcome(set_by_admin(job), OUTCOME_TRANSIENT, "1290");
	set_read_only(false);
	job_free(job);
}

/* What comes of a login in each step: in those that ask whether the account can be used, and in the others. */
static void
expect_barred(const char *policy, OutcomeClass in_test, OutcomeClass in_retire,
			  OutcomeClass in_others, const char *code)
{
	const struct
	{
		const char *step;
		OutcomeClass class;
	} steps[] = {{"test", in_test}, {"retire", in_retire}, {"set", in_others}, {"undo", in_others}};

	for (size_t i = 0; i < COUNT_OF(steps); i++)
	{
		Job *job = job_of(&(Order){
			.user = MEMBER, .pair = PAIR("true"), .step = steps[i].step, .policy = policy});
		Outcome outcome = login_of(job, MARK);

		assert_outcome(outcome, steps[i].class, code);
		job_free(job);
	}
}

TURN_TEST(a_password_that_is_right_is_not_enough_where_the_account_is_barred)
{
	Job *job = job_of(&(Order){.user = MEMBER, .pair = PAIR("true")});
	MyServer server = {.host = "127.0.0.1",
					   .port = (unsigned) atoi(peer_value(&peer, "port")),
					   .user = MEMBER,
					   .sslmode = "disable"};
	JobValue value = value_of(MEMBER, MARK);
	MyError err;
	MyClient *first;

	assert_outcome(set_by_admin(job), OUTCOME_OK, "");
	expect_barred("{\"verify_database\":\"barred\"}", OUTCOME_INCONCLUSIVE, OUTCOME_INCONCLUSIVE,
				  OUTCOME_PROVED, "1044");
	/* the other account would fare no better */
	run(witness, "GRANT ALL ON missing.* TO " MEMBER_SQL "@'%'");
	expect_barred("{\"verify_database\":\"missing\"}", OUTCOME_PROVED, OUTCOME_PROVED,
				  OUTCOME_PROVED, "1049");
	run(witness, "ALTER USER " MEMBER_SQL "@'%' WITH MAX_USER_CONNECTIONS 1");
	server.password = &value.password;
	first = my_connect(&server, deadline_in(20000), &err);
	assert_non_null(first);
	expect_barred("{}", OUTCOME_TRANSIENT, OUTCOME_PROVED, OUTCOME_PROVED, "1226");
	my_close(first);
	run(witness, "ALTER USER " MEMBER_SQL "@'%' WITH MAX_USER_CONNECTIONS 0");
	run(witness, "ALTER USER " MEMBER_SQL "@'%' PASSWORD EXPIRE");
	expect_barred("{}", OUTCOME_INCONCLUSIVE, OUTCOME_INCONCLUSIVE, OUTCOME_PROVED,
				  my_is_mariadb(witness) ? "1820" : "1862");
	assert_outcome(set_by_admin(job), OUTCOME_OK, "");
	expect_barred("{}", OUTCOME_OK, OUTCOME_OK, OUTCOME_OK, "");
	job_free(job);
}

TURN_TEST(a_verification_query_that_fails_keeps_the_two_in_their_places)
{
	Job *job = job_of(&(Order){.user = MEMBER,
							   .pair = PAIR("true"),
							   .step = "test",
							   .policy = "{\"verify_query\":\"SELECT 1 FROM mysql.user\"}"});

	assert_outcome(login_of(job, MARK), OUTCOME_INCONCLUSIVE, "1142");
	job_free(job);
}

TURN_TEST(it_is_made_for_the_host_that_is_named)
{
	Job *job = turn(MARK, PAIR("true"), "{\"host\":\"127.0.0.1\"}");

	run(witness, "DROP USER " MEMBER_SQL "@'%'");
	assert_outcome(set_by_admin(job), OUTCOME_OK, "");
	assert_outcome(login_of(job, MARK), OUTCOME_OK, "");
	assert_int_equal(
		rows("SELECT 1 FROM mysql.user WHERE User = " MEMBER_SQL " AND Host = '127.0.0.1'"), 1);
	run(witness, "DROP USER " MEMBER_SQL "@'127.0.0.1'");
	job_free(job);
}

TURN_TEST(without_an_owner_or_the_right_to_it_no_account_can_log_in)
{
	Job *nobody = turn(MARK, "{\"name\":\"p\",\"owner\":\"nobody\",\"locked\":true}", NULL);
	Outcome outcome = set_by_admin(nobody);

	assert_int_equal(outcome.class, OUTCOME_PERMANENT);
	assert_true(outcome.message[0] != '\0');
	assert_int_equal(rows("SELECT 1 FROM mysql.user WHERE User = " MEMBER_SQL), locked_accounts());
	job_free(nobody);
}

/* Runs last. */
TURN_TEST(nothing_that_was_set_here_is_in_the_servers_log)
{
	char *log = read_whole_file(peer_value(&peer, "log"));

	assert_non_null(strstr(log, "CREATE USER IF NOT EXISTS"));
	assert_null(strstr(log, MARK));
	free(log);
}

int
main(void)
{
	const struct CMUnitTest on_mariadb[] = {
		cmocka_unit_test(
			an_account_that_is_missing_is_made_and_has_its_owners_grants_from_its_login_on),
		cmocka_unit_test(the_account_that_rests_is_locked_and_a_new_password_unlocks_it),
		cmocka_unit_test(a_former_password_comes_back_with_the_lock_that_it_was_under),
		cmocka_unit_test(
			a_former_password_comes_back_without_the_owner_but_not_without_the_account),
		cmocka_unit_test(where_a_server_is_read_only_an_account_is_not_made_yet),
		cmocka_unit_test(a_password_that_is_right_is_not_enough_where_the_account_is_barred),
		cmocka_unit_test(a_verification_query_that_fails_keeps_the_two_in_their_places),
		cmocka_unit_test(it_is_made_for_the_host_that_is_named),
		cmocka_unit_test(without_an_owner_or_the_right_to_it_no_account_can_log_in),
		cmocka_unit_test(nothing_that_was_set_here_is_in_the_servers_log),
	};
	struct CMUnitTest on_mysql[COUNT_OF(on_mariadb)];
	int failed = cmocka_run_group_tests(on_mariadb, start_mariadb, stop_mysql_peer);

	memcpy(on_mysql, on_mariadb, sizeof(on_mysql));
	return failed + cmocka_run_group_tests(on_mysql, start_mysql, stop_mysql_peer);
}

/*
 * test_target_postgres_turns.c
 *		Tests of worker/target_postgres.c: two roles that are used in turn.
 */
#include "support.h"

#include <stdlib.h>

#include "peer.h"
#include "pg_client.h"
#include "target.h"

#define NEW_ID	  "11111111-1111-4111-8111-111111111111"
#define FORMER_ID "22222222-2222-4222-8222-222222222222"
#define NEW		  "New-that-nobody-may-see"
#define FORMER	  "Former-that-nobody-may-see"

/* The same two names as JSON, SQL identifiers and SQL texts have them. */
#define OWNER_JSON "ow\\\"ner's $1"
#define OWNER_IN_USE \
	OWNER_JSON "\",\"resting\":false,\"note\":\"" /* more of the pair, behind its owner */
#define OWNER		"\"ow\"\"ner's $1\""
#define OWNER_TEXT	"'ow\"ner''s $1'"
#define MEMBER_JSON "member's %s"
#define MEMBER		"\"member's %s\""
#define MEMBER_TEXT "'member''s %s'"

static Peer peer;
static PgClient *witness; /* a superuser, to see what became of it */

static void
run(const char *sql)
{
	PgError err;

	if (pg_exec_script(witness, sql, deadline_in(20000), NULL, &err) != PG_DONE)
		fail_msg("%s", err.message);
}

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
	if (witness == NULL)
		return -1;
	run("CREATE ROLE " OWNER "; GRANT " OWNER " TO admin WITH ADMIN OPTION");
	return 0;
}

static int
stop_peer(void **state __attribute__((unused)))
{
	pg_close(witness);
	peer_stop(&peer);
	return 0;
}

/* One value, compared with what is expected. */
static void
expect(const char *sql, const char *expected)
{
	PgAnswer *answer;
	PgError err;
	const char *value;

	if (pg_exec(witness, sql, 0, NULL, deadline_in(20000), &answer, &err) != PG_DONE)
		fail_msg("%s", err.message);
	value = pg_value(answer, 0, 0);
	assert_string_equal(value != NULL ? value : "(null)", expected);
	pg_answer_free(answer);
}

static Job *
turn_of(const char *step, bool locked, const char *owner, const char *policy)
{
	return make_job(
		"{\"rotation\":\"" NEW_ID "\",\"lease\":\"" NEW_ID "\",\"lease_seconds\":60,"
		"\"step\":\"%s\",\"attempt\":0,\"secret\":\"s\",\"trigger\":\"manual\","
		"\"version\":{\"id\":\"" NEW_ID "\",\"username\":\"%s\",\"password\":\"" NEW "\"},"
		"\"former\":{\"id\":\"" FORMER_ID "\",\"username\":\"%s\",\"password\":\"" FORMER "\"},"
		"\"account\":{\"username\":\"%s\"},\"target\":{\"name\":\"t\",\"type\":\"postgresql\","
		"\"host\":\"127.0.0.1\",\"port\":%s,\"dbname\":\"postgres\"},"
		"\"store\":{\"name\":\"local\",\"type\":\"local\"},"
		"\"pair\":{\"name\":\"p\",\"owner\":\"%s\",\"locked\":%s},"
		"\"policy\":{\"scram_iterations\":300%s}}",
		step, MEMBER_JSON, MEMBER_JSON, MEMBER_JSON, peer_value(&peer, "port"), owner,
		locked ? "true" : "false", policy);
}

static Job *
turn(const char *step, bool locked, const char *owner)
{
	return turn_of(step, locked, owner, "");
}

static Outcome
set(const Job *job, const JobValue *value)
{
	JobValue admin = value_of("admin", "admin-password");

	return target_postgres.set(job, value, &admin, deadline_in(20000));
}

static Outcome
retire(const Job *job)
{
	JobValue admin = value_of("admin", "admin-password");

	return target_postgres.retire(job, &admin, deadline_in(20000));
}

static Outcome
login(const Job *job, const JobValue *value)
{
	return target_postgres.login(job, value, true, deadline_in(20000));
}

static void
assert_outcome(Outcome outcome, OutcomeClass class, const char *code)
{
	if (outcome.class != class || strcmp(outcome.code, code) != 0)
		fail_msg("%s %s %s", outcome_name(outcome.class), outcome.code, outcome.message);
}

#define SETTINGS                                                                     \
	"SELECT string_agg(coalesce(d.datname, '-') || ' ' || s.setconfig::text, ' | ' " \
	"ORDER BY s.setdatabase) FROM pg_db_role_setting s LEFT JOIN pg_database d "     \
	"ON d.oid = s.setdatabase JOIN pg_roles r ON r.oid = s.setrole WHERE r.rolname = " MEMBER_TEXT

#define CAN_LOG_IN "SELECT rolcanlogin FROM pg_roles WHERE rolname = " MEMBER_TEXT

TEST(a_role_that_is_missing_is_made_and_logs_in_as_its_owner)
{
	Job *job = turn("set", true, OWNER_JSON);

	assert_outcome(set(job, &job->version), OUTCOME_OK, "");
	assert_outcome(login(job, &job->version), OUTCOME_OK, "");
	expect(SETTINGS, "- {\"role=ow\\\"ner's $1\"}");
	expect("SELECT pg_has_role(" MEMBER_TEXT ", " OWNER_TEXT ", 'MEMBER')", "t");
	job_free(job);
}

TEST(it_follows_its_owners_settings_and_nothing_is_written_if_they_are_the_same)
{
	Job *job = turn("set", false, OWNER_JSON);

	run("ALTER ROLE " OWNER " SET search_path = 'a, b', \"C\", public;"
		"ALTER ROLE " OWNER " SET application_name = 'it''s \"x\", $1';"
		"GRANT SET ON PARAMETER \"my.own\" TO admin;"
		"ALTER ROLE " OWNER " SET \"my.own\" = 'a=b';"
		"ALTER ROLE " OWNER " IN DATABASE postgres SET work_mem = '5MB';"
		"ALTER ROLE " MEMBER " IN DATABASE template1 SET work_mem = '6MB'");
	assert_outcome(set(job, &job->version), OUTCOME_OK, "");
	expect(SETTINGS,
		   "- {\"search_path=\\\"a, b\\\", \\\"C\\\", public\","
		   "\"application_name=it's \\\"x\\\", $1\",my.own=a=b,\"role=ow\\\"ner's $1\"} | "
		   "postgres {work_mem=5MB}");
	expect("SELECT count(DISTINCT s.xmin::text) FROM pg_db_role_setting s JOIN pg_roles r "
		   "ON r.oid = s.setrole WHERE r.rolname = " MEMBER_TEXT,
		   "1");
	run("CREATE TABLE was AS SELECT s.xmin::text AS x FROM pg_db_role_setting s JOIN pg_roles r "
		"ON r.oid = s.setrole WHERE r.rolname = " MEMBER_TEXT);
	assert_outcome(set(job, &job->version), OUTCOME_OK, "");
	expect(
		"SELECT count(*) FROM (SELECT s.xmin::text AS x FROM pg_db_role_setting s JOIN pg_roles r "
		"ON r.oid = s.setrole WHERE r.rolname = " MEMBER_TEXT " EXCEPT SELECT x FROM was) n",
		"0");
	run("ALTER ROLE " OWNER " RESET ALL; ALTER ROLE " OWNER " SET search_path = ''");
	assert_outcome(set(job, &job->version), OUTCOME_OK, "");
	expect(SETTINGS,
		   "- {\"search_path=\\\"\\\"\",\"role=ow\\\"ner's $1\"} | postgres {work_mem=5MB}");
	run("ALTER ROLE " OWNER " IN DATABASE postgres RESET ALL; REVOKE " OWNER " FROM " MEMBER);
	assert_outcome(set(job, &job->version), OUTCOME_OK, "");
	expect(SETTINGS, "- {\"search_path=\\\"\\\"\",\"role=ow\\\"ner's $1\"}");
	expect("SELECT pg_has_role(" MEMBER_TEXT ", " OWNER_TEXT ", 'MEMBER')", "t");
	job_free(job);
}

TEST(what_the_owner_has_stored_is_a_value_and_never_a_statement)
{
	Job *job = turn("set", false, OWNER_JSON);

	run("SET search_path = DEFAULT;"
		"SELECT set_config('search_path', 'public;alter/**/role/**/app/**/superuser', false);"
		"ALTER ROLE " OWNER " SET search_path FROM CURRENT;"
		"SELECT set_config('search_path', 'a, \"b \"\"c\"\"\", D', false);"
		"ALTER ROLE " OWNER " IN DATABASE postgres SET search_path FROM CURRENT;"
		"RESET search_path");
	assert_outcome(set(job, &job->version), OUTCOME_OK, "");
	expect("SELECT rolsuper FROM pg_roles WHERE rolname = 'app'", "f");
	expect("SELECT count(*) FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole "
		   "CROSS JOIN unnest(s.setconfig) c WHERE r.rolname = " MEMBER_TEXT
		   " AND c = 'search_path=\"public;alter/**/role/**/app/**/superuser\"'",
		   "1");
	expect("SELECT count(*) FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole "
		   "CROSS JOIN unnest(s.setconfig) c WHERE r.rolname = " MEMBER_TEXT
		   " AND c = 'search_path=a, \"b \"\"c\"\"\", d'",
		   "1");
	run("ALTER ROLE " OWNER " RESET search_path; ALTER ROLE " OWNER
		" IN DATABASE postgres RESET search_path");
	job_free(job);
}

TEST(the_role_that_rests_is_locked_and_a_new_password_unlocks_it)
{
	Job *job = turn("set", true, OWNER_JSON);

	assert_outcome(set(job, &job->version), OUTCOME_OK, "");
	expect(CAN_LOG_IN, "t");
	assert_outcome(retire(job), OUTCOME_OK, "");
	expect(CAN_LOG_IN, "f");
	assert_outcome(retire(job), OUTCOME_OK, "");
	/* the password is right, and of no use */
	assert_outcome(login(job, &job->version), OUTCOME_INCONCLUSIVE, "28000");
	assert_outcome(set(job, &job->version), OUTCOME_OK, "");
	expect(CAN_LOG_IN, "t");
	job_free(job);
}

TEST(a_former_password_comes_back_with_the_lock_that_it_was_under)
{
	Job *locked = turn("undo", true, OWNER_JSON);
	Job *open = turn("undo", false, OWNER_JSON);
	Job *new = turn("set", false, OWNER_JSON);

	assert_outcome(set(new, &new->version), OUTCOME_OK, "");
	assert_outcome(set(open, &open->former), OUTCOME_OK, "");
	expect(CAN_LOG_IN, "t");
	assert_outcome(login(open, &open->former), OUTCOME_OK, "");
	assert_outcome(set(locked, &locked->former), OUTCOME_OK, "");
	expect(CAN_LOG_IN, "f");
	/* its owner's settings of today are not brought along */
	run("ALTER ROLE " OWNER " SET work_mem = '7MB'");
	assert_outcome(set(open, &open->former), OUTCOME_OK, "");
	expect(SETTINGS, "- {\"role=ow\\\"ner's $1\"}");
	run("ALTER ROLE " OWNER " RESET work_mem");
	/* a roll-back's own value is a former one too */
	assert_outcome(set(new, &new->version), OUTCOME_OK, "");
	assert_outcome(set(locked, &locked->version), OUTCOME_OK, "");
	expect(CAN_LOG_IN, "f");
	job_free(new);
	job_free(locked);
	job_free(open);
}

TEST(a_former_password_comes_back_without_the_owner_but_not_without_the_role)
{
	Job *nobody = turn("undo", false, "no'body");
	Job *job = turn("set", false, OWNER_JSON);
	Job *back = turn("undo", false, OWNER_JSON);
	Job *in_use = turn("undo", false, OWNER_IN_USE);

	assert_outcome(set(nobody, &nobody->former), OUTCOME_OK, "");
	run("DROP ROLE " MEMBER);
	assert_outcome(set(in_use, &in_use->former), OUTCOME_PERMANENT, "42704");
	/* what rests is made by its next rotation */
	assert_outcome(set(back, &back->former), OUTCOME_OK, "");
	expect("SELECT count(*) FROM pg_roles WHERE rolname = " MEMBER_TEXT, "0");
	assert_outcome(set(job, &job->version), OUTCOME_OK, "");
	job_free(in_use);
	job_free(back);
	job_free(job);
	job_free(nobody);
}

/* What bars the account, and what comes of its login in each step. */
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
		Job *job = turn_of(steps[i].step, false, OWNER_JSON, policy);

		assert_outcome(target_postgres.login(job, &job->version, false, deadline_in(20000)),
					   steps[i].class, code);
		job_free(job);
	}
}

TEST(a_password_that_is_right_is_not_enough_where_the_account_is_barred)
{
	Job *job = turn("set", false, OWNER_JSON);
	Job *in_use;

	assert_outcome(set(job, &job->version), OUTCOME_OK, "");
	expect_barred(",\"verify_database\":\"barred\"", OUTCOME_INCONCLUSIVE, OUTCOME_INCONCLUSIVE,
				  OUTCOME_PROVED, "42501");
	run("ALTER ROLE " MEMBER " CONNECTION LIMIT 0");
	expect_barred("", OUTCOME_TRANSIENT, OUTCOME_PROVED, OUTCOME_PROVED, "53300");
	/* of the one in use it is no news */
	in_use = turn("test", false, OWNER_IN_USE);
	assert_outcome(login(in_use, &in_use->version), OUTCOME_PROVED, "53300");
	job_free(in_use);
	run("ALTER ROLE " MEMBER " CONNECTION LIMIT -1 NOLOGIN");
	expect_barred("", OUTCOME_INCONCLUSIVE, OUTCOME_INCONCLUSIVE, OUTCOME_INCONCLUSIVE, "28000");
	run("ALTER ROLE " MEMBER " LOGIN");
	/* the other account would fare no better */
	expect_barred(",\"verify_database\":\"missing\"", OUTCOME_PROVED, OUTCOME_PROVED,
				  OUTCOME_PROVED, "3D000");
	expect_barred(",\"verify_database\":\"closed\"", OUTCOME_PROVED, OUTCOME_PROVED, OUTCOME_PROVED,
				  "55000");
	job_free(job);
}

TEST(a_verification_query_that_fails_keeps_the_two_in_their_places)
{
	static const struct
	{
		const char *query;
		OutcomeClass class;
		const char *code;
	} cases[] = {
		{"SELECT 1", OUTCOME_OK, ""},
		{"SELECT 1/0", OUTCOME_INCONCLUSIVE, "22012"},
		{"SELECT * FROM pg_authid", OUTCOME_INCONCLUSIVE, "42501"},
		{"CREATE TABLE t (n int)", OUTCOME_INCONCLUSIVE, "25006"},
		{"DO $$BEGIN RAISE 'full' USING ERRCODE = '53300'; END$$", OUTCOME_TRANSIENT, "53300"},
		{"DO $$BEGIN RAISE 'busy' USING ERRCODE = '55P03'; END$$", OUTCOME_TRANSIENT, "55P03"},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++)
	{
		char policy[256];
		Job *job;

		(void) snprintf(policy, sizeof(policy), ",\"verify_query\":\"%s\"", cases[i].query);
		job = turn_of("test", false, OWNER_JSON, policy);
		assert_outcome(login(job, &job->version), cases[i].class, cases[i].code);
		job_free(job);
	}
}

TEST(a_member_that_may_not_become_its_owner_is_given_the_right)
{
	Job *job;

	if (pg_server_version(witness) < 160000)
		skip();
	job = turn("set", false, OWNER_JSON);
	run("GRANT " OWNER " TO " MEMBER " WITH SET FALSE");
	run("REVOKE " OWNER " FROM " MEMBER " GRANTED BY admin; GRANT " OWNER " TO " MEMBER
		" WITH SET FALSE GRANTED BY admin");
	expect("SELECT pg_has_role(" MEMBER_TEXT ", " OWNER_TEXT ", 'SET')", "f");
	assert_outcome(set(job, &job->version), OUTCOME_OK, "");
	expect("SELECT pg_has_role(" MEMBER_TEXT ", " OWNER_TEXT ", 'SET')", "t");
	job_free(job);
}

TEST(without_an_owner_or_the_right_to_it_nothing_is_changed)
{
	Job *nobody = turn("set", false, "no'body");
	Job *other = turn("set", false, "other_owner");

	run("DROP ROLE " MEMBER "; CREATE ROLE other_owner SUPERUSER");
	assert_outcome(set(nobody, &nobody->version), OUTCOME_PERMANENT, "42704");
	assert_outcome(set(other, &other->version), OUTCOME_PERMANENT, "42501");
	expect("SELECT count(*) FROM pg_roles WHERE rolname = " MEMBER_TEXT, "0");
	assert_outcome(retire(nobody), OUTCOME_OK, "");
	job_free(nobody);
	job_free(other);
}

/* Runs last. */
TEST(nothing_that_was_set_here_is_in_the_servers_log)
{
	char *log = read_whole_file(peer_value(&peer, "log"));

	assert_non_null(strstr(log, "ALTER ROLE " MEMBER " LOGIN PASSWORD 'SCRAM-SHA-256$300:"));
	assert_null(strstr(log, NEW));
	assert_null(strstr(log, FORMER));
	free(log);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_role_that_is_missing_is_made_and_logs_in_as_its_owner),
		cmocka_unit_test(
			it_follows_its_owners_settings_and_nothing_is_written_if_they_are_the_same),
		cmocka_unit_test(what_the_owner_has_stored_is_a_value_and_never_a_statement),
		cmocka_unit_test(the_role_that_rests_is_locked_and_a_new_password_unlocks_it),
		cmocka_unit_test(a_former_password_comes_back_with_the_lock_that_it_was_under),
		cmocka_unit_test(a_former_password_comes_back_without_the_owner_but_not_without_the_role),
		cmocka_unit_test(a_password_that_is_right_is_not_enough_where_the_account_is_barred),
		cmocka_unit_test(a_verification_query_that_fails_keeps_the_two_in_their_places),
		cmocka_unit_test(a_member_that_may_not_become_its_owner_is_given_the_right),
		cmocka_unit_test(without_an_owner_or_the_right_to_it_nothing_is_changed),
		cmocka_unit_test(nothing_that_was_set_here_is_in_the_servers_log),
	};

	return cmocka_run_group_tests(tests, start_peer, stop_peer);
}

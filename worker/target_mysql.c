/*
 * target_mysql.c - accounts of a MySQL (8.0 and later) or MariaDB (10.4 and later) server.
 *
 * An account there is a name and the host it comes from; the password is given to all accounts of the name,
 * or to the one whose host the account's option "host" names. The server never sees a password in SQL: the
 * hash of the account's own authentication plugin is computed here. A plugin for which that cannot be done
 * is refused before anything is changed. The change is one message with a guard before it: the server itself
 * refuses it, by its own clock, if it arrives after the lease's end.
 *
 * By is an administrator who may read mysql.user and has CREATE USER (MySQL) or UPDATE on mysql.* (MariaDB),
 * or on MariaDB the account itself; MySQL lets an account change its own password in clear text only.
 * MySQL changes all accounts or none; MariaDB changes them one after the other, so an error at a later one is
 * reported as unknown, and so is one at the first that may come behind the change itself. A login proves the account that the server matches with this machine's address.
 *
 * Of two accounts that are used in turn (job->pair), each is made where it is missing, for the host that its
 * option "host" names, else for any; it is granted the owner, which is a role, by default. That needs ADMIN
 * OPTION on the role too.
 *
 * Options of the target: sslrootcert, sslcert, sslkey (files). With the policy's strategy
 * dual_write the former password stays valid beside the new one until retire, the next change or an
 * emergency; MySQL 8.0.14 and later only.
 */
#include "target.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "mysql_client.h"
#include "mysql_hash.h"
#include "mysql_session.h"

#define MARGIN_MS	1000 /* for the change itself, between the guard and the lease's end */
#define GUARD_ERROR 1231 /* wrong value for a variable: what the guard raises */

/*
 * What a server says of a change before it makes it: rights, modes, syntax, and names, plugins or hashes that it does
 * not take. All others may come when the change is made, such as what comes of its log (1026, 1598).
 */
static const unsigned refusals[] = {1036, 1044, 1045, 1047, 1064, 1131, 1132, 1133, 1142,
									1143, 1146, 1226, 1227, 1290, 1370, 1372, 1396, 1470,
									1524, 1558, 1699, 1728, 1792, 1819, 1820, 1827, 1836,
									3009, 3638, 3878, 3892, 3894, 3895};
/* What bars a login only after the password was found right. */
static const unsigned barred_errors[] = {1044, 1049, 1203, 1226, 1820, 1862, 3118, 4151};

static bool
is_denied(const Outcome *outcome)
{
	static const char *const codes[] = {"1044", "1142", "1143", "1227", "1370"};

	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
	{
		if (strcmp(outcome->code, codes[i]) == 0)
			return true;
	}
	return false;
}

/* Whether the former password is to stay; *refusal is filled if that is asked for and cannot be. */
static bool
retains(const MySession *session, const JobValue *value, Outcome *refusal)
{
	bool is_new = strcmp(value->id, session->job->version.id) == 0;

	if (!job_has_two_passwords(session->job))
		return false;
	if (my_is_mariadb(session->client) || my_server_version(session->client) < 80014)
	{
		*refusal = outcome_make(OUTCOME_PERMANENT, NULL,
								"dual_write needs MySQL 8.0.14 or later: %s has one password an "
								"account; use staged or blue_green",
								my_is_mariadb(session->client) ? "MariaDB" : "this server");
		return false;
	}
	/* What has leaked must not stay, and what is given back is there already. */
	return is_new && !session->job->emergency;
}

/*
 * The guard: the server's own clock says whether what follows comes in time. Nor does that wait for a lock for
 * longer than the time that is left then: a backup may hold one for hours. MariaDB opens the tables of accounts
 * without a limit to that, but for the one of the statement.
 */
static void
append_guard(const MySession *session, MySql *sql)
{
	int64_t left = deadline_left(session->deadline);
	int64_t margin = left / 4 < MARGIN_MS ? left / 4 : MARGIN_MS;
	int64_t until = session->peer_now + left - margin;
	char seconds[128];

	if (sql->len > 0)
		sql_append(sql, "; ");
	(void) snprintf(seconds, sizeof(seconds),
					"(%" PRId64 " - UNIX_TIMESTAMP(SYSDATE(6)) * 1000) / 1000", until);
	sql_append(sql,
			   "SET SESSION sql_mode = IF(%s > 0, '', 'late'), "
			   "SESSION lock_wait_timeout = GREATEST(1, CAST(FLOOR(%s) AS SIGNED)), "
			   "SESSION innodb_lock_wait_timeout = GREATEST(1, CAST(FLOOR(%s) AS SIGNED))",
			   seconds, seconds, seconds);
	if (my_is_mariadb(session->client))
		sql_append(sql, ", SESSION max_statement_time = GREATEST(0.1, %s)", seconds);
}

/* ALTER USER of all accounts, with no more than that. */
static void
append_lock(const MySession *session, MySql *sql, const char *clause)
{
	for (int i = 0; i < session->count; i++)
		sql_append(sql, "%s%s", i == 0 ? "; ALTER USER " : ", ", session->accounts[i]);
	sql_append(sql, "%s", clause);
}

/* The passwords that dual_write has left: where there are none, nothing changes. */
static void
append_discard(const MySession *session, MySql *sql)
{
	for (int i = 0; i < session->count; i++)
		sql_append(sql, "; ALTER USER %s DISCARD OLD PASSWORD", session->accounts[i]);
}

/* What of logging in changes with the value: nothing, but for an account that is used in turn. */
static const char *
lock_clause(const MySession *session)
{
	const cJSON *pair = session->job->pair;

	if (pair == NULL)
		return "";
	if (session->job->step != STEP_UNDO)
		return " ACCOUNT UNLOCK";
	return job_flag(pair, "locked", false) ? " ACCOUNT LOCK" : "";
}

/* One account's password. On MariaDB that is a statement, which waits for itself and so has its own guard. */
static void
append_password(const MySession *session, MySql *sql, int i, const char *hash, bool retain)
{
	/* What an attempt before this one has set would be retained in the place of the former one. */
	const char *keep = retain && !session->have_it[i] ? " RETAIN CURRENT PASSWORD" : "";

	if (i == 0 || my_is_mariadb(session->client))
		append_guard(session, sql);
	if (my_is_mariadb(session->client))
		sql_append(sql, "; SET PASSWORD FOR %s = '%s'", session->accounts[i], hash);
	else
		sql_append(sql, "%s %s IDENTIFIED WITH '%s' AS '%s'%s", i == 0 ? "; ALTER USER" : ",",
				   session->accounts[i], session->plugins[i], hash, keep);
}

/* What goes with the passwords. */
static void
append_rest(const MySession *session, MySql *sql, int *statements)
{
	bool mariadb = my_is_mariadb(session->client);
	const char *lock = lock_clause(session);

	if (lock[0] != '\0' && mariadb)
	{
		append_guard(session, sql);
		append_lock(session, sql, lock);
		*statements += 2;
	}
	else
		sql_append(sql, "%s", lock);
	/* An emergency takes also the password that an earlier dual_write has left. */
	if (session->job->emergency && !mariadb && my_server_version(session->client) >= 80014)
	{
		append_discard(session, sql);
		*statements += session->count;
	}
}

/* One message: the guard, then the change. *statements is how many that is. */
static Outcome
write_change(MySession *session, const JobValue *value, MySql *sql, int *statements)
{
	Outcome refusal = {.class = OUTCOME_OK};
	bool retain = retains(session, value, &refusal);
	RotorError bad;

	if (refusal.class != OUTCOME_OK)
		return refusal;
	for (int i = 0; i < session->count; i++)
	{
		char hash[MYSQL_HASH_MAX];

		if (!mysql_hash(session->plugins[i], &value->password, hash, &bad))
			return mysql_not_hashed(&bad);
		append_password(session, sql, i, hash, retain);
		secret_wipe(hash, sizeof(hash));
	}
	*statements = my_is_mariadb(session->client) ? 2 * session->count : 2;
	append_rest(session, sql, statements);
	if (!sql->ok)
		return outcome_make(OUTCOME_PERMANENT, NULL, "the accounts' names are too long");
	return outcome_make(OUTCOME_OK, NULL, NULL);
}

/*
 * Locks are another matter: MySQL takes back what it could not end, but MariaDB writes its table first, and waits
 * for those who back it up (1205) when nothing takes that back.
 */
static bool
is_refusal(const MySession *session, unsigned number)
{
	if (number == 1205 || number == 1213)
		return !my_is_mariadb(session->client);
	return MYSQL_IS_AMONG(number, refusals);
}

/* done: how many statements, of which the first is a guard, were done before the one that failed. */
static Outcome
judge_change(const MySession *session, MyReach reach, int done, const MyError *err)
{
	Outcome outcome;

	if (reach == MY_DONE)
		return outcome_make(OUTCOME_OK, NULL, NULL);
	/* What comes after a statement that failed is not run. */
	if (reach == MY_LOST || done > 1 || (done == 1 && !is_refusal(session, err->number)))
	{
		outcome = mysql_outcome(OUTCOME_UNKNOWN, err, "");
		outcome.peer_answered = mysql_is_in_hand(err);
		return outcome;
	}
	if (done == 0 && err->number == GUARD_ERROR)
		return outcome_make(OUTCOME_TRANSIENT, "1231",
							"the change reached the server after the lease's end and was refused");
	return mysql_change_refused(session, err);
}

/* Sends the guard and the changes, so many statements; what became of them. */
static Outcome
send_change(const MySession *session, const MySql *sql, int statements)
{
	MyError err = {0};
	int done = 0;
	MyReach reach = my_exec_script(session->client, sql->text, session->deadline, &done, &err);

	if (reach == MY_DONE && done != statements)
		return outcome_make(OUTCOME_UNKNOWN, NULL, "the server answered %d of %d statements", done,
							statements);
	return judge_change(session, reach, done, &err);
}

static Outcome
change(MySession *session, const JobValue *value)
{
	MySql *sql = calloc(1, sizeof(*sql));
	int statements = 0;
	Outcome outcome;

	if (sql == NULL)
		return outcome_make(OUTCOME_TRANSIENT, NULL, "out of memory");
	sql->ok = true;
	outcome = write_change(session, value, sql, &statements);
	if (outcome.class == OUTCOME_OK)
		outcome = send_change(session, sql, statements);
	secret_wipe(sql, sizeof(*sql));
	free(sql);
	return outcome;
}

/* Connects, and finds what is to be changed; to be closed in any case. */
static Outcome
open_change(MySession *session, const JobValue *by)
{
	MyError err;
	Outcome outcome;

	session->client = mysql_connect_as(session->job, by, NULL, true, session->deadline, &err);
	if (session->client == NULL)
		return mysql_not_connected(&err);
	outcome = mysql_prepare(session);
	return outcome.class == OUTCOME_OK ? mysql_find_accounts(session) : outcome;
}

static void
close_change(MySession *session)
{
	mysql_forget_accounts(session);
	my_close(session->client);
}

/* Nobody logs in as it: what is to end has ended, and the next rotation makes it. */
static Outcome
gone(void)
{
	return outcome_make(OUTCOME_OK, NULL, "the account does not exist any more");
}

static Outcome
set(const Job *job, const JobValue *value, const JobValue *by, Deadline deadline)
{
	MySession session = {.job = job,
						 .user = job_username(job, value),
						 .deadline = deadline_sooner(deadline, job->lease_end)};
	bool is_self = strcmp(job_username(job, by), session.user) == 0;
	/* One that goes back stays as it is. */
	bool takes_after_owner = job->pair != NULL && job->step != STEP_UNDO;
	Outcome outcome;

	if (value->password.len == 0)
		return outcome_make(OUTCOME_PERMANENT, NULL, "the password is empty");
	if (job->look && job_has_two_passwords(job))
		session.sought = value;
	outcome = open_change(&session, by);
	if (session.client == NULL)
		return outcome;
	if (is_self && is_denied(&outcome))
		outcome = mysql_find_myself(&session);
	if (takes_after_owner && strcmp(outcome.code, MYSQL_NO_SUCH_ACCOUNT) == 0)
		outcome = mysql_make_account(&session, value);
	if (outcome.class == OUTCOME_OK && takes_after_owner)
		outcome = mysql_follow_owner(&session);
	if (outcome.class == OUTCOME_OK)
		outcome = change(&session, value);
	else if (job->step == STEP_UNDO && job_takes_turn(job) &&
			 strcmp(outcome.code, MYSQL_NO_SUCH_ACCOUNT) == 0)
		outcome = gone();
	close_change(&session);
	return outcome;
}

/* Locks the accounts, or discards their former passwords. */
static Outcome
end_former(const MySession *session)
{
	MySql *sql = calloc(1, sizeof(*sql));
	Outcome outcome;

	if (sql == NULL)
		return outcome_make(OUTCOME_TRANSIENT, NULL, "out of memory");
	sql->ok = true;
	append_guard(session, sql);
	if (session->job->pair != NULL)
		append_lock(session, sql, " ACCOUNT LOCK");
	else
		append_discard(session, sql);
	if (sql->ok)
		outcome = send_change(session, sql, session->job->pair != NULL ? 2 : 1 + session->count);
	else
		outcome = outcome_make(OUTCOME_PERMANENT, NULL, "the accounts' names are too long");
	free(sql);
	return outcome;
}

static Outcome
retire(const Job *job, const JobValue *by, Deadline deadline)
{
	MySession session = {
		.job = job, .user = job->username, .deadline = deadline_sooner(deadline, job->lease_end)};
	Outcome outcome = open_change(&session, by);

	if (outcome.class == OUTCOME_OK)
		outcome = end_former(&session);
	else if (job->pair != NULL && session.client != NULL &&
			 strcmp(outcome.code, MYSQL_NO_SUCH_ACCOUNT) == 0)
		outcome = gone();
	close_change(&session);
	return outcome;
}

/* ---- login */

/* What the error says of the password. */
static Outcome
judge_password(const MyError *err)
{
	if (err->number == 1045)
		return mysql_outcome(OUTCOME_REFUSED, err, "");
	if (MYSQL_IS_AMONG(err->number, barred_errors))
		return mysql_outcome(OUTCOME_PROVED, err, "the password was accepted, then: ");
	if (mysql_is_transient(err->number))
		return mysql_outcome(OUTCOME_TRANSIENT, err, "");
	return mysql_outcome(OUTCOME_INCONCLUSIVE, err, "the login says nothing of the password: ");
}

/*
 * An account that is used in turn is of no use if it is locked, though its password is right. Before it comes
 * into use, or the other one is locked, it must be let in for all that depends on the account: a database
 * that is missing (1049) is as bad for the other one; and one whose connections are exhausted can be used,
 * though not now.
 */
static Outcome
judge_refusal(const Job *job, const MyError *err)
{
	bool is_locked = err->number == 3118 || err->number == 4151;
	bool is_busy = mysql_is_transient(err->number);
	bool comes = job->step == STEP_TEST && job_takes_turn(job);
	Outcome outcome = judge_password(err);

	if (job->pair == NULL || outcome.class != OUTCOME_PROVED || err->number == 1049)
		return outcome;
	if (comes && is_busy)
		outcome.class = OUTCOME_TRANSIENT;
	else if (is_locked || comes || (job->step == STEP_RETIRE && !is_busy))
		outcome.class = OUTCOME_INCONCLUSIVE;
	return outcome;
}

/* One text of one row, which the caller frees; NULL, with *err filled, if the server does not answer so. */
static char *
ask(MyClient *client, const char *sql, Deadline deadline, MyError *err)
{
	MyAnswer *answer = NULL;
	const char *const *row;
	unsigned columns;
	char *text = NULL;

	*err = (MyError){0};
	if (my_exec(client, sql, deadline, &answer, err) == MY_DONE &&
		my_next(answer, &row, &columns) && row[0] != NULL)
		text = strdup(row[0]);
	my_answer_free(answer);
	return text;
}

/* Whether it is this account's password that let us in, and not another way in. */
static Outcome
judge_identity(const Job *job, const char *user, MyClient *client, Deadline deadline)
{
	MyError err;
	char *who = ask(client, "SELECT CURRENT_USER()", deadline, &err);
	const char *at = who != NULL ? strrchr(who, '@') : NULL;
	Outcome outcome = outcome_make(OUTCOME_OK, NULL, NULL);

	/* Some let an account whose password has expired in, and then answer nothing (1820). */
	if (at == NULL && MYSQL_IS_AMONG(err.number, barred_errors))
		outcome = judge_refusal(job, &err);
	else if (at == NULL)
		outcome = outcome_make(OUTCOME_TRANSIENT, NULL, "the server does not say who logged in");
	else if ((size_t) (at - who) != strlen(user) || strncmp(who, user, strlen(user)) != 0)
		outcome =
			outcome_make(OUTCOME_INCONCLUSIVE, NULL,
						 "the server took the login for %.120s, so that it proves nothing", who);
	else if (job_text(job->target, "host", "")[0] == '/')
	{
		char *account = ask(client, "SHOW CREATE USER CURRENT_USER()", deadline, &err);

		/* By a socket an account of these plugins needs no password. */
		if (account == NULL || strstr(account, "unix_socket") != NULL ||
			strstr(account, "auth_socket") != NULL)
			outcome = outcome_make(OUTCOME_INCONCLUSIVE, NULL,
								   "by its socket the server lets the account in without a "
								   "password: use its address");
		free(account);
	}
	free(who);
	return outcome;
}

/* The password is proved by now; the query says whether the account can do its work. */
static Outcome
run_query(const Job *job, MyClient *client, const char *query, Deadline deadline)
{
	char limit[128];
	int64_t left = deadline_left(deadline) + 1;
	MyError err;
	MyReach reach;

	if (my_is_mariadb(client))
		(void) snprintf(limit, sizeof(limit), "SET SESSION max_statement_time = %.3f",
						(double) left / 1000);
	else
		(void) snprintf(limit, sizeof(limit), "SET SESSION max_execution_time = %" PRId64, left);
	reach = my_exec(client, limit, deadline, NULL, &err);
	/* For the session, so that statements which end a transaction are refused too. */
	if (reach == MY_DONE)
		reach = my_exec(client, "SET SESSION TRANSACTION READ ONLY", deadline, NULL, &err);
	if (reach == MY_DONE)
		reach = my_exec(client, query, deadline, NULL, &err);
	if (reach == MY_DONE)
		return outcome_make(OUTCOME_OK, NULL, NULL);
	if (reach != MY_REFUSED || mysql_is_transient(err.number))
		return mysql_outcome(OUTCOME_TRANSIENT, &err, "the verification query: ");
	/* One of two accounts may then be of no use. */
	return mysql_outcome(job_takes_turn(job) ? OUTCOME_INCONCLUSIVE : OUTCOME_PROVED, &err,
						 "the password was accepted, but the verification query failed: ");
}

static Outcome
login(const Job *job, const JobValue *value, bool query, Deadline deadline)
{
	Deadline until = deadline_sooner(deadline, job->lease_end);
	const char *text = job_text(job->policy, "verify_query", NULL);
	const char *dbname =
		job_text(job->policy, "verify_database", job_text(job->target, "dbname", NULL));
	MyError err;
	MyClient *client = mysql_connect_as(job, value, dbname, false, until, &err);
	Outcome outcome;

	if (client == NULL)
		return judge_refusal(job, &err);
	outcome = judge_identity(job, job_username(job, value), client, until);
	if (outcome.class == OUTCOME_OK && query && text != NULL)
		outcome = run_query(job, client, text, until);
	my_close(client);
	return outcome;
}

/* ---- the rest */

static Outcome
end_sessions(const Job *job, const JobValue *by, Deadline deadline)
{
	Deadline until = deadline_sooner(deadline, job->lease_end);
	MyError err;
	MyClient *client = mysql_connect_as(job, by, NULL, false, until, &err);
	MyAnswer *answer = NULL;
	MySql sql = {.ok = true};
	char *user;
	const char *const *row;
	unsigned columns;
	int ended = 0;
	Outcome outcome = outcome_make(OUTCOME_OK, NULL, NULL);

	if (client == NULL)
		return mysql_not_connected(&err);
	user = my_quote(client, job->username);
	sql_append(
		&sql,
		"SELECT ID FROM information_schema.PROCESSLIST WHERE USER = %s AND ID <> CONNECTION_ID()",
		user != NULL ? user : "''");
	free(user);
	if (my_exec(client, sql.text, until, &answer, &err) != MY_DONE)
		outcome = mysql_nothing_changed(&err);
	while (outcome.class == OUTCOME_OK && my_next(answer, &row, &columns))
	{
		char kill[64];

		(void) snprintf(kill, sizeof(kill), "KILL %" PRIu64, (uint64_t) strtoull(row[0], NULL, 10));
		/* 1094: it has ended by itself. */
		if (my_exec(client, kill, until, NULL, &err) == MY_DONE)
			ended++;
		else if (err.number != 1094)
			outcome = mysql_outcome(OUTCOME_UNKNOWN, &err, "");
	}
	if (outcome.class == OUTCOME_OK)
		outcome = outcome_make(OUTCOME_OK, NULL, "%d sessions ended", ended);
	my_answer_free(answer);
	my_close(client);
	return outcome;
}

static Outcome
check(const Job *job, const JobValue *by, Deadline deadline)
{
	bool has_account = job->username != NULL && job->username[0] != '\0';
	MySession session = {.job = job,
						 .user = has_account ? job->username : "",
						 .deadline = deadline_sooner(deadline, job->lease_end)};
	Outcome outcome = open_change(&session, by);

	if (session.client == NULL)
		return outcome;
	if (is_denied(&outcome) && has_account && strcmp(job_username(job, by), job->username) == 0)
		outcome = mysql_find_myself(&session);
	/* Without an account it was only to be seen whether it may look for one. */
	if (outcome.class == OUTCOME_OK ||
		((!has_account || job->pair != NULL) && strcmp(outcome.code, MYSQL_NO_SUCH_ACCOUNT) == 0))
	{
		unsigned long version = my_server_version(session.client);
		const char *tls = my_tls_version(session.client);

		outcome = outcome_make(OUTCOME_OK, NULL, "%s %lu.%lu.%lu, %s, %d accounts",
							   my_is_mariadb(session.client) ? "MariaDB" : "MySQL", version / 10000,
							   version / 100 % 100, version % 100, tls[0] != '\0' ? tls : "no TLS",
							   session.count);
	}
	close_change(&session);
	return outcome;
}

const TargetClass target_mysql = {
	.type = "mysql",
	.set = set,
	.login = login,
	.retire = retire,
	.end_sessions = end_sessions,
	.check = check,
	.check_logs_in = true,
};

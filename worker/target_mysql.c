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
 * reported as unknown. A login proves the account that the server matches with this machine's address.
 *
 * Options of the target: sslrootcert, sslcert, sslkey (files). Of the policy or account: "strategy":
 * "dual_write", the former password stays valid beside the new one until the next change or an emergency;
 * MySQL 8.0.14 and later only.
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

#define MARGIN_MS	 1000 /* for the change itself, between the guard and the lease's end */
#define MAX_ACCOUNTS 32
#define SQL_SIZE	 (32 * 1024)
#define PLUGIN_SIZE	 65
#define GUARD_ERROR	 1231 /* wrong value for a variable: what the guard raises */

/* Errors of a server, by what they mean for whoever has made no change. */
static const unsigned transient_errors[] = {
	1021, 1040, 1041, 1047, 1053, 1129, 1135, 1152, 1153, 1154, 1155, 1156, 1157, 1158, 1159,
	1160, 1161, 1203, 1205, 1213, 1226, 1317, 1836, 1927, 1969, 3024, 3168, 3169, 4031};
/* Those that may come in the middle of a statement, which may have taken effect. */
static const unsigned interruptions[] = {1053, 1317, 1927, 1969, 3024, 3168, 3169, 4031};
/* What bars a login only after the password was found right. */
static const unsigned barred_errors[] = {1044, 1049, 1203, 1226, 1820, 1862, 3118, 4151};

typedef struct Sql
{
	char text[SQL_SIZE];
	size_t len;
	bool ok;
} Sql;

/* The accounts to change, with what was seen of the server. */
typedef struct Session
{
	const Job *job;
	const char *user; /* whose password it is */
	Deadline deadline;
	MyClient *client;
	int64_t peer_now; /* milliseconds of the server's clock */
	bool is_read_only;
	int count;
	char *accounts[MAX_ACCOUNTS]; /* quoted: 'user'@'host' */
	char plugins[MAX_ACCOUNTS][PLUGIN_SIZE];
} Session;

static bool
is_among(unsigned number, const unsigned *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
	{
		if (list[i] == number)
			return true;
	}
	return false;
}

#define IS_AMONG(number, list) is_among(number, list, sizeof(list) / sizeof((list)[0]))

/* The library's own errors are of the network, but for those of TLS and plugins, which are settings. */
static bool
is_transient(unsigned number)
{
	if (number >= 2000 && number <= 2999)
		return number != 2026 && number != 2049 && number != 2059 && number != 2061;
	return number == 5012 || number == 5013 || number == 5014 || IS_AMONG(number, transient_errors);
}

static Outcome
outcome_of(OutcomeClass class, const MyError *err, const char *prefix)
{
	char code[16] = "";

	if (err->number != 0)
		(void) snprintf(code, sizeof(code), "%u", err->number);
	return outcome_make(class, code, "%s%s", prefix, err->message);
}

/* Of an error before anything was sent that changes something. */
static Outcome
nothing_changed(const MyError *err)
{
	Outcome outcome =
		outcome_of(is_transient(err->number) ? OUTCOME_TRANSIENT : OUTCOME_PERMANENT, err, "");

	/* Somebody else has the account's row in hand. */
	outcome.peer_answered = err->number == 1205;
	return outcome;
}

/* A refused password is no end: the credential may have been rotated since it was handed out. */
static Outcome
not_connected(const MyError *err)
{
	bool stale = err->number == 1045;
	Outcome outcome =
		outcome_of(stale || is_transient(err->number) ? OUTCOME_TRANSIENT : OUTCOME_PERMANENT, err,
				   "cannot connect with the credential that changes it: ");

	outcome.peer_answered = stale;
	return outcome;
}

static void append(Sql *sql, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void
append(Sql *sql, const char *format, ...)
{
	va_list args;
	int more;

	va_start(args, format);
	more = vsnprintf(sql->text + sql->len, sizeof(sql->text) - sql->len, format, args);
	va_end(args);
	sql->ok = sql->ok && more >= 0 && (size_t) more < sizeof(sql->text) - sql->len;
	if (sql->ok)
		sql->len += (size_t) more;
}

static const char *
username_of(const Job *job, const JobValue *value)
{
	return value->username != NULL && value->username[0] != '\0' ? value->username : job->username;
}

static const char *
text_or(const cJSON *object, const char *name, const char *otherwise)
{
	const char *text = object != NULL ? job_string(object, name) : NULL;

	return text != NULL && text[0] != '\0' ? text : otherwise;
}

static MyClient *
connect_as(const Job *job, const JobValue *who, const char *dbname, bool scripts, Deadline deadline,
		   MyError *err)
{
	const cJSON *options = cJSON_GetObjectItemCaseSensitive(job->target, "options");
	const char *port = text_or(job->target, "port", NULL);
	const MyServer server = {
		.host = text_or(job->target, "host", "127.0.0.1"),
		.port = port != NULL ? (unsigned) strtoul(port, NULL, 10)
							 : (unsigned) job_number(job->target, "port", 3306),
		.dbname = dbname,
		.user = username_of(job, who),
		.password = &who->password,
		.sslmode = text_or(job->target, "sslmode", NULL),
		.ca_file = text_or(options, "sslrootcert", NULL),
		.cert_file = text_or(options, "sslcert", NULL),
		.key_file = text_or(options, "sslkey", NULL),
		.scripts = scripts,
	};

	return my_connect(&server, deadline, err);
}

/* ---- set */

/* Quoting below relies on the mode, the guard on the zone; and no lock is waited for beyond the deadline. */
static Outcome
prepare(const Session *session)
{
	int64_t seconds = deadline_left(session->deadline) / 1000 + 1;
	char sql[256];
	MyError err;

	(void) snprintf(
		sql, sizeof(sql),
		"SET SESSION sql_mode = '', SESSION time_zone = '+00:00', SESSION autocommit = 1, "
		"SESSION lock_wait_timeout = %" PRId64 ", SESSION innodb_lock_wait_timeout = "
		"%" PRId64,
		seconds, seconds);
	if (my_exec(session->client, sql, session->deadline, NULL, &err) != MY_DONE)
		return nothing_changed(&err);
	/* The hash need not stand in the server's log either, where we may say so; where not, it does no harm. */
	if (my_exec(session->client, "SET SESSION sql_log_off = 1", session->deadline, NULL, &err) ==
		MY_LOST)
		return nothing_changed(&err);
	return outcome_make(OUTCOME_OK, NULL, NULL);
}

/* Notes one account; false if there is no room for it. */
static bool
note_account(Session *session, const char *account, const char *plugin)
{
	if (session->count == MAX_ACCOUNTS)
		return false;
	session->accounts[session->count] = strdup(account);
	/* Accounts of old MariaDB versions have none. */
	(void) snprintf(session->plugins[session->count], PLUGIN_SIZE, "%s",
					plugin[0] != '\0' ? plugin : "mysql_native_password");
	return session->accounts[session->count++] != NULL;
}

static bool
note_host(Session *session, const char *host, const char *plugin)
{
	char *user_quoted = my_quote(session->client, session->user);
	char *host_quoted = my_quote(session->client, host);
	char account[1024];
	bool noted = user_quoted != NULL && host_quoted != NULL &&
				 snprintf(account, sizeof(account), "%s@%s", user_quoted, host_quoted) <
					 (int) sizeof(account) &&
				 note_account(session, account, plugin);

	free(user_quoted);
	free(host_quoted);
	return noted;
}

/* The server's clock comes with it, one row each account. */
static Outcome
find_accounts(Session *session)
{
	const char *host = text_or(session->job->account, "host", NULL);
	char *user_quoted = my_quote(session->client, session->user);
	char *host_quoted = my_quote(session->client, host != NULL ? host : "");
	Sql sql = {.ok = user_quoted != NULL && host_quoted != NULL};
	MyAnswer *answer = NULL;
	MyError err;
	const char *const *row;
	unsigned columns;
	bool room = true;
	Outcome outcome = outcome_make(OUTCOME_OK, NULL, NULL);

	if (sql.ok)
		append(&sql,
			   "SELECT FLOOR(UNIX_TIMESTAMP(SYSDATE(6)) * 1000), @@GLOBAL.read_only, Host, plugin "
			   "FROM mysql.user WHERE User = %s%s",
			   user_quoted, my_is_mariadb(session->client) ? " AND is_role = 'N'" : "");
	if (sql.ok && host != NULL)
		append(&sql, " AND Host = %s", host_quoted);
	free(user_quoted);
	free(host_quoted);
	if (!sql.ok)
		return outcome_make(OUTCOME_PERMANENT, NULL, "the account's name is too long");
	if (my_exec(session->client, sql.text, session->deadline, &answer, &err) != MY_DONE)
		return nothing_changed(&err);
	while (room && my_next(answer, &row, &columns))
	{
		session->peer_now = strtoll(row[0], NULL, 10);
		session->is_read_only = row[1] != NULL && strcmp(row[1], "0") != 0;
		room = note_host(session, row[2] != NULL ? row[2] : "", row[3] != NULL ? row[3] : "");
	}
	my_answer_free(answer);
	if (!room)
		outcome = outcome_make(OUTCOME_PERMANENT, NULL, "at most %d accounts may have one name",
							   MAX_ACCOUNTS);
	else if (session->count == 0)
		outcome = outcome_make(OUTCOME_PERMANENT, "1396", "there is no account '%s'@'%s'",
							   session->user, host != NULL ? host : "any host");
	return outcome;
}

/* The plugin of "CREATE USER ... IDENTIFIED VIA plugin USING ..."; native if it has none. */
static void
read_plugin(const char *statement, char plugin[PLUGIN_SIZE])
{
	const char *via = strstr(statement, " IDENTIFIED VIA ");
	size_t len;

	(void) snprintf(plugin, PLUGIN_SIZE, "mysql_native_password");
	if (via == NULL)
		return;
	via += strlen(" IDENTIFIED VIA ");
	len = strcspn(via, " ,;");
	(void) snprintf(plugin, PLUGIN_SIZE, "%.*s", len < PLUGIN_SIZE ? (int) len : PLUGIN_SIZE - 1,
					via);
}

/* Of a session as the account itself, which may look at nothing but itself. */
static Outcome
find_myself(Session *session)
{
	MyAnswer *answer = NULL;
	MyError err;
	const char *const *row;
	unsigned columns;
	char plugin[PLUGIN_SIZE] = "";

	if (!my_is_mariadb(session->client))
		return outcome_make(
			OUTCOME_PERMANENT, "1227",
			"MySQL lets an account change its own password in clear text only: give "
			"the target an administrator with CREATE USER and SELECT on mysql.user");
	if (my_exec(session->client,
				"SELECT FLOOR(UNIX_TIMESTAMP(SYSDATE(6)) * 1000), @@GLOBAL.read_only",
				session->deadline, &answer, &err) != MY_DONE)
		return nothing_changed(&err);
	if (my_next(answer, &row, &columns))
	{
		session->peer_now = strtoll(row[0], NULL, 10);
		session->is_read_only = row[1] != NULL && strcmp(row[1], "0") != 0;
	}
	my_answer_free(answer);
	if (my_exec(session->client, "SHOW CREATE USER CURRENT_USER()", session->deadline, &answer,
				&err) != MY_DONE)
		return nothing_changed(&err);
	if (my_next(answer, &row, &columns) && row[0] != NULL)
		read_plugin(row[0], plugin);
	my_answer_free(answer);
	if (plugin[0] == '\0' || !note_account(session, "CURRENT_USER()", plugin))
		return outcome_make(OUTCOME_PERMANENT, NULL, "the server does not show the account");
	return outcome_make(OUTCOME_OK, NULL, NULL);
}

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
retains(const Session *session, const JobValue *value, Outcome *refusal)
{
	const char *strategy = text_or(session->job->account, "strategy",
								   text_or(session->job->policy, "strategy", "staged"));
	bool is_new = strcmp(value->id, session->job->version.id) == 0;

	if (strcmp(strategy, "dual_write") != 0)
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

/* One message: the guard, then the change. *changes is how many statements that is. */
static Outcome
write_change(Session *session, const JobValue *value, Sql *sql, int *changes)
{
	bool mariadb = my_is_mariadb(session->client);
	int64_t left = deadline_left(session->deadline);
	int64_t margin = left / 4 < MARGIN_MS ? left / 4 : MARGIN_MS;
	Outcome refusal = {.class = OUTCOME_OK};
	bool retain = retains(session, value, &refusal);
	RotorError bad;

	if (refusal.class != OUTCOME_OK)
		return refusal;
	append(sql,
		   "SET SESSION sql_mode = IF(UNIX_TIMESTAMP(SYSDATE(6)) * 1000 < %" PRId64 ", '', 'late')",
		   session->peer_now + left - margin);
	for (int i = 0; i < session->count; i++)
	{
		char hash[MYSQL_HASH_MAX];

		if (!mysql_hash(session->plugins[i], &value->password, hash, &bad))
			return outcome_of_error(OUTCOME_PERMANENT, &bad);
		if (mariadb)
			append(sql, "; SET PASSWORD FOR %s = '%s'", session->accounts[i], hash);
		else
			append(sql, "%s %s IDENTIFIED WITH '%s' AS '%s'%s", i == 0 ? "; ALTER USER" : ",",
				   session->accounts[i], session->plugins[i], hash,
				   retain ? " RETAIN CURRENT PASSWORD" : "");
		secret_wipe(hash, sizeof(hash));
	}
	*changes = mariadb ? session->count : 1;
	/* An emergency takes also the password that an earlier dual_write has left. */
	for (int i = 0; session->job->emergency && !mariadb && i < session->count; i++, ++*changes)
		append(sql, "; ALTER USER %s DISCARD OLD PASSWORD", session->accounts[i]);
	if (!sql->ok)
		return outcome_make(OUTCOME_PERMANENT, NULL, "the accounts' names are too long");
	return outcome_make(OUTCOME_OK, NULL, NULL);
}

static Outcome
judge_change(const Session *session, MyReach reach, int done, const MyError *err)
{
	if (reach == MY_DONE)
		return outcome_make(OUTCOME_OK, NULL, NULL);
	if (reach == MY_LOST || done > 1 || IS_AMONG(err->number, interruptions))
		return outcome_of(OUTCOME_UNKNOWN, err, "");
	if (done == 0 && err->number == GUARD_ERROR)
		return outcome_make(OUTCOME_TRANSIENT, "1231",
							"the change reached the server after the lease's end and was refused");
	/* One number for "read-only", which a fail-over ends, and for other options, which stay. */
	if (err->number == 1290 && session->is_read_only)
		return outcome_of(OUTCOME_TRANSIENT, err, "");
	return nothing_changed(err);
}

static Outcome
change(Session *session, const JobValue *value)
{
	Sql *sql = calloc(1, sizeof(*sql));
	MyError err = {0};
	int changes = 0;
	int done = 0;
	Outcome outcome;

	if (sql == NULL)
		return outcome_make(OUTCOME_TRANSIENT, NULL, "out of memory");
	sql->ok = true;
	outcome = write_change(session, value, sql, &changes);
	if (outcome.class == OUTCOME_OK)
	{
		MyReach reach = my_exec_script(session->client, sql->text, session->deadline, &done, &err);

		if (reach == MY_DONE && done != changes + 1)
			outcome = outcome_make(OUTCOME_UNKNOWN, NULL, "the server answered %d of %d statements",
								   done, changes + 1);
		else
			outcome = judge_change(session, reach, done, &err);
	}
	secret_wipe(sql, sizeof(*sql));
	free(sql);
	return outcome;
}

static Outcome
set(const Job *job, const JobValue *value, const JobValue *by, Deadline deadline)
{
	Session session = {.job = job,
					   .user = username_of(job, value),
					   .deadline = deadline_sooner(deadline, job->lease_end)};
	bool is_self = strcmp(username_of(job, by), session.user) == 0;
	MyError err;
	Outcome outcome;

	if (value->password.len == 0)
		return outcome_make(OUTCOME_PERMANENT, NULL, "the password is empty");
	session.client = connect_as(job, by, NULL, true, session.deadline, &err);
	if (session.client == NULL)
		return not_connected(&err);
	outcome = prepare(&session);
	if (outcome.class == OUTCOME_OK)
		outcome = find_accounts(&session);
	if (is_self && is_denied(&outcome))
		outcome = find_myself(&session);
	if (outcome.class == OUTCOME_OK)
		outcome = change(&session, value);
	for (int i = 0; i < session.count; i++)
		free(session.accounts[i]);
	my_close(session.client);
	return outcome;
}

/* ---- login */

static Outcome
judge_refusal(const MyError *err)
{
	if (err->number == 1045)
		return outcome_of(OUTCOME_REFUSED, err, "");
	if (IS_AMONG(err->number, barred_errors))
		return outcome_of(OUTCOME_PROVED, err, "the password was accepted, then: ");
	if (is_transient(err->number))
		return outcome_of(OUTCOME_TRANSIENT, err, "");
	return outcome_of(OUTCOME_INCONCLUSIVE, err, "the login says nothing of the password: ");
}

/* One text of one row, which the caller frees; NULL if the server does not answer so. */
static char *
ask(MyClient *client, const char *sql, Deadline deadline)
{
	MyAnswer *answer = NULL;
	MyError err;
	const char *const *row;
	unsigned columns;
	char *text = NULL;

	if (my_exec(client, sql, deadline, &answer, &err) == MY_DONE &&
		my_next(answer, &row, &columns) && row[0] != NULL)
		text = strdup(row[0]);
	my_answer_free(answer);
	return text;
}

/* Whether it is this account's password that let us in, and not another way in. */
static Outcome
judge_identity(const Job *job, const char *user, MyClient *client, Deadline deadline)
{
	char *who = ask(client, "SELECT CURRENT_USER()", deadline);
	const char *at = who != NULL ? strrchr(who, '@') : NULL;
	Outcome outcome = outcome_make(OUTCOME_OK, NULL, NULL);

	if (at == NULL)
		outcome = outcome_make(OUTCOME_TRANSIENT, NULL, "the server does not say who logged in");
	else if ((size_t) (at - who) != strlen(user) || strncmp(who, user, strlen(user)) != 0)
		outcome =
			outcome_make(OUTCOME_INCONCLUSIVE, NULL,
						 "the server took the login for %.120s, so that it proves nothing", who);
	else if (text_or(job->target, "host", "")[0] == '/')
	{
		char *account = ask(client, "SHOW CREATE USER CURRENT_USER()", deadline);

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
run_query(MyClient *client, const char *query, Deadline deadline)
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
	if (reach != MY_REFUSED || is_transient(err.number))
		return outcome_of(OUTCOME_TRANSIENT, &err, "the verification query: ");
	return outcome_of(OUTCOME_PROVED, &err,
					  "the password was accepted, but the verification query failed: ");
}

static Outcome
login(const Job *job, const JobValue *value, bool query, Deadline deadline)
{
	Deadline until = deadline_sooner(deadline, job->lease_end);
	const char *text = text_or(job->policy, "verify_query", NULL);
	const char *dbname =
		text_or(job->policy, "verify_database", text_or(job->target, "dbname", NULL));
	MyError err;
	MyClient *client = connect_as(job, value, dbname, false, until, &err);
	Outcome outcome;

	if (client == NULL)
		return judge_refusal(&err);
	outcome = judge_identity(job, username_of(job, value), client, until);
	if (outcome.class == OUTCOME_OK && query && text != NULL)
		outcome = run_query(client, text, until);
	my_close(client);
	return outcome;
}

/* ---- the rest */

static Outcome
end_sessions(const Job *job, const JobValue *by, Deadline deadline)
{
	Deadline until = deadline_sooner(deadline, job->lease_end);
	MyError err;
	MyClient *client = connect_as(job, by, NULL, false, until, &err);
	MyAnswer *answer = NULL;
	Sql sql = {.ok = true};
	char *user;
	const char *const *row;
	unsigned columns;
	int ended = 0;
	Outcome outcome = outcome_make(OUTCOME_OK, NULL, NULL);

	if (client == NULL)
		return not_connected(&err);
	user = my_quote(client, job->username);
	append(
		&sql,
		"SELECT ID FROM information_schema.PROCESSLIST WHERE USER = %s AND ID <> CONNECTION_ID()",
		user != NULL ? user : "''");
	free(user);
	if (my_exec(client, sql.text, until, &answer, &err) != MY_DONE)
		outcome = nothing_changed(&err);
	while (outcome.class == OUTCOME_OK && my_next(answer, &row, &columns))
	{
		char kill[64];

		(void) snprintf(kill, sizeof(kill), "KILL %" PRIu64, (uint64_t) strtoull(row[0], NULL, 10));
		/* 1094: it has ended by itself. */
		if (my_exec(client, kill, until, NULL, &err) == MY_DONE)
			ended++;
		else if (err.number != 1094)
			outcome = outcome_of(OUTCOME_UNKNOWN, &err, "");
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
	Session session = {.job = job,
					   .user = has_account ? job->username : "",
					   .deadline = deadline_sooner(deadline, job->lease_end)};
	MyError err;
	Outcome outcome;

	session.client = connect_as(job, by, NULL, false, session.deadline, &err);
	if (session.client == NULL)
		return not_connected(&err);
	outcome = prepare(&session);
	if (outcome.class == OUTCOME_OK)
		outcome = find_accounts(&session);
	if (is_denied(&outcome) && has_account && strcmp(username_of(job, by), job->username) == 0)
		outcome = find_myself(&session);
	/* Without an account it was only to be seen whether it may look for one. */
	if (outcome.class == OUTCOME_OK || (!has_account && strcmp(outcome.code, "1396") == 0))
	{
		unsigned long version = my_server_version(session.client);
		const char *tls = my_tls_version(session.client);

		outcome = outcome_make(OUTCOME_OK, NULL, "%s %lu.%lu.%lu, %s, %d accounts",
							   my_is_mariadb(session.client) ? "MariaDB" : "MySQL", version / 10000,
							   version / 100 % 100, version % 100, tls[0] != '\0' ? tls : "no TLS",
							   session.count);
	}
	for (int i = 0; i < session.count; i++)
		free(session.accounts[i]);
	my_close(session.client);
	return outcome;
}

const TargetClass target_mysql = {
	.type = "mysql",
	.set = set,
	.login = login,
	.end_sessions = end_sessions,
	.check = check,
};

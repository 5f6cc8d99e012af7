/*
 * mysql_session.c - see mysql_session.h.
 */
#include "mysql_session.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mysql_hash.h"

/* Errors of a server, by what they mean for whoever has made no change. */
static const unsigned transient_errors[] = {1021, 1037, 1040, 1041, 1042, 1047, 1053, 1129, 1135,
											1152, 1153, 1154, 1155, 1156, 1157, 1158, 1159, 1160,
											1161, 1180, 1203, 1205, 1213, 1226, 1317, 1836, 1927,
											1969, 3024, 3032, 3100, 3101, 3168, 3169, 4031};

bool
mysql_is_among(unsigned number, const unsigned *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
	{
		if (list[i] == number)
			return true;
	}
	return false;
}

/*
 * The library's own errors are of the network, but for those of plugins, which are settings. By one number, 2026,
 * it tells a handshake that broke and a certificate that is not trusted: what may pass is tried again, a few
 * times, with its words; for who gives up at a broken one in the step undo leaves the account locked out.
 */
bool
mysql_is_transient(unsigned number)
{
	if (number >= 2000 && number <= 2999)
		return number != 2049 && number != 2059 && number != 2061;
	return number == 5012 || number == 5013 || number == 5014 ||
		   MYSQL_IS_AMONG(number, transient_errors);
}

Outcome
mysql_outcome(OutcomeClass class, const MyError *err, const char *prefix)
{
	char code[16] = "";

	if (err->number != 0)
		(void) snprintf(code, sizeof(code), "%u", err->number);
	return outcome_make(class, code, "%s%s", prefix, err->message);
}

bool
mysql_is_in_hand(const MyError *err)
{
	return err->number == 1205;
}

/* Of an error before anything was sent that changes something. */
Outcome
mysql_nothing_changed(const MyError *err)
{
	Outcome outcome = mysql_outcome(
		mysql_is_transient(err->number) ? OUTCOME_TRANSIENT : OUTCOME_PERMANENT, err, "");

	outcome.peer_answered = mysql_is_in_hand(err);
	return outcome;
}

/* True also if the server does not answer any more: then it is not known to stay as it is. */
static bool
is_read_only(const MySession *session)
{
	MyAnswer *answer = NULL;
	MyError err;
	const char *const *row;
	unsigned columns;
	bool is = true;

	if (my_exec(session->client, "SELECT @@GLOBAL.read_only", session->deadline, &answer, &err) ==
			MY_DONE &&
		my_next(answer, &row, &columns))
		is = row[0] != NULL && strcmp(row[0], "0") != 0;
	my_answer_free(answer);
	return is;
}

/* One number for "read-only", which a fail-over ends, and for other options, which stay. */
Outcome
mysql_change_refused(const MySession *session, const MyError *err)
{
	Outcome outcome = mysql_nothing_changed(err);

	if (err->number == 1290 && is_read_only(session))
		outcome.class = OUTCOME_TRANSIENT;
	return outcome;
}

/* A refused password is no end: the credential may have been rotated since it was handed out. */
Outcome
mysql_not_connected(const MyError *err)
{
	bool stale = err->number == 1045;
	Outcome outcome = mysql_outcome(stale || mysql_is_transient(err->number) ? OUTCOME_TRANSIENT
																			 : OUTCOME_PERMANENT,
									err, "cannot connect with the credential that changes it: ");

	outcome.peer_answered = outcome.by_refused = stale;
	return outcome;
}

void
sql_append(MySql *sql, const char *format, ...)
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

MyClient *
mysql_connect_as(const Job *job, const JobValue *who, const char *dbname, bool scripts,
				 Deadline deadline, MyError *err)
{
	const cJSON *options = cJSON_GetObjectItemCaseSensitive(job->target, "options");
	const char *port = job_text(job->target, "port", NULL);
	const MyServer server = {
		.host = job_text(job->target, "host", "127.0.0.1"),
		.port = port != NULL ? (unsigned) strtoul(port, NULL, 10)
							 : (unsigned) job_integer(job->target, "port", 3306),
		.dbname = dbname,
		.user = job_username(job, who),
		.password = &who->password,
		.sslmode = job_text(job->target, "sslmode", NULL),
		.ca_file = job_text(options, "sslrootcert", NULL),
		.cert_file = job_text(options, "sslcert", NULL),
		.key_file = job_text(options, "sslkey", NULL),
		.scripts = scripts,
	};

	return my_connect(&server, deadline, err);
}

/* ---- set */

/*
 * Quoting below relies on the mode, the guard on the zone; and no lock is waited for much beyond the deadline.
 * How long the change itself may wait is said with the guard.
 */
Outcome
mysql_prepare(const MySession *session)
{
	int64_t left = deadline_left(session->deadline);
	int64_t seconds = left < 2000 ? 1 : left / 1000;
	char sql[256];
	MyError err;

	(void) snprintf(
		sql, sizeof(sql),
		"SET SESSION sql_mode = '', SESSION time_zone = '+00:00', SESSION autocommit = 1, "
		"SESSION lock_wait_timeout = %" PRId64 ", SESSION innodb_lock_wait_timeout = "
		"%" PRId64,
		seconds, seconds);
	if (my_exec(session->client, sql, session->deadline, NULL, &err) != MY_DONE)
		return mysql_nothing_changed(&err);
	/* The hash need not stand in the server's log either, where we may say so; where not, it does no harm. */
	if (my_exec(session->client, "SET SESSION sql_log_off = 1", session->deadline, NULL, &err) ==
		MY_LOST)
		return mysql_nothing_changed(&err);
	return outcome_make(OUTCOME_OK, NULL, NULL);
}

static Outcome
out_of_memory(void)
{
	return outcome_make(OUTCOME_TRANSIENT, NULL, "out of memory");
}

static Outcome
name_too_long(void)
{
	return outcome_make(OUTCOME_PERMANENT, NULL, "the account's name is too long");
}

Outcome
mysql_not_hashed(const RotorError *bad)
{
	return outcome_of_error(bad->code == ROTOR_ERROR_CRYPTO || bad->code == ROTOR_ERROR_SPACE
								? OUTCOME_TRANSIENT
								: OUTCOME_PERMANENT,
							bad);
}

/* Notes one account, if there is room for it. */
static Outcome
note_account(MySession *session, const char *account, const char *plugin)
{
	if (session->count == MYSQL_MAX_ACCOUNTS)
		return outcome_make(OUTCOME_PERMANENT, NULL, "at most %d accounts may have one name",
							MYSQL_MAX_ACCOUNTS);
	session->accounts[session->count] = strdup(account);
	if (session->accounts[session->count] == NULL)
		return out_of_memory();
	/* Accounts of old MariaDB versions have none. */
	(void) snprintf(session->plugins[session->count++], MYSQL_PLUGIN_SIZE, "%s",
					plugin[0] != '\0' ? plugin : "mysql_native_password");
	return outcome_make(OUTCOME_OK, NULL, NULL);
}

static Outcome
note_host(MySession *session, const char *host, const char *plugin)
{
	char *user_quoted = my_quote(session->client, session->user);
	char *host_quoted = my_quote(session->client, host);
	char account[1024];
	Outcome outcome;

	if (user_quoted == NULL || host_quoted == NULL)
		outcome = out_of_memory();
	else if (snprintf(account, sizeof(account), "%s@%s", user_quoted, host_quoted) >=
			 (int) sizeof(account))
		outcome = name_too_long();
	else
		outcome = note_account(session, account, plugin);
	free(user_quoted);
	free(host_quoted);
	return outcome;
}

static Outcome
write_find_accounts(const MySession *session, const char *host, MySql *sql)
{
	char *user_quoted = my_quote(session->client, session->user);
	char *host_quoted = my_quote(session->client, host != NULL ? host : "");
	bool quoted = user_quoted != NULL && host_quoted != NULL;

	if (quoted)
		sql_append(sql,
				   "SELECT FLOOR(UNIX_TIMESTAMP(SYSDATE(6)) * 1000), Host, plugin, %s "
				   "FROM mysql.user WHERE User = %s%s",
				   session->sought != NULL ? "authentication_string" : "NULL", user_quoted,
				   my_is_mariadb(session->client) ? " AND is_role = 'N'" : "");
	if (quoted && host != NULL)
		sql_append(sql, " AND Host = %s", host_quoted);
	free(user_quoted);
	free(host_quoted);
	if (!quoted)
		return out_of_memory();
	return sql->ok ? outcome_make(OUTCOME_OK, NULL, NULL) : name_too_long();
}

/* The server's clock comes with it, one row each account. */
Outcome
mysql_find_accounts(MySession *session)
{
	const char *host = job_text(session->job->account, "host", NULL);
	MySql sql = {.ok = true};
	MyAnswer *answer = NULL;
	MyError err;
	const char *const *row;
	unsigned columns;
	Outcome outcome = write_find_accounts(session, host, &sql);

	if (outcome.class != OUTCOME_OK)
		return outcome;
	if (my_exec(session->client, sql.text, session->deadline, &answer, &err) != MY_DONE)
		return mysql_nothing_changed(&err);
	while (outcome.class == OUTCOME_OK && my_next(answer, &row, &columns))
	{
		session->peer_now = strtoll(row[0], NULL, 10);
		outcome = note_host(session, row[1] != NULL ? row[1] : "", row[2] != NULL ? row[2] : "");
		if (outcome.class == OUTCOME_OK)
			session->have_it[session->count - 1] =
				row[3] != NULL && mysql_hash_is_of(row[3], session->plugins[session->count - 1],
												   &session->sought->password);
	}
	my_answer_free(answer);
	if (outcome.class == OUTCOME_OK && session->count == 0)
		outcome =
			outcome_make(OUTCOME_PERMANENT, MYSQL_NO_SUCH_ACCOUNT, "there is no account '%s'@'%s'",
						 session->user, host != NULL ? host : "any host");
	return outcome;
}

/* Runs one statement on an account or the owner: what it does may be done again. */
static Outcome
run_statement(const MySession *session, const MySql *sql)
{
	MyError err;

	if (!sql->ok)
		return outcome_make(OUTCOME_PERMANENT, NULL, "the accounts' names are too long");
	if (my_exec(session->client, sql->text, session->deadline, NULL, &err) != MY_DONE)
		return mysql_change_refused(session, &err);
	return outcome_make(OUTCOME_OK, NULL, NULL);
}

void
mysql_forget_accounts(MySession *session)
{
	while (session->count > 0)
		free(session->accounts[--session->count]);
}

/* Makes the account, locked, with the value that it is to have, and finds it. */
Outcome
mysql_make_account(MySession *session, const JobValue *value)
{
	const char *host = job_text(session->job->account, "host", "%");
	const char *plugin =
		my_is_mariadb(session->client) ? "mysql_native_password" : "caching_sha2_password";
	char hash[MYSQL_HASH_MAX];
	MySql *sql = calloc(1, sizeof(*sql));
	RotorError bad;
	Outcome outcome;

	if (sql == NULL)
		return out_of_memory();
	outcome = note_host(session, host, plugin);
	if (outcome.class == OUTCOME_OK && !mysql_hash(plugin, &value->password, hash, &bad))
		outcome = mysql_not_hashed(&bad);
	if (outcome.class != OUTCOME_OK)
	{
		free(sql);
		return outcome;
	}
	sql->ok = true;
	sql_append(sql,
			   my_is_mariadb(session->client)
				   ? "CREATE USER IF NOT EXISTS %s IDENTIFIED VIA %s USING '%s' ACCOUNT LOCK"
				   : "CREATE USER IF NOT EXISTS %s IDENTIFIED WITH %s AS '%s' ACCOUNT LOCK",
			   session->accounts[0], plugin, hash);
	outcome = run_statement(session, sql);
	secret_wipe(hash, sizeof(hash));
	secret_wipe(sql, sizeof(*sql));
	free(sql);
	mysql_forget_accounts(session);
	return outcome.class == OUTCOME_OK ? mysql_find_accounts(session) : outcome;
}

/* All accounts of the name have the owner's grants from their logins on. */
Outcome
mysql_follow_owner(const MySession *session)
{
	bool mariadb = my_is_mariadb(session->client);
	char *owner = my_quote(session->client, job_string(session->job->pair, "owner"));
	Outcome outcome = outcome_make(OUTCOME_OK, NULL, NULL);

	for (int i = 0; outcome.class == OUTCOME_OK && i < 2 * session->count; i++)
	{
		MySql *sql = calloc(1, sizeof(*sql));

		if (sql == NULL || owner == NULL)
			outcome = out_of_memory();
		else
		{
			sql->ok = true;
			sql_append(sql, i % 2 == 0 ? "GRANT %s %s %s" : "SET DEFAULT ROLE %s %s %s", owner,
					   i % 2 != 0 && mariadb ? "FOR" : "TO", session->accounts[i / 2]);
			outcome = run_statement(session, sql);
		}
		free(sql);
	}
	free(owner);
	return outcome;
}

/* The plugin of "CREATE USER ... IDENTIFIED VIA plugin USING ..."; native if it has none. */
static void
read_plugin(const char *statement, char plugin[MYSQL_PLUGIN_SIZE])
{
	const char *via = strstr(statement, " IDENTIFIED VIA ");
	size_t len;

	(void) snprintf(plugin, MYSQL_PLUGIN_SIZE, "mysql_native_password");
	if (via == NULL)
		return;
	via += strlen(" IDENTIFIED VIA ");
	len = strcspn(via, " ,;");
	(void) snprintf(plugin, MYSQL_PLUGIN_SIZE, "%.*s",
					len < MYSQL_PLUGIN_SIZE ? (int) len : MYSQL_PLUGIN_SIZE - 1, via);
}

/* Of a session as the account itself, which may look at nothing but itself. */
Outcome
mysql_find_myself(MySession *session)
{
	MyAnswer *answer = NULL;
	MyError err;
	const char *const *row;
	unsigned columns;
	char plugin[MYSQL_PLUGIN_SIZE] = "";

	if (!my_is_mariadb(session->client))
		return outcome_make(
			OUTCOME_PERMANENT, "1227",
			"MySQL lets an account change its own password in clear text only: give "
			"the target an administrator with CREATE USER and SELECT on mysql.user");
	if (my_exec(session->client, "SELECT FLOOR(UNIX_TIMESTAMP(SYSDATE(6)) * 1000)",
				session->deadline, &answer, &err) != MY_DONE)
		return mysql_nothing_changed(&err);
	if (my_next(answer, &row, &columns))
		session->peer_now = strtoll(row[0], NULL, 10);
	my_answer_free(answer);
	if (my_exec(session->client, "SHOW CREATE USER CURRENT_USER()", session->deadline, &answer,
				&err) != MY_DONE)
		return mysql_nothing_changed(&err);
	if (my_next(answer, &row, &columns) && row[0] != NULL)
		read_plugin(row[0], plugin);
	my_answer_free(answer);
	if (plugin[0] == '\0')
		return outcome_make(OUTCOME_PERMANENT, NULL, "the server does not show the account");
	return note_account(session, "CURRENT_USER()", plugin);
}

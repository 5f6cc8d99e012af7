/*
 * postgres_session.c - a session that changes roles of another PostgreSQL server; see postgres_session.h.
 */
#include "postgres_session.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SQL_SIZE 8192

PgClient *
postgres_connect_as(const Job *job, const JobValue *who, const char *dbname, bool read_write,
					Deadline deadline, PgError *err)
{
	const cJSON *options = cJSON_GetObjectItemCaseSensitive(job->target, "options");
	const char *host = job_text(job->target, "host", "localhost");
	char port[16];
	PgServer server = {
		.host = host,
		.port = job_text(job->target, "port", port),
		.dbname = dbname != NULL ? dbname : job_text(job->target, "dbname", "postgres"),
		.user = job_username(job, who),
		.password = &who->password,
		.sslmode = job_text(job->target, "sslmode", NULL),
		.sslrootcert = job_text(options, "sslrootcert", NULL),
		.sslcert = job_text(options, "sslcert", NULL),
		.sslkey = job_text(options, "sslkey", NULL),
		.application_name = "rotor",
		.read_write = read_write && strchr(host, ',') != NULL,
	};

	(void) snprintf(port, sizeof(port), "%d", job_integer(job->target, "port", 5432));
	return pg_connect(&server, deadline, err);
}

static bool
has_class(const char *sqlstate, const char *class)
{
	return strncmp(sqlstate, class, 2) == 0;
}

/* Whether an error that changed nothing may go by itself. */
bool
postgres_is_transient(const char *sqlstate)
{
	return sqlstate[0] == '\0' || has_class(sqlstate, "08") || has_class(sqlstate, "40") ||
		   has_class(sqlstate, "53") || has_class(sqlstate, "57") || has_class(sqlstate, "58") ||
		   has_class(sqlstate, "XX") || strcmp(sqlstate, "55P03") == 0 ||
		   strcmp(sqlstate, "55006") == 0 || strcmp(sqlstate, "25006") == 0 ||
		   strcmp(sqlstate, "25P03") == 0;
}

/* Of an error before anything was sent that changes something. */
Outcome
postgres_nothing_changed(const PgError *err)
{
	Outcome outcome =
		outcome_make(postgres_is_transient(err->sqlstate) ? OUTCOME_TRANSIENT : OUTCOME_PERMANENT,
					 err->sqlstate, "%s", err->message);

	/* Somebody else has the role in hand. */
	outcome.peer_answered = strcmp(err->sqlstate, "55P03") == 0;
	return outcome;
}

/*
 * A refused password is no end here: the credential may have been rotated since it was handed out, and
 * the next claim has the new one.
 */
Outcome
postgres_not_connected(const PgError *err, const char *user)
{
	bool stale = strcmp(err->sqlstate, "28P01") == 0;
	Outcome outcome = outcome_make(
		stale || postgres_is_transient(err->sqlstate) ? OUTCOME_TRANSIENT : OUTCOME_PERMANENT,
		err->sqlstate, "cannot connect as %.63s: %s", user, err->message);

	outcome.peer_answered = stale;
	/* LDAP, PAM and RADIUS have no code of their own for a wrong password. */
	outcome.by_refused = stale || (strcmp(err->sqlstate, "28000") == 0 && err->used_password &&
								   err->in_authentication);
	return outcome;
}

/*
 * Opens the transaction and keeps it short whatever becomes of us. Its own settings come first: what a
 * database's owner put before pg_catalog must not be called. Durations are logged behind the commit, so
 * what keeps the log quiet is set for the session, unless a pooler will give that to somebody else. A lock
 * is waited for less long than we wait, so that the server says that it was one.
 */
static bool
append_settings(char *sql, size_t size, const PgClient *client, int64_t left)
{
	static const char *const quiet[][2] = {{"log_statement", "none"},
										   {"log_min_error_statement", "panic"},
										   {"log_min_duration_statement", "-1"},
										   {"log_transaction_sample_rate", "0"},
										   {"pg_stat_statements.track_utility", "off"}};
	int used = snprintf(
		sql, size,
		"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; "
		"SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true); "
		"SELECT set_config('statement_timeout', '%" PRId64 "', true), "
		"set_config('lock_timeout', '%" PRId64 "', true), "
		"set_config('idle_in_transaction_session_timeout', '%" PRId64 "', true), "
		"set_config('synchronous_commit', CASE current_setting('synchronous_commit') "
		"WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, true); SELECT NULL",
		left, left - left / 4, left);

	for (size_t i = 0; i < sizeof(quiet) / sizeof(quiet[0]); i++)
	{
		char may[128] = "current_setting('is_superuser') = 'on'";

		if (pg_server_version(client) >= 150000)
			(void) snprintf(may, sizeof(may), "has_parameter_privilege('%s', 'SET')", quiet[i][0]);
		if (used < 0 || (size_t) used >= size)
			return false;
		used += snprintf(sql + used, size - (size_t) used,
						 ", CASE WHEN current_setting('%s', true) IS NOT NULL AND %s "
						 "THEN set_config('%s', '%s', pg_backend_pid() <> %d) END",
						 quiet[i][0], may, quiet[i][0], quiet[i][1], pg_backend_pid(client));
	}
	return used >= 0 && (size_t) used < size;
}

/* libpq does not say which of the two it is: what may pass is tried again. */
Outcome
postgres_not_quoted(void)
{
	return outcome_make(OUTCOME_TRANSIENT, NULL,
						"the role's name cannot be quoted: out of memory, or not valid UTF-8");
}

static Outcome
append_preflight(char *sql, size_t size, PgClient *client, const char *role)
{
	char *quoted = pg_quote_text(client, role);
	size_t used = strlen(sql);
	int more;

	if (quoted == NULL)
		return postgres_not_quoted();
	more = snprintf(sql + used, size - used,
					"; SELECT trunc(extract(epoch FROM clock_timestamp()) * 1000)::bigint, "
					"r.oid IS NOT NULL, r.rolcanlogin, r.rolvaliduntil <= now(), r.rolsuper, "
					"r.rolreplication, r.oid = me.oid, %s, me.rolsuper, me.rolcreaterole "
					"FROM pg_roles me LEFT JOIN pg_roles r ON r.rolname::text = %s "
					"WHERE me.rolname = current_user",
					pg_server_version(client) >= 160000
						? "pg_has_role(me.oid, r.oid, 'MEMBER WITH ADMIN OPTION')"
						: "true",
					quoted);

	pg_quoted_free(quoted);
	if (more < 0 || (size_t) more >= size - used)
		return outcome_make(OUTCOME_PERMANENT, "22021", "the role's name is too long");
	return outcome_make(OUTCOME_OK, NULL, NULL);
}

static Outcome
preflight(PgSession *session)
{
	char sql[SQL_SIZE];
	PgError err;
	PgAnswer *answer;
	PgPreflight *found = &session->found;
	const char *now;
	Outcome outcome;

	if (!append_settings(sql, sizeof(sql), session->client, deadline_left(session->deadline) + 1))
		return outcome_make(OUTCOME_INTERNAL, NULL, "the settings do not fit");
	outcome = append_preflight(sql, sizeof(sql), session->client, session->role);
	if (outcome.class != OUTCOME_OK)
		return outcome;
	if (pg_exec_script(session->client, sql, session->deadline, &answer, &err) != PG_DONE)
	{
		/* Of a standby: read-write it cannot be. */
		if (strcmp(err.sqlstate, "0A000") == 0)
			return outcome_make(OUTCOME_TRANSIENT, err.sqlstate, "%s", err.message);
		return postgres_nothing_changed(&err);
	}
	now = pg_value(answer, 0, 0);
	found->peer_now = now != NULL ? strtoll(now, NULL, 10) : 0;
	found->exists = pg_flag(answer, 0, 1);
	found->can_login = pg_flag(answer, 0, 2);
	found->expired = pg_flag(answer, 0, 3);
	found->is_superuser = pg_flag(answer, 0, 4);
	found->is_replication = pg_flag(answer, 0, 5);
	found->is_self = pg_flag(answer, 0, 6);
	found->has_admin_option = pg_flag(answer, 0, 7);
	found->by_superuser = pg_flag(answer, 0, 8);
	found->by_createrole = pg_flag(answer, 0, 9);
	pg_answer_free(answer);
	if (now == NULL)
		return outcome_make(OUTCOME_TRANSIENT, NULL, "the server does not list the role in use");
	return outcome_make(OUTCOME_OK, NULL, NULL);
}

/* Connects and opens the transaction of a change; the client is there to be closed in any case. */
Outcome
postgres_open_change(PgSession *session, const JobValue *by)
{
	PgError err;

	session->client = postgres_connect_as(session->job, by, NULL, true, session->deadline, &err);
	if (session->client == NULL)
		return postgres_not_connected(&err, job_username(session->job, by));
	return preflight(session);
}

/*
 * What makes the role, if it is missing, a member of its owner, and gives it the owner's settings and the
 * one by which it logs in as the owner; %s are the two, quoted, the right that a member needs for that, and
 * the option that gives it. Nothing is written if all is as it should be. Settings that are lists are
 * stored as one text, which anybody may have written (SET ... FROM CURRENT): each of their names is quoted
 * anew.
 */
static const char owner_script[] =
	"DECLARE member name := %s; owner name := %s; o oid; m oid; s record; e text; place text; "
	"key text; value text; "
	"BEGIN "
	"IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = member) THEN "
	"EXECUTE format('CREATE ROLE %%I NOLOGIN INHERIT IN ROLE %%I', member, owner); "
	"ELSIF NOT pg_has_role(member, owner, '%s') THEN "
	"EXECUTE format('GRANT %%I TO %%I%s', owner, member); "
	"END IF; "
	"o := (SELECT oid FROM pg_roles WHERE rolname = owner); "
	"m := (SELECT oid FROM pg_roles WHERE rolname = member); "
	"FOR s IN SELECT w.config, b.datname FROM (SELECT d.id, ARRAY(SELECT c FROM unnest(r.setconfig) c "
	"WHERE split_part(c, '=', 1) <> 'role') || CASE d.id WHEN 0 THEN ARRAY['role=' || owner] "
	"ELSE '{}' END AS config FROM (SELECT 0::oid AS id UNION SELECT setdatabase "
	"FROM pg_db_role_setting WHERE setrole IN (o, m)) d LEFT JOIN pg_db_role_setting r "
	"ON r.setdatabase = d.id AND r.setrole = o) w LEFT JOIN pg_database b ON b.oid = w.id "
	"LEFT JOIN pg_db_role_setting p ON p.setrole = m AND p.setdatabase = w.id "
	"WHERE w.config IS DISTINCT FROM coalesce(p.setconfig, '{}') LOOP "
	"place := CASE WHEN s.datname IS NULL THEN '' ELSE format(' IN DATABASE %%I', s.datname) END; "
	"EXECUTE format('ALTER ROLE %%I%%s RESET ALL', member, place); "
	"FOREACH e IN ARRAY s.config LOOP "
	"key := split_part(e, '=', 1); value := substr(e, strpos(e, '=') + 1); "
	"IF key IN ('search_path', 'temp_tablespaces', 'session_preload_libraries', "
	"'local_preload_libraries') THEN value := coalesce((SELECT string_agg(quote_literal(coalesce("
	"replace(x[1], '\"\"', '\"'), CASE WHEN key IN ('search_path', "
	"'temp_tablespaces') THEN lower(x[2]) ELSE x[2] END)), ', ') FROM regexp_matches(value, "
	"'\"((?:[^\"]|\"\")*)\"|([^,\"[:space:]]+)', 'g') x), ''''''); "
	"ELSE value := quote_literal(value); END IF; "
	"EXECUTE format('ALTER ROLE %%I%%s SET %%I TO %%s', member, place, key, value); "
	"END LOOP; END LOOP; END";

/* Within the transaction that is open, so that it comes to nothing if the change does. */
Outcome
postgres_follow_owner(const PgSession *session)
{
	char *role = pg_quote_text(session->client, session->role);
	char *owner = pg_quote_text(session->client, job_string(session->job->pair, "owner"));
	/* From 16 on a member need not have the right to SET ROLE, and GRANT alone changes no option. */
	bool is_16 = pg_server_version(session->client) >= 160000;
	const char *right = is_16 ? "SET" : "MEMBER";
	const char *with = is_16 ? " WITH SET TRUE" : "";
	char body[SQL_SIZE];
	char sql[2 * SQL_SIZE];
	char *quoted = NULL;
	PgError err;
	bool has_names = role != NULL && owner != NULL;
	bool fits = has_names && snprintf(body, sizeof(body), owner_script, role, owner, right, with) <
								 (int) sizeof(body);

	if (fits)
		quoted = pg_quote_text(session->client, body);
	has_names = has_names && (quoted != NULL || !fits);
	fits = quoted != NULL && snprintf(sql, sizeof(sql), "DO %s", quoted) < (int) sizeof(sql);
	pg_quoted_free(quoted);
	pg_quoted_free(owner);
	pg_quoted_free(role);
	if (!has_names)
		return postgres_not_quoted();
	if (!fits)
		return outcome_make(OUTCOME_PERMANENT, "22021",
							"the names of the role and its owner are too long");
	if (pg_exec_script(session->client, sql, session->deadline, NULL, &err) != PG_DONE)
		return postgres_nothing_changed(&err);
	return outcome_make(OUTCOME_OK, NULL, NULL);
}

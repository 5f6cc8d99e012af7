/*
 * target_postgres.c - accounts of another PostgreSQL server.
 *
 * The server never sees a password in SQL: the SCRAM verifier is computed here and given to ALTER ROLE.
 * The change is one transaction, whose second message holds a guard: the server itself refuses it, by its
 * own clock, if it arrives after the lease's end, so that a worker which was frozen changes nothing later.
 * Where the credential may, the session keeps the verifier out of the server's log and statistics too.
 *
 * By is an administrator (a superuser, or CREATEROLE with, from 16 on, ADMIN OPTION on the role) or the
 * account itself. Whether it may is the server's to say: forks and hosted services have rules of their own.
 * What it says is reported with the remedy that the roles' attributes suggest.
 *
 * Of two roles that are used in turn (job->pair), each is made where it is missing, a member of the owner
 * that logs in as the owner and has the owner's settings: all in the transaction of the change. That needs a
 * superuser, or CREATEROLE and, from 16 on, ADMIN OPTION on the owner.
 *
 * Options of the target: sslrootcert, sslcert, sslkey (files). Several hosts, separated by commas: a change
 * goes to the one that takes writes; a login goes to the first that answers, so name a writer's address
 * there if replicas may lag.
 *
 * Through pgbouncer in transaction mode all of this works, nothing being set beyond a transaction; but what
 * a login then proves is that the pooler accepts the value: with auth_query that is the server's verifier,
 * with auth_file it is the pooler's own list, which nobody here changes. And pgbouncer 1.18 tells a wrong
 * password by the code of many other troubles (08P01), so that it is transient rather than refused. Point
 * the target at the server itself where that matters.
 */
#include "target.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pg_client.h"
#include "scram.h"

#define MARGIN_MS 1000 /* for the commit itself, between the guard and the lease's end */
#define SQL_SIZE  8192

/* What the server says of a role and of the one that is to change it, before anything is changed. */
typedef struct Preflight
{
	int64_t peer_now; /* milliseconds of the server's clock */
	bool exists;
	bool can_login;
	bool expired;
	bool is_superuser;
	bool is_replication;
	bool is_self;
	bool has_admin_option;
	bool by_superuser;
	bool by_createrole;
} Preflight;

/* One connection's worth of a job. */
typedef struct Session
{
	const Job *job;
	const char *role; /* whose password it is */
	Deadline deadline;
	PgClient *client;
	Preflight found;
} Session;

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

static PgClient *
connect_as(const Job *job, const JobValue *who, const char *dbname, bool read_write,
		   Deadline deadline, PgError *err)
{
	const cJSON *options = cJSON_GetObjectItemCaseSensitive(job->target, "options");
	const char *host = text_or(job->target, "host", "localhost");
	char port[16];
	PgServer server = {
		.host = host,
		.port = text_or(job->target, "port", port),
		.dbname = dbname != NULL ? dbname : text_or(job->target, "dbname", "postgres"),
		.user = username_of(job, who),
		.password = &who->password,
		.sslmode = text_or(job->target, "sslmode", NULL),
		.sslrootcert = text_or(options, "sslrootcert", NULL),
		.sslcert = text_or(options, "sslcert", NULL),
		.sslkey = text_or(options, "sslkey", NULL),
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
static bool
is_transient(const char *sqlstate)
{
	return sqlstate[0] == '\0' || has_class(sqlstate, "08") || has_class(sqlstate, "40") ||
		   has_class(sqlstate, "53") || has_class(sqlstate, "57") || has_class(sqlstate, "58") ||
		   has_class(sqlstate, "XX") || strcmp(sqlstate, "55P03") == 0 ||
		   strcmp(sqlstate, "55006") == 0 || strcmp(sqlstate, "25006") == 0 ||
		   strcmp(sqlstate, "25P03") == 0;
}

/* Of an error before anything was sent that changes something. */
static Outcome
nothing_changed(const PgError *err)
{
	Outcome outcome =
		outcome_make(is_transient(err->sqlstate) ? OUTCOME_TRANSIENT : OUTCOME_PERMANENT,
					 err->sqlstate, "%s", err->message);

	/* Somebody else has the role in hand. */
	outcome.peer_answered = strcmp(err->sqlstate, "55P03") == 0;
	return outcome;
}

/*
 * A refused password is no end here: the credential may have been rotated since it was handed out, and
 * the next claim has the new one.
 */
static Outcome
not_connected(const PgError *err, const char *user)
{
	bool stale = strcmp(err->sqlstate, "28P01") == 0;
	Outcome outcome =
		outcome_make(stale || is_transient(err->sqlstate) ? OUTCOME_TRANSIENT : OUTCOME_PERMANENT,
					 err->sqlstate, "cannot connect as %.63s: %s", user, err->message);

	outcome.peer_answered = stale;
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

static bool
append_preflight(char *sql, size_t size, PgClient *client, const char *role)
{
	char *quoted = pg_quote_text(client, role);
	size_t used = strlen(sql);
	int more =
		quoted == NULL
			? -1
			: snprintf(sql + used, size - used,
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
	return more >= 0 && (size_t) more < size - used;
}

static Outcome
preflight(Session *session)
{
	char sql[SQL_SIZE];
	PgError err;
	PgAnswer *answer;
	Preflight *found = &session->found;
	const char *now;

	if (!append_settings(sql, sizeof(sql), session->client, deadline_left(session->deadline) + 1) ||
		!append_preflight(sql, sizeof(sql), session->client, session->role))
		return outcome_make(OUTCOME_PERMANENT, "22021",
							"the role's name is too long or not valid UTF-8");
	if (pg_exec_script(session->client, sql, session->deadline, &answer, &err) != PG_DONE)
	{
		/* Of a standby: read-write it cannot be. */
		if (strcmp(err.sqlstate, "0A000") == 0)
			return outcome_make(OUTCOME_TRANSIENT, err.sqlstate, "%s", err.message);
		return nothing_changed(&err);
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

/* What is missing for the credential to change the role's password; NULL: nothing that we know of. */
static const char *
missing_right(const Session *session)
{
	const Preflight *found = &session->found;
	bool is_16 = pg_server_version(session->client) >= 160000;

	if (found->by_superuser)
		return NULL;
	if (found->is_superuser)
		return "only a superuser can change a superuser's password";
	if (!is_16 && found->is_replication)
		return "before version 16 only a superuser can change a REPLICATION role's password";
	if (found->is_self)
		return NULL;
	if (!found->by_createrole)
		return "the administrator needs CREATEROLE";
	if (!found->has_admin_option)
		return "the administrator needs ADMIN OPTION on the role: GRANT role TO administrator WITH "
			   "ADMIN OPTION";
	return NULL;
}

/* A role that is used in turn is made where it is missing, and follows its owner; in undo it stays as it is. */
static bool
takes_after_owner(const Job *job)
{
	return job->pair != NULL && job->step != STEP_UNDO;
}

static Outcome
no_such_role(const Session *session)
{
	return outcome_make(OUTCOME_PERMANENT, "42704", "role \"%.63s\" does not exist", session->role);
}

/* Who is given a new value must be able to use it; who gets a former one back need not. */
static Outcome
judge_role(const Session *session, const JobValue *value)
{
	const Preflight *found = &session->found;
	bool is_new = strcmp(value->id, session->job->version.id) == 0;

	if (!found->exists && !takes_after_owner(session->job))
		return no_such_role(session);
	if (is_new && !found->can_login && session->job->pair == NULL)
		return outcome_make(OUTCOME_PERMANENT, "28000",
							"role \"%.63s\" may not log in: ALTER ROLE ... LOGIN, or take the "
							"secret out of rotation",
							session->role);
	if (is_new && found->expired)
		return outcome_make(OUTCOME_PERMANENT, "28P01",
							"the password of role \"%.63s\" would be expired at once: ALTER ROLE "
							"... VALID UNTIL",
							session->role);
	return outcome_make(OUTCOME_OK, NULL, NULL);
}

/*
 * What makes the role, if it is missing, a member of its owner, and gives it the owner's settings and the
 * one by which it logs in as the owner; %s are the two, quoted, the right that this needs, and the option
 * that gives it. Nothing is written if all is as it should be. Settings that are lists are stored as one
 * text, which anybody may have written (SET ... FROM CURRENT): each of their names is quoted anew.
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
static Outcome
follow_owner(const Session *session)
{
	char *role = pg_quote_text(session->client, session->role);
	char *owner = pg_quote_text(session->client, job_string(session->job->pair, "owner"));
	/* From 16 on a member need not have the right to SET ROLE, and GRANT alone changes no option. */
	bool is_16 = pg_server_version(session->client) >= 160000;
	char body[SQL_SIZE];
	char sql[2 * SQL_SIZE];
	char *quoted = NULL;
	PgError err;
	bool fits = role != NULL && owner != NULL &&
				snprintf(body, sizeof(body), owner_script, role, owner, is_16 ? "SET" : "MEMBER",
						 is_16 ? " WITH SET TRUE" : "") < (int) sizeof(body);

	if (fits)
		quoted = pg_quote_text(session->client, body);
	fits = quoted != NULL && snprintf(sql, sizeof(sql), "DO %s", quoted) < (int) sizeof(sql);
	pg_quoted_free(quoted);
	pg_quoted_free(owner);
	pg_quoted_free(role);
	if (!fits)
		return outcome_make(OUTCOME_PERMANENT, "22021",
							"the names of the role and its owner are too long");
	if (pg_exec_script(session->client, sql, session->deadline, NULL, &err) != PG_DONE)
		return nothing_changed(&err);
	return outcome_make(OUTCOME_OK, NULL, NULL);
}

/*
 * The statements from the guard to the commit: ALTER ROLE with the verifier, unless it is empty, and
 * LOGIN or NOLOGIN, unless that is empty; false if they do not fit or the name cannot be quoted.
 */
static bool
write_change(char *sql, size_t size, const Session *session, const char *verifier,
			 const char *login, int64_t left)
{
	char guard[128];
	char *role = pg_quote_name(session->client, session->role);
	char *quoted = pg_quote_text(session->client, verifier);
	int64_t margin = left / 4 < MARGIN_MS ? left / 4 : MARGIN_MS;
	int used = -1;

	(void) snprintf(guard, sizeof(guard),
					"SELECT 1 / (extract(epoch FROM clock_timestamp()) * 1000 < %" PRId64 ")::int",
					session->found.peer_now + left - margin);
	if (role != NULL && quoted != NULL)
		used = snprintf(sql, size, "%s; ALTER ROLE %s%s%s%s; %s; COMMIT", guard, role, login,
						verifier[0] != '\0' ? " PASSWORD " : "", verifier[0] != '\0' ? quoted : "",
						guard);
	pg_quoted_free(role);
	pg_quoted_free(quoted);
	return used >= 0 && (size_t) used < size;
}

static Outcome
judge_change(const Session *session, PgReach reach, const PgError *err)
{
	const char *missing = NULL;

	switch (reach)
	{
		case PG_DONE:
			return outcome_make(OUTCOME_OK, NULL, NULL);
		case PG_LOST:
			return outcome_make(OUTCOME_UNKNOWN, err->sqlstate, "%s", err->message);
		case PG_NOT_SENT:
			return outcome_make(OUTCOME_TRANSIENT, err->sqlstate, "%s", err->message);
		default:
			break;
	}
	if (strcmp(err->sqlstate, "22012") == 0)
		return outcome_make(OUTCOME_TRANSIENT, err->sqlstate,
							"the change reached the server after the lease's end and was refused");
	if (strcmp(err->sqlstate, "42501") == 0)
		missing = missing_right(session);
	if (missing != NULL)
		return outcome_make(OUTCOME_PERMANENT, err->sqlstate, "%.400s; %s", err->message, missing);
	return nothing_changed(err);
}

/* Sends the change; what became of it. */
static Outcome
send_change(const Session *session, const char *verifier, const char *login)
{
	char sql[1024];
	PgError err = {0};
	Outcome outcome;

	/* Our clock was ahead of the server's look at its own, so this is too early rather than too late. */
	if (!write_change(sql, sizeof(sql), session, verifier, login, deadline_left(session->deadline)))
		outcome = outcome_make(OUTCOME_PERMANENT, "22021", "the role's name cannot be quoted");
	else
		outcome = judge_change(
			session, pg_exec_script(session->client, sql, session->deadline, NULL, &err), &err);
	secret_wipe(sql, sizeof(sql));
	return outcome;
}

/* What of logging in changes with the value: nothing, but for an account that is used in turn. */
static const char *
login_clause(const Session *session)
{
	const cJSON *pair = session->job->pair;

	if (pair == NULL)
		return "";
	if (session->job->step != STEP_UNDO)
		return " LOGIN";
	return job_flag(pair, "locked", false) ? " NOLOGIN" : "";
}

static Outcome
change(const Session *session, const JobValue *value)
{
	char verifier[SCRAM_VERIFIER_MAX];
	RotorError bad;
	Outcome outcome;

	if (!scram_build_verifier(
			value->password.data, value->password.len,
			job_integer(session->job->policy, "scram_iterations", SCRAM_DEFAULT_ITERATIONS), NULL,
			0, verifier, &bad))
		return outcome_of_error(OUTCOME_PERMANENT, &bad);
	outcome = send_change(session, verifier, login_clause(session));
	secret_wipe(verifier, sizeof(verifier));
	return outcome;
}

/* Connects and opens the transaction of a change; the client is there to be closed in any case. */
static Outcome
open_change(Session *session, const JobValue *by)
{
	PgError err;

	session->client = connect_as(session->job, by, NULL, true, session->deadline, &err);
	if (session->client == NULL)
		return not_connected(&err, username_of(session->job, by));
	return preflight(session);
}

static Outcome
set(const Job *job, const JobValue *value, const JobValue *by, Deadline deadline)
{
	Session session = {.job = job,
					   .role = username_of(job, value),
					   .deadline = deadline_sooner(deadline, job->lease_end)};
	Outcome outcome = open_change(&session, by);

	if (outcome.class == OUTCOME_OK)
		outcome = judge_role(&session, value);
	if (outcome.class == OUTCOME_OK && takes_after_owner(job))
		outcome = follow_owner(&session);
	if (outcome.class == OUTCOME_OK)
		outcome = change(&session, value);
	pg_close(session.client);
	return outcome;
}

static Outcome
retire(const Job *job, const JobValue *by, Deadline deadline)
{
	Session session = {
		.job = job, .role = job->username, .deadline = deadline_sooner(deadline, job->lease_end)};
	Outcome outcome = open_change(&session, by);

	if (outcome.class == OUTCOME_OK && !session.found.exists)
		outcome = no_such_role(&session);
	if (outcome.class == OUTCOME_OK)
		outcome = send_change(&session, "", " NOLOGIN");
	pg_close(session.client);
	return outcome;
}

/* What a login that was not let in says of the password. */
static Outcome
judge_refusal(const PgError *err)
{
	static const char *const barred[] = {"53300", "42501", "3D000", "55000", "28000"};
	const char *code = err->sqlstate;
	bool is_barred = false;

	if (strcmp(code, "28P01") == 0)
		return outcome_make(OUTCOME_REFUSED, code, "%s", err->message);
	for (size_t i = 0; err->used_password && i < sizeof(barred) / sizeof(barred[0]); i++)
		is_barred = is_barred || strcmp(code, barred[i]) == 0;
	/* LDAP, PAM and RADIUS tell a wrong password by the code that a role without LOGIN gets. */
	if (is_barred && err->in_authentication)
		return outcome_make(OUTCOME_REFUSED, code, "%s", err->message);
	if (is_barred && (err->location_known || strcmp(code, "28000") != 0))
		return outcome_make(OUTCOME_PROVED, code, "the password was accepted, then: %s",
							err->message);
	if (is_transient(code))
		return outcome_make(OUTCOME_TRANSIENT, code, "%s", err->message);
	return outcome_make(OUTCOME_INCONCLUSIVE, code, "the login says nothing of the password: %s",
						err->message);
}

/* An account that is used in turn must be let in, but for what would bar the other one too (3D000, 55000). */
static Outcome
judge_use(const Job *job, Outcome outcome)
{
	bool is_needed = job->step == STEP_TEST || job->step == STEP_RETIRE;

	if (job->pair == NULL || outcome.class != OUTCOME_PROVED)
		return outcome;
	if (strcmp(outcome.code, "28000") == 0 || (is_needed && strcmp(outcome.code, "42501") == 0))
		outcome.class = OUTCOME_INCONCLUSIVE;
	else if (is_needed && strcmp(outcome.code, "53300") == 0)
		outcome.class = OUTCOME_TRANSIENT;
	return outcome;
}

/* What a query that failed says: of an account that is used in turn, that it may be of no use. */
static Outcome
judge_query(const Job *job, const PgClient *client, const PgError *err)
{
	const char *code = err->sqlstate;
	bool ended = code[0] == '\0' || strcmp(code, "57014") == 0 || !pg_is_alive(client);

	/* 25006: it writes, and is not to. */
	if (ended || (job->pair != NULL && is_transient(code) && strcmp(code, "25006") != 0))
		return outcome_make(OUTCOME_TRANSIENT, code, "the verification query: %s", err->message);
	return outcome_make(job->pair != NULL ? OUTCOME_INCONCLUSIVE : OUTCOME_PROVED, code,
						"the password was accepted, but the verification query failed: %s",
						err->message);
}

/* The password is proved by now; the query says whether the account can do its work. */
static Outcome
run_query(const Job *job, PgClient *client, const char *query, Deadline deadline)
{
	char begin[128];
	PgError err;

	(void) snprintf(begin, sizeof(begin),
					"BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; "
					"SET LOCAL statement_timeout = %" PRId64,
					deadline_left(deadline) + 1);
	if (pg_exec_script(client, begin, deadline, NULL, &err) == PG_DONE &&
		pg_exec(client, query, 0, NULL, deadline, NULL, &err) == PG_DONE)
		return outcome_make(OUTCOME_OK, NULL, NULL);
	return judge_query(job, client, &err);
}

static Outcome
login(const Job *job, const JobValue *value, bool query, Deadline deadline)
{
	Deadline until = deadline_sooner(deadline, job->lease_end);
	const char *text = text_or(job->policy, "verify_query", NULL);
	PgError err;
	PgClient *client =
		connect_as(job, value, text_or(job->policy, "verify_database", NULL), false, until, &err);
	Outcome outcome;

	if (client == NULL)
		return judge_use(job, judge_refusal(&err));
	if (!err.used_password)
		outcome = outcome_make(OUTCOME_INCONCLUSIVE, NULL,
							   "the server asked for no password (trust, peer or cert in its "
							   "pg_hba.conf): let role \"%.63s\" log in by scram-sha-256",
							   username_of(job, value));
	else if (query && text != NULL)
		outcome = run_query(job, client, text, until);
	else
		outcome = outcome_make(OUTCOME_OK, NULL, NULL);
	pg_close(client);
	return outcome;
}

static Outcome
end_sessions(const Job *job, const JobValue *by, Deadline deadline)
{
	Deadline until = deadline_sooner(deadline, job->lease_end);
	const char *role = job->username;
	PgError err;
	PgAnswer *answer = NULL;
	PgClient *client = connect_as(job, by, NULL, true, until, &err);
	Outcome outcome;

	if (client == NULL)
		return not_connected(&err, username_of(job, by));
	/* Beside the other conditions the planner might end sessions before it looks whose they are. */
	switch (
		pg_exec(client,
				"SELECT pg_catalog.count(*) FILTER (WHERE pg_catalog.pg_terminate_backend(pid)) "
				"FROM (SELECT pid FROM pg_catalog.pg_stat_activity "
				"WHERE usename::pg_catalog.text OPERATOR(pg_catalog.=) $1 "
				"AND pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid() OFFSET 0) AS those",
				1, &role, until, &answer, &err))
	{
		case PG_DONE:
			outcome = outcome_make(OUTCOME_OK, NULL, "%s sessions ended", pg_value(answer, 0, 0));
			break;
		case PG_LOST:
			outcome = outcome_make(OUTCOME_UNKNOWN, err.sqlstate, "%s", err.message);
			break;
		default:
			outcome = nothing_changed(&err);
	}
	pg_answer_free(answer);
	pg_close(client);
	return outcome;
}

/* What `rotor check` says of a connection and its rights. */
static Outcome
report(const Session *session)
{
	int version = pg_server_version(session->client);
	const char *tls = pg_tls_version(session->client);
	const char *missing = NULL;

	/* One that is used in turn is made when it is rotated first. */
	if (session->role[0] != '\0' && (session->found.exists || session->job->pair == NULL))
	{
		if (!session->found.exists)
			return outcome_make(OUTCOME_PERMANENT, "42704", "role \"%.63s\" does not exist",
								session->role);
		missing = missing_right(session);
	}
	else if (!session->found.by_superuser && !session->found.by_createrole)
		missing = "the administrator needs CREATEROLE";
	if (missing != NULL)
		return outcome_make(OUTCOME_PERMANENT, "42501", "%s", missing);
	return outcome_make(OUTCOME_OK, NULL, "PostgreSQL %d.%d, %s, %s", version / 10000,
						version % 10000, tls[0] != '\0' ? tls : "no TLS",
						session->found.by_superuser	   ? "superuser"
						: session->found.by_createrole ? "CREATEROLE"
													   : "the account itself");
}

static Outcome
check(const Job *job, const JobValue *by, Deadline deadline)
{
	Session session = {.job = job,
					   .role = job->username != NULL ? job->username : "",
					   .deadline = deadline_sooner(deadline, job->lease_end)};
	Outcome outcome = open_change(&session, by);

	if (outcome.class == OUTCOME_OK)
		outcome = report(&session);
	pg_close(session.client);
	return outcome;
}

const TargetClass target_postgres = {
	.type = "postgresql",
	.set = set,
	.login = login,
	.retire = retire,
	.end_sessions = end_sessions,
	.check = check,
};

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

#include "postgres_session.h"
#include "scram.h"

#define MARGIN_MS 1000 /* for the commit itself, between the guard and the lease's end */

/* What is missing for the credential to change the role's password; NULL: nothing that we know of. */
static const char *
missing_right(const PgSession *session)
{
	const PgPreflight *found = &session->found;
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

/* A role that is used in turn is brought up to date with its owner; one that goes back stays as it is. */
static bool
takes_after_owner(const Job *job)
{
	return job->pair != NULL && job->step != STEP_UNDO;
}

static Outcome
no_such_role(const PgSession *session)
{
	return outcome_make(OUTCOME_PERMANENT, "42704", "role \"%.63s\" does not exist", session->role);
}

/* Nobody logs in as it: what is to end has ended. */
static Outcome
gone(const PgSession *session)
{
	return outcome_make(OUTCOME_OK, NULL, "role \"%.63s\" does not exist any more", session->role);
}

/* Who is given a new value must be able to use it; who gets a former one back need not. */
static Outcome
judge_role(const PgSession *session, const JobValue *value)
{
	const PgPreflight *found = &session->found;
	bool is_new = strcmp(value->id, session->job->version.id) == 0;

	/* One that is used in turn is made, and unlocked. */
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
 * The statements from the guard to the commit: ALTER ROLE with the verifier, unless it is empty, and
 * LOGIN or NOLOGIN, unless that is empty.
 */
static Outcome
write_change(char *sql, size_t size, const PgSession *session, const char *verifier,
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
	if (used < 0)
		return postgres_not_quoted();
	if ((size_t) used >= size)
		return outcome_make(OUTCOME_PERMANENT, "22021", "the role's name is too long");
	return outcome_make(OUTCOME_OK, NULL, NULL);
}

static Outcome
judge_change(const PgSession *session, PgReach reach, const PgError *err)
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
	return postgres_nothing_changed(err);
}

/* Sends the change; what became of it. */
static Outcome
send_change(const PgSession *session, const char *verifier, const char *login)
{
	char sql[1024];
	PgError err = {0};
	/* Our clock was ahead of the server's look at its own, so this is too early rather than too late. */
	Outcome outcome =
		write_change(sql, sizeof(sql), session, verifier, login, deadline_left(session->deadline));

	if (outcome.class == OUTCOME_OK)
		outcome = judge_change(
			session, pg_exec_script(session->client, sql, session->deadline, NULL, &err), &err);
	secret_wipe(sql, sizeof(sql));
	return outcome;
}

/* What of logging in changes with the value: nothing, but for an account that is used in turn. */
static const char *
login_clause(const PgSession *session)
{
	const cJSON *pair = session->job->pair;

	if (pair == NULL)
		return "";
	if (session->job->step != STEP_UNDO)
		return " LOGIN";
	return job_flag(pair, "locked", false) ? " NOLOGIN" : "";
}

static Outcome
change(const PgSession *session, const JobValue *value)
{
	char verifier[SCRAM_VERIFIER_MAX];
	RotorError bad;
	Outcome outcome;

	if (!scram_build_verifier(
			value->password.data, value->password.len,
			job_integer(session->job->policy, "scram_iterations", SCRAM_DEFAULT_ITERATIONS), NULL,
			0, verifier, &bad))
		/* That a library failed passes; a password that cannot be one does not. */
		return outcome_of_error(bad.code == ROTOR_ERROR_CRYPTO || bad.code == ROTOR_ERROR_SPACE
									? OUTCOME_TRANSIENT
									: OUTCOME_PERMANENT,
								&bad);
	outcome = send_change(session, verifier, login_clause(session));
	secret_wipe(verifier, sizeof(verifier));
	return outcome;
}

/* Within the transaction that is open. */
static Outcome
set_in(const PgSession *session, const JobValue *value)
{
	Outcome outcome = judge_role(session, value);

	if (outcome.class == OUTCOME_OK && takes_after_owner(session->job))
		outcome = postgres_follow_owner(session);
	if (outcome.class == OUTCOME_OK)
		outcome = change(session, value);
	return outcome;
}

static Outcome
set(const Job *job, const JobValue *value, const JobValue *by, Deadline deadline)
{
	PgSession session = {.job = job,
						 .role = job_username(job, value),
						 .deadline = deadline_sooner(deadline, job->lease_end)};
	Outcome outcome = postgres_open_change(&session, by);

	/* What rests, and was dropped, has nothing to be given back; the next rotation makes it. */
	if (outcome.class == OUTCOME_OK && !session.found.exists && job->step == STEP_UNDO &&
		job_takes_turn(job))
		outcome = gone(&session);
	else if (outcome.class == OUTCOME_OK)
		outcome = set_in(&session, value);
	pg_close(session.client);
	return outcome;
}

static Outcome
retire(const Job *job, const JobValue *by, Deadline deadline)
{
	PgSession session = {
		.job = job, .role = job->username, .deadline = deadline_sooner(deadline, job->lease_end)};
	Outcome outcome = postgres_open_change(&session, by);

	if (outcome.class == OUTCOME_OK && !session.found.exists)
		outcome = gone(&session);
	else if (outcome.class == OUTCOME_OK)
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
	if (postgres_is_transient(code))
		return outcome_make(OUTCOME_TRANSIENT, code, "%s", err->message);
	return outcome_make(OUTCOME_INCONCLUSIVE, code, "the login says nothing of the password: %s",
						err->message);
}

/*
 * An account that is used in turn is of no use if it is locked, though its password is right. Before it comes
 * into use, or the other one is locked, it must be let in for all that depends on the account: a database
 * that is missing, takes no connections, or that the policy does not name, is as bad for the other one; and
 * one whose connections are exhausted can be used, though not now.
 */
static Outcome
judge_use(const Job *job, Outcome outcome)
{
	bool comes = job->step == STEP_TEST && job_takes_turn(job);
	bool is_needed = comes || job->step == STEP_RETIRE;
	bool is_named = job_text(job->policy, "verify_database", NULL) != NULL;

	if (job->pair == NULL || outcome.class != OUTCOME_PROVED)
		return outcome;
	if (strcmp(outcome.code, "28000") == 0 ||
		(is_needed && is_named && strcmp(outcome.code, "42501") == 0))
		outcome.class = OUTCOME_INCONCLUSIVE;
	else if (comes && strcmp(outcome.code, "53300") == 0)
		outcome.class = OUTCOME_TRANSIENT;
	return outcome;
}

/* What a query that failed says: of an account that is used in turn, that it may be of no use. */
static Outcome
judge_query(const Job *job, const PgClient *client, const PgError *err)
{
	/* 25006: it writes, and is not to. */
	bool may_pass = job_takes_turn(job) && postgres_is_transient(err->sqlstate) &&
					strcmp(err->sqlstate, "25006") != 0;

	if (may_pass || err->sqlstate[0] == '\0' || strcmp(err->sqlstate, "57014") == 0 ||
		!pg_is_alive(client))
		return outcome_make(OUTCOME_TRANSIENT, err->sqlstate, "the verification query: %s",
							err->message);
	return outcome_make(job_takes_turn(job) ? OUTCOME_INCONCLUSIVE : OUTCOME_PROVED, err->sqlstate,
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
	const char *text = job_text(job->policy, "verify_query", NULL);
	PgError err;
	PgClient *client = postgres_connect_as(
		job, value, job_text(job->policy, "verify_database", NULL), false, until, &err);
	Outcome outcome;

	if (client == NULL)
		return judge_use(job, judge_refusal(&err));
	if (!err.used_password)
		outcome = outcome_make(OUTCOME_INCONCLUSIVE, NULL,
							   "the server asked for no password (trust, peer or cert in its "
							   "pg_hba.conf): let role \"%.63s\" log in by scram-sha-256",
							   job_username(job, value));
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
	PgClient *client = postgres_connect_as(job, by, NULL, true, until, &err);
	Outcome outcome;

	if (client == NULL)
		return postgres_not_connected(&err, job_username(job, by));
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
			outcome = postgres_nothing_changed(&err);
	}
	pg_answer_free(answer);
	pg_close(client);
	return outcome;
}

/* What `rotor check` says of a connection and its rights. */
static Outcome
report(const PgSession *session)
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
	PgSession session = {.job = job,
						 .role = job->username != NULL ? job->username : "",
						 .deadline = deadline_sooner(deadline, job->lease_end)};
	Outcome outcome = postgres_open_change(&session, by);

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
	.check_logs_in = true,
};

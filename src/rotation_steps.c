/*
 * rotation_steps.c - what each step does; rotation.c decides which one runs.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog_read.h"
#include "commands/dbcommands.h"
#include "compat.h"
#include "clock.h"
#include "guc.h"
#include "pair.h"
#include "policy.h"
#include "report.h"
#include "role.h"
#include "rotation_job.h"
#include "route.h"
#include "schedule.h"
#include "scram.h"
#include "sealing.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

/* --- shared by the steps --- */

/* Of two roles that are used in turn: the one that rests, and both before their first rotation. */
static bool
may_be_locked(const Job *job)
{
	pg_uuid_t version;
	SealedValue value;

	return job_takes_turns(job) &&
		   (catalog_is_resting(job->secret.id) ||
			!catalog_find_version(job->secret.id, "current", &version, &value));
}

/*
 * Is the role there and fit to be rotated? Fills *state, its row locked if asked for. False, with
 * job->failure filled, if it will not go by itself.
 */
static bool
preflight(Job *job, bool lock, RoleState *state)
{
	TimestampTz valid_until;
	Failure *failure = &job->failure;

	if (!catalog_load_role(job->secret.role, lock, state))
		failure_set(failure, ERRCODE_UNDEFINED_OBJECT,
					psprintf("role \"%s\" was dropped", job->secret.username), NULL,
					"Make the role again and call rotor.unmanage() and rotor.manage().");
	else if (!state->can_login && !may_be_locked(job))
		failure_set(failure, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
					psprintf("role \"%s\" is not permitted to log in", state->name),
					"Its new password could not be proved.",
					"Give it LOGIN, or disable its secret.");
	else if (state->has_valid_until && state->valid_until <= GetCurrentTimestamp() &&
			 !schedule_valid_until(&job->policy, &valid_until))
		failure_set(failure, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
					psprintf("the password of role \"%s\" has expired", state->name),
					psprintf("VALID UNTIL is %s.", timestamptz_to_str(state->valid_until)),
					"Set VALID UNTIL to a later time, or valid_until_margin in the policy.");
	else
	{
		strlcpy(job->secret.username, state->name, sizeof(job->secret.username));
		return true;
	}
	return false;
}

bool
job_still_wanted(Job *job)
{
	RotationRow now;

	if (!job->exists)
		return true;
	if (!catalog_load_rotation(&job->row.id, &now, job->context))
		elog(ERROR, "the rotation's row is gone");
	if (!fsm_is_over(now.status) && now.step == job->row.step && now.attempt == job->row.attempt)
		return true;
	job->row = now;
	if (now.status == FSM_STATUS_CANCELLED)
		failure_set(&job->failure, ERRCODE_QUERY_CANCELED, "the rotation was cancelled",
					"The role was not changed.", NULL);
	else
		failure_set(&job->failure, ERRCODE_OBJECT_IN_USE,
					"another worker went on with the rotation meanwhile", NULL,
					"rotor.rotations shows what became of it.");
	return false;
}

/* Opens the rotation's value unless it is in memory already. */
static void
ensure_value(Job *job)
{
	SealedValue value;
	char stage[16];

	if (job->value.len == 0)
	{
		if (!catalog_load_version(&job->row.version, &value, stage, job->fingerprint,
								  &job->has_fingerprint))
			elog(ERROR, "the rotation's version is gone");
		sealing_open(job->secret.id, &job->row.version, &value, &job->value);
	}
}

/* The fingerprint of the verifier that this rotation gave the role. */
static void
ensure_fingerprint(Job *job)
{
	SealedValue value;
	char stage[16];

	if (!job->has_fingerprint)
		(void) catalog_load_version(&job->row.version, &value, stage, job->fingerprint,
									&job->has_fingerprint);
}

/* True if the role still has what this rotation set. */
static bool
role_is_ours(Job *job, const RoleState *state)
{
	uint8_t fingerprint[FINGERPRINT_LEN];

	ensure_fingerprint(job);
	role_fingerprint(state->verifier, fingerprint);
	return job->has_fingerprint && memcmp(fingerprint, job->fingerprint, FINGERPRINT_LEN) == 0;
}

static const char *
login_database(const Job *job)
{
	return job->policy.verify_database ? job->policy.verify_database
									   : get_database_name(MyDatabaseId);
}

/* --- create --- */

/* True if the rotation has a pending value already: it is used, whoever sealed it. */
static bool
has_pending_value(const Job *job)
{
	SealedValue value;
	char stage[16];
	uint8_t fingerprint[FINGERPRINT_LEN];
	bool has_fingerprint;

	return job->row.has_version &&
		   catalog_load_version(&job->row.version, &value, stage, fingerprint, &has_fingerprint) &&
		   (strcmp(stage, "pending") == 0 || strcmp(job->row.trigger, "rollback") == 0);
}

FsmOutcome
step_create(Job *job)
{
	RoleState state;
	SealedValue sealed;
	bool made_file;

	if (!job->secret.outside_target && !preflight(job, false, &state))
		return FSM_OUTCOME_PERMANENT;
	if (job->row.started_at == 0)
		job->row.started_at = GetCurrentTimestamp();
	if (has_pending_value(job))
		return FSM_OUTCOME_OK;
	policy_generate(&job->policy, &job->value);
	job->row.version = rotation_new_uuid();
	job->row.has_version = true;
	sealing_seal(job->secret.id, &job->row.version, &job->value, &sealed, &made_file);
	job->answer->made_key_file |= made_file;
	catalog_insert_version(&job->row.version, job->secret.id, &sealed);
	return FSM_OUTCOME_OK;
}

/* --- set --- */

/* False, with job->failure filled, if a login could not prove a password anyway. */
static bool
can_be_proved(Job *job, const char *role)
{
	Route route;

	if (job->policy.verifier_suffices)
		return true;
	route_choose(login_database(job), role, &route);
	if (route.answer.proof == HBA_PROOF_PASSWORD || route.answer.proof == HBA_PROOF_UNKNOWN)
		return true;
	failure_set(&job->failure, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
				psprintf("a login as role \"%s\" would prove nothing", role),
				route_complaint(&route),
				"Let that line say scram-sha-256 and reload, set rotor.verify_host, or set "
				"verification = 'verifier' in the policy.");
	return false;
}

/* The last moment at which the caller can call it off. */
static bool
pass_gate(Job *job)
{
	uint32 open = GATE_OPEN;

	if (job->gate == NULL || pg_atomic_compare_exchange_u32(job->gate, &open, GATE_SETTING) ||
		open == GATE_SETTING)
		return true;
	failure_set(&job->failure, ERRCODE_QUERY_CANCELED, "the rotation was cancelled by its caller",
				"The role was not changed.", NULL);
	return false;
}

#define SAVED_HAS_VERIFIER	  1
#define SAVED_HAS_VALID_UNTIL 2
#define SAVED_IS_LOCKED		  4

/* Seals what the role has now: one byte of flags, VALID UNTIL, the verifier. */
static void
save_former(Job *job, const RoleState *state, SavedVerifier *saved)
{
	SecretBuf plain = {0};
	uint8_t flags = (state->verifier ? SAVED_HAS_VERIFIER : 0) |
					(state->has_valid_until ? SAVED_HAS_VALID_UNTIL : 0) |
					(state->can_login ? 0 : SAVED_IS_LOCKED);
	RotorError err;
	bool made_file;

	PG_TRY();
	{
		if (!secret_buf_append(&plain, &flags, 1, &err) ||
			!secret_buf_append(&plain, &state->valid_until, sizeof(state->valid_until), &err) ||
			(state->verifier &&
			 !secret_buf_append(&plain, state->verifier, strlen(state->verifier), &err)))
			report_raise(&err);
		sealing_seal(job->secret.id, &job->row.id, &plain, &saved->value, &made_file);
	}
	PG_FINALLY();
	{
		secret_buf_wipe(&plain);
	}
	PG_END_TRY();
}

static bool
judged_acceptable(Job *job, const RoleState *state, bool has_valid_until, TimestampTz valid_until)
{
	return role_judge(state->name, &job->value, has_valid_until, valid_until, &job->failure);
}

/* What follows when the server's password check refuses the value. */
static FsmOutcome
refused_by_check(Job *job)
{
	strlcpy(job->failure.hint, "Make the policy generate what the server's password check accepts.",
			sizeof(job->failure.hint));
	/* A former value, or the user's own, cannot be replaced by another one. */
	if (strcmp(job->row.trigger, "rollback") == 0 || strcmp(job->row.trigger, "value") == 0 ||
		++job->refused_values >= MAX_REFUSED_VALUES)
		return FSM_OUTCOME_PERMANENT;
	secret_buf_wipe(&job->value);
	return FSM_OUTCOME_REFUSED_BY_HOOK;
}

FsmOutcome
step_set(Job *job)
{
	RoleState state;
	SavedVerifier saved = {0};
	TimestampTz valid_until;
	bool sets_valid_until = schedule_valid_until(&job->policy, &valid_until);
	char verifier[SCRAM_VERIFIER_MAX];
	RotorError err;

	ensure_value(job);
	if (!scram_build_verifier(job->value.data, job->value.len,
							  job->policy.scram_iterations ? job->policy.scram_iterations
														   : SERVER_SCRAM_ITERATIONS,
							  NULL, 0, verifier, &err))
		report_raise(&err);
	/* From here on the role's row is locked: as little as possible. */
	if (!preflight(job, true, &state) || !can_be_proved(job, state.name))
		return FSM_OUTCOME_PERMANENT;
	if (!pass_gate(job))
		return FSM_OUTCOME_CANCELLED;
	if (!judged_acceptable(job, &state, sets_valid_until || state.has_valid_until,
						   sets_valid_until ? valid_until : state.valid_until))
		return refused_by_check(job);
	if (job_takes_turns(job) && !pair_carry_over(job->secret.id, state.oid, &job->failure))
		return FSM_OUTCOME_PERMANENT;
	/* What has leaked is not given back. */
	if (!job->row.in_emergency)
		save_former(job, &state, &saved);
	role_alter(&state, verifier, sets_valid_until ? &valid_until : NULL);
	role_fingerprint(verifier, job->fingerprint);
	job->has_fingerprint = true;
	catalog_promote_version(job->secret.id, &job->row.version, job->fingerprint, &saved,
							!job->row.in_emergency);
	if (!job->row.in_emergency)
		catalog_save_verifier(&job->row.id, &saved);
	return FSM_OUTCOME_OK;
}

/* --- test --- */

static void
plan_test(Job *job, void *arg)
{
	TestPlan *plan = arg;
	RoleState state;

	if (!catalog_load_role(job->secret.role, false, &state))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("role \"%s\" was dropped", job->secret.username)));
	strlcpy(job->secret.username, state.name, sizeof(job->secret.username));
	ensure_value(job);
	strlcpy(plan->dbname, login_database(job), sizeof(plan->dbname));
	plan->takes_turn = job_takes_turns(job) && catalog_is_resting(job->secret.id);
	route_choose(plan->dbname, job->secret.username, &plan->route);
}

static void
check_in_process(Job *job, void *arg)
{
	((TestPlan *) arg)->accepted = role_accepts(job->secret.username, &job->value);
}

/* The login proved nothing: does the policy accept the in-process check instead? */
static FsmOutcome
inconclusive(Job *job, TestPlan *plan, const char *why)
{
	if (job->policy.verifier_suffices && job_transaction(job, check_in_process, plan) &&
		plan->accepted)
	{
		failure_set(&job->failure, 0, "checked in process, no login was possible", why, NULL);
		return FSM_OUTCOME_PROVED;
	}
	failure_set(
		&job->failure, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
		"the new password could not be proved by a login", why,
		"Let pg_hba.conf ask for the password, set rotor.verify_host, or set verification = "
		"'verifier' in the policy.");
	return FSM_OUTCOME_INCONCLUSIVE;
}

/* 28P01: wrong or expired, or refused by something that is not this server's own check. */
static FsmOutcome
refused(Job *job, TestPlan *plan)
{
	if (!job_transaction(job, check_in_process, plan))
		return outcome_of_sqlstate(job->failure.sqlstate);
	if (plan->accepted)
		return inconclusive(job, plan,
							"The server's own verifier accepts the password, yet the login was "
							"refused: it went elsewhere, or the password is checked elsewhere.");
	failure_set(&job->failure, ERRCODE_INVALID_PASSWORD, "the server refused the new password",
				"It was changed by somebody else meanwhile, or VALID UNTIL has passed.",
				"Look at rotor.coverage, then rotate again.");
	return FSM_OUTCOME_REFUSED;
}

/*
 * After a password exchange, anything but 28P01 and the classes that say "not now" means that the
 * server let the password pass and then barred the session (connection limit, NOLOGIN, no CONNECT,
 * no such database, ...); the in-process check confirms it.
 */
static bool
barred_after_password(Job *job, TestPlan *plan, const LoginResult *login, int sqlstate)
{
	int category = ERRCODE_TO_CATEGORY(sqlstate);

	if (!login->used_password || sqlstate == 0 ||
		category == ERRCODE_TO_CATEGORY(ERRCODE_CONNECTION_EXCEPTION) ||
		category == ERRCODE_TO_CATEGORY(ERRCODE_OPERATOR_INTERVENTION) ||
		(category == ERRCODE_TO_CATEGORY(ERRCODE_INSUFFICIENT_RESOURCES) &&
		 sqlstate != ERRCODE_TOO_MANY_CONNECTIONS))
		return false;
	return job_transaction(job, check_in_process, plan) && plan->accepted;
}

static FsmOutcome
not_now(Job *job, const TestPlan *plan, const LoginResult *login, int sqlstate)
{
	failure_set(&job->failure,
				sqlstate ? sqlstate : ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION,
				login->timed_out ? "the verification login did not end in time"
								 : "the verification login was not possible now",
				psprintf("Host \"%s\", port %d, %s.", plan->route.host, plan->route.port,
						 sqlstate			? psprintf("SQLSTATE %s", login->sqlstate)
						 : login->timed_out ? psprintf("%d ms at most", rotor_connect_timeout)
											: "no connection"),
				"It is tried again.");
	return FSM_OUTCOME_TRANSIENT;
}

/* The password is right, but nobody could use the role, and so it does not come into use. */
static FsmOutcome
unusable(Job *job, const char *what, const char *code)
{
	failure_set(&job->failure, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
				psprintf("the password is right, but %s (%s)", what, code),
				"The other one of the two roles stays in use.",
				"Give the role what it needs to work, and rotate again.");
	return FSM_OUTCOME_INCONCLUSIVE;
}

/* Under a role that is to come into use; unless it may pass by itself. */
static FsmOutcome
query_failed(Job *job, const LoginResult *login)
{
	const char *code = login->sqlstate;
	int sqlstate = code[0] ? MAKE_SQLSTATE(code[0], code[1], code[2], code[3], code[4]) : 0;

	if (sqlstate != 0 && outcome_of_sqlstate(sqlstate) != FSM_OUTCOME_TRANSIENT)
		return unusable(job, "the verification query failed", code);
	failure_set(&job->failure, sqlstate ? sqlstate : ERRCODE_CONNECTION_FAILURE,
				"the verification query was not possible now", NULL, "It is tried again.");
	return FSM_OUTCOME_TRANSIENT;
}

/* Barred for a reason that has nothing to do with the role? Where no database is named, it is rotor's own. */
static bool
is_barred_for_all(const Job *job, int sqlstate)
{
	return sqlstate == ERRCODE_UNDEFINED_DATABASE ||
		   sqlstate == ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE ||
		   (sqlstate == ERRCODE_INSUFFICIENT_PRIVILEGE && job->policy.verify_database == NULL);
}

/* The server let the password pass. */
static FsmOutcome
barred(Job *job, const TestPlan *plan, const LoginResult *login, int sqlstate)
{
	if (plan->takes_turn && sqlstate == ERRCODE_TOO_MANY_CONNECTIONS)
		return not_now(job, plan, login, sqlstate);
	if (plan->takes_turn && !is_barred_for_all(job, sqlstate))
		return unusable(job, "the login was barred", login->sqlstate);
	failure_set(&job->failure, sqlstate,
				psprintf("the password is right, but the login was barred (%s)", login->sqlstate),
				NULL, NULL);
	return FSM_OUTCOME_PROVED;
}

/* The class of a login that the server did not let in. */
static FsmOutcome
not_let_in(Job *job, TestPlan *plan, const LoginResult *login)
{
	const char *code = login->sqlstate;
	int sqlstate = code[0] ? MAKE_SQLSTATE(code[0], code[1], code[2], code[3], code[4]) : 0;

	if (sqlstate == ERRCODE_INVALID_PASSWORD)
		return refused(job, plan);
	if (barred_after_password(job, plan, login, sqlstate))
		return barred(job, plan, login, sqlstate);
	if (sqlstate == 0 || outcome_of_sqlstate(sqlstate) == FSM_OUTCOME_TRANSIENT)
		return not_now(job, plan, login, sqlstate);
	return inconclusive(job, plan,
						login->used_password ? psprintf("The login ended with SQLSTATE %s.", code)
											 : route_complaint(&plan->route));
}

static FsmOutcome
judge_login(Job *job, TestPlan *plan, const LoginResult *login)
{
	if (!login->connected)
		return not_let_in(job, plan, login);
	if (!login->used_password)
		return inconclusive(job, plan, route_complaint(&plan->route));
	if (!login->same_server)
		return inconclusive(job, plan,
							"The login reached another server, or a pooler in front of this one.");
	if (login->queried)
		return FSM_OUTCOME_OK;
	/* Its session has the same limit, and may be the first to notice. */
	if (login->timed_out || strcmp(login->sqlstate, "57014") == 0)
	{
		failure_set(&job->failure, ERRCODE_QUERY_CANCELED,
					"the verification query did not end in time", NULL, "It is tried again.");
		return FSM_OUTCOME_TRANSIENT;
	}
	if (plan->takes_turn)
		return query_failed(job, login);
	failure_set(
		&job->failure, 0,
		psprintf("the login was let in, but the verification query failed (%s)", login->sqlstate),
		NULL, NULL);
	return FSM_OUTCOME_PROVED;
}

FsmOutcome
test_plan(Job *job)
{
	LoginOrder *order = &job->login;
	TestPlan *plan = &job->plan;

	memset(plan, 0, sizeof(*plan));
	if (!job_transaction(job, plan_test, plan))
		return outcome_of_sqlstate(job->failure.sqlstate);
	/* The password would be sent to somebody else. */
	if (plan->route.answer.proof == HBA_PROOF_EXTERNAL)
		return inconclusive(job, plan, route_complaint(&plan->route));
	order->host = plan->route.host;
	order->port = plan->route.port;
	order->sslmode = plan->route.sslmode;
	order->dbname = plan->dbname;
	order->user = job->secret.username;
	order->role = job->secret.role;
	order->password = &job->value;
	order->query = job->policy.verify_query;
	order->timeout_ms = rotor_connect_timeout;
	return FSM_OUTCOME_OK;
}

FsmOutcome
test_judge(Job *job)
{
	job->login_pid = job->login_result.backend_pid;
	return judge_login(job, &job->plan, &job->login_result);
}

FsmOutcome
step_test(Job *job)
{
	FsmOutcome outcome = test_plan(job);
	const LoginOrder *order = &job->login;
	LoginResult *result = &job->login_result;

	if (outcome != FSM_OUTCOME_OK)
		return outcome;
	login_try(&order, &result, 1);
	return test_judge(job);
}

/* --- finish and undo --- */

static FsmOutcome
superseded(Job *job)
{
	failure_set(&job->failure, ERRCODE_OBJECT_IN_USE,
				"somebody else changed the role's password during the rotation",
				"The role does not have the verifier that this rotation set; it was left alone.",
				"Rotate again, so that rotor knows the password.");
	return FSM_OUTCOME_SUPERSEDED;
}

FsmOutcome
step_finish(Job *job)
{
	RoleState state;
	TimestampTz grace_end;
	bool rested = job_takes_turns(job) && catalog_is_resting(job->secret.id);

	if (!job->secret.outside_target)
	{
		if (!catalog_load_role(job->secret.role, false, &state))
		{
			failure_set(&job->failure, ERRCODE_UNDEFINED_OBJECT, "the role was dropped", NULL,
						NULL);
			return FSM_OUTCOME_PERMANENT;
		}
		if (!role_is_ours(job, &state))
			return superseded(job);
		/* By hand, or by what should have waited: it must not be the one in use. */
		if (job_takes_turns(job) && !state.can_login)
		{
			failure_set(&job->failure, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
						psprintf("role \"%s\" is not permitted to log in", state.name),
						"Its password is right, but nobody could use it.",
						"Give it LOGIN and requeue, or rotate again.");
			return FSM_OUTCOME_PERMANENT;
		}
	}
	catalog_note_verified(&job->row.version);
	catalog_drop_verifier(&job->row.id);
	grace_end = TimestampTzPlusMilliseconds(clock_now(), job->policy.grace_ms);
	if (job_takes_turns(job))
		pair_take_turns(job->secret.id, grace_end,
						job->row.in_emergency ? &job->row.emergency : NULL);
	else if (job->row.in_emergency && job->secret.outside_target)
		catalog_hasten_retirement(job->secret.id, clock_now());
	else if (job_has_strategy(job, STRATEGY_DUAL_WRITE))
		catalog_plan_retirement(job->secret.id, grace_end);
	/* Those of a role that rested so far are none of the application's, unless something has leaked. */
	if (job->row.terminate_sessions && !job->secret.outside_target &&
		(!rested || job->row.in_emergency))
		job->sessions_ended =
			catalog_terminate_sessions(job->secret.role, job->row.actor.pid, job->login_pid);
	return FSM_OUTCOME_OK;
}

FsmOutcome
step_undo(Job *job)
{
	RoleState state;
	RoleState former;
	SavedVerifier saved;
	SecretBuf plain = {0};
	uint8_t flags;
	uint8_t fingerprint[FINGERPRINT_LEN];

	if (!catalog_load_role(job->secret.role, true, &state))
	{
		failure_set(&job->failure, ERRCODE_UNDEFINED_OBJECT, "the role was dropped", NULL, NULL);
		return FSM_OUTCOME_PERMANENT;
	}
	if (!role_is_ours(job, &state))
		return superseded(job);
	if (!catalog_load_verifier(&job->row.id, &saved))
		elog(ERROR, "the former verifier is gone");
	sealing_open(job->secret.id, &job->row.id, &saved.value, &plain);
	former = state;
	flags = (uint8_t) plain.data[0];
	former.has_valid_until = (flags & SAVED_HAS_VALID_UNTIL) != 0;
	memcpy(&former.valid_until, plain.data + 1, sizeof(former.valid_until));
	former.can_login = (flags & SAVED_IS_LOCKED) == 0;
	former.verifier =
		(flags & SAVED_HAS_VERIFIER) ? pstrdup(plain.data + 1 + sizeof(former.valid_until)) : NULL;
	secret_buf_wipe(&plain);
	role_restore(&former);
	catalog_demote_version(&job->row.version, &saved);
	/* A role that rests had this version before, with the verifier that it has again. */
	if (former.verifier != NULL && saved.has_current &&
		memcmp(saved.former_current.data, job->row.version.data, UUID_LEN) == 0)
	{
		role_fingerprint(former.verifier, fingerprint);
		catalog_note_fingerprint(&job->row.version, fingerprint);
	}
	catalog_drop_verifier(&job->row.id);
	return FSM_OUTCOME_OK;
}

/* --- retire --- */

FsmOutcome
step_retire(Job *job)
{
	RoleState state;

	if (!catalog_is_resting(job->secret.id))
	{
		catalog_plan_retirement(job->secret.id, DT_NOEND);
		failure_set(&job->failure, 0, "the role is in use", NULL, NULL);
		return FSM_OUTCOME_CANCELLED;
	}
	if (!catalog_load_role(job->secret.role, true, &state))
	{
		job->row.note = MemoryContextStrdup(job->context, "the role was dropped");
		return FSM_OUTCOME_OK;
	}
	/* After a restore it may be this one that applications use. */
	if (!pair_other_logs_in(job->secret.id))
	{
		failure_set(&job->failure, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
					"the role in use does not have the password that rotor knows, or cannot log in",
					"So the other one was not locked.", "Rotate, and requeue this.");
		return FSM_OUTCOME_PERMANENT;
	}
	if (state.can_login)
		role_lock_out(state.name);
	if (job->row.terminate_sessions)
		job->sessions_ended = catalog_terminate_sessions(state.oid, job->row.actor.pid, 0);
	return FSM_OUTCOME_OK;
}

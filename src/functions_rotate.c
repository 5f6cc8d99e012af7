/*
 * functions_rotate.c - rotate(), run_due(), rollback(), cancel(), requeue().
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/htup_details.h"
#include "catalog.h"
#include "catalog/pg_authid.h"
#include "catalog_lease.h"
#include "catalog_read.h"
#include "clock.h"
#include "compat.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "functions.h"
#include "glance.h"
#include "manage.h"
#include "policy.h"
#include "report.h"
#include "request.h"
#include "rotation.h"
#include "utils/builtins.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

ROTOR_FUNCTION(rotor_rotate);
ROTOR_FUNCTION(rotor_run_due);
ROTOR_FUNCTION(rotor_rollback);
ROTOR_FUNCTION(rotor_cancel);
ROTOR_FUNCTION(rotor_requeue);

/* --- what must be right before a worker is asked --- */

static void commit_first(const char *what) ROTOR_NORETURN;

static void
commit_first(const char *what)
{
	ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					errmsg("%s was changed by this transaction", what),
					errdetail("A rotation is done by a worker, which sees only what is committed."),
					errhint("Commit first, then rotate.")));
}

/*
 * Is the role there, fit, and committed if it must be? The worker looks again under its lock. secret
 * NULL: it is to be taken under management.
 */
static void
require_fit_role(Oid role, const char *name, const Secret *secret, bool committed)
{
	HeapTuple tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
	FormData_pg_authid form;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("role \"%s\" does not exist any more", name),
						errhint("Make it again and call rotor.unmanage() and rotor.manage().")));
	form = *(Form_pg_authid) GETSTRUCT(tuple);
	if (committed && TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(tuple->t_data)))
		commit_first(psprintf("role \"%s\"", NameStr(form.rolname)));
	ReleaseSysCache(tuple);
	/* Of two roles that are used in turn, the one that rests is locked. */
	if (!form.rolcanlogin && (secret == NULL || !catalog_is_resting(secret->id)))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("role \"%s\" is not permitted to log in", NameStr(form.rolname)),
						errdetail("Its new password could not be proved."),
						errhint("Give it LOGIN first.")));
	if (secret == NULL && form.rolreplication)
		ereport(
			ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("role \"%s\" is a replication role", NameStr(form.rolname)),
			 errdetail("Standbys that keep its password would stop following."),
			 errhint("If its clients read the password from rotor, call rotor.manage() first.")));
}

static void
notice_sessions(Oid role, const char *name)
{
	int count = catalog_count_sessions(role, MyProcPid);

	if (count > 0)
		ereport(NOTICE, (errmsg_plural("role \"%s\" has %d open session",
									   "role \"%s\" has %d open sessions", count, name, count),
						 errdetail("Open sessions go on; new logins need the new password.")));
}

/* Who asks by hand need not wait for the end of the grace period, but is told. */
static void
notice_grace(const Secret *secret)
{
	TimestampTz until = catalog_is_resting(secret->id) ? catalog_retirement(secret->id) : DT_NOEND;

	if (!TIMESTAMP_IS_NOEND(until) && until > GetCurrentTimestamp())
		ereport(NOTICE, (errmsg("the grace period of role \"%s\" ends early", secret->username),
						 errdetail("It could log in with its present password until %s.",
								   timestamptz_to_str(until))));
}

/*
 * Finds the secret, or the role that is to become one; checks rights and state. What is queued in
 * the caller's transaction need not be committed before it.
 */
static void
resolve(const char *name, const Actor *actor, const char *event, bool may_enrol, bool committed,
		Secret *secret, RotationOrder *order)
{
	bool found = find_secret_to_rotate(name, secret, &order->by_pair);
	Oid role = found || !may_enrol ? InvalidOid : get_role_oid(name, true);

	if (!found && !OidIsValid(role))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						may_enrol ? errmsg("there is neither a secret nor a role \"%s\"", name)
								  : errmsg("secret \"%s\" does not exist", name),
						errhint("rotor.secrets lists the secrets.")));
	if (!found)
	{
		access_require_role(actor, role, name, event);
		found = catalog_find_secret_of_role(role, secret);
		/* The same name: another caller's rotation has just enrolled it. */
		if (found && strcmp(secret->name, name) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("role \"%s\" is managed under another name", name),
					 errdetail("Its secret is \"%s\".", secret->name), errhint("Use that name.")));
	}
	if (found)
	{
		access_require(actor, secret, PRIVILEGE_ROTATE, event);
		rotation_require_usable(secret);
		if (committed && secret->uncommitted)
			commit_first(psprintf("secret \"%s\"", name));
		if (!secret->outside_target)
			require_fit_role(secret->role, secret->username, secret, committed);
		order->secret_id = secret->id;
		order->role = secret->role;
		return;
	}
	require_fit_role(role, name, NULL, committed);
	memset(secret, 0, sizeof(*secret));
	order->role = role;
}

/* Whether a secret has two roles is settled when it comes under management. */
static void
require_fit_strategy(const RotationOrder *order, const Secret *secret, const Policy *policy)
{
	bool turns = policy->strategy == STRATEGY_BLUE_GREEN;
	Policy wanted = *policy;
	TargetAddress address;

	if (turns && secret->id == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("policy \"%s\" asks for two roles that are used in turn", policy->name),
				 errhint("Call rotor.manage() first: it makes them.")));
	if (order->strategy >= 0)
		wanted.strategy = (Strategy) order->strategy;
	if (turns == (wanted.strategy == STRATEGY_BLUE_GREEN))
	{
		(void) catalog_find_target(secret->id != 0 ? secret->target : "self", &address);
		policy_require_possible(&wanted, address.type);
		return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("this secret cannot be rotated by strategy \"%s\"",
					policy_strategy_name(wanted.strategy)),
			 turns ? errdetail("It has two roles, which are used in turn.")
				   : errdetail("It has one role."),
			 turns ? errhint("Leave the strategy out.")
				   : errhint("Two roles are used in turn if the secret comes under management "
							 "with a policy whose strategy is blue_green.")));
}

/* The policy must be committed too, and the role's password must not have expired for good. */
static void
require_fit_policy(const RotationOrder *order, const Secret *secret, Oid role)
{
	Policy policy;
	RoleState state;
	bool uncommitted;

	if (!catalog_load_policy(secret->id ? secret->policy : "default", &policy, &uncommitted,
							 CurrentMemoryContext))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("there is no policy \"default\""),
						errhint("Make it again, or name another one in rotor.manage().")));
	if (uncommitted)
		commit_first(psprintf("policy \"%s\"", policy.name));
	require_fit_strategy(order, secret, &policy);
	if (catalog_load_role(role, false, &state) && state.has_valid_until &&
		state.valid_until <= GetCurrentTimestamp() && policy.valid_until_margin == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the password of role \"%s\" has expired", state.name),
				 errdetail("VALID UNTIL is %s.", timestamptz_to_str(state.valid_until)),
				 errhint("Set VALID UNTIL to a later time, or valid_until_margin in the policy.")));
}

/* --- after the worker's answer --- */

/* Of a rotation that has failed for now. */
static char *
where_it_stands(const RotationAnswer *answer)
{
	const char *role = answer->step == FSM_STEP_CREATE || answer->step == FSM_STEP_PUBLISH ||
							   answer->step == FSM_STEP_SET
						   ? "the role was not changed"
						   : "the new password is in effect";

	/* What the row says of attempts and pauses is older than this failure. */
	if (answer->unrecorded)
		return psprintf("Step %s; not even the failure could be written. Nothing is lost: %s.",
						fsm_step_name(answer->step), role);
	return psprintf("Step %s, attempt %d of %d; %s. Tried again in " INT64_FORMAT " ms.",
					fsm_step_name(answer->step), answer->attempt, answer->max_attempts, role,
					answer->delay_ms);
}

static const char *
how_it_goes_on(const RotationAnswer *answer)
{
	if (!request_is_preloaded())
		return "Call rotor.rotate() or rotor.run_due() to try again.";
	return answer->unrecorded ? "A worker goes on with it as soon as that can be written." : "";
}

/* One sentence more, if there is one. */
static void
add_sentence(char text[ERROR_SIZE], const char *sentence)
{
	if (sentence[0] != '\0')
		strlcpy(text, psprintf("%s%s%s", text, text[0] ? " " : "", sentence), ERROR_SIZE);
}

/* Raises what went wrong; returns if the rotation is what the caller wanted. */
static void
raise_unless_good(const RotationAnswer *answer)
{
	Failure failure = answer->failure;

	if (answer->status == FSM_STATUS_SUCCESS ||
		(answer->status == FSM_STATUS_VERIFYING && failure.sqlstate == 0))
		return;
	if (failure.sqlstate == 0)
		failure_set(&failure, ERRCODE_INTERNAL_ERROR, "the rotation ended without an outcome", NULL,
					NULL);
	if (!fsm_is_over(answer->status))
	{
		add_sentence(failure.detail, where_it_stands(answer));
		add_sentence(failure.hint, how_it_goes_on(answer));
	}
	report_failure(&failure, answer->started ? &answer->rotation : NULL);
}

/* --- what a worker outside does --- */

/* Pauses between looks grow with the time waited, so that neither looks nor the last pause are many of it. */
#define FIRST_PAUSE_MS	  2
#define LONGEST_PAUSE_MS  50
#define PAUSES_IN_TIME	  8	   /* a pause is that part of the time waited so far */
#define UNCLAIMED_WAIT_MS 2500 /* after which the caller is told that nobody takes it */

typedef struct Look
{
	RotationAnswer *answer;
	bool immediate;
	bool claimed; /* by a worker, or was */
} Look;

static void
read_rotation(void *arg)
{
	Look *look = arg;
	RotationAnswer *answer = look->answer;
	Standing now;

	if (!catalog_load_standing(&answer->rotation, clock_now(), &now))
		elog(ERROR, "the rotation is gone");
	answer->step = now.step;
	answer->status = now.status;
	answer->outside = now.outside;
	answer->attempt = now.attempt;
	answer->max_attempts = now.max_attempts;
	answer->delay_ms = now.delay_ms;
	look->immediate = now.immediate;
	look->claimed |= now.claimed;
	memset(&answer->failure, 0, sizeof(answer->failure));
	if (now.error_code != NULL && now.error_message != NULL && answer->status != FSM_STATUS_SUCCESS)
		failure_set(&answer->failure,
					MAKE_SQLSTATE(now.error_code[0], now.error_code[1], now.error_code[2],
								  now.error_code[3], now.error_code[4]),
					now.error_message, NULL, NULL);
}

/* Reads how the rotation stands; false as long as its caller is to wait. */
static bool
is_answered(Look *look)
{
	const RotationAnswer *answer = look->answer;

	glance(read_rotation, look);
	return fsm_is_over(answer->status) || (answer->attempt > 0 && answer->delay_ms > 0) ||
		   (answer->step == FSM_STEP_TEST && look->immediate);
}

/* Waits until the rotation has ended, or failed for now, as if it were done here. */
static void
wait_for_worker(const RotationOrder *order, RotationAnswer *answer)
{
	MemoryContext looks =
		AllocSetContextCreate(CurrentMemoryContext, "rotor wait", ALLOCSET_SMALL_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(looks);
	RotationOrder due = {.actor = order->actor};
	Look look = {.answer = answer};
	long waited = 0;
	bool told = false;

	while (!is_answered(&look))
	{
		long pause = Min(Max(waited / PAUSES_IN_TIME, FIRST_PAUSE_MS), LONGEST_PAUSE_MS);

		if (!told && waited >= UNCLAIMED_WAIT_MS && !look.claimed)
		{
			told = true;
			ereport(NOTICE,
					(errmsg("no worker has taken the rotation yet"),
					 errdetail("Step %s is for rotor worker, outside the server.",
							   fsm_step_name(answer->step)),
					 errhint("Start one, or pass wait => false: it begins when there is one.")));
		}
		if (!answer->outside && !request_is_preloaded())
			request_submit(REQUEST_RUN_DUE, &due, NULL, palloc(sizeof(Request)));
		glance_pause(pause);
		waited += pause;
		MemoryContextReset(looks);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(looks);
}

static Datum
submit_and_return(const RotationOrder *order)
{
	Request *result = palloc(sizeof(Request));
	AccessScope scope;
	Datum row;

	request_submit(REQUEST_ROTATE, order, NULL, result);
	if (result->answer.made_key_file)
		notice_first_key();
	if (result->answer.ran && result->answer.resumed)
		ereport(NOTICE, (errmsg("an earlier rotation of this secret was taken up"),
						 errdetail("Its own strategy and reason apply.")));
	if (!result->answer.started)
		report_failure(&result->answer.failure, NULL);
	if (result->answer.outside)
		wait_for_worker(order, &result->answer);
	raise_unless_good(&result->answer);
	access_enter(&scope);
	row = rotation_datum(&result->answer.rotation);
	access_leave(&scope);
	return row;
}

/* --- the functions --- */

static int
optional_bool(FunctionCallInfo fcinfo, int number)
{
	return PG_ARGISNULL(number) ? -1 : PG_GETARG_BOOL(number);
}

static void
read_options(FunctionCallInfo fcinfo, RotationOrder *order)
{
	order->strategy =
		PG_ARGISNULL(2) ? -1 : (int) policy_strategy_of(text_to_cstring(PG_GETARG_TEXT_PP(2)));
	order->terminate_sessions = optional_bool(fcinfo, 4);
	if (PG_ARGISNULL(3))
		return;
	if (VARSIZE_ANY_EXHDR(PG_GETARG_TEXT_PP(3)) >= REASON_SIZE)
		ereport(ERROR, (errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION),
						errmsg("reason is longer than %d bytes", REASON_SIZE - 1),
						errhint("Shorten it.")));
	text_to_cstring_buffer(PG_GETARG_TEXT_PP(3), order->reason, sizeof(order->reason));
}

Datum
rotor_rotate(PG_FUNCTION_ARGS)
{
	RotationOrder order = {0};
	Secret secret;
	Policy policy;
	AccessScope scope;
	char *name = required_text(fcinfo, 0, "secret");
	pg_uuid_t id;
	Datum row;

	actor_current(&order.actor);
	require_writable("rotor.rotate()");
	if (PG_ARGISNULL(1))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("wait must not be null"),
						errhint("Pass true or false, or leave it out.")));
	read_options(fcinfo, &order);
	resolve(name, &order.actor, "rotate", true, PG_GETARG_BOOL(1), &secret, &order);

	access_enter(&scope);
	if (order.secret_id == 0)
		notice_sessions(order.role, name);
	else
		notice_grace(&secret);
	if (PG_GETARG_BOOL(1))
	{
		require_fit_policy(&order, &secret, order.role);
		access_leave(&scope);
		PG_RETURN_DATUM(submit_and_return(&order));
	}
	if (order.secret_id == 0)
	{
		manage_role(name, order.role, "default", &order.actor, &secret);
		order.secret_id = secret.id;
	}
	(void) catalog_load_secret(order.secret_id, &secret, &policy, CurrentMemoryContext);
	rotation_require_usable(&secret);
	require_fit_strategy(&order, &secret, &policy);
	id = rotation_queue(&order, &secret, &policy);
	row = rotation_datum(&id);
	access_leave(&scope);
	wake_workers_at_commit();
	PG_RETURN_DATUM(row);
}

Datum
rotor_rollback(PG_FUNCTION_ARGS)
{
	RotationOrder order = {.rollback = true, .strategy = -1, .terminate_sessions = -1};
	char *name = required_text(fcinfo, 0, "secret");
	Secret secret;
	pg_uuid_t version;
	SealedValue value;

	actor_current(&order.actor);
	require_writable("rotor.rollback()");
	resolve(name, &order.actor, "rollback", false, true, &secret, &order);
	if (!catalog_find_version(secret.id, rotation_back_to(secret.id), &version, &value))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("secret \"%s\" has no previous version", name),
						errdetail("Rotor knows no password that the role had before."),
						errhint("rotor.rotate() gives it a new one.")));
	PG_RETURN_DATUM(submit_and_return(&order));
}

Datum
rotor_run_due(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;
	RotationOrder order = {0};
	Request *result = palloc(sizeof(Request));

	actor_current(&order.actor);
	require_writable("rotor.run_due()");
	request_submit(REQUEST_RUN_DUE, &order, NULL, result);
	if (result->answer.failure.sqlstate != 0)
		report_failure(&result->answer.failure, NULL);
	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < FSM_STATUS_COUNT; i++)
	{
		Datum values[2] = {CStringGetTextDatum(fsm_status_name((FsmStatus) i)),
						   Int64GetDatum(result->counts[i])};
		bool nulls[2] = {false, false};

		if (result->counts[i] > 0)
			tuplestore_putvalues(set->setResult, set->setDesc, values, nulls);
	}
	return (Datum) 0;
}

typedef void (*ChangeRotation)(RotationRow *row, const Secret *secret, const Policy *policy,
							   const Actor *actor);

/* cancel() and requeue(): find, lock, check, change. */
static Datum
change_rotation(FunctionCallInfo fcinfo, Privilege privilege, const char *event,
				ChangeRotation change)
{
	pg_uuid_t *id = PG_GETARG_UUID_P(0);
	RotationRow row;
	Secret secret;
	Policy policy;
	Actor actor;
	AccessScope scope;
	Datum result;

	actor_current(&actor);
	require_writable(psprintf("rotor.%s()", event));
	access_enter(&scope);
	catalog_lock_rotation(id);
	if (!catalog_load_rotation(id, &row, CurrentMemoryContext) ||
		!catalog_load_secret(row.secret_id, &secret, &policy, CurrentMemoryContext))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("rotation %s does not exist", uuid_text(id)),
						errhint("rotor.rotations lists the rotations.")));
	access_require(&actor, &secret, privilege, event);
	change(&row, &secret, &policy, &actor);
	result = rotation_datum(id);
	access_leave(&scope);
	return result;
}

Datum
rotor_cancel(PG_FUNCTION_ARGS)
{
	PG_RETURN_DATUM(change_rotation(fcinfo, PRIVILEGE_ROTATE, "cancel", rotation_cancel));
}

Datum
rotor_requeue(PG_FUNCTION_ARGS)
{
	Datum row = change_rotation(fcinfo, PRIVILEGE_ROTATE, "requeue", rotation_requeue);

	wake_workers_at_commit();
	PG_RETURN_DATUM(row);
}

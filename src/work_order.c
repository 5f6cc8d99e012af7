/*
 * work_order.c - see work_order.h.
 */
#include "postgres.h"

#include "catalog_lease.h"
#include "catalog_read.h"
#include "compat.h"
#include "executor/spi.h"
#include "functions.h"
#include "lib/stringinfo.h"
#include "report.h"
#include "sealing.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "work_order.h"

/* A value escaped for JSON is at most six times as long; four values, and the rest. */
#define ROOM (4 * 6 * SECRET_BUF_CAPACITY + 65536)

static void
append_value(StringInfo json, const char *key, int64 secret_id, const char *username,
			 const pg_uuid_t *version)
{
	SealedValue sealed;
	char stage[16];
	uint8_t fingerprint[FINGERPRINT_LEN];
	bool has_fingerprint;
	SecretBuf value = {0};

	if (version == NULL ||
		!catalog_load_version(version, &sealed, stage, fingerprint, &has_fingerprint))
	{
		appendStringInfo(json, ",\"%s\":null", key);
		return;
	}
	PG_TRY();
	{
		sealing_open(secret_id, version, &sealed, &value);
		appendStringInfo(json, ",\"%s\":{\"id\":\"%s\",\"username\":", key, uuid_text(version));
		escape_json(json, username);
		appendStringInfoString(json, ",\"password\":");
		escape_json(json, value.data);
		appendStringInfoChar(json, '}');
	}
	PG_FINALLY();
	{
		secret_buf_wipe(&value);
	}
	PG_END_TRY();
}

/*
 * The versions that were current and previous before the rotation; as labelled until it is set. Of two
 * secrets that take turns, those of the other one, for a store, which has one entry for both, and for
 * who locks the one that rests, and sees before whether the one in use logs in.
 */
typedef struct FormerVersions
{
	int64 secret_id;
	char username[USERNAME_SIZE];
	bool has_current;
	pg_uuid_t current;
	bool has_previous;
	pg_uuid_t previous;
} FormerVersions;

static void
find_former_of_other(int64 other, FormerVersions *former)
{
	Secret secret;
	Policy policy;
	SealedValue value;

	if (!catalog_load_secret(other, &secret, &policy, CurrentMemoryContext))
		elog(ERROR, "the secret that takes turns with this one is gone");
	former->secret_id = other;
	strlcpy(former->username, secret.username, sizeof(former->username));
	former->has_current = catalog_find_version(other, "current", &former->current, &value);
	former->has_previous = catalog_find_version(other, "previous", &former->previous, &value);
}

static void
find_former(const Secret *secret, const RotationRow *row, int64 other, FormerVersions *former)
{
	SavedVerifier saved;
	SealedValue value;

	memset(former, 0, sizeof(*former));
	former->secret_id = secret->id;
	strlcpy(former->username, secret->username, sizeof(former->username));
	if (other != 0 && (row->step == FSM_STEP_PUBLISH || row->step == FSM_STEP_FINISH ||
					   row->step == FSM_STEP_RETIRE))
		find_former_of_other(other, former);
	else if (row->step == FSM_STEP_PUBLISH || row->step == FSM_STEP_SET)
	{
		former->has_current = catalog_find_version(secret->id, "current", &former->current, &value);
		former->has_previous =
			catalog_find_version(secret->id, "previous", &former->previous, &value);
	}
	else if (catalog_load_verifier(&row->id, &saved))
	{
		former->has_current = saved.has_current;
		former->current = saved.former_current;
		former->has_previous = saved.has_previous;
		former->previous = saved.former_previous;
	}
}

/* The credential that changes the account: an administrator's, or one of its own. */
static bool
append_admin(StringInfo json, const char *admin, bool takes_turns, const Secret *secret,
			 const RotationRow *row, const FormerVersions *former, Failure *failure)
{
	bool changes =
		row->step == FSM_STEP_SET || row->step == FSM_STEP_UNDO || row->step == FSM_STEP_RETIRE;
	pg_uuid_t version;
	SealedValue value;
	Secret of_admin;

	/* Which takes turns is locked again. */
	if (row->step == FSM_STEP_UNDO && !former->has_current && !takes_turns)
	{
		failure_set(failure, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
					"the account's former password is not known",
					"It was set before rotor managed the account.",
					"Set the account right at its target, then call rotor.rotate().");
		return false;
	}
	if (row->step == FSM_STEP_RETIRE && takes_turns && !former->has_current)
	{
		failure_set(failure, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
					"the account in use has no password that rotor knows",
					"So the other one was not locked.", "Rotate, and requeue this.");
		return false;
	}
	if (admin != NULL && row->step == FSM_STEP_RETIRE && strcmp(admin, secret->name) == 0)
	{
		/* With what it has by now. */
		append_value(json, "admin", secret->id, secret->username,
					 catalog_find_version(secret->id, "current", &version, &value) ? &version
																				   : NULL);
		return true;
	}
	/* Who is the administrator changes itself. */
	if (admin == NULL || !changes || strcmp(admin, secret->name) == 0)
	{
		appendStringInfoString(json, ",\"admin\":null");
		if (!changes || !secret->outside_target || row->step != FSM_STEP_SET || former->has_current)
			return true;
		failure_set(
			failure, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
			"there is no credential to change the account with",
			"Its target has no admin, and its present password is not known.",
			"Name an admin in rotor.target, or tell the present password with rotor set --adopt.");
		return false;
	}
	if (!catalog_find_secret(admin, &of_admin) ||
		of_admin.system_identifier != secret->system_identifier ||
		!catalog_find_version(of_admin.id, "current", &version, &value))
	{
		failure_set(
			failure, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
			"the target's admin has no usable credential",
			psprintf("Secret \"%s\" does not exist, is not bound to this cluster, or has no "
					 "current version.",
					 admin),
			"Manage it, and tell its present password with rotor set --adopt.");
		return false;
	}
	append_value(json, "admin", of_admin.id, of_admin.username, &version);
	return true;
}

static void
append_text(StringInfo json, const char *key, const char *value)
{
	appendStringInfo(json, ",\"%s\":", key);
	if (value != NULL)
		escape_json(json, value);
	else
		appendStringInfoString(json, "null");
}

static void
append_head(StringInfo json, const Secret *secret, const RotationRow *row, const WorkLease *lease)
{
	appendStringInfo(json, "{\"rotation\":\"%s\",\"lease\":\"%s\",\"lease_seconds\":%d",
					 uuid_text(&row->id), uuid_text(&lease->id), lease->seconds);
	append_text(json, "step", fsm_step_name(row->step));
	appendStringInfo(json, ",\"attempt\":%d,\"look\":%s,\"emergency\":%s", row->attempt,
					 lease->look ? "true" : "false", row->in_emergency ? "true" : "false");
	append_text(json, "secret", secret->name);
	append_text(json, "trigger", row->trigger);
}

static void
append_policy(StringInfo json, const Policy *policy, const RotationRow *row)
{
	appendStringInfo(json, ",\"policy\":{\"scram_iterations\":%d,\"terminate_sessions\":%s",
					 policy->scram_iterations > 0 ? policy->scram_iterations
												  : SERVER_SCRAM_ITERATIONS,
					 row->terminate_sessions ? "true" : "false");
	append_text(json, "strategy", row->strategy);
	append_text(json, "verify_query", policy->verify_query);
	append_text(json, "verify_database", policy->verify_database);
	appendStringInfoString(json, "}}");
}

char *
work_order(const Secret *secret, const Policy *policy, const RotationRow *row,
		   const WorkLease *lease, size_t *size, Failure *failure)
{
	Surroundings around;
	FormerVersions former;
	StringInfoData json;
	volatile bool complete = false;

	if (!catalog_load_surroundings(secret->id, &around))
		elog(ERROR, "the secret's target or store is gone");
	find_former(secret, row, around.other, &former);
	initStringInfo(&json);
	/* All at once: what grows leaves copies behind. */
	enlargeStringInfo(&json, (int) (ROOM + strlen(around.account) + strlen(around.target) +
									strlen(around.store) + strlen(around.pair)));
	PG_TRY();
	{
		append_head(&json, secret, row, lease);
		append_value(&json, "version", secret->id, secret->username,
					 row->has_version ? &row->version : NULL);
		append_value(&json, "former", former.secret_id, former.username,
					 former.has_current ? &former.current : NULL);
		append_value(&json, "previous", former.secret_id, former.username,
					 former.has_previous ? &former.previous : NULL);
		appendStringInfo(&json, ",\"account\":%s,\"target\":%s,\"store\":%s,\"pair\":%s",
						 around.account, around.target, around.store, around.pair);
		complete = append_admin(&json, around.admin, strcmp(around.pair, "null") != 0, secret, row,
								&former, failure);
		append_policy(&json, policy, row);
	}
	PG_FINALLY();
	{
		if (!complete)
			secret_wipe(json.data, (size_t) json.maxlen);
	}
	PG_END_TRY();
	*size = (size_t) json.maxlen;
	return complete ? json.data : NULL;
}

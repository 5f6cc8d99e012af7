/*
 * functions_intake.c - intake_certificate(), set_value(): a value of the user's own.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog.h"
#include "catalog_read.h"
#include "compat.h"
#include "functions.h"
#include "intake.h"
#include "manage.h"
#include "mb/pg_wchar.h"
#include "role.h"
#include "rotation.h"
#include "sealing.h"
#include "utils/builtins.h"

ROTOR_FUNCTION(rotor_intake_certificate);
ROTOR_FUNCTION(rotor_set_value);

#define LONGEST_VALUE 1024

Datum
rotor_intake_certificate(PG_FUNCTION_ARGS)
{
	require_writable("rotor.intake_certificate()");
	PG_RETURN_TEXT_P(cstring_to_text(intake_certificate()));
}

static void unfit(const char *detail, const char *hint) ROTOR_NORETURN;

static void
unfit(const char *detail, const char *hint)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("the value cannot be used"),
					errdetail("%s", detail), errhint("%s", hint)));
}

/* Of a PostgreSQL role SASLprep must not change it; anything else is text. */
static void
require_fit(const SecretBuf *value, const char *target_type)
{
	bool is_postgres = strcmp(target_type, "self") == 0 || strcmp(target_type, "postgresql") == 0;

	if (value->len == 0 || value->len > LONGEST_VALUE)
		unfit(psprintf("It has %zu bytes.", value->len),
			  "A value has 1 to " CppAsString2(LONGEST_VALUE) " bytes.");
	if (memchr(value->data, '\0', value->len) != NULL ||
		!pg_verify_mbstr(PG_UTF8, value->data, (int) value->len, true))
		unfit("It is not UTF-8 text.", "Leave the final newline out, and encode it as UTF-8.");
	for (size_t i = 0; i < value->len; i++)
	{
		unsigned char byte = (unsigned char) value->data[i];

		if (byte < ' ' || byte == 0x7f)
			unfit("It has a control character.", "Was a newline passed with it?");
		if (is_postgres && byte > 0x7e)
			unfit("It has a character that is not ASCII, which clients encode differently.",
				  "Use printable ASCII for a password of PostgreSQL.");
	}
}

static pg_uuid_t
seal_value(const Secret *secret, const SecretBuf *value)
{
	pg_uuid_t version = rotation_new_uuid();
	SealedValue sealed;
	bool made_file;

	sealing_seal(secret->id, &version, value, &sealed, &made_file);
	catalog_insert_version(&version, secret->id, &sealed);
	if (made_file)
		notice_first_key();
	return version;
}

/* The value is what the account has already: it becomes current, and nothing is changed. */
static void
adopt(const Secret *secret, const SecretBuf *value, const Actor *actor)
{
	SavedVerifier saved;
	RoleState role;
	uint8_t fingerprint[FINGERPRINT_LEN];
	pg_uuid_t version;
	AuditRow audit = {.actor = actor,
					  .event = "value_adopted",
					  .secret = secret->name,
					  .result = "ok",
					  .duration_ms = -1};

	if (!secret->outside_target)
	{
		if (!catalog_load_role(secret->role, true, &role) || !role_accepts(role.name, value))
			ereport(ERROR, (errcode(ERRCODE_INVALID_PASSWORD),
							errmsg("role \"%s\" does not have this password", secret->username),
							errhint("Leave adopt out to give it the password.")));
		role_fingerprint(role.verifier, fingerprint);
	}
	version = seal_value(secret, value);
	catalog_promote_version(secret->id, &version, secret->outside_target ? NULL : fingerprint,
							&saved, true);
	audit.version = &version;
	catalog_audit(&audit);
}

/* The value is sealed as pending, and a rotation brings it. */
static pg_uuid_t
queue(const Secret *secret, const Policy *policy, const SecretBuf *value, const Actor *actor)
{
	RotationOrder order = {.secret_id = secret->id,
						   .role = secret->role,
						   .strategy = -1,
						   .terminate_sessions = -1,
						   .actor = *actor};

	order.version = seal_value(secret, value);
	order.has_version = true;
	strlcpy(order.reason, "a value of the user's own", sizeof(order.reason));
	return rotation_queue(&order, secret, policy);
}

/* Stores what was opened; false if it was adopted and there is no rotation. */
static bool
take_value(const char *name, const SecretBuf *value, bool adopted, pg_uuid_t *rotation)
{
	TargetAddress address;
	Secret secret;
	Policy policy;
	Actor actor;
	AccessScope scope;
	pg_uuid_t active;
	bool by_pair;

	actor_current(&actor);
	/* What is known already is the value in use; a new one goes to the role that rests. */
	if (adopted || !find_secret_to_rotate(name, &secret, &by_pair))
		require_secret(name, &secret);
	access_require(&actor, &secret, PRIVILEGE_MANAGE, "set_value");
	access_enter(&scope);
	(void) catalog_find_target(secret.target, &address);
	require_fit(value, address.type);
	rotation_require_usable(&secret);
	if (!catalog_load_secret(secret.id, &secret, &policy, CurrentMemoryContext))
		elog(ERROR, "the secret is gone");
	if (catalog_active_rotation(secret.id, &active))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE), errmsg("a rotation is already active"),
						errhint("Wait until it has ended; rotor.rotations shows it.")));
	if (adopted)
		adopt(&secret, value, &actor);
	else
		*rotation = queue(&secret, &policy, value, &actor);
	access_leave(&scope);
	return !adopted;
}

Datum
rotor_set_value(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	text *envelope = PG_GETARG_TEXT_PP(1);
	SecretBuf value = {0};
	pg_uuid_t *rotation = palloc(sizeof(pg_uuid_t));
	bool queued = false;

	require_writable("rotor.set_value()");
	PG_TRY();
	{
		intake_open(VARDATA_ANY(envelope), VARSIZE_ANY_EXHDR(envelope), &value);
		queued = take_value(name, &value, PG_GETARG_BOOL(2), rotation);
	}
	PG_FINALLY();
	{
		secret_buf_wipe(&value);
	}
	PG_END_TRY();
	if (!queued)
		PG_RETURN_NULL();
	wake_workers_at_commit();
	PG_RETURN_UUID_P(rotation);
}

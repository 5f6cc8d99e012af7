/*
 * functions_secret.c - get_secret(), connection_uri(), describe().
 */
#include "postgres.h"

#include <netdb.h>

#include "access/xlog.h"
#include "catalog.h"
#include "catalog/pg_type.h"
#include "catalog_read.h"
#include "codec.h"
#include "commands/dbcommands.h"
#include "common/ip.h"
#include "compat.h"
#include "functions.h"
#include "guc.h"
#include "libpq/libpq-be.h"
#include "postmaster/postmaster.h"
#include "report.h"
#include "sealing.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

ROTOR_FUNCTION(rotor_get_secret);
ROTOR_FUNCTION(rotor_connection_uri);
ROTOR_FUNCTION(rotor_describe);

/* A secret as its reader sees it. */
typedef struct Reading
{
	Secret secret;
	char username[USERNAME_SIZE];
	pg_uuid_t version;
	TargetAddress address;
} Reading;

/* The address by which the reader is connected; localhost for a socket. */
static void
own_address(char *out, size_t size)
{
	strlcpy(out, "localhost", size);
	if (MyProcPort != NULL && (MyProcPort->laddr.addr.ss_family == AF_INET ||
							   MyProcPort->laddr.addr.ss_family == AF_INET6))
		(void) pg_getnameinfo_all(&MyProcPort->laddr.addr, (int) MyProcPort->laddr.salen, out,
								  (int) size, NULL, 0, NI_NUMERICHOST | NI_NUMERICSERV);
	out[strcspn(out, "%")] = '\0';
}

static void
require_stage(const char *stage)
{
	if (strcmp(stage, "current") != 0 && strcmp(stage, "previous") != 0 &&
		strcmp(stage, "pending") != 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("unrecognized stage \"%s\"", stage),
						errhint("Stages are current, previous and pending.")));
}

/* 0: none */
static int
usual_port(const char *type)
{
	return strcmp(type, "self") == 0		 ? PostPortNumber
		   : strcmp(type, "postgresql") == 0 ? 5432
		   : strcmp(type, "mysql") == 0		 ? 3306
											 : 0;
}

/* What the AWS secret's key "engine" says. */
static const char *
engine_of(const char *type)
{
	return strcmp(type, "self") == 0 || strcmp(type, "postgresql") == 0 ? "postgres" : type;
}

/*
 * Of two secrets that are used in turn, the one that rests has what comes next, and what was in use
 * before as its own current version.
 */
static void
find_stage(const char *name, const char *stage, Secret *secret, const char **kept_as)
{
	Secret members[2];
	bool turns = require_members(name, members) == 2;

	*secret = members[turns && strcmp(stage, "current") != 0];
	*kept_as = turns && strcmp(stage, "previous") == 0 ? "current" : stage;
}

/* Checks rights, then opens the value into *value, which the caller wipes, and fills *reading. */
static void
read_secret(const char *name, const char *stage, const char *event, Reading *reading,
			SecretBuf *value)
{
	SealedValue sealed;
	Actor actor;
	const char *kept_as;
	char *username;

	actor_current(&actor);
	require_stage(stage);
	find_stage(name, stage, &reading->secret, &kept_as);
	access_require(&actor, &reading->secret, PRIVILEGE_READ, event);
	if (!catalog_find_version(reading->secret.id, kept_as, &reading->version, &sealed))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("secret \"%s\" has no %s version", name, stage),
				 errhint(strcmp(stage, "current") == 0 ? "rotor.rotate() makes the first one."
													   : "rotor.describe() shows which it has.")));
	username = OidIsValid(reading->secret.role) &&
					   reading->secret.system_identifier == GetSystemIdentifier()
				   ? GetUserNameFromId(reading->secret.role, true)
				   : NULL;
	strlcpy(reading->username, username ? username : reading->secret.username,
			sizeof(reading->username));
	(void) catalog_find_target(reading->secret.target, &reading->address);
	if (reading->address.host[0] == '\0' && !reading->secret.outside_target)
		own_address(reading->address.host, sizeof(reading->address.host));
	if (reading->address.port == 0)
		reading->address.port = usual_port(reading->address.type);
	if (reading->address.dbname[0] == '\0' && !reading->secret.outside_target)
		strlcpy(reading->address.dbname, get_database_name(MyDatabaseId),
				sizeof(reading->address.dbname));
	sealing_open(reading->secret.id, &reading->version, &sealed, value);
	if (rotor_audit_reads == AUDIT_READS_LOG)
		audit_log_line(&actor, event, name, "ok");
}

static JsonbValue
json_string(const char *text, size_t len)
{
	JsonbValue value;

	value.type = jbvString;
	value.val.string.val = unconstify(char *, text);
	value.val.string.len = (int) len;
	return value;
}

static JsonbValue
json_text(const char *text)
{
	return json_string(text, strlen(text));
}

static JsonbValue
json_number(int number)
{
	JsonbValue value;

	value.type = jbvNumeric;
	value.val.numeric = DatumGetNumeric(DirectFunctionCall1(int4_numeric, Int32GetDatum(number)));
	return value;
}

static Datum
secret_jsonb(const Reading *reading, const char *stage, const SecretBuf *value)
{
	JsonbValue stage_value = json_text(stage);
	JsonbValue stages = {.type = jbvArray, .val.array = {.nElems = 1, .elems = &stage_value}};
	/* In the order of jsonb, shorter keys first, which is also that of the output. */
	JsonbPair pairs[] = {
		{.key = json_text("host"), .value = json_text(reading->address.host)},
		{.key = json_text("port"), .value = json_number(reading->address.port)},
		{.key = json_text("dbname"), .value = json_text(reading->address.dbname)},
		{.key = json_text("engine"), .value = json_text(engine_of(reading->address.type))},
		{.key = json_text("stages"), .value = stages},
		{.key = json_text("password"), .value = json_string(value->data, value->len)},
		{.key = json_text("username"), .value = json_text(reading->username)},
		{.key = json_text("version_id"), .value = json_text(uuid_text(&reading->version))},
	};
	JsonbValue object = {.type = jbvObject,
						 .val.object = {.nPairs = lengthof(pairs), .pairs = pairs}};

	return JsonbPGetDatum(JsonbValueToJsonb(&object));
}

Datum
rotor_get_secret(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char *stage = text_to_cstring(PG_GETARG_TEXT_PP(1));
	Reading reading;
	SecretBuf value;
	Datum result = (Datum) 0;

	value.len = 0;
	value.data[0] = '\0';
	PG_TRY();
	{
		catalog_read_begin();
		read_secret(name, stage, "get_secret", &reading, &value);
		result = secret_jsonb(&reading, stage, &value);
	}
	PG_FINALLY();
	{
		catalog_read_end();
		secret_buf_wipe(&value);
	}
	PG_END_TRY();
	PG_RETURN_DATUM(result);
}

static void
append(SecretBuf *uri, const char *text, bool encode)
{
	RotorError err;

	if (!(encode ? codec_percent_encode(text, strlen(text), uri, &err)
				 : secret_buf_append(uri, text, strlen(text), &err)))
		report_raise(&err);
}

static void
build_uri(const Reading *reading, const char *dbname, const SecretBuf *value, SecretBuf *uri)
{
	const TargetAddress *address = &reading->address;
	bool v6 = strchr(address->host, ':') != NULL;

	append(uri, "postgresql://", false);
	append(uri, reading->username, true);
	append(uri, ":", false);
	append(uri, value->data, true);
	append(uri, v6 ? "@[" : "@", false);
	append(uri, address->host, !v6);
	append(uri, psprintf(v6 ? "]:%d/" : ":%d/", address->port), false);
	append(uri, dbname, true);
	append(uri, "?sslmode=", false);
	append(uri, address->sslmode[0] ? address->sslmode : "prefer", true);
}

Datum
rotor_connection_uri(PG_FUNCTION_ARGS)
{
	char *name = required_text(fcinfo, 0, "secret");
	Reading reading;
	SecretBuf value = {0};
	SecretBuf uri = {0};
	text *result = NULL;

	PG_TRY();
	{
		catalog_read_begin();
		read_secret(name, "current", "connection_uri", &reading, &value);
		build_uri(&reading,
				  PG_ARGISNULL(1) ? reading.address.dbname : text_to_cstring(PG_GETARG_TEXT_PP(1)),
				  &value, &uri);
		result = cstring_to_text_with_len(uri.data, (int) uri.len);
	}
	PG_FINALLY();
	{
		catalog_read_end();
		secret_buf_wipe(&value);
		secret_buf_wipe(&uri);
	}
	PG_END_TRY();
	PG_RETURN_TEXT_P(result);
}

Datum
rotor_describe(PG_FUNCTION_ARGS)
{
	Secret secret;
	Actor actor;
	AccessScope scope;
	Oid types[] = {INT8OID, INT8OID};
	Datum values[2];
	Datum result;
	bool null;

	actor_current(&actor);
	require_secret(text_to_cstring(PG_GETARG_TEXT_PP(0)), &secret);
	/* It shows no value: who may rotate may see what came of it. */
	if (!access_may(&actor, &secret, PRIVILEGE_ROTATE))
		access_require(&actor, &secret, PRIVILEGE_READ, "describe");
	access_enter(&scope);
	values[0] = Int64GetDatum(secret.id);
	values[1] = Int64GetDatum((int64) GetSystemIdentifier());
	result = catalog_datum(
		"SELECT jsonb_build_object('secret', s.name, 'username', coalesce(a.rolname, s.username), "
		"'target', s.target, 'store', s.store, 'policy', s.policy, 'enabled', s.enabled, "
		"'rotation_interval', p.rotation_interval, 'schedule', p.schedule, 'time_zone', p.time_zone, "
		"'window_schedule', p.window_schedule, 'window_duration', p.window_duration, "
		"'jitter', p.jitter, 'next_rotation', s.next_rotation, "
		"'last_rotation', s.last_rotation, 'created_at', s.created_at, 'created_by', s.created_by, "
		"'versions', coalesce((SELECT jsonb_agg(jsonb_build_object('version_id', v.id, 'stages', "
		"CASE WHEN v.stage IS NULL THEN '[]'::jsonb ELSE jsonb_build_array(v.stage) END, "
		"'created_at', v.created_at, 'set_at', v.set_at, 'verified_at', v.verified_at) "
		"ORDER BY v.created_at DESC) FROM rotor.version v WHERE v.secret_id = s.id), '[]'), "
		"'last_result', (SELECT jsonb_build_object('rotation', r.id, 'status', r.status, "
		"'error_code', r.error_code, 'error_message', r.error_message, 'finished_at', "
		"r.finished_at) FROM rotor.rotation r WHERE r.secret_id = s.id "
		"ORDER BY r.queued_at DESC LIMIT 1)) || coalesce((SELECT jsonb_build_object('pair', p.name, "
		"'in_use', u.name, 'resting', o.name, 'owner', p.owner, 'used_since', p.used_since, "
		"'retire_at', o.retire_at) FROM rotor.pair p JOIN rotor.secret u ON u.id = p.in_use "
		"JOIN rotor.secret o ON o.id = p.resting WHERE s.id IN (p.in_use, p.resting)), '{}') "
		"FROM rotor.secret s JOIN rotor.policy p ON p.name = s.policy "
		"LEFT JOIN pg_catalog.pg_authid a ON a.oid = s.role_oid AND s.system_identifier = $2 "
		"WHERE s.id = $1",
		2, types, values, &null);
	access_leave(&scope);
	PG_RETURN_DATUM(result);
}

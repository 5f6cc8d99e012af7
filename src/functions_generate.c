/*
 * functions_generate.c - generate_password(), generate_hex(), generate_uuid().
 */
#include "postgres.h"

#include "catalog.h"
#include "compat.h"
#include "functions.h"
#include "password.h"
#include "policy.h"
#include "report.h"
#include "rotation.h"
#include "utils/builtins.h"

ROTOR_FUNCTION(rotor_generate_password);
ROTOR_FUNCTION(rotor_generate_for_policy);
ROTOR_FUNCTION(rotor_generate_hex);
ROTOR_FUNCTION(rotor_generate_uuid);

/* The value as text, which is the caller's; wipes value. */
static text *
take_value(SecretBuf *value)
{
	text *result = cstring_to_text_with_len(value->data, (int) value->len);

	secret_buf_wipe(value);
	return result;
}

Datum
rotor_generate_password(PG_FUNCTION_ARGS)
{
	text *exclude = PG_GETARG_TEXT_PP(5);
	PasswordSpec spec = {
		.length = PG_GETARG_INT32(0),
		.uppercase = PG_GETARG_BOOL(1),
		.lowercase = PG_GETARG_BOOL(2),
		.digits = PG_GETARG_BOOL(3),
		.symbols = PG_GETARG_BOOL(4),
		.exclude = VARSIZE_ANY_EXHDR(exclude) > 0 ? text_to_cstring(exclude) : NULL,
		.require_each_type = PG_GETARG_BOOL(6),
	};
	SecretBuf value;
	RotorError err;

	value.len = 0;
	value.data[0] = '\0';
	if (!password_generate(&spec, &value, &err))
		report_raise(&err);
	PG_RETURN_TEXT_P(take_value(&value));
}

Datum
rotor_generate_for_policy(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	SecretBuf value = {0};
	AccessScope scope;
	Policy policy;
	bool uncommitted;
	bool found;

	access_enter(&scope);
	found = catalog_load_policy(name, &policy, &uncommitted, CurrentMemoryContext);
	access_leave(&scope);
	if (!found)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("policy \"%s\" does not exist", name),
				 errhint("rotor.policy lists the policies.")));
	policy_generate(&policy, &value);
	PG_RETURN_TEXT_P(take_value(&value));
}

Datum
rotor_generate_hex(PG_FUNCTION_ARGS)
{
	SecretBuf value = {0};
	RotorError err;

	if (!password_generate_hex(PG_GETARG_INT32(0), &value, &err))
		report_raise(&err);
	PG_RETURN_TEXT_P(take_value(&value));
}

Datum
rotor_generate_uuid(PG_FUNCTION_ARGS)
{
	pg_uuid_t *id = palloc(sizeof(pg_uuid_t));

	*id = rotation_new_uuid();
	PG_RETURN_UUID_P(id);
}

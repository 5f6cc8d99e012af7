/*
 * control_check.c - what `rotor check` and `rotor set` ask the control database; see control_check.h.
 */
#include "control_check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control_call.h"

static const char *const functions[] = {
	"rotor.claim(text, text[], text[], integer, text[], text[])",
	"rotor.heartbeat(text, uuid[])",
	"rotor.complete(uuid, uuid, text, text, text, double precision)",
	"rotor.fail(uuid, uuid, text, text, text, double precision, bigint)",
};

/* What job_parse() wants of a job and a check does not look at. */
#define NO_ROTATION                                                                           \
	"'rotation', '00000000-0000-0000-0000-000000000000', "                                    \
	"'lease', '00000000-0000-0000-0000-000000000000', 'lease_seconds', 3600, "                \
	"'step', 'finish', 'policy', pg_catalog.jsonb_build_object(), "                           \
	"'version', pg_catalog.jsonb_build_object('id', '00000000-0000-0000-0000-000000000000', " \
	"'username', 'rotor')"

/* The account is that of the first secret there; without one the job has an empty secret. */
#define TARGET_JOB                                                                             \
	"SELECT pg_catalog.jsonb_build_object(" NO_ROTATION ", 'secret', coalesce(s.name, ''), "   \
	"'account', pg_catalog.jsonb_build_object('username', coalesce(s.username, 'none'), "      \
	"'options', s.options), "                                                                  \
	"'target', pg_catalog.jsonb_build_object('name', t.name, 'type', t.type, 'host', t.host, " \
	"'port', t.port, 'dbname', t.dbname, 'sslmode', t.sslmode, 'options', t.options), "        \
	"'admin', CASE WHEN a.s IS NULL THEN NULL ELSE pg_catalog.jsonb_build_object("             \
	"'id', a.s ->> 'version_id', 'username', a.s ->> 'username', "                             \
	"'password', a.s ->> 'password') END, "                                                    \
	"'store', pg_catalog.jsonb_build_object('name', 'local', 'type', 'local'), "               \
	"'pair', CASE WHEN p.name IS NOT NULL THEN pg_catalog.jsonb_build_object('name', p.name, " \
	"'owner', p.owner) END) "                                                                  \
	"FROM rotor.target t LEFT JOIN LATERAL (SELECT * FROM rotor.secret "                       \
	"WHERE target = t.name AND deleted_at IS NULL AND name IS DISTINCT FROM t.admin "          \
	"ORDER BY id LIMIT 1) s ON true "                                                          \
	"LEFT JOIN rotor.pair p ON s.id IN (p.in_use, p.resting), "                                \
	"LATERAL rotor.get_secret(t.admin) AS a (s) WHERE t.name = $1"

#define STORE_JOB                                                                            \
	"SELECT pg_catalog.jsonb_build_object(" NO_ROTATION ", 'secret', coalesce(s.name, ''), " \
	"'account', pg_catalog.jsonb_build_object('username', 'none'), "                         \
	"'target', pg_catalog.jsonb_build_object('name', 'self', 'type', 'self'), "              \
	"'store', pg_catalog.jsonb_build_object('name', o.name, 'type', o.type, "                \
	"'options', o.options, 'key', coalesce(s.options ->> 'key', p.name, s.name))) "          \
	"FROM rotor.store o LEFT JOIN LATERAL (SELECT * FROM rotor.secret "                      \
	"WHERE store = o.name AND deleted_at IS NULL ORDER BY id LIMIT 1) s ON true "            \
	"LEFT JOIN rotor.pair p ON s.id IN (p.in_use, p.resting) WHERE o.name = $1"

/* A pair's name stands for the one in use; it is no pair here, whose account would have to be of use. */
#define SECRET_JOB                                                                             \
	"SELECT pg_catalog.jsonb_build_object(" NO_ROTATION ", 'secret', s.name, "                 \
	"'version', pg_catalog.jsonb_build_object('id', '00000000-0000-0000-0000-000000000000', "  \
	"'username', s.username), "                                                                \
	"'account', pg_catalog.jsonb_build_object('username', s.username, "                        \
	"'options', s.options), "                                                                  \
	"'target', pg_catalog.jsonb_build_object('name', t.name, 'type', t.type, 'host', t.host, " \
	"'port', t.port, 'dbname', t.dbname, 'sslmode', t.sslmode, 'options', t.options), "        \
	"'store', pg_catalog.jsonb_build_object('name', o.name, 'type', o.type, "                  \
	"'options', o.options, 'key', coalesce(s.options ->> 'key', p.name, s.name)), "            \
	"'policy', pg_catalog.jsonb_build_object('verify_query', y.verify_query, "                 \
	"'verify_database', y.verify_database)) "                                                  \
	"FROM rotor.secret s JOIN rotor.target t ON t.name = s.target "                            \
	"JOIN rotor.store o ON o.name = s.store JOIN rotor.policy y ON y.name = s.policy "         \
	"LEFT JOIN rotor.pair p ON s.id IN (p.in_use, p.resting) "                                 \
	"WHERE s.deleted_at IS NULL AND (s.name = $1 OR p.name = $1 AND s.id = p.in_use) "         \
	"ORDER BY s.name = $1 DESC LIMIT 1"

ControlResult
control_check_rights(ControlDb *db, const char **missing, PgError *err)
{
	*missing = NULL;
	for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++)
	{
		const char *values[] = {functions[i]};
		PgAnswer *answer;
		ControlResult result =
			control_call(db,
						 "SELECT pg_catalog.has_schema_privilege('rotor', 'USAGE') "
						 "AND pg_catalog.has_function_privilege($1, 'EXECUTE')",
						 1, values, &answer, err);
		bool may = result == CONTROL_DONE && pg_flag(answer, 0, 0);

		pg_answer_free(answer);
		if (result != CONTROL_DONE)
			return result;
		if (!may)
		{
			*missing = functions[i];
			break;
		}
	}
	return CONTROL_DONE;
}

ControlResult
control_check_names(ControlDb *db, bool stores, char ***names, int *count, PgError *err)
{
	PgAnswer *answer;
	ControlResult result =
		control_call(db,
					 stores ? "SELECT name FROM rotor.store WHERE type <> 'local' ORDER BY name"
							: "SELECT name FROM rotor.target WHERE type <> 'self' ORDER BY name",
					 0, NULL, &answer, err);
	char **list = NULL;
	int found = 0;

	if (result == CONTROL_DONE)
		list = calloc((size_t) pg_rows(answer) + 1, sizeof(*list));
	for (int row = 0; list != NULL && row < pg_rows(answer); row++)
	{
		if (asprintf(&list[found], "%s", pg_value(answer, row, 0)) < 0)
			break;
		found++;
	}
	*names = list;
	*count = found;
	pg_answer_free(answer);
	return result;
}

static ControlResult
ask_for_job(ControlDb *db, const char *sql, const char *name, Job **job, PgError *err)
{
	const char *values[] = {name};
	int64_t asked_at = clock_ms();
	PgAnswer *answer;
	RotorError bad;
	ControlResult result = control_call(db, sql, 1, values, &answer, err);

	*job = NULL;
	if (result == CONTROL_DONE && pg_value(answer, 0, 0) != NULL)
	{
		*job = job_parse(pg_value(answer, 0, 0), asked_at, &bad);
		if (*job == NULL)
		{
			*err = (PgError){0};
			pg_error_say(err, bad.message);
			result = CONTROL_REFUSED;
		}
	}
	else if (result == CONTROL_DONE)
	{
		*err = (PgError){0};
		pg_error_say(err, "there is nothing of that name");
		result = CONTROL_REFUSED;
	}
	pg_answer_free(answer);
	return result;
}

ControlResult
control_check_job(ControlDb *db, bool store, const char *name, Job **job, PgError *err)
{
	return ask_for_job(db, store ? STORE_JOB : TARGET_JOB, name, job, err);
}

ControlResult
control_secret_job(ControlDb *db, const char *secret, Job **job, PgError *err)
{
	return ask_for_job(db, SECRET_JOB, secret, job, err);
}

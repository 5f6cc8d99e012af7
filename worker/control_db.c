/*
 * control_db.c - the control database; see control_db.h.
 */
#include "control_db.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control_call.h"
#include "control_password.h"
#include "envelope.h"
#include "options.h"
#include "words.h"

/* Statements end a little before we give up on the connection. */
#define SETTINGS                                                       \
	"SET search_path = pg_catalog, pg_temp; "                          \
	"SET statement_timeout = '9s'; "                                   \
	"SET lock_timeout = '5s'; "                                        \
	"SET idle_in_transaction_session_timeout = '10s'; "                \
	"SET default_transaction_read_only = off; "                        \
	"SET default_transaction_isolation = 'read committed'; "           \
	"SELECT pg_catalog.set_config('synchronous_commit', 'on', false) " \
	"WHERE pg_catalog.current_setting('synchronous_commit') = 'off'; " \
	"LISTEN rotor_worker"

#define UUID_TEXT_SIZE (UUID_SIZE + 1)

struct ControlDb
{
	PgClient *client;
	ControlPassword password;
	char *worker;
	char *target_types; /* as array literals */
	char *store_types;
};

void
control_init(void)
{
	control_password_init();
	pg_client_init();
}

/* "a,b" as an array literal; the names are of our own sources. */
static char *
array_of(const char *names)
{
	char *literal = NULL;

	return asprintf(&literal, "{%s}", names) < 0 ? NULL : literal;
}

ControlDb *
control_new(const char *worker, const char *target_types, const char *store_types)
{
	ControlDb *db = calloc(1, sizeof(*db));

	if (db == NULL)
		return NULL;
	db->worker = strdup(worker);
	db->target_types = array_of(target_types);
	db->store_types = array_of(store_types);
	if (db->worker == NULL || db->target_types == NULL || db->store_types == NULL)
	{
		control_free(db);
		return NULL;
	}
	return db;
}

void
control_free(ControlDb *db)
{
	if (db == NULL)
		return;
	control_disconnect(db);
	control_password_wipe(&db->password);
	free(db->worker);
	free(db->target_types);
	free(db->store_types);
	free(db);
}

void
control_disconnect(ControlDb *db)
{
	pg_close(db->client);
	db->client = NULL;
}

bool
control_is_connected(const ControlDb *db)
{
	return db->client != NULL && pg_is_alive(db->client);
}

/* ------------------------------------------------------------------------------------------------
 * Connecting
 */

/* An empty setting is none. */
static const char *
setting(OptionId id)
{
	const char *text = option_text(id);

	return text[0] != '\0' ? text : NULL;
}

static PgClient *
open_connection(ControlDb *db, PgError *err)
{
	PgServer server = {
		.host = setting(OPT_CONTROL_HOST),
		.port = setting(OPT_CONTROL_PORT),
		.dbname = setting(OPT_CONTROL_DBNAME),
		.user = setting(OPT_CONTROL_USER),
		.sslmode = setting(OPT_CONTROL_SSLMODE),
		.sslrootcert = setting(OPT_CONTROL_SSLROOTCERT),
		.sslcert = setting(OPT_CONTROL_SSLCERT),
		.sslkey = setting(OPT_CONTROL_SSLKEY),
		.application_name = "rotor worker",
		.read_write = true,
	};
	SecretBuf password = {0};
	RotorError unreadable;
	PgClient *client;

	if (!control_password_get(&db->password, &password, &unreadable))
	{
		*err = (PgError){0};
		pg_error_say(err, unreadable.message);
		return NULL;
	}
	server.password = password.len > 0 ? &password : NULL;
	client = pg_connect(&server, deadline_in(option_number(OPT_CONNECT_TIMEOUT)), err);
	if (client == NULL && strcmp(err->sqlstate, "28P01") == 0)
		control_password_was_refused(&db->password, &password);
	secret_buf_wipe(&password);
	return client;
}

/* Major and minor of ours and of the extension must be the same. */
static ControlState
check_extension(PgClient *client, PgError *err)
{
	PgAnswer *answer = NULL;
	const char *version;
	char words[PG_MESSAGE_SIZE];
	ControlState state = CONTROL_UNFIT;
	PgReach reach =
		pg_exec(client, "SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'rotor'", 0,
				NULL, deadline_in(CONTROL_TIMEOUT_MS), &answer, err);

	if (reach != PG_DONE)
		return CONTROL_UNREACHABLE;
	*err = (PgError){0};
	version = pg_value(answer, 0, 0);
	if (version == NULL)
		pg_error_say(err, "there is no extension rotor in the control database");
	else if (strcmp(version, ROTOR_VERSION) != 0)
	{
		(void) snprintf(words, sizeof(words),
						"the extension rotor has version %.32s, this program is for " ROTOR_VERSION,
						version);
		pg_error_say(err, words);
	}
	else
		state = CONTROL_CONNECTED;
	pg_answer_free(answer);
	return state;
}

ControlState
control_connect(ControlDb *db, PgError *err)
{
	ControlState state;

	control_disconnect(db);
	db->client = open_connection(db, err);
	if (db->client == NULL)
		return CONTROL_UNREACHABLE;
	state = CONTROL_UNREACHABLE;
	if (pg_exec_script(db->client, SETTINGS, deadline_in(CONTROL_TIMEOUT_MS), NULL, err) == PG_DONE)
		state = check_extension(db->client, err);
	if (state != CONTROL_CONNECTED)
		control_disconnect(db);
	return state;
}

PgWake
control_wait(ControlDb *db, const int *fds, int count, Deadline deadline)
{
	PgWake wake = pg_wait(db->client, fds, count, deadline);
	char channel[64];

	/* Each of them says the same: there may be something to claim. */
	while (wake == PG_WAKE_NOTIFY && pg_notification(db->client, channel, sizeof(channel)))
		;
	return wake;
}

/* ------------------------------------------------------------------------------------------------
 * The extension's functions
 */

ControlResult
control_call(ControlDb *db, const char *sql, int count, const char *const *values,
			 PgAnswer **answer, PgError *err)
{
	PgReach reach;

	*answer = NULL;
	if (db->client == NULL)
	{
		*err = (PgError){0};
		pg_error_say(err, "there is no connection to the control database");
		return CONTROL_LOST;
	}
	reach = pg_exec(db->client, sql, count, values, deadline_in(CONTROL_TIMEOUT_MS), answer, err);
	switch (reach)
	{
		case PG_DONE:
			return CONTROL_DONE;
		case PG_REFUSED:
			return CONTROL_REFUSED;
		case PG_NOT_SENT:
		case PG_LOST:
			break;
	}
	return CONTROL_LOST;
}

/* 55000 of a report says that the lease is over. */
static ControlResult
late_if_so(ControlResult result, const PgError *err)
{
	return result == CONTROL_REFUSED && strcmp(err->sqlstate, "55000") == 0 ? CONTROL_LATE : result;
}

/* A job of a form that we do not know fails at once, or it would come back for ever. */
static void
report_unreadable(ControlDb *db, const char *json, const RotorError *why)
{
	cJSON *tree = cJSON_Parse(json);
	const char *values[] = {job_string(tree, "rotation"), job_string(tree, "lease"), why->message};
	PgAnswer *answer = NULL;
	PgError err;

	if (values[0] != NULL && values[1] != NULL)
		(void) control_call(db, "SELECT rotor.fail($1, $2, 'internal', NULL, $3)", 3, values,
							&answer, &err);
	pg_answer_free(answer);
	cJSON_Delete(tree);
}

/* NULL if there is none, or one that cannot be read. */
static Job *
read_job(ControlDb *db, const char *json, int64_t asked_at)
{
	RotorError err;
	Job *job;

	if (json == NULL)
		return NULL;
	job = job_parse(json, asked_at, &err);
	if (job == NULL)
		report_unreadable(db, json, &err);
	return job;
}

ControlResult
control_claim(ControlDb *db, int max, const char *except_targets, const char *except_stores,
			  Job **jobs, int *count, PgError *err)
{
	char number[16];
	const char *values[] = {db->worker, db->target_types, db->store_types,
							number,		except_targets,	  except_stores};
	int64_t asked_at = clock_ms();
	PgAnswer *answer;
	ControlResult result;

	*count = 0;
	(void) snprintf(number, sizeof(number), "%d", max);
	result =
		control_call(db, "SELECT rotor.claim($1, $2, $3, $4, $5, $6)", 6, values, &answer, err);
	for (int row = 0; result == CONTROL_DONE && row < pg_rows(answer) && *count < max; row++)
	{
		jobs[*count] = read_job(db, pg_value(answer, row, 0), asked_at);
		if (jobs[*count] != NULL)
			(*count)++;
	}
	pg_answer_free(answer);
	return result;
}

/* Those of the list are in that state. */
static void
read_states(const cJSON *list, LeaseState state, int count, const char *const *leases,
			LeaseState *states)
{
	const cJSON *lease;

	cJSON_ArrayForEach(lease, list)
	{
		for (int i = 0; i < count; i++)
		{
			if (cJSON_IsString(lease) && strcmp(lease->valuestring, leases[i]) == 0)
				states[i] = state;
		}
	}
}

static void
read_heartbeat(const char *json, int count, const char *const *leases, LeaseState *states,
			   ControlQueue *queue)
{
	cJSON *tree = json != NULL ? cJSON_Parse(json) : NULL;
	const cJSON *figures = cJSON_GetObjectItemCaseSensitive(tree, "queue");

	read_states(cJSON_GetObjectItemCaseSensitive(tree, "held"), LEASE_RENEWED, count, leases,
				states);
	read_states(cJSON_GetObjectItemCaseSensitive(tree, "locked"), LEASE_LOCKED, count, leases,
				states);
	queue->waiting = job_number(figures, "waiting", 0);
	queue->leased = job_number(figures, "leased", 0);
	queue->oldest_overdue_seconds = job_number(figures, "oldest_overdue_seconds", 0);
	queue->dead_letters = job_number(figures, "dead_letters", 0);
	cJSON_Delete(tree);
}

ControlResult
control_heartbeat(ControlDb *db, int count, const char *const *leases, LeaseState *states,
				  ControlQueue *queue, PgError *err)
{
	char *list = malloc((size_t) count * UUID_TEXT_SIZE + 3);
	const char *values[] = {db->worker, list};
	char *end = list;
	PgAnswer *answer;
	ControlResult result;

	for (int i = 0; i < count; i++)
		states[i] = LEASE_OVER;
	if (list == NULL)
	{
		*err = (PgError){0};
		pg_error_say(err, "out of memory");
		return CONTROL_REFUSED;
	}
	*end++ = '{';
	for (int i = 0; i < count; i++)
		end += sprintf(end, "%s%.36s", i > 0 ? "," : "", leases[i]);
	*end++ = '}';
	*end = '\0';
	result = control_call(db, "SELECT rotor.heartbeat($1, $2)", 2, values, &answer, err);
	if (result == CONTROL_DONE)
		read_heartbeat(pg_value(answer, 0, 0), count, leases, states, queue);
	pg_answer_free(answer);
	free(list);
	return result;
}

ControlResult
control_report(ControlDb *db, const Job *job, const Outcome *outcome, double duration_ms,
			   bool with_words, Job **next, PgError *err)
{
	bool good = outcome->class == OUTCOME_OK || outcome->class == OUTCOME_PROVED;
	char code[OUTCOME_CODE_SIZE];
	char message[OUTCOME_MESSAGE_SIZE];
	char duration[32];
	char retry[32];
	const char *values[] = {job->rotation,
							job->lease,
							outcome_name(outcome->class),
							with_words && outcome->code[0] != '\0' ? code : NULL,
							with_words && outcome->message[0] != '\0' ? message : NULL,
							duration,
							retry};
	int64_t asked_at = clock_ms();
	PgAnswer *answer;
	ControlResult result;

	*next = NULL;
	/* A peer's words in whatever encoding, or cut within a character, would be refused for ever. */
	words_copy(code, sizeof(code), outcome->code, sizeof(outcome->code));
	words_copy(message, sizeof(message), outcome->message, sizeof(outcome->message));
	(void) snprintf(duration, sizeof(duration), "%.3f", duration_ms);
	(void) snprintf(retry, sizeof(retry), "%lld", (long long) outcome->retry_after_ms);
	if (good)
		result = control_call(db, "SELECT rotor.complete($1, $2, $3, $4, $5, $6)", 6, values,
							  &answer, err);
	else
		result = control_call(db, "SELECT rotor.fail($1, $2, $3, $4, $5, $6, $7)", 7, values,
							  &answer, err);
	if (result == CONTROL_DONE && good)
		*next = read_job(db, pg_value(answer, 0, 0), asked_at);
	pg_answer_free(answer);
	return late_if_so(result, err);
}

ControlResult
control_release(ControlDb *db, const Job *job, const char *reason, int64_t wait_ms, PgError *err)
{
	char wait[32];
	const char *values[] = {job->rotation, job->lease, reason, wait};
	PgAnswer *answer;
	ControlResult result;

	(void) snprintf(wait, sizeof(wait), "%lld", (long long) wait_ms);
	result = control_call(db, "SELECT rotor.fail($1, $2, 'released', NULL, $3, NULL, $4)", 4,
						  values, &answer, err);
	pg_answer_free(answer);
	return late_if_so(result, err);
}

/* ------------------------------------------------------------------------------------------------
 * Our own password
 */

ControlResult
control_labelled_version(ControlDb *db, const char *secret, const char *stage,
						 char version[UUID_SIZE], PgError *err)
{
	const char *values[] = {secret, stage};
	PgAnswer *answer;
	/* Unlike get_secret() this is not audited, so it can be asked often. */
	ControlResult result =
		control_call(db,
					 "SELECT v ->> 'version_id' FROM pg_catalog.jsonb_array_elements("
					 "rotor.describe($1) -> 'versions') v WHERE v -> 'stages' ? $2",
					 2, values, &answer, err);

	if (result == CONTROL_DONE)
		(void) snprintf(version, UUID_SIZE, "%s",
						pg_value(answer, 0, 0) != NULL ? pg_value(answer, 0, 0) : "");
	pg_answer_free(answer);
	return result;
}

static ControlResult
fetch_own_password(ControlDb *db, const char *secret, const char *version, bool *changed,
				   PgError *err)
{
	const char *values[] = {secret};
	PgAnswer *answer;
	RotorError bad;
	ControlResult result =
		control_call(db, "SELECT rotor.get_secret($1) ->> 'password'", 1, values, &answer, err);

	if (result == CONTROL_DONE && pg_value(answer, 0, 0) != NULL)
	{
		*changed = true;
		if (!control_password_keep(&db->password, version, pg_value(answer, 0, 0), &bad))
		{
			*err = (PgError){0};
			pg_error_say(err, bad.message);
			result = CONTROL_REFUSED;
		}
	}
	pg_answer_free(answer);
	return result;
}

static ControlResult
save_own_password(ControlDb *db, bool *changed, PgError *err)
{
	RotorError bad;
	bool is_news;

	if (control_password_save(&db->password, &is_news, &bad))
	{
		*changed = true;
		return CONTROL_DONE;
	}
	*err = (PgError){0};
	pg_error_say(err, bad.message);
	return is_news ? CONTROL_REFUSED : CONTROL_DONE;
}

ControlResult
control_refresh_own_password(ControlDb *db, bool *changed, PgError *err)
{
	const char *secret = option_text(OPT_OWN_SECRET);
	char version[UUID_SIZE];
	ControlResult result;

	*changed = false;
	if (secret[0] == '\0')
		return CONTROL_DONE;
	result = control_labelled_version(db, secret, "current", version, err);
	if (result == CONTROL_DONE && version[0] != '\0' &&
		strcmp(version, control_password_version(&db->password)) != 0)
		result = fetch_own_password(db, secret, version, changed, err);
	/* Or else the file's password is the former one after the next restart. */
	if (result == CONTROL_DONE && control_password_is_unsaved(&db->password))
		result = save_own_password(db, changed, err);
	return result;
}

/* ------------------------------------------------------------------------------------------------
 * A value of the user's own
 */

static ControlResult
send_envelope(ControlDb *db, const char *secret, const char *envelope, bool adopt,
			  char rotation[UUID_SIZE], PgError *err)
{
	const char *values[] = {secret, envelope, adopt ? "true" : "false"};
	PgAnswer *answer;
	ControlResult result =
		control_call(db, "SELECT rotor.set_value($1, $2, $3)", 3, values, &answer, err);

	if (result == CONTROL_DONE && pg_value(answer, 0, 0) != NULL)
		(void) snprintf(rotation, UUID_SIZE, "%s", pg_value(answer, 0, 0));
	pg_answer_free(answer);
	return result;
}

ControlResult
control_set_value(ControlDb *db, const char *secret, const SecretBuf *value, bool adopt,
				  char rotation[UUID_SIZE], PgError *err)
{
	char *envelope = malloc(ENVELOPE_MAX_SIZE);
	const char *certificate;
	size_t length;
	PgAnswer *answer = NULL;
	RotorError bad;
	ControlResult result = CONTROL_REFUSED;

	rotation[0] = '\0';
	*err = (PgError){0};
	if (envelope == NULL)
	{
		pg_error_say(err, "out of memory");
		goto cleanup;
	}
	result = control_call(db, "SELECT rotor.intake_certificate()", 0, NULL, &answer, err);
	if (result != CONTROL_DONE)
		goto cleanup;
	certificate = pg_value(answer, 0, 0) != NULL ? pg_value(answer, 0, 0) : "";
	if (!envelope_seal(certificate, strlen(certificate), value->data, value->len, envelope,
					   ENVELOPE_MAX_SIZE, &length, NULL, &bad))
	{
		pg_error_say(err, bad.message);
		result = CONTROL_REFUSED;
		goto cleanup;
	}
	result = send_envelope(db, secret, envelope, adopt, rotation, err);

cleanup:
	pg_answer_free(answer);
	free(envelope);
	return result;
}

static ControlResult
run_alone(ControlDb *db, const char *sql, PgError *err)
{
	PgAnswer *answer;
	ControlResult result = control_call(db, sql, 0, NULL, &answer, err);

	pg_answer_free(answer);
	return result;
}

ControlResult
control_adopt(ControlDb *db, const char *secret, const char *former, const SecretBuf *value,
			  PgError *err)
{
	char rotation[UUID_SIZE];
	char previous[UUID_SIZE];
	PgError ignored;
	ControlResult result = run_alone(db, "BEGIN ISOLATION LEVEL READ COMMITTED", err);

	if (result == CONTROL_DONE)
		result = control_set_value(db, secret, value, true, rotation, err);
	/* What was current until now; from here on it stays so, or nothing of this is. */
	if (result == CONTROL_DONE)
		result = control_labelled_version(db, secret, "previous", previous, err);
	if (result == CONTROL_DONE && strcmp(previous, former) != 0)
	{
		*err = (PgError){0};
		pg_error_say(err, "the secret got another value meanwhile; nothing is changed: try again");
		result = CONTROL_REFUSED;
	}
	if (result == CONTROL_DONE)
		return run_alone(db, "COMMIT", err);
	(void) run_alone(db, "ROLLBACK", &ignored);
	return result;
}

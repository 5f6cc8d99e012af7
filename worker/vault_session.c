/*
 * vault_session.c - logins to Vault or OpenBao, and the tokens they gave; see vault_session.h.
 */
#include "vault_session.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "job.h"
#include "options.h"

#define KEY_SIZE	  1024
#define URL_SIZE	  4096
#define LOGIN_RETRY_S 5	 /* between attempts to renew a token that still is good */
#define TTL_LEAST_S	  15 /* a token that is renewed to less is near its last end */

typedef struct Session
{
	struct Session *next;
	char key[KEY_SIZE];
	bool busy;			 /* a thread logs in */
	uint64_t generation; /* of the token */
	SecretBuf token;	 /* empty: none */
	bool renewable;
	int64_t renew_at, end; /* by clock_ms(); INT64_MAX: never */
} Session;

/* A token that a login gave. */
typedef struct Grant
{
	SecretBuf token;
	int ttl; /* seconds; 0: for ever */
	bool renewable;
} Grant;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static Session *sessions;

static Outcome
ok(void)
{
	return outcome_make(OUTCOME_OK, NULL, NULL);
}

/* ------------------------------------------------------------------------------------------------
 * One request
 */

/* One header line; false if the value could end it. */
static bool
header(char *out, size_t size, const char *name, const char *value)
{
	for (const char *c = value; *c != '\0'; c++)
	{
		if ((unsigned char) *c < ' ' || *c == 0x7f)
			return false;
	}
	return snprintf(out, size, "%s: %s", name, value) < (int) size;
}

static Outcome
of_http(HttpResult result, const RotorError *err)
{
	switch (result)
	{
		case HTTP_ANSWERED:
			return ok();
		case HTTP_NOT_SENT:
			return outcome_of_error(OUTCOME_TRANSIENT, err);
		case HTTP_NO_ANSWER:
			return outcome_of_error(OUTCOME_UNKNOWN, err);
		case HTTP_BAD:
			break;
	}
	return outcome_of_error(OUTCOME_PERMANENT, err);
}

static Outcome
send_call(const VaultServer *server, const VaultCall *call, const SecretBuf *token,
		  HttpAnswer *answer)
{
	char url[URL_SIZE];
	char type[128];
	char name_space[512];
	char token_line[SECRET_BUF_CAPACITY + 32];
	size_t len = strlen(server->address);
	HttpRequest request = {.method = call->method, .url = url, .body = call->body};
	size_t count = 0;
	RotorError err;
	Outcome outcome;

	while (len > 0 && server->address[len - 1] == '/')
		len--;
	memset(answer, 0, sizeof(*answer));
	request.headers[count++] = "X-Vault-Request: true";
	request.headers[count++] = type;
	if (token != NULL)
		request.headers[count++] = token_line;
	if (server->name_space != NULL)
		request.headers[count++] = name_space;
	if (snprintf(url, sizeof(url), "%.*s/v1/%s", (int) len, server->address, call->path) >=
			(int) sizeof(url) ||
		!header(type, sizeof(type), "Content-Type",
				call->content_type != NULL ? call->content_type : "application/json") ||
		(server->name_space != NULL &&
		 !header(name_space, sizeof(name_space), "X-Vault-Namespace", server->name_space)))
		return outcome_make(OUTCOME_PERMANENT, NULL,
							"the store's address, key or namespace is too long or malformed");
	if (token != NULL && !header(token_line, sizeof(token_line), "X-Vault-Token", token->data))
		outcome = outcome_make(OUTCOME_PERMANENT, NULL, "the Vault token is malformed");
	else
	{
		request.body_len = call->body != NULL ? strlen(call->body) : 0;
		request.ca_file = server->ca_file;
		request.allow_http = option_flag(OPT_ALLOW_HTTP);
		request.deadline = call->deadline;
		outcome = of_http(http_send(&request, answer, &err), &err);
	}
	if (token != NULL)
		secret_wipe(token_line, sizeof(token_line));
	return outcome;
}

/* The server's own first words; false: the answer has not the form of Vault's errors. */
static bool
add_words(Outcome *outcome, const HttpAnswer *answer)
{
	cJSON *tree = answer->body != NULL ? cJSON_Parse(answer->body) : NULL;
	const cJSON *errors = cJSON_GetObjectItemCaseSensitive(tree, "errors");
	const char *words = cJSON_GetStringValue(cJSON_GetArrayItem(errors, 0));
	bool is_list = cJSON_IsArray(errors);

	if (words != NULL)
		(void) snprintf(outcome->message, sizeof(outcome->message), "Vault answered: %s", words);
	else
		(void) snprintf(outcome->message, sizeof(outcome->message),
						"Vault answered with status %ld", answer->status);
	cJSON_Delete(tree);
	return is_list;
}

/* Does the server itself, and not a proxy before it, say that it is sealed? */
static bool
is_sealed(const VaultServer *server, Deadline deadline)
{
	const VaultCall call = {.method = "GET", .path = "sys/seal-status", .deadline = deadline};
	HttpAnswer answer;
	Outcome outcome = send_call(server, &call, NULL, &answer);
	cJSON *tree = outcome.class == OUTCOME_OK && answer.status == 200 && answer.body != NULL
					  ? cJSON_Parse(answer.body)
					  : NULL;
	bool sealed = job_flag(tree, "sealed", false);

	cJSON_Delete(tree);
	http_answer_free(&answer);
	return sealed;
}

Outcome
vault_outcome(const VaultServer *server, const VaultCall *call, const HttpAnswer *answer)
{
	bool writes = strcmp(call->method, "GET") != 0;
	Outcome outcome = {.class = OUTCOME_PERMANENT, .retry_after_ms = answer->retry_after_ms};

	switch (answer->status)
	{
		case 307: /* a standby that does not forward */
		case 412: /* a standby that lags behind */
		case 429:
		case 472:
		case 473:
			outcome.class = OUTCOME_TRANSIENT;
			break;
		case 503:
			/* Also what a proxy says of a server that it lost in the middle of a request. */
			outcome.class =
				!writes || is_sealed(server, call->deadline) ? OUTCOME_TRANSIENT : OUTCOME_UNKNOWN;
			break;
		default:
			if (answer->status >= 500)
				outcome.class = writes ? OUTCOME_UNKNOWN : OUTCOME_TRANSIENT;
			break;
	}
	(void) snprintf(outcome.code, sizeof(outcome.code), "%ld", answer->status);
	/* A 404 that is not Vault's comes from a proxy that has no way to it, for now. */
	if (!add_words(&outcome, answer) && answer->status == 404)
	{
		outcome.class = OUTCOME_TRANSIENT;
		(void) snprintf(outcome.message, sizeof(outcome.message),
						"something before Vault answered with status 404");
	}
	return outcome;
}

/* ------------------------------------------------------------------------------------------------
 * Logins
 */

/* The whole file without the line end; it may be a symlink, as a mounted one is. */
static Outcome
read_secret(const char *setting, const char *path, SecretBuf *out)
{
	int fd = path[0] != '\0' ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
	char data[SECRET_BUF_CAPACITY];
	ssize_t got = 0;
	ssize_t len = 0;
	RotorError err;

	if (path[0] == '\0')
		return outcome_make(OUTCOME_PERMANENT, NULL, "the setting \"%s\" is needed, and not set",
							setting);
	while (fd >= 0 && len < (ssize_t) sizeof(data) &&
		   (got = read(fd, data + len, sizeof(data) - (size_t) len)) > 0)
		len += got;
	if (fd < 0 || got < 0)
	{
		int number = errno;

		if (fd >= 0)
			(void) close(fd);
		secret_wipe(data, (size_t) len);
		errno = number;
		/* It may be on its way: another program writes it. */
		return outcome_make(OUTCOME_TRANSIENT, strerrorname_np(number),
							"could not read \"%s\" of the setting \"%s\": %m", path, setting);
	}
	(void) close(fd);
	while (len > 0 && (data[len - 1] == '\n' || data[len - 1] == '\r'))
		len--;
	/* It fits: the buffers have the same size. */
	(void) secret_buf_set(out, data, (size_t) len, &err);
	secret_wipe(data, sizeof(data));
	return len > 0 ? ok()
				   : outcome_make(OUTCOME_TRANSIENT, NULL, "\"%s\" of the setting \"%s\" is empty",
								  path, setting);
}

/* A failed login changed nothing that matters. */
static Outcome
of_login(const VaultServer *server, const VaultCall *call, const HttpAnswer *answer)
{
	Outcome outcome = vault_outcome(server, call, answer);

	if (outcome.class == OUTCOME_UNKNOWN)
		outcome.class = OUTCOME_TRANSIENT;
	return outcome;
}

/* Takes the token and its time out of an answer; what has no token is not one. */
static Outcome
take_grant(const HttpAnswer *answer, Grant *grant)
{
	cJSON *tree = answer->body != NULL ? cJSON_Parse(answer->body) : NULL;
	const cJSON *auth = cJSON_GetObjectItemCaseSensitive(tree, "auth");
	const char *token = job_string(auth, "client_token");
	RotorError err;
	bool taken = token != NULL && token[0] != '\0' &&
				 secret_buf_set(&grant->token, token, strlen(token), &err);

	grant->ttl = job_integer(auth, "lease_duration", 0);
	grant->renewable = job_flag(auth, "renewable", false);
	cJSON_Delete(tree);
	return taken ? ok()
				 : outcome_make(OUTCOME_TRANSIENT, NULL, "the answer to a login has no token");
}

static Outcome
ask_for_grant(const VaultServer *server, const char *path, const SecretBuf *token, cJSON *body,
			  Grant *grant, Deadline deadline)
{
	char *text = cJSON_PrintUnformatted(body);
	const VaultCall call = {.method = "POST", .path = path, .body = text, .deadline = deadline};
	HttpAnswer answer = {0};
	Outcome outcome;

	if (text == NULL)
		return outcome_make(OUTCOME_TRANSIENT, "ENOMEM", "out of memory");
	outcome = send_call(server, &call, token, &answer);
	if (outcome.class == OUTCOME_UNKNOWN)
		outcome.class = OUTCOME_TRANSIENT;
	else if (outcome.class == OUTCOME_OK)
		outcome =
			answer.status == 200 ? take_grant(&answer, grant) : of_login(server, &call, &answer);
	cJSON_free(text);
	http_answer_free(&answer);
	return outcome;
}

/* A token that we were given: how long it lasts is asked, and not known if that is not allowed. */
static Outcome
use_token(const VaultServer *server, Grant *grant, Deadline deadline)
{
	const VaultCall call = {
		.method = "GET", .path = "auth/token/lookup-self", .deadline = deadline};
	const char *path = option_text(OPT_VAULT_TOKEN_FILE);
	const char *token = getenv("VAULT_TOKEN"); /* NOLINT(concurrency-mt-unsafe): nobody sets one. */
	HttpAnswer answer = {0};
	RotorError err;
	Outcome outcome;

	if (path[0] != '\0')
		outcome = read_secret("vault_token_file", path, &grant->token);
	else if (token == NULL || token[0] == '\0' ||
			 !secret_buf_set(&grant->token, token, strlen(token), &err))
		return outcome_make(OUTCOME_PERMANENT, NULL,
							"neither the setting \"vault_token_file\" nor VAULT_TOKEN of the "
							"environment has a token");
	else
		outcome = ok();
	if (outcome.class == OUTCOME_OK)
		outcome = send_call(server, &call, &grant->token, &answer);
	if (outcome.class == OUTCOME_UNKNOWN)
		outcome.class = OUTCOME_TRANSIENT;
	if (outcome.class == OUTCOME_OK && answer.status == 200 && answer.body != NULL)
	{
		cJSON *tree = cJSON_Parse(answer.body);
		const cJSON *data = cJSON_GetObjectItemCaseSensitive(tree, "data");

		grant->ttl = job_integer(data, "ttl", 0);
		grant->renewable = job_flag(data, "renewable", false);
		cJSON_Delete(tree);
	}
	else if (outcome.class == OUTCOME_OK && answer.status != 403)
		outcome = of_login(server, &call, &answer);
	http_answer_free(&answer);
	return outcome;
}

static Outcome
log_in(const VaultServer *server, Grant *grant, Deadline deadline)
{
	bool approle = strcmp(server->auth, "approle") == 0;
	cJSON *body = cJSON_CreateObject();
	SecretBuf secret = {0};
	char path[512];
	bool made;
	Outcome outcome;

	if (approle && option_text(OPT_VAULT_ROLE_ID)[0] == '\0')
		outcome = outcome_make(OUTCOME_PERMANENT, NULL,
							   "the setting \"vault_role_id\" is needed, and not set");
	else if (approle)
		outcome =
			read_secret("vault_secret_id_file", option_text(OPT_VAULT_SECRET_ID_FILE), &secret);
	else
		outcome = read_secret("vault_jwt_file", option_text(OPT_VAULT_JWT_FILE), &secret);
	if (outcome.class == OUTCOME_OK)
	{
		made =
			cJSON_AddStringToObject(body, approle ? "role_id" : "role",
									approle ? option_text(OPT_VAULT_ROLE_ID) : server->role) &&
			cJSON_AddStringToObject(body, approle ? "secret_id" : "jwt", secret.data) &&
			snprintf(path, sizeof(path), "auth/%s/login", server->auth_mount) < (int) sizeof(path);
		outcome = made ? ask_for_grant(server, path, NULL, body, grant, deadline)
					   : outcome_make(OUTCOME_TRANSIENT, "ENOMEM", "out of memory");
	}
	secret_buf_wipe(&secret);
	cJSON_Delete(body);
	return outcome;
}

/* Renews the token in *grant, or gets another. */
static Outcome
refresh(const VaultServer *server, bool renew, bool still_good, Grant *grant, Deadline deadline)
{
	bool is_given = strcmp(server->auth, "token") == 0;

	if (renew)
	{
		cJSON *nothing = cJSON_CreateObject();
		SecretBuf token = {0};
		RotorError err;
		Outcome outcome;

		(void) secret_buf_set(&token, grant->token.data, grant->token.len, &err);
		outcome = ask_for_grant(server, "auth/token/renew-self", &token, nothing, grant, deadline);
		cJSON_Delete(nothing);
		secret_buf_wipe(&token);
		if (outcome.class == OUTCOME_OK && (grant->ttl >= TTL_LEAST_S || is_given))
			return outcome;
		if (outcome.class == OUTCOME_TRANSIENT && still_good)
		{
			/* Asked for again soon. */
			grant->ttl = LOGIN_RETRY_S * 3 / 2;
			return ok();
		}
	}
	secret_buf_wipe(&grant->token);
	return is_given ? use_token(server, grant, deadline) : log_in(server, grant, deadline);
}

/* ------------------------------------------------------------------------------------------------
 * Sessions; the lock is held
 */

static Session *
find_session(const VaultServer *server)
{
	char key[KEY_SIZE];
	Session *session = sessions;

	(void) snprintf(key, sizeof(key), "%s\n%s\n%s\n%s\n%s", server->address,
					server->name_space != NULL ? server->name_space : "", server->auth,
					server->auth_mount, server->role != NULL ? server->role : "");
	while (session != NULL && strcmp(session->key, key) != 0)
		session = session->next;
	if (session == NULL && (session = calloc(1, sizeof(*session))) != NULL)
	{
		memcpy(session->key, key, sizeof(key));
		session->next = sessions;
		sessions = session;
	}
	return session;
}

/* False: the deadline has passed, and another thread still logs in. */
static bool
wait_for_others(const Session *session, Deadline deadline)
{
	while (session->busy)
	{
		int64_t left = deadline_left(deadline);
		struct timespec until;

		if (left == 0)
			return false;
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec += left / 1000;
		until.tv_nsec += left % 1000 * 1000000;
		if (until.tv_nsec >= 1000000000)
		{
			until.tv_sec++;
			until.tv_nsec -= 1000000000;
		}
		(void) pthread_cond_clockwait(&changed, &lock, CLOCK_MONOTONIC, &until);
	}
	return true;
}

static void
keep_grant(Session *session, const Grant *grant, int64_t asked_at)
{
	int64_t ttl = grant->ttl > 0 ? (int64_t) grant->ttl * 1000 : 0;
	RotorError err;

	(void) secret_buf_set(&session->token, grant->token.data, grant->token.len, &err);
	session->generation++;
	session->renewable = grant->renewable;
	session->end = ttl > 0 ? asked_at + ttl : INT64_MAX;
	session->renew_at = ttl > 0 ? asked_at + ttl / 3 * 2 : INT64_MAX;
}

/* The lock is not held while the server is asked. */
static Outcome
renew_session(const VaultServer *server, Session *session, Deadline deadline)
{
	int64_t now = clock_ms();
	bool good = session->token.len > 0 && now < session->end;
	bool renew = good && session->renewable;
	Grant grant = {0};
	RotorError err;
	Outcome outcome;

	(void) secret_buf_set(&grant.token, session->token.data, session->token.len, &err);
	grant.renewable = session->renewable;
	session->busy = true;
	pthread_mutex_unlock(&lock);
	outcome = refresh(server, renew, good, &grant, deadline);
	pthread_mutex_lock(&lock);
	session->busy = false;
	if (outcome.class == OUTCOME_OK)
		keep_grant(session, &grant, now);
	pthread_cond_broadcast(&changed);
	secret_buf_wipe(&grant.token);
	return outcome;
}

/* Copies a token that is good; a former one of generation `refused` is not. */
static Outcome
get_token(const VaultServer *server, uint64_t refused, Deadline deadline, SecretBuf *token,
		  uint64_t *generation)
{
	Session *session;
	Outcome outcome = ok();
	RotorError err;

	pthread_mutex_lock(&lock);
	session = find_session(server);
	if (session == NULL)
		outcome = outcome_make(OUTCOME_TRANSIENT, "ENOMEM", "out of memory");
	else if (!wait_for_others(session, deadline))
		outcome = outcome_make(OUTCOME_TRANSIENT, NULL, "a login to Vault takes too long");
	else
	{
		if (session->generation == refused)
			secret_buf_wipe(&session->token);
		if (session->token.len == 0 || clock_ms() >= session->renew_at)
			outcome = renew_session(server, session, deadline);
		(void) secret_buf_set(token, session->token.data, session->token.len, &err);
		*generation = session->generation;
	}
	pthread_mutex_unlock(&lock);
	return outcome;
}

bool
vault_call(const VaultServer *server, const VaultCall *call, HttpAnswer *answer, Outcome *outcome)
{
	SecretBuf token = {0};
	uint64_t generation = 0;

	memset(answer, 0, sizeof(*answer));
	for (int turn = 0; turn < 2; turn++)
	{
		*outcome = get_token(server, turn == 0 ? UINT64_MAX : generation, call->deadline, &token,
							 &generation);
		if (outcome->class == OUTCOME_OK)
		{
			http_answer_free(answer);
			*outcome = send_call(server, call, &token, answer);
		}
		secret_buf_wipe(&token);
		if (outcome->class != OUTCOME_OK || answer->status != 403)
			break;
	}
	if (outcome->class == OUTCOME_OK)
		return true;
	http_answer_free(answer);
	return false;
}

void
vault_forget_tokens(void)
{
	pthread_mutex_lock(&lock);
	while (sessions != NULL)
	{
		Session *next = sessions->next;

		secret_buf_wipe(&sessions->token);
		free(sessions);
		sessions = next;
	}
	pthread_mutex_unlock(&lock);
}

void
vault_renew_tokens(void)
{
	pthread_mutex_lock(&lock);
	for (Session *session = sessions; session != NULL; session = session->next)
		session->renew_at = 0;
	pthread_mutex_unlock(&lock);
}

/*
 * target_http.c - a web service that sets and verifies a value: for API keys, webhooks and the like.
 *
 * Options of the target: "set" and "login", each an object
 *
 *     {"method": "PUT",                    default POST for set, GET for login
 *      "url": "https://…",                 without placeholders: URLs end up in logs
 *      "headers": {"Accept": "…"},         likewise; Content-Type says how values are escaped in the body
 *      "body": "user={{username}}&key={{password}}"  or an object, sent as JSON
 *      "auth": "bearer", "basic" or the name of a header
 *      "ok": [200, 204],                   default: all of 200 to 299
 *      "refused": [401, 403]}              of login: the value is not accepted; that is the default
 *
 * and "ca_file" beside them. Placeholders of the body are {{username}}, {{password}}, {{version}} (its uuid) and,
 * of set, {{by.username}} and {{by.password}}; they are escaped as JSON strings (application/json, the default) or as form
 * values (application/x-www-form-urlencoded); with any other type there may be none. "auth" sends the credential
 * that sets, or the value that is verified, in a header: Authorization, or the one that is named with the password in it.
 *
 * The same version may be set again: the service has to bear that. What a status means: of set, one that is ok is OK;
 * those of 400 to 499 say that nothing was changed, save 408; everything else, also a redirection, is UNKNOWN. Of login, those that are
 * refused are REFUSED; 429, 408 and 500 and more TRANSIENT; what is neither says nothing about the value: PERMANENT.
 */
#include "target.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "codec.h"
#include "http_client.h"
#include "options.h"

#define MAX_BODY		((size_t) 64 * 1024) /* bytes of a body with its values */
#define MAX_OWN_HEADERS (HTTP_MAX_HEADERS - 3)
#define HEADER_SIZE		1024

typedef enum Escape
{
	ESCAPE_NONE, /* no values allowed */
	ESCAPE_JSON,
	ESCAPE_FORM
} Escape;

/* One exchange as it is configured, and what is sent. */
typedef struct Exchange
{
	const cJSON *spec;
	bool sets;
	const JobValue *value;
	const JobValue *by; /* who sets; NULL of a login */
	Escape escape;
	char headers[MAX_OWN_HEADERS][HEADER_SIZE];
	size_t header_count;
	bool has_type;
	char auth[3 * SECRET_BUF_CAPACITY]; /* a header line; wiped */
	char *body;							/* on the heap; wiped */
	size_t body_len;
} Exchange;

static Outcome
ok(void)
{
	return outcome_make(OUTCOME_OK, NULL, NULL);
}

static Outcome
bad_option(const Exchange *exchange, const char *name, const char *allowed)
{
	return outcome_make(OUTCOME_PERMANENT, NULL, "option \"%s.%s\" of the HTTP target must be %s",
						exchange->sets ? "set" : "login", name, allowed);
}

/* ------------------------------------------------------------------------------------------------
 * Headers
 */

/* Fit for a header: no control characters. */
static bool
is_line(const char *text)
{
	for (; *text != '\0'; text++)
	{
		if ((unsigned char) *text < ' ' || *text == 0x7f)
			return false;
	}
	return true;
}

static bool
is_header_name(const char *text)
{
	return text[0] != '\0' && strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
										   "0123456789!#$%&'*+-.^_`|~") == strlen(text);
}

/* What the content type asks for; parameters behind it do not matter. */
static Escape
escape_of(const char *type)
{
	static const char json[] = "application/json";
	static const char form[] = "application/x-www-form-urlencoded";
	size_t len = strcspn(type, "; \t");

	if (len == strlen(json) && strncasecmp(type, json, len) == 0)
		return ESCAPE_JSON;
	return len == strlen(form) && strncasecmp(type, form, len) == 0 ? ESCAPE_FORM : ESCAPE_NONE;
}

static Outcome
read_headers(Exchange *exchange)
{
	const cJSON *headers = cJSON_GetObjectItemCaseSensitive(exchange->spec, "headers");
	const cJSON *item;

	exchange->escape = ESCAPE_JSON;
	if (headers != NULL && !cJSON_IsObject(headers))
		return bad_option(exchange, "headers", "an object of strings");
	cJSON_ArrayForEach(item, headers)
	{
		const char *text = cJSON_GetStringValue(item);

		if (exchange->header_count == MAX_OWN_HEADERS || text == NULL || !is_line(text) ||
			!is_header_name(item->string) || strstr(text, "{{") != NULL ||
			snprintf(exchange->headers[exchange->header_count], HEADER_SIZE, "%s: %s", item->string,
					 text) >= HEADER_SIZE)
			return bad_option(exchange, "headers",
							  "an object of at most 13 short strings without placeholders");
		exchange->header_count++;
		if (strcasecmp(item->string, "Content-Type") == 0)
		{
			exchange->has_type = true;
			exchange->escape = escape_of(text);
		}
	}
	return ok();
}

static bool
basic_auth(const JobValue *credential, char *out, size_t size)
{
	SecretBuf plain = {0};
	char encoded[CODEC_BASE64_SIZE(SECRET_BUF_CAPACITY)];
	RotorError err;
	bool made =
		secret_buf_set(&plain, credential->username, strlen(credential->username), &err) &&
		secret_buf_append(&plain, ":", 1, &err) &&
		secret_buf_append(&plain, credential->password.data, credential->password.len, &err) &&
		codec_base64_encode(plain.data, plain.len, encoded, sizeof(encoded), &err);

	if (made)
	{
		made = snprintf(out, size, "Authorization: Basic %s", encoded) < (int) size;
		secret_wipe(encoded, sizeof(encoded));
	}
	secret_buf_wipe(&plain);
	return made;
}

/* The header with the credential, if one is wanted. */
static Outcome
make_auth(Exchange *exchange)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(exchange->spec, "auth");
	const char *auth = cJSON_GetStringValue(item);
	const JobValue *credential = exchange->sets ? exchange->by : exchange->value;
	bool made;

	if (item == NULL)
		return ok();
	if (auth == NULL || !is_header_name(auth))
		return bad_option(exchange, "auth", "\"bearer\", \"basic\" or the name of a header");
	if (credential == NULL || credential->username == NULL)
		return outcome_make(OUTCOME_PERMANENT, NULL,
							"there is no credential that may set the value");
	if (strcmp(auth, "basic") == 0)
		made = strchr(credential->username, ':') == NULL &&
			   basic_auth(credential, exchange->auth, sizeof(exchange->auth));
	else
	{
		bool bearer = strcmp(auth, "bearer") == 0;

		made = is_line(credential->password.data) &&
			   snprintf(exchange->auth, sizeof(exchange->auth), "%s: %s%s",
						bearer ? "Authorization" : auth, bearer ? "Bearer " : "",
						credential->password.data) < (int) sizeof(exchange->auth);
	}
	return made ? ok()
				: outcome_make(OUTCOME_PERMANENT, NULL, "the credential does not fit a header");
}

/* ------------------------------------------------------------------------------------------------
 * The body
 */

/* Appends to the body; false: it does not fit. */
static bool
add(Exchange *exchange, const char *data, size_t len)
{
	if (len > MAX_BODY - exchange->body_len)
		return false;
	memcpy(exchange->body + exchange->body_len, data, len);
	exchange->body_len += len;
	return true;
}

static bool
add_json(Exchange *exchange, const char *text)
{
	for (; *text != '\0'; text++)
	{
		char escaped[8];
		bool added;

		if (*text == '"' || *text == '\\')
			added = add(exchange, "\\", 1) && add(exchange, text, 1);
		else if ((unsigned char) *text < ' ')
		{
			(void) snprintf(escaped, sizeof(escaped), "\\u%04x", (unsigned) *text);
			added = add(exchange, escaped, 6);
		}
		else
			added = add(exchange, text, 1);
		if (!added)
			return false;
	}
	return true;
}

/* Byte by byte, so that a long value fits the buffer that encodes. */
static bool
add_form(Exchange *exchange, const char *text)
{
	bool added = true;

	for (; added && *text != '\0'; text++)
	{
		SecretBuf encoded = {0};
		RotorError err;

		added = codec_percent_encode(text, 1, &encoded, &err) &&
				add(exchange, encoded.data, encoded.len);
		secret_buf_wipe(&encoded);
	}
	return added;
}

/* The value of a placeholder, which has len bytes; NULL: there is none of that name. */
static const char *
value_of(const Exchange *exchange, const char *name, size_t len)
{
	const struct
	{
		const char *name;
		const char *value;
	} known[] = {
		{"username", exchange->value->username},
		{"password", exchange->value->password.data},
		{"version", exchange->value->id},
		{"by.username", exchange->by != NULL ? exchange->by->username : NULL},
		{"by.password", exchange->by != NULL ? exchange->by->password.data : NULL},
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
	{
		if (strlen(known[i].name) == len && memcmp(known[i].name, name, len) == 0)
			return known[i].value;
	}
	return NULL;
}

static Outcome
fill(Exchange *exchange, const char *template)
{
	const char *open;

	while ((open = strstr(template, "{{")) != NULL)
	{
		const char *close = strstr(open, "}}");
		const char *value =
			close != NULL ? value_of(exchange, open + 2, (size_t) (close - open - 2)) : NULL;
		bool added;

		if (value == NULL)
			return bad_option(exchange, "body",
							  "a template whose placeholders are {{username}}, {{password}}, "
							  "{{version}}, and of set {{by.username}} and {{by.password}}");
		if (exchange->escape == ESCAPE_NONE)
			return bad_option(exchange, "headers",
							  "such that Content-Type is application/json or "
							  "application/x-www-form-urlencoded");
		added = add(exchange, template, (size_t) (open - template)) &&
				(exchange->escape == ESCAPE_JSON ? add_json(exchange, value)
												 : add_form(exchange, value));
		if (!added)
			return outcome_make(OUTCOME_PERMANENT, NULL, "the body would be too long");
		template = close + 2;
	}
	if (!add(exchange, template, strlen(template)))
		return outcome_make(OUTCOME_PERMANENT, NULL, "the body would be too long");
	exchange->body[exchange->body_len] = '\0';
	return ok();
}

static Outcome
make_body(Exchange *exchange)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(exchange->spec, "body");
	char *text = NULL;
	Outcome outcome;

	if (item == NULL)
		return ok();
	if (!cJSON_IsString(item) && (!cJSON_IsObject(item) || exchange->escape != ESCAPE_JSON))
		return bad_option(exchange, "body", "a string, or an object that is sent as JSON");
	exchange->body = malloc(MAX_BODY + 1);
	if (cJSON_IsObject(item))
		text = cJSON_PrintUnformatted(item);
	if (exchange->body == NULL || (cJSON_IsObject(item) && text == NULL))
		outcome = outcome_make(OUTCOME_TRANSIENT, "ENOMEM", "out of memory");
	else
		outcome = fill(exchange, text != NULL ? text : item->valuestring);
	cJSON_free(text);
	return outcome;
}

/* ------------------------------------------------------------------------------------------------
 * The answer
 */

static bool
is_in(const cJSON *list, long status)
{
	const cJSON *item;

	cJSON_ArrayForEach(item, list)
	{
		if (cJSON_IsNumber(item) && item->valuedouble == (double) status)
			return true;
	}
	return false;
}

static OutcomeClass
class_of(const Exchange *exchange, long status)
{
	const cJSON *good = cJSON_GetObjectItemCaseSensitive(exchange->spec, "ok");
	const cJSON *refused = cJSON_GetObjectItemCaseSensitive(exchange->spec, "refused");

	if (good != NULL ? is_in(good, status) : status >= 200 && status <= 299)
		return OUTCOME_OK;
	if (exchange->sets)
	{
		if (status == 429)
			return OUTCOME_TRANSIENT;
		return status >= 400 && status < 500 && status != 408 ? OUTCOME_PERMANENT : OUTCOME_UNKNOWN;
	}
	if (refused != NULL ? is_in(refused, status) : status == 401 || status == 403)
		return OUTCOME_REFUSED;
	return status == 429 || status == 408 || status >= 500 ? OUTCOME_TRANSIENT : OUTCOME_PERMANENT;
}

static Outcome
of_answer(const Exchange *exchange, const HttpAnswer *answer)
{
	Outcome outcome = {.class = class_of(exchange, answer->status),
					   .retry_after_ms = answer->retry_after_ms};

	/* Never the body: nobody knows what a service writes there. */
	if (outcome.class == OUTCOME_OK)
		return outcome;
	(void) snprintf(outcome.code, sizeof(outcome.code), "%ld", answer->status);
	(void) snprintf(outcome.message, sizeof(outcome.message),
					"the service answered with status %ld", answer->status);
	return outcome;
}

static Outcome
of_failure(const Exchange *exchange, HttpResult result, const RotorError *err)
{
	if (result == HTTP_BAD)
		return outcome_of_error(OUTCOME_PERMANENT, err);
	if (result == HTTP_NOT_SENT || !exchange->sets)
		return outcome_of_error(OUTCOME_TRANSIENT, err);
	return outcome_of_error(OUTCOME_UNKNOWN, err);
}

/* ------------------------------------------------------------------------------------------------
 * TargetClass
 */

static const cJSON *
options_of(const Job *job)
{
	return cJSON_GetObjectItemCaseSensitive(job->target, "options");
}

static Outcome
check_list(const Exchange *exchange, const char *name)
{
	const cJSON *list = cJSON_GetObjectItemCaseSensitive(exchange->spec, name);
	const cJSON *item;

	if (list != NULL && !cJSON_IsArray(list))
		return bad_option(exchange, name, "a list of statuses");
	cJSON_ArrayForEach(item, list)
	{
		if (!cJSON_IsNumber(item))
			return bad_option(exchange, name, "a list of statuses");
	}
	return ok();
}

/* Reads the options and makes what is to be sent. */
static Outcome
prepare(const Job *job, Exchange *exchange)
{
	static const char *const methods[] = {"GET", "POST", "PUT", "PATCH", "DELETE"};
	const char *method;
	const char *url;
	bool known = false;
	Outcome outcome;

	exchange->spec =
		cJSON_GetObjectItemCaseSensitive(options_of(job), exchange->sets ? "set" : "login");
	url = job_string(exchange->spec, "url");
	if (url == NULL || strstr(url, "{{") != NULL)
		return bad_option(exchange, "url", "a URL without placeholders");
	method = job_string(exchange->spec, "method");
	for (size_t i = 0; method != NULL && i < sizeof(methods) / sizeof(methods[0]); i++)
		known = known || strcmp(method, methods[i]) == 0;
	if (!known && cJSON_GetObjectItemCaseSensitive(exchange->spec, "method") != NULL)
		return bad_option(exchange, "method", "GET, POST, PUT, PATCH or DELETE");
	outcome = check_list(exchange, "ok");
	if (outcome.class == OUTCOME_OK)
		outcome = check_list(exchange, "refused");
	if (outcome.class == OUTCOME_OK)
		outcome = read_headers(exchange);
	if (outcome.class == OUTCOME_OK)
		outcome = make_auth(exchange);
	if (outcome.class == OUTCOME_OK)
		outcome = make_body(exchange);
	return outcome;
}

static Outcome
send_exchange(const Job *job, const Exchange *exchange, Deadline deadline)
{
	const char *method = job_string(exchange->spec, "method");
	HttpRequest request = {
		.method = method != NULL   ? method
				  : exchange->sets ? "POST"
								   : "GET",
		.url = job_string(exchange->spec, "url"),
		.body = exchange->body,
		.body_len = exchange->body_len,
		.ca_file = job_string(options_of(job), "ca_file"),
		.allow_http = option_flag(OPT_ALLOW_HTTP),
		/* Exactly one attempt with the value: who counts failures counts each. */
		.once = !exchange->sets,
		.deadline = deadline_sooner(deadline, job->lease_end),
	};
	size_t count = 0;
	HttpAnswer answer = {0};
	HttpResult result;
	RotorError err;
	Outcome outcome;

	for (size_t i = 0; i < exchange->header_count; i++)
		request.headers[count++] = exchange->headers[i];
	if (exchange->body != NULL && !exchange->has_type)
		request.headers[count++] = "Content-Type: application/json";
	if (exchange->auth[0] != '\0')
		request.headers[count++] = exchange->auth;
	result = http_send(&request, &answer, &err);
	outcome =
		result == HTTP_ANSWERED ? of_answer(exchange, &answer) : of_failure(exchange, result, &err);
	http_answer_free(&answer);
	return outcome;
}

static void
forget(Exchange *exchange)
{
	secret_wipe(exchange->auth, strlen(exchange->auth));
	if (exchange->body != NULL)
		secret_wipe(exchange->body, exchange->body_len);
	free(exchange->body);
}

static Outcome
run(const Job *job, bool sets, const JobValue *value, const JobValue *by, Deadline deadline)
{
	Exchange exchange = {.sets = sets, .value = value, .by = by};
	Outcome outcome = prepare(job, &exchange);

	if (outcome.class == OUTCOME_OK)
		outcome = send_exchange(job, &exchange, deadline);
	forget(&exchange);
	return outcome;
}

static Outcome
target_http_set(const Job *job, const JobValue *value, const JobValue *by, Deadline deadline)
{
	return run(job, true, value, by, deadline);
}

/* What a login is, the exchange says; query is of databases. */
static Outcome
target_http_login(const Job *job, const JobValue *value, bool query __attribute__((unused)),
				  Deadline deadline)
{
	return run(job, false, value, NULL, deadline);
}

/* Only the options: every request could change something. */
static Outcome
target_http_check(const Job *job, const JobValue *by, Deadline deadline __attribute__((unused)))
{
	/* Without an admin it is an account's own value that sets the next one: any does, to make what would be sent. */
	Exchange exchange = {
		.sets = true, .value = &job->version, .by = by != NULL ? by : &job->version};
	Outcome outcome = prepare(job, &exchange);

	forget(&exchange);
	if (outcome.class != OUTCOME_OK)
		return outcome;
	exchange = (Exchange){.value = &job->version};
	outcome = prepare(job, &exchange);
	forget(&exchange);
	return outcome.class == OUTCOME_OK
			   ? outcome_make(OUTCOME_OK, NULL, "its options are right, and nothing was sent")
			   : outcome;
}

const TargetClass target_http = {
	.type = "http",
	.set = target_http_set,
	.login = target_http_login,
	.check = target_http_check,
};

/*
 * aws_api.c - calls of AWS Secrets Manager; see aws_api.h.
 */
#include "aws_api.h"

#include <stdio.h>
#include <string.h>

#include "aws_credentials.h"
#include "job.h"
#include "secret_json.h"
#include "wipe_heap.h"

#define SERVICE		 "secretsmanager"
#define TYPE_SIZE	 OUTCOME_CODE_SIZE
#define USERPWD_SIZE (AWS_KEY_ID_SIZE + SECRET_BUF_CAPACITY + 2)
#define TOKEN_HEADER "X-Amz-Security-Token: "

/* ------------------------------------------------------------------------------------------------
 * Where it is
 */

/* Partitions whose hosts do not end as those of the others, by the beginning of their regions' names. */
static const struct
{
	const char *prefix;
	const char *suffix;
} partitions[] = {
	{"cn-", "amazonaws.com.cn"},	{"us-iso-", "c2s.ic.gov"},		{"us-isob-", "sc2s.sgov.gov"},
	{"us-isof-", "csp.hci.ic.gov"}, {"eu-isoe-", "cloud.adc-e.uk"}, {"eusc-", "amazonaws.eu"},
	{"", "amazonaws.com"}, /* us-gov- among them */
};

bool
aws_service_url(char *url, size_t size, const char *service, const char *region)
{
	size_t i = 0;
	int len;

	while (strncmp(region, partitions[i].prefix, strlen(partitions[i].prefix)) != 0)
		i++;
	len = snprintf(url, size, "https://%s.%s.%s/", service, region, partitions[i].suffix);
	return len >= 0 && (size_t) len < size;
}

/* A region becomes part of a host's name. */
static bool
is_region(const char *region)
{
	size_t len = strspn(region, "abcdefghijklmnopqrstuvwxyz0123456789-");

	return len > 0 && len < AWS_REGION_SIZE && region[len] == '\0';
}

/* The first that is set. */
static const char *
first_set(const char *option, const char *const variables[])
{
	const char *value = option != NULL && option[0] != '\0' ? option : NULL;

	for (int i = 0; value == NULL && variables[i] != NULL; i++)
		value = aws_environment(variables[i]);
	return value;
}

static Outcome
find_region(const char *option, char region[AWS_REGION_SIZE])
{
	static const char *const variables[] = {"AWS_REGION", "AWS_DEFAULT_REGION", NULL};
	const char *value = first_set(option, variables);
	Outcome outcome = outcome_make(OUTCOME_OK, NULL, NULL);
	AwsProfile profile = {0};
	RotorError err;

	if (value == NULL && !aws_profile_read(&profile, &err))
		outcome = outcome_of_error(OUTCOME_PERMANENT, &err);
	else if (value == NULL && profile.region[0] == '\0')
		outcome = outcome_make(OUTCOME_PERMANENT, NULL,
							   "no AWS region: set the store's option region, or AWS_REGION");
	else if (!is_region(value != NULL ? value : profile.region))
		outcome = outcome_make(OUTCOME_PERMANENT, NULL, "the AWS region is not the name of one");
	else
		(void) snprintf(region, AWS_REGION_SIZE, "%s", value != NULL ? value : profile.region);
	aws_profile_wipe(&profile);
	return outcome;
}

Outcome
aws_endpoint_find(const cJSON *options, AwsEndpoint *endpoint)
{
	static const char *const variables[] = {
		"SECRETS_MANAGER_ENDPOINT", "AWS_ENDPOINT_URL_SECRETS_MANAGER", "AWS_ENDPOINT_URL", NULL};
	const char *url = first_set(job_string(options, "endpoint"), variables);
	Outcome outcome = find_region(job_string(options, "region"), endpoint->region);
	bool fits;

	if (outcome.class != OUTCOME_OK)
		return outcome;
	if (url == NULL)
		fits = aws_service_url(endpoint->url, sizeof(endpoint->url), SERVICE, endpoint->region);
	else
	{
		size_t len = strlen(url);

		while (len > 0 && url[len - 1] == '/')
			len--;
		fits = len + 2 <= sizeof(endpoint->url);
		if (fits)
			(void) snprintf(endpoint->url, sizeof(endpoint->url), "%.*s/", (int) len, url);
	}
	if (!fits)
		return outcome_make(OUTCOME_PERMANENT, NULL, "the endpoint's URL is too long");
	return outcome;
}

/* ------------------------------------------------------------------------------------------------
 * Answers
 */

bool
aws_is_throttling(const char *type)
{
	static const char *const types[] = {"Throttling",
										"ThrottlingException",
										"ThrottledException",
										"RequestThrottledException",
										"RequestThrottled",
										"RequestLimitExceeded",
										"TooManyRequestsException",
										"ProvisionedThroughputExceededException",
										"BandwidthLimitExceeded",
										"TransactionInProgressException",
										"SlowDown",
										"PriorRequestNotComplete",
										"EC2ThrottledException"};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
	{
		if (strcmp(type, types[i]) == 0)
			return true;
	}
	return false;
}

static bool
is_expired(const char *type)
{
	return strcmp(type, "ExpiredTokenException") == 0 || strcmp(type, "ExpiredToken") == 0;
}

/*
 * The bare type of "prefix#Type", "Type:http://..." or both; whatever is no letter or digit ends it, so
 * that nothing odd gets into a log.
 */
static void
take_type(const char *text, char type[TYPE_SIZE])
{
	const char *hash = text != NULL ? strchr(text, '#') : NULL;
	const char *start = hash != NULL ? hash + 1 : text;
	size_t len = 0;

	while (start != NULL && len < TYPE_SIZE - 1 &&
		   ((start[len] >= 'A' && start[len] <= 'Z') || (start[len] >= 'a' && start[len] <= 'z') ||
			(start[len] >= '0' && start[len] <= '9')))
	{
		type[len] = start[len];
		len++;
	}
	type[len] = '\0';
}

/* The peer's words, in one line. */
static void
take_message(const cJSON *body, char message[OUTCOME_MESSAGE_SIZE])
{
	const char *text = job_string(body, "message");

	if (text == NULL)
		text = job_string(body, "Message");
	(void) snprintf(message, OUTCOME_MESSAGE_SIZE, "%s", text != NULL ? text : "");
	for (char *c = message; *c != '\0'; c++)
	{
		if ((unsigned char) *c < ' ' || *c == 0x7f)
			*c = ' ';
	}
}

/*
 * 503 and throttling say that the request was not begun. The other 5xx do not: 500 comes from within, and 502
 * and 504 from something in front that lost the answer.
 */
static OutcomeClass
error_class(long status, const char *type, bool writes)
{
	if (aws_is_throttling(type) || status == 429 || status == 503)
		return OUTCOME_TRANSIENT;
	if (status >= 500)
		return writes ? OUTCOME_UNKNOWN : OUTCOME_TRANSIENT;
	return OUTCOME_PERMANENT;
}

static Outcome
judge_error(const HttpAnswer *answer, const cJSON *body, bool writes)
{
	char type[TYPE_SIZE];
	char message[OUTCOME_MESSAGE_SIZE];
	Outcome outcome;

	take_type(answer->error_type, type);
	if (type[0] == '\0')
		take_type(job_string(body, "__type"), type);
	take_message(body, message);
	outcome = outcome_make(error_class(answer->status, type, writes), type, "%s", message);
	if (type[0] == '\0')
		(void) snprintf(outcome.code, sizeof(outcome.code), "HTTP %ld", answer->status);
	if (message[0] == '\0')
		(void) snprintf(outcome.message, sizeof(outcome.message),
						"AWS answered with status %ld and no message", answer->status);
	outcome.retry_after_ms = answer->retry_after_ms;
	return outcome;
}

Outcome
aws_judge_answer(const HttpAnswer *answer, bool writes, cJSON **reply)
{
	RotorError err;
	cJSON *body = secret_json_read(answer->body, answer->body_len, false, &err);
	Outcome outcome;

	*reply = NULL;
	if (body == NULL && err.code == ROTOR_ERROR_SPACE)
		/* An error of the request itself says that nothing was done, whichever it is. */
		outcome = outcome_make(writes && !(answer->status >= 400 && answer->status < 500)
								   ? OUTCOME_UNKNOWN
								   : OUTCOME_TRANSIENT,
							   "ENOMEM", "out of memory");
	else if (answer->status != 200)
		outcome = judge_error(answer, body, writes);
	else if (!cJSON_IsObject(body))
		/* Cut off, or not of AWS: it may be an answer to what was carried out. */
		outcome = outcome_make(writes ? OUTCOME_UNKNOWN : OUTCOME_TRANSIENT, "HTTP 200",
							   "the answer is no JSON object");
	else
	{
		*reply = body;
		return outcome_make(OUTCOME_OK, NULL, NULL);
	}
	cJSON_Delete(body);
	return outcome;
}

/* ------------------------------------------------------------------------------------------------
 * Requests
 */

/* Sends one signed request. The texts that hold credentials are wiped here. */
static HttpResult
send_signed(const AwsEndpoint *endpoint, const char *operation, const char *body, bool writes,
			const AwsCredentials *credentials, HttpAnswer *answer, Deadline deadline,
			RotorError *err)
{
	char target[128];
	char sigv4[128];
	char userpwd[USERPWD_SIZE];
	char token[sizeof(TOKEN_HEADER) + SECRET_BUF_CAPACITY];
	HttpRequest request = {.method = "POST", .url = endpoint->url, .deadline = deadline};
	HttpResult result;

	(void) snprintf(target, sizeof(target), "X-Amz-Target: %s.%s", SERVICE, operation);
	(void) snprintf(sigv4, sizeof(sigv4), "aws:amz:%s:%s", endpoint->region, SERVICE);
	(void) snprintf(userpwd, sizeof(userpwd), "%s:%s", credentials->key_id,
					credentials->secret_key.data);
	(void) snprintf(token, sizeof(token), "%s%s", TOKEN_HEADER, credentials->session_token.data);
	request.headers[0] = "Content-Type: application/x-amz-json-1.1";
	request.headers[1] = target;
	if (credentials->session_token.len > 0)
		request.headers[2] = token;
	request.body = body;
	request.body_len = strlen(body);
	request.ca_file = aws_environment("AWS_CA_BUNDLE");
	request.aws_sigv4 = sigv4;
	request.aws_userpwd = userpwd;
	request.repeatable = !writes;
	result = http_send(&request, answer, err);
	secret_wipe(userpwd, sizeof(userpwd));
	secret_wipe(token, sizeof(token));
	return result;
}

static Outcome
call_once(const AwsEndpoint *endpoint, const char *operation, const char *body, bool writes,
		  const AwsCredentials *credentials, cJSON **reply, Deadline deadline)
{
	HttpAnswer answer = {0};
	RotorError err;
	Outcome outcome;

	switch (send_signed(endpoint, operation, body, writes, credentials, &answer, deadline, &err))
	{
		case HTTP_ANSWERED:
			outcome = aws_judge_answer(&answer, writes, reply);
			break;
		case HTTP_NOT_SENT:
			outcome = outcome_of_error(OUTCOME_TRANSIENT, &err);
			break;
		case HTTP_NO_ANSWER:
			outcome = outcome_of_error(writes ? OUTCOME_UNKNOWN : OUTCOME_TRANSIENT, &err);
			break;
		default:
			outcome = outcome_of_error(OUTCOME_PERMANENT, &err);
			break;
	}
	http_answer_free(&answer);
	return outcome;
}

Outcome
aws_call(const AwsEndpoint *endpoint, const char *operation, const cJSON *arguments, bool writes,
		 cJSON **reply, Deadline deadline)
{
	char *body = cJSON_PrintUnformatted(arguments);
	Outcome outcome = outcome_make(OUTCOME_TRANSIENT, "ENOMEM", "out of memory");
	cJSON *answer = NULL;

	for (int attempt = 0; body != NULL && attempt < 2; attempt++)
	{
		AwsCredentials credentials;

		outcome = aws_credentials_get(&credentials, endpoint->region, deadline);
		if (outcome.class != OUTCOME_OK)
			break;
		outcome = call_once(endpoint, operation, body, writes, &credentials, &answer, deadline);
		/* AWS repeats the headers that it was sent where it finds the signature wrong: the token among them. */
		outcome_scrub(&outcome, &credentials.session_token);
		outcome_scrub(&outcome, &credentials.secret_key);
		if (is_expired(outcome.code))
			aws_credentials_refused(credentials.key_id);
		aws_credentials_wipe(&credentials);
		if (!is_expired(outcome.code))
			break;
	}
	cJSON_free(body);
	if (reply != NULL)
		*reply = answer;
	else
		cJSON_Delete(answer);
	return outcome;
}

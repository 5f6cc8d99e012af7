/*
 * aws_metadata.c - credentials of AWS that are fetched over HTTP; see aws_metadata.h.
 */
#include "aws_metadata.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <cjson/cJSON.h>

#include "aws_api.h"
#include "job.h"
#include "wipe_heap.h"

#define METADATA_MS		   5000 /* it is on the link: off AWS nothing answers */
#define CONTAINER_HOST	   "http://169.254.170.2"
#define INSTANCE_HOST	   "http://169.254.169.254"
#define INSTANCE_HOST_IPV6 "http://[fd00:ec2::254]"
#define INSTANCE_ROLE_PATH "/latest/meta-data/iam/security-credentials/"
#define MAX_TOKEN_FILE	   ((size_t) 64 * 1024)
#define MAX_TOKEN_HEADER   ((size_t) 4096)
#define URL_SIZE		   2048

/* ------------------------------------------------------------------------------------------------
 * Answers
 */

/* 2026-11-21T13:42:48Z, as AWS writes it; 0 if it is not of that form. */
static time_t
parse_time(const char *text)
{
	struct tm tm = {0};
	const char *rest = text != NULL ? strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;

	if (rest == NULL)
		return 0;
	if (*rest == '.')
		rest += 1 + strspn(rest + 1, "0123456789");
	if (strcmp(rest, "Z") != 0 && strcmp(rest, "+00:00") != 0)
		return 0;
	return timegm(&tm);
}

static bool
fill(AwsCredentials *credentials, const char *key_id, const char *secret_key, const char *token,
	 const char *expires, RotorError *err)
{
	if (key_id == NULL || secret_key == NULL || token == NULL)
		return error_set(err, ROTOR_ERROR_FORMAT, "the answer has no whole credentials");
	if (strlen(key_id) >= sizeof(credentials->key_id))
		return error_set(err, ROTOR_ERROR_FORMAT, "the key id is too long");
	memcpy(credentials->key_id, key_id, strlen(key_id) + 1);
	credentials->expires = parse_time(expires);
	if (credentials->expires <= 0)
		return error_set(err, ROTOR_ERROR_FORMAT, "the credentials do not say when they expire");
	return secret_buf_set(&credentials->secret_key, secret_key, strlen(secret_key), err) &&
		   secret_buf_set(&credentials->session_token, token, strlen(token), err) &&
		   aws_credentials_valid(credentials, err);
}

bool
aws_parse_json_credentials(const char *body, size_t len, AwsCredentials *credentials,
						   RotorError *err)
{
	cJSON *tree = cJSON_ParseWithLength(body, len);
	const char *code = job_string(tree, "Code");
	bool ok;

	if (!cJSON_IsObject(tree))
		ok = error_set(err, ROTOR_ERROR_FORMAT, "the answer is no JSON object");
	else if (code != NULL && strcmp(code, "Success") != 0)
		ok = error_set(err, ROTOR_ERROR_NOT_FOUND, "the instance has no credentials to give");
	else
		ok = fill(credentials, job_string(tree, "AccessKeyId"), job_string(tree, "SecretAccessKey"),
				  job_string(tree, "Token"), job_string(tree, "Expiration"), err);
	cJSON_Delete(tree);
	return ok;
}

/*
 * A copy of the text between <tag> and </tag>, which must stand there exactly once and hold no markup;
 * NULL otherwise. Given back by wipe_free().
 */
static char *
xml_text(const char *xml, const char *tag)
{
	char open[64];
	char close[64];
	const char *start;
	const char *end;
	size_t len;
	char *text;

	(void) snprintf(open, sizeof(open), "<%s>", tag);
	(void) snprintf(close, sizeof(close), "</%s>", tag);
	start = strstr(xml, open);
	if (start == NULL)
		return NULL;
	start += strlen(open);
	len = strcspn(start, "<&");
	end = start + len;
	if (strncmp(end, close, strlen(close)) != 0 || strstr(end, open) != NULL)
		return NULL;
	text = wipe_malloc(len + 1);
	if (text == NULL)
		return NULL;
	memcpy(text, start, len);
	text[len] = '\0';
	return text;
}

bool
aws_parse_xml_credentials(const char *body, AwsCredentials *credentials, RotorError *err)
{
	char *key_id = xml_text(body, "AccessKeyId");
	char *secret_key = xml_text(body, "SecretAccessKey");
	char *token = xml_text(body, "SessionToken");
	char *expires = xml_text(body, "Expiration");
	bool ok = fill(credentials, key_id, secret_key, token, expires, err);

	wipe_free(key_id);
	wipe_free(secret_key);
	wipe_free(token);
	wipe_free(expires);
	return ok;
}

/* ------------------------------------------------------------------------------------------------
 * Requests
 */

/* Sends; OK if the status is 200. On anything else *answer is freed. */
static Outcome
ask(const char *what, const HttpRequest *request, HttpAnswer *answer)
{
	RotorError err;
	HttpResult result = http_send(request, answer, &err);
	char code[OUTCOME_CODE_SIZE];
	long status = answer->status;

	if (result != HTTP_ANSWERED)
	{
		Outcome outcome =
			outcome_of_error(result == HTTP_BAD ? OUTCOME_PERMANENT : OUTCOME_TRANSIENT, &err);

		return outcome_make(outcome.class, "", "no AWS credentials from %s: %s", what,
							outcome.message);
	}
	if (status == 200)
		return outcome_make(OUTCOME_OK, NULL, NULL);
	http_answer_free(answer);
	(void) snprintf(code, sizeof(code), "HTTP %ld", status);
	return outcome_make(status == 429 || status >= 500 ? OUTCOME_TRANSIENT : OUTCOME_PERMANENT,
						code, "no AWS credentials from %s: it answered with status %ld", what,
						status);
}

/* It may go by itself. */
static Outcome
bad_answer(const char *what, const RotorError *err)
{
	return outcome_make(OUTCOME_TRANSIENT, "", "no AWS credentials from %s: %s", what,
						err->message);
}

static Outcome
unusable(const char *what, const char *why)
{
	return outcome_make(OUTCOME_PERMANENT, "", "no AWS credentials from %s: %s", what, why);
}

/* Asks, and reads credentials as JSON. */
static Outcome
ask_json(const char *what, const HttpRequest *request, AwsCredentials *credentials)
{
	HttpAnswer answer;
	RotorError err;
	Outcome outcome = ask(what, request, &answer);

	if (outcome.class == OUTCOME_OK &&
		!aws_parse_json_credentials(answer.body, answer.body_len, credentials, &err))
		outcome = bad_answer(what, &err);
	if (outcome.class != OUTCOME_OK)
		aws_credentials_wipe(credentials);
	http_answer_free(&answer);
	return outcome;
}

/* ------------------------------------------------------------------------------------------------
 * Container
 */

/* Whether the URL is plain http to an address where AWS itself answers so. */
static bool
is_aws_address(const char *url)
{
	static const char *const hosts[] = {CONTAINER_HOST, "http://169.254.170.23",
										"http://[fd00:ec2::23]", INSTANCE_HOST, INSTANCE_HOST_IPV6};

	for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++)
	{
		size_t len = strlen(hosts[i]);

		if (strncasecmp(url, hosts[i], len) == 0 && strchr("/:?", url[len]) != NULL)
			return true;
	}
	return false;
}

/* "Authorization: ..." of the environment, *header NULL if there is none; given back by wipe_free(). */
static bool
container_token(char **header, RotorError *err)
{
	const char *path = aws_environment("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
	const char *token = aws_environment("AWS_CONTAINER_AUTHORIZATION_TOKEN");
	char *content = NULL;
	size_t size;
	bool exists = true;

	*header = NULL;
	if (path != NULL && !aws_read_file(path, MAX_TOKEN_HEADER, &content, &exists, err))
		return false;
	if (!exists)
		return error_set(err, ROTOR_ERROR_NOT_FOUND, "file \"%s\" does not exist", path);
	if (content != NULL)
		token = content;
	if (token == NULL)
		return true;
	size = strlen("Authorization: ") + strlen(token) + 1;
	*header = wipe_malloc(size);
	if (*header != NULL)
		(void) snprintf(*header, size, "Authorization: %s", token);
	wipe_free(content);
	return *header != NULL || error_set(err, ROTOR_ERROR_SPACE, "out of memory");
}

Outcome
aws_fetch_container(AwsCredentials *credentials, Deadline deadline)
{
	static const char what[] = "the container's endpoint";
	const char *relative = aws_environment("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
	const char *full = aws_environment("AWS_CONTAINER_CREDENTIALS_FULL_URI");
	HttpRequest request = {.method = "GET",
						   .deadline = deadline_sooner(deadline, deadline_in(METADATA_MS))};
	RotorError err;
	Outcome outcome;
	char url[URL_SIZE];
	char *header;
	int len;

	if (relative != NULL && relative[0] != '/')
		return unusable(what, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI does not begin with a slash");
	len = snprintf(url, sizeof(url), "%s%s", relative != NULL ? CONTAINER_HOST : "",
				   relative != NULL ? relative : full);
	if (len < 0 || (size_t) len >= sizeof(url))
		return unusable(what, "its URI is too long");
	if (!container_token(&header, &err))
		return err.code == ROTOR_ERROR_SPACE ? bad_answer(what, &err) : unusable(what, err.message);
	request.url = url;
	request.headers[0] = "Accept: application/json";
	request.headers[1] = header;
	request.allow_http = is_aws_address(url);
	outcome = ask_json(what, &request, credentials);
	wipe_free(header);
	return outcome;
}

/* ------------------------------------------------------------------------------------------------
 * Instance
 */

static const char *
instance_host(void)
{
	const char *endpoint = aws_environment("AWS_EC2_METADATA_SERVICE_ENDPOINT");
	const char *mode = aws_environment("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE");

	if (endpoint != NULL)
		return endpoint;
	return mode != NULL && strcasecmp(mode, "IPv6") == 0 ? INSTANCE_HOST_IPV6 : INSTANCE_HOST;
}

/* Puts host and path together; a slash at the host's end is not doubled. */
static bool
join_url(char *url, size_t size, const char *host, const char *path, const char *name)
{
	size_t host_len = strlen(host);
	int len;

	if (host_len > 0 && host[host_len - 1] == '/')
		host_len--;
	len = snprintf(url, size, "%.*s%s%s", (int) host_len, host, path, name);
	return len >= 0 && (size_t) len < size;
}

/* Whether an answer is one word that may go into a header or a URL: visible ASCII, no %, ? or #. */
static bool
is_word(const HttpAnswer *answer, size_t max)
{
	if (answer->body_len == 0 || answer->body_len > max)
		return false;
	for (size_t i = 0; i < answer->body_len; i++)
	{
		if (answer->body[i] <= ' ' || answer->body[i] > '~' ||
			strchr("%?#", answer->body[i]) != NULL)
			return false;
	}
	return true;
}

/* Asks for what lies at path + name, with a session token or, if token is NULL, for such a token. */
static Outcome
ask_instance(const char *path, const char *name, const char *token, Deadline deadline,
			 HttpAnswer *answer)
{
	HttpRequest request = {.deadline = deadline};
	char url[URL_SIZE];
	char header[MAX_TOKEN_HEADER + 64];
	const char *host = instance_host();
	Outcome outcome;

	memset(answer, 0, sizeof(*answer));
	if (!join_url(url, sizeof(url), host, path, name))
		return unusable("the instance's metadata", "its URL is too long");
	request.url = url;
	request.allow_http = is_aws_address(url);
	request.method = token == NULL ? "PUT" : "GET";
	if (token == NULL)
		request.headers[0] = "X-aws-ec2-metadata-token-ttl-seconds: 21600";
	else
	{
		(void) snprintf(header, sizeof(header), "X-aws-ec2-metadata-token: %s", token);
		request.headers[0] = header;
	}
	outcome = ask("the instance's metadata", &request, answer);
	if (token != NULL)
		secret_wipe(header, sizeof(header));
	return outcome;
}

Outcome
aws_fetch_instance(AwsCredentials *credentials, Deadline deadline)
{
	static const char what[] = "the instance's metadata";
	Deadline until = deadline_sooner(deadline, deadline_in(METADATA_MS));
	HttpAnswer token = {0};
	HttpAnswer role = {0};
	HttpAnswer answer = {0};
	RotorError err;
	Outcome outcome = ask_instance("/latest/api/token", "", NULL, until, &token);

	if (outcome.class != OUTCOME_OK)
		goto cleanup;
	if (!is_word(&token, MAX_TOKEN_HEADER))
	{
		outcome = unusable(what, "its session token is not one");
		goto cleanup;
	}
	outcome = ask_instance(INSTANCE_ROLE_PATH, "", token.body, until, &role);
	if (outcome.class != OUTCOME_OK || role.body == NULL)
		goto cleanup;
	/* One role a line, and only ever one. */
	role.body_len = strcspn(role.body, "\r\n");
	role.body[role.body_len] = '\0';
	if (!is_word(&role, 256))
	{
		outcome = unusable(what, "the instance has no role");
		goto cleanup;
	}
	outcome = ask_instance(INSTANCE_ROLE_PATH, role.body, token.body, until, &answer);
	if (outcome.class == OUTCOME_OK &&
		!aws_parse_json_credentials(answer.body, answer.body_len, credentials, &err))
		outcome = bad_answer(what, &err);

cleanup:
	if (outcome.class != OUTCOME_OK)
		aws_credentials_wipe(credentials);
	http_answer_free(&token);
	http_answer_free(&role);
	http_answer_free(&answer);
	return outcome;
}

/* ------------------------------------------------------------------------------------------------
 * Web identity
 */

/* Appends text to a form, percent-encoded; the buffer is large enough. */
static char *
encode(char *to, const char *text)
{
	static const char hex[] = "0123456789ABCDEF";

	for (const unsigned char *c = (const unsigned char *) text; *c != '\0'; c++)
	{
		if ((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') ||
			strchr("-._~", *c) != NULL)
			*to++ = (char) *c;
		else
		{
			*to++ = '%';
			*to++ = hex[*c >> 4];
			*to++ = hex[*c & 15];
		}
	}
	*to = '\0';
	return to;
}

/* The form that STS is sent; given back by wipe_free(). */
static char *
web_identity_form(const char *role_arn, const char *session_name, const char *token)
{
	const char *parts[][2] = {
		{"Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=", role_arn},
		{"&RoleSessionName=", session_name},
		{"&WebIdentityToken=", token}};
	size_t size = 1;
	char *form;
	char *end;

	for (int i = 0; i < 3; i++)
		size += strlen(parts[i][0]) + 3 * strlen(parts[i][1]);
	form = end = wipe_malloc(size);
	for (int i = 0; form != NULL && i < 3; i++)
		end = encode(stpcpy(end, parts[i][0]), parts[i][1]);
	return form;
}

static bool
sts_url(char *url, size_t size, const char *region)
{
	const char *endpoint = aws_environment("AWS_ENDPOINT_URL_STS");

	if (endpoint == NULL)
		endpoint = aws_environment("AWS_ENDPOINT_URL");
	if (endpoint != NULL)
		return join_url(url, size, endpoint, "/", "");
	return aws_service_url(url, size, "sts", region);
}

/* Sends the form; what STS says of an error is in its status, and in the code within its XML. */
static Outcome
ask_sts(const HttpRequest *request, AwsCredentials *credentials)
{
	static const char what[] = "STS";
	HttpAnswer answer;
	RotorError err;
	HttpResult result = http_send(request, &answer, &err);
	Outcome outcome = outcome_make(OUTCOME_OK, NULL, NULL);
	char *code = NULL;

	if (result == HTTP_ANSWERED && answer.status != 200)
	{
		bool passing;

		code = xml_text(answer.body, "Code");
		passing = answer.status == 429 || answer.status >= 500 ||
				  (code != NULL &&
				   (strcmp(code, "IDPCommunicationError") == 0 || aws_is_throttling(code)));
		outcome = outcome_make(passing ? OUTCOME_TRANSIENT : OUTCOME_PERMANENT, code,
							   "no AWS credentials from STS: it answered with status %ld %s",
							   answer.status, code != NULL ? code : "");
		outcome.retry_after_ms = answer.retry_after_ms;
	}
	else if (result != HTTP_ANSWERED || !aws_parse_xml_credentials(answer.body, credentials, &err))
		outcome = bad_answer(what, &err);
	if (result == HTTP_BAD)
		outcome.class = OUTCOME_PERMANENT;
	wipe_free(code);
	http_answer_free(&answer);
	return outcome;
}

Outcome
aws_fetch_web_identity(AwsCredentials *credentials, const char *role_arn, const char *session_name,
					   const char *token_file, const char *region, Deadline deadline)
{
	static const char what[] = "STS";
	HttpRequest request = {.method = "POST", .deadline = deadline};
	char url[URL_SIZE];
	char *token = NULL;
	char *form = NULL;
	bool exists;
	RotorError err;
	Outcome outcome;

	if (!sts_url(url, sizeof(url), region))
		return unusable(what, "its URL is too long");
	if (!aws_read_file(token_file, MAX_TOKEN_FILE, &token, &exists, &err))
		return unusable(what, err.message);
	if (token == NULL)
	{
		(void) error_set(&err, ROTOR_ERROR_NOT_FOUND, "file \"%s\" does not exist", token_file);
		return unusable(what, err.message);
	}
	form = web_identity_form(role_arn, session_name != NULL ? session_name : "rotor", token);
	request.url = url;
	request.headers[0] = "Content-Type: application/x-www-form-urlencoded";
	request.headers[1] = "Accept: text/xml";
	request.body = form;
	request.body_len = form != NULL ? strlen(form) : 0;
	request.ca_file = aws_environment("AWS_CA_BUNDLE");
	outcome = form != NULL ? ask_sts(&request, credentials)
						   : outcome_make(OUTCOME_TRANSIENT, "ENOMEM", "out of memory");
	if (outcome.class != OUTCOME_OK)
		aws_credentials_wipe(credentials);
	wipe_free(token);
	wipe_free(form);
	return outcome;
}

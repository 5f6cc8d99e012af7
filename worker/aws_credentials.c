/*
 * aws_credentials.c - what requests to AWS are signed with; see aws_credentials.h.
 *
 * Keys of the environment and of files are read at each use, so that a changed file counts at once. What
 * has to be fetched is kept in `kept`, the only copy that outlives a call.
 */
#include "aws_credentials.h"

#include <pthread.h>
#include <string.h>
#include <strings.h>

#include "aws_metadata.h"

#define REFRESH_BEFORE_S 300 /* before it expires */
#define REFRESH_AGAIN_S	 30	 /* after one that failed, or that gave what expires soon */

typedef enum Source
{
	SOURCE_NONE,
	SOURCE_ENVIRONMENT,
	SOURCE_WEB_IDENTITY,
	SOURCE_PROFILE,
	SOURCE_PROFILE_WEB_IDENTITY,
	SOURCE_UNSUPPORTED,
	SOURCE_NO_PROFILE,
	SOURCE_CONTAINER,
	SOURCE_INSTANCE,
} Source;

/* What was fetched last, and who is fetching; all under the lock. */
static struct
{
	pthread_mutex_t lock;
	pthread_cond_t changed;
	Source source; /* SOURCE_NONE: nothing is kept */
	AwsCredentials credentials;
	time_t refresh_at;
	bool fetching;
	unsigned long fetches; /* that have ended */
	Outcome last;		   /* of them */
} kept = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static time_t (*wall_clock)(time_t *) = time;

void
aws_credentials_wipe(AwsCredentials *credentials)
{
	secret_buf_wipe(&credentials->secret_key);
	secret_buf_wipe(&credentials->session_token);
	memset(credentials->key_id, 0, sizeof(credentials->key_id));
	credentials->expires = 0;
}

static void
forget(void)
{
	aws_credentials_wipe(&kept.credentials);
	kept.source = SOURCE_NONE;
}

void
aws_credentials_set_clock(time_t (*clock)(time_t *))
{
	pthread_mutex_lock(&kept.lock);
	wall_clock = clock != NULL ? clock : time;
	forget();
	pthread_mutex_unlock(&kept.lock);
}

void
aws_credentials_refused(const char *key_id)
{
	pthread_mutex_lock(&kept.lock);
	if (strcmp(kept.credentials.key_id, key_id) == 0)
		forget();
	pthread_mutex_unlock(&kept.lock);
}

static bool
is_visible(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
	{
		if (text[i] <= ' ' || text[i] > '~')
			return false;
	}
	return true;
}

bool
aws_credentials_valid(const AwsCredentials *credentials, RotorError *err)
{
	static const char id_characters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
										"0123456789_-";
	size_t id_len = strlen(credentials->key_id);

	if (id_len == 0 || strspn(credentials->key_id, id_characters) != id_len)
		return error_set(err, ROTOR_ERROR_FORMAT, "the AWS access key id is not one");
	if (credentials->secret_key.len == 0 ||
		!is_visible(credentials->secret_key.data, credentials->secret_key.len))
		return error_set(err, ROTOR_ERROR_FORMAT, "the AWS secret access key is not one");
	if (!is_visible(credentials->session_token.data, credentials->session_token.len))
		return error_set(err, ROTOR_ERROR_FORMAT, "the AWS session token is not one");
	return true;
}

/* Both came out of equal buffers, so they fit. */
static void
copy_credentials(AwsCredentials *to, const AwsCredentials *from)
{
	RotorError ignored;

	memcpy(to->key_id, from->key_id, sizeof(to->key_id));
	(void) secret_buf_set(&to->secret_key, from->secret_key.data, from->secret_key.len, &ignored);
	(void) secret_buf_set(&to->session_token, from->session_token.data, from->session_token.len,
						  &ignored);
	to->expires = from->expires;
}

/* ------------------------------------------------------------------------------------------------
 * Sources
 */

static bool
is_true(const char *name)
{
	const char *value = aws_environment(name);

	return value != NULL && strcasecmp(value, "true") == 0;
}

/* The first that is configured; the profile has been read. */
static Source
find_source(const AwsProfile *profile)
{
	if (aws_environment("AWS_ACCESS_KEY_ID") != NULL ||
		aws_environment("AWS_SECRET_ACCESS_KEY") != NULL)
		return SOURCE_ENVIRONMENT;
	if (aws_environment("AWS_WEB_IDENTITY_TOKEN_FILE") != NULL)
		return SOURCE_WEB_IDENTITY;
	if (!profile->exists && aws_environment("AWS_PROFILE") != NULL)
		return SOURCE_NO_PROFILE;
	if (profile->web_identity_token_file[0] != '\0')
		return SOURCE_PROFILE_WEB_IDENTITY;
	if (profile->role_arn[0] != '\0' || profile->unsupported[0] != '\0')
		return SOURCE_UNSUPPORTED;
	if (profile->key_id[0] != '\0' || profile->secret_key.len > 0)
		return SOURCE_PROFILE;
	if (aws_environment("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") != NULL ||
		aws_environment("AWS_CONTAINER_CREDENTIALS_FULL_URI") != NULL)
		return SOURCE_CONTAINER;
	return is_true("AWS_EC2_METADATA_DISABLED") ? SOURCE_NONE : SOURCE_INSTANCE;
}

static Outcome
permanent(const RotorError *err)
{
	return outcome_of_error(OUTCOME_PERMANENT, err);
}

static Outcome
of_environment(AwsCredentials *credentials)
{
	const char *key_id = aws_environment("AWS_ACCESS_KEY_ID");
	const char *secret_key = aws_environment("AWS_SECRET_ACCESS_KEY");
	const char *token = aws_environment("AWS_SESSION_TOKEN");
	RotorError err;

	if (key_id == NULL || secret_key == NULL)
		return outcome_make(OUTCOME_PERMANENT, NULL,
							"only one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is set");
	if (strlen(key_id) >= sizeof(credentials->key_id))
		return outcome_make(OUTCOME_PERMANENT, NULL, "AWS_ACCESS_KEY_ID is too long");
	memcpy(credentials->key_id, key_id, strlen(key_id) + 1);
	if (!secret_buf_set(&credentials->secret_key, secret_key, strlen(secret_key), &err) ||
		(token != NULL &&
		 !secret_buf_set(&credentials->session_token, token, strlen(token), &err)) ||
		!aws_credentials_valid(credentials, &err))
		return permanent(&err);
	return outcome_make(OUTCOME_OK, NULL, NULL);
}

static Outcome
of_profile(AwsCredentials *credentials, const AwsProfile *profile)
{
	RotorError err;

	memcpy(credentials->key_id, profile->key_id, sizeof(credentials->key_id));
	if (!secret_buf_set(&credentials->secret_key, profile->secret_key.data, profile->secret_key.len,
						&err) ||
		!secret_buf_set(&credentials->session_token, profile->session_token.data,
						profile->session_token.len, &err) ||
		!aws_credentials_valid(credentials, &err))
		return permanent(&err);
	return outcome_make(OUTCOME_OK, NULL, NULL);
}

static Outcome
fetch(Source source, AwsCredentials *credentials, const AwsProfile *profile, const char *region,
	  Deadline deadline)
{
	const char *role = aws_environment("AWS_ROLE_ARN");
	Outcome outcome;

	if (source == SOURCE_CONTAINER)
		outcome = aws_fetch_container(credentials, deadline);
	else if (source == SOURCE_INSTANCE)
		outcome = aws_fetch_instance(credentials, deadline);
	else if (source == SOURCE_PROFILE_WEB_IDENTITY)
		outcome = aws_fetch_web_identity(
			credentials, profile->role_arn,
			profile->role_session_name[0] != '\0' ? profile->role_session_name : NULL,
			profile->web_identity_token_file, region, deadline);
	else if (role == NULL)
		outcome = outcome_make(OUTCOME_PERMANENT, NULL,
							   "AWS_WEB_IDENTITY_TOKEN_FILE is set, but AWS_ROLE_ARN is not");
	else
		outcome = aws_fetch_web_identity(
			credentials, role, aws_environment("AWS_ROLE_SESSION_NAME"),
			aws_environment("AWS_WEB_IDENTITY_TOKEN_FILE"), region, deadline);

	if (outcome.class == OUTCOME_OK && credentials->expires <= wall_clock(NULL))
	{
		aws_credentials_wipe(credentials);
		outcome = outcome_make(OUTCOME_TRANSIENT, NULL, "the AWS credentials fetched have expired");
	}
	return outcome;
}

/* ------------------------------------------------------------------------------------------------
 * What is kept
 */

/* Waits, with the lock, until a fetch of another thread has ended; false: no time is left. */
static bool
wait_for_fetch(Deadline deadline)
{
	int64_t left = deadline_left(deadline);
	struct timespec until;

	if (left <= 0)
		return false;
	if (left > INT_MAX)
		left = INT_MAX;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += left / 1000;
	until.tv_nsec += left % 1000 * 1000000;
	if (until.tv_nsec >= 1000000000)
	{
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	(void) pthread_cond_clockwait(&kept.changed, &kept.lock, CLOCK_MONOTONIC, &until);
	return true;
}

/* With the lock: what a fetch gave is kept, or what is kept is used a little longer. */
static void
settle(Source source, const Outcome *outcome, const AwsCredentials *fetched)
{
	time_t now = wall_clock(NULL);

	if (outcome->class == OUTCOME_OK)
	{
		copy_credentials(&kept.credentials, fetched);
		kept.source = source;
		kept.refresh_at = fetched->expires - REFRESH_BEFORE_S;
	}
	if (kept.refresh_at < now + REFRESH_AGAIN_S)
		kept.refresh_at = now + REFRESH_AGAIN_S;
	kept.fetching = false;
	kept.fetches++;
	kept.last = *outcome;
	pthread_cond_broadcast(&kept.changed);
}

static bool
is_usable(Source source)
{
	return kept.source == source && wall_clock(NULL) < kept.credentials.expires;
}

/* Of a source that is asked over HTTP: what is kept, or what is fetched now, by one thread. */
static Outcome
of_kept(Source source, AwsCredentials *credentials, const AwsProfile *profile, const char *region,
		Deadline deadline)
{
	Outcome outcome = outcome_make(OUTCOME_OK, NULL, NULL);
	unsigned long seen;

	pthread_mutex_lock(&kept.lock);
	seen = kept.fetches;
	while (kept.fetching && !is_usable(source))
	{
		if (!wait_for_fetch(deadline))
		{
			outcome = outcome_make(OUTCOME_TRANSIENT, NULL, "no time was left for AWS credentials");
			goto cleanup;
		}
		/* Whoever waited shares the failure: asked one after another, a dead host would hold up all. */
		if (kept.fetches != seen && kept.last.class != OUTCOME_OK && !is_usable(source))
		{
			outcome = kept.last;
			goto cleanup;
		}
	}
	if (!is_usable(source) || (!kept.fetching && wall_clock(NULL) >= kept.refresh_at))
	{
		kept.fetching = true;
		pthread_mutex_unlock(&kept.lock);
		outcome = fetch(source, credentials, profile, region, deadline);
		pthread_mutex_lock(&kept.lock);
		settle(source, &outcome, credentials);
	}
	if (is_usable(source))
	{
		copy_credentials(credentials, &kept.credentials);
		outcome = outcome_make(OUTCOME_OK, NULL, NULL);
	}

cleanup:
	pthread_mutex_unlock(&kept.lock);
	return outcome;
}

Outcome
aws_credentials_get(AwsCredentials *credentials, const char *region, Deadline deadline)
{
	AwsProfile profile;
	RotorError err;
	Outcome outcome;
	Source source;

	memset(credentials, 0, sizeof(*credentials));
	if (!aws_profile_read(&profile, &err))
	{
		aws_profile_wipe(&profile);
		return permanent(&err);
	}
	source = find_source(&profile);
	switch (source)
	{
		case SOURCE_NONE:
			outcome =
				outcome_make(OUTCOME_PERMANENT, NULL,
							 "no AWS credentials: neither the environment, nor a profile, nor a "
							 "container has any, and AWS_EC2_METADATA_DISABLED is set");
			break;
		case SOURCE_UNSUPPORTED:
			outcome = outcome_make(
				OUTCOME_PERMANENT, NULL,
				"the AWS profile has %s, which rotor does not follow: give it keys, a web "
				"identity, or a role of the machine",
				profile.unsupported[0] != '\0' ? profile.unsupported : "role_arn");
			break;
		case SOURCE_NO_PROFILE:
			outcome =
				outcome_make(OUTCOME_PERMANENT, NULL,
							 "no AWS credentials: no file has the profile that AWS_PROFILE names");
			break;
		case SOURCE_ENVIRONMENT:
			outcome = of_environment(credentials);
			break;
		case SOURCE_PROFILE:
			outcome = of_profile(credentials, &profile);
			break;
		default:
			outcome = of_kept(source, credentials, &profile, region, deadline);
			break;
	}
	if (outcome.class != OUTCOME_OK)
		aws_credentials_wipe(credentials);
	aws_profile_wipe(&profile);
	return outcome;
}

/*
 * aws_profile.h - one profile of the files that AWS tools share, ~/.aws/credentials and ~/.aws/config.
 *
 * Which profile: AWS_PROFILE, else default. Which files: AWS_SHARED_CREDENTIALS_FILE and AWS_CONFIG_FILE.
 * A file that does not exist is an empty one. Called by aws_credentials.c and aws_api.c.
 */
#ifndef ROTOR_WORKER_AWS_PROFILE_H
#define ROTOR_WORKER_AWS_PROFILE_H

#include <limits.h>
#include <stdbool.h>

#include "error.h"
#include "secret_buf.h"

#define AWS_KEY_ID_SIZE	 129
#define AWS_REGION_SIZE	 64
#define AWS_ARN_SIZE	 2049
#define AWS_SESSION_SIZE 65

/* Everything may be empty. */
typedef struct AwsProfile
{
	bool exists; /* one of the files has it */
	char key_id[AWS_KEY_ID_SIZE];
	SecretBuf secret_key;
	SecretBuf session_token;
	char region[AWS_REGION_SIZE];
	char role_arn[AWS_ARN_SIZE];
	char role_session_name[AWS_SESSION_SIZE];
	char web_identity_token_file[PATH_MAX];
	char unsupported
		[32]; /* a setting that asks for a kind of credentials that rotor does not fetch */
} AwsProfile;

/*
 * Reads the profile; keys of the credentials file win over those of the config file. The caller wipes it
 * by aws_profile_wipe(), also after an error: a file that cannot be read, or a value that is too long.
 */
extern bool aws_profile_read(AwsProfile *profile, RotorError *err);
extern void aws_profile_wipe(AwsProfile *profile);

/*
 * The content of a file of at most max bytes, NUL-terminated, white space at its end removed; *text is
 * given back by wipe_free(). *exists tells a missing file, which is no error: *text is then NULL.
 */
extern bool aws_read_file(const char *path, size_t max, char **text, bool *exists, RotorError *err);

/* The environment variable, or NULL if it is unset or empty. */
extern const char *aws_environment(const char *name);

#endif

/*
 * aws_credentials.h - what requests to AWS are signed with, found as AWS's own tools find it.
 *
 * In the order of AWS's SDKs: AWS_ACCESS_KEY_ID and its companions; web identity (AWS_WEB_IDENTITY_TOKEN_FILE,
 * AWS_ROLE_ARN); the profile of the shared files; the container's endpoint; the instance's metadata,
 * version 2 alone. The first that is configured is taken, and no other if that one fails.
 *
 * What is fetched is kept until five minutes before it expires, in this process alone; one thread
 * fetches while the others use what they have or wait. Any thread may call.
 */
#ifndef ROTOR_WORKER_AWS_CREDENTIALS_H
#define ROTOR_WORKER_AWS_CREDENTIALS_H

#include <time.h>

#include "aws_profile.h"
#include "deadline.h"
#include "outcome.h"
#include "secret_buf.h"

typedef struct AwsCredentials
{
	char key_id[AWS_KEY_ID_SIZE];
	SecretBuf secret_key;
	SecretBuf session_token; /* empty: none */
	time_t expires;			 /* 0: never */
} AwsCredentials;

/*
 * OK, or TRANSIENT or PERMANENT with the reason; the caller wipes *credentials. The region says which STS
 * is asked for a web identity.
 */
extern Outcome
aws_credentials_get(AwsCredentials *credentials, const char *region, Deadline deadline);
extern void aws_credentials_wipe(AwsCredentials *credentials);

/* AWS said that this key has expired: it is not used again. */
extern void aws_credentials_refused(const char *key_id);

/* For tests: the clock that expiry is compared with; NULL is time(). Forgets what is kept. */
extern void aws_credentials_set_clock(time_t (*clock)(time_t *));

/* False, with *err, if they are not of the form that AWS's are: nothing else may get into a header. */
extern bool aws_credentials_valid(const AwsCredentials *credentials, RotorError *err);

#endif

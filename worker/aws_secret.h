/*
 * aws_secret.h - one secret at AWS Secrets Manager: its versions, labels and values, a call at a time.
 *
 * What is done when, is for store_aws.c to say, the one caller. Outcomes are those of aws_call(); a value
 * that rotor cannot handle is PERMANENT.
 */
#ifndef ROTOR_WORKER_AWS_SECRET_H
#define ROTOR_WORKER_AWS_SECRET_H

#include "aws_api.h"
#include "job.h"

#define AWS_PENDING		 "AWSPENDING"
#define AWS_CURRENT		 "AWSCURRENT"
#define AWS_PREVIOUS	 "AWSPREVIOUS"
#define AWS_VERSION_SIZE 65 /* an id has 32 to 64 characters */
#define AWS_NAME_SIZE	 2049

/* What the calls of one act share. */
typedef struct AwsSecret
{
	const Job *job;
	const cJSON *options; /* the store's */
	AwsEndpoint endpoint;
	char name[AWS_NAME_SIZE]; /* or ARN */
	Deadline deadline;
} AwsSecret;

/* Says which secret, where and until when; sends nothing. */
extern Outcome aws_secret_open(AwsSecret *secret, const Job *job, Deadline deadline);

/* DescribeSecret; the caller deletes *description. */
extern Outcome aws_describe(const AwsSecret *secret, cJSON **description);

/* Of a description: the object that has each labelled version's id and its labels. */
extern const cJSON *aws_versions_of(const cJSON *description);

/* The id of the version that has the label; empty: none. */
extern void
aws_label_holder(const cJSON *description, const char *label, char id[AWS_VERSION_SIZE]);
extern bool aws_is_held_by(const cJSON *description, const char *label, const char *id);

/* Whether a list of labels has it. */
extern bool aws_has_label(const cJSON *labels, const char *label);

/* Moves a label; from or to may be empty: it is only put there, or only taken away. */
extern Outcome
aws_move_label(const AwsSecret *secret, const char *label, const char *from, const char *to);

/* Reads a value by label or, if id is not NULL, by version; *text lies in *reply, which the caller deletes. */
extern Outcome aws_get_value(const AwsSecret *secret, const char *label, const char *id,
							 cJSON **reply, const char **text);

/*
 * The text of a value that takes the place of another: user name and password are those of value, where it
 * is valid is added if it is not said, all else is kept. *text is given back by cJSON_free().
 */
extern Outcome
aws_make_text(const Job *job, const JobValue *value, const char *former, char **text);

/* PutSecretValue with value's id and that text; *reply is deleted by the caller. */
extern Outcome aws_put_version(const AwsSecret *secret, const JobValue *value, const char *text,
							   const char *label, cJSON **reply);

/* CreateSecret; the value is current at once. TRANSIENT if somebody else created it meanwhile. */
extern Outcome aws_create_secret(const AwsSecret *secret, const JobValue *value);

#endif

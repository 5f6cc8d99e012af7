/*
 * aws_api.h - calls of AWS Secrets Manager: where it is, signed requests, and what its answers mean.
 *
 * Called by store_aws.c; aws_metadata.c uses the names of hosts. Keeps nothing but the credentials
 * (aws_credentials.h).
 */
#ifndef ROTOR_WORKER_AWS_API_H
#define ROTOR_WORKER_AWS_API_H

#include <cjson/cJSON.h>

#include "aws_profile.h"
#include "http_client.h"
#include "outcome.h"

#define AWS_URL_SIZE 512

typedef struct AwsEndpoint
{
	char url[AWS_URL_SIZE]; /* ends with a slash */
	char region[AWS_REGION_SIZE];
} AwsEndpoint;

/*
 * Where Secrets Manager is, for a store with these options: "region", else AWS_REGION, AWS_DEFAULT_REGION,
 * the profile's; "endpoint", else SECRETS_MANAGER_ENDPOINT, AWS_ENDPOINT_URL_SECRETS_MANAGER,
 * AWS_ENDPOINT_URL, the region's public one. OK or PERMANENT.
 */
extern Outcome aws_endpoint_find(const cJSON *options, AwsEndpoint *endpoint);

/* https://SERVICE.REGION.SUFFIX/ with the suffix of the region's partition; false if it does not fit. */
extern bool aws_service_url(char *url, size_t size, const char *service, const char *region);

/*
 * Calls one operation and gives its answer as *reply (NULL for none), which the caller deletes. writes: the
 * operation changes something, so that an answer that is missing, or that does not say whether it did, is
 * UNKNOWN rather than TRANSIENT. Credentials that have expired are fetched anew, once.
 *
 * The outcome's code is AWS's error type, such as ResourceNotFoundException; its message never has a credential.
 */
extern Outcome aws_call(const AwsEndpoint *endpoint, const char *operation, const cJSON *arguments,
						bool writes, cJSON **reply, Deadline deadline);

/* What an answer means; *reply is its JSON object, on OK alone. */
extern Outcome aws_judge_answer(const HttpAnswer *answer, bool writes, cJSON **reply);

/* Whether the error type asks for fewer calls. */
extern bool aws_is_throttling(const char *type);

#endif

/*
 * aws_metadata.h - credentials of AWS that are fetched over HTTP: from the container's endpoint, the
 * instance's metadata, or STS. Called by aws_credentials.c, which keeps them.
 *
 * Each gives OK with *credentials filled, or TRANSIENT or PERMANENT with the reason, without a token in it.
 */
#ifndef ROTOR_WORKER_AWS_METADATA_H
#define ROTOR_WORKER_AWS_METADATA_H

#include "aws_credentials.h"
#include "http_client.h"

/* AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or _FULL_URI; plain http only to the hosts that AWS has for it. */
extern Outcome aws_fetch_container(AwsCredentials *credentials, Deadline deadline);

/* IMDSv2: a session token by PUT first; version 1 is never asked. */
extern Outcome aws_fetch_instance(AwsCredentials *credentials, Deadline deadline);

/* STS AssumeRoleWithWebIdentity; session_name may be NULL, region says which STS. */
extern Outcome
aws_fetch_web_identity(AwsCredentials *credentials, const char *role_arn, const char *session_name,
					   const char *token_file, const char *region, Deadline deadline);

/* The two forms of answers, for tests: JSON of the container and the instance, XML of STS. */
extern bool aws_parse_json_credentials(const char *body, size_t len, AwsCredentials *credentials,
									   RotorError *err);
extern bool
aws_parse_xml_credentials(const char *body, AwsCredentials *credentials, RotorError *err);

#endif

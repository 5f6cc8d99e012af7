/*
 * fuzz_aws_credentials.c
 *		What AWS's endpoints for credentials answer: the input is read as JSON and as XML.
 *
 * What is taken is fit for a header and says when it expires; what is refused leaves a reason.
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "aws_metadata.h"

static void
must_be_visible(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		MUST(text[i] > ' ' && text[i] <= '~');
}

static void
check(bool taken, AwsCredentials *credentials, const RotorError *err)
{
	if (taken)
	{
		MUST(credentials->key_id[0] != '\0' && credentials->secret_key.len > 0);
		MUST(credentials->expires > 0);
		must_be_visible(credentials->key_id, strlen(credentials->key_id));
		must_be_visible(credentials->secret_key.data, credentials->secret_key.len);
		must_be_visible(credentials->session_token.data, credentials->session_token.len);
	}
	else
		MUST(err->message[0] != '\0');
	aws_credentials_wipe(credentials);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	AwsCredentials credentials;
	RotorError err;

	MUST(text != NULL);
	memcpy(text, data, size);
	text[size] = '\0';
	memset(&credentials, 0, sizeof(credentials));
	memset(&err, 0, sizeof(err));
	check(aws_parse_json_credentials(text, size, &credentials, &err), &credentials, &err);
	memset(&err, 0, sizeof(err));
	check(aws_parse_xml_credentials(text, &credentials, &err), &credentials, &err);
	free(text);
	return 0;
}

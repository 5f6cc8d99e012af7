/*
 * fuzz_url.c
 *		URLs of stores and targets: which may be used, and over plain http at all.
 *
 * The check is not seen from outside, for what passes it is sent; so its file is taken in here.  The rule is said
 * again with nothing but strings: what may go unencrypted begins with a name of this machine.
 */
#include "fuzz.h"

#include "http_client.c" /* NOLINT(bugprone-suspicious-include): see above */

static bool
is_dotted_loopback(const char *host)
{
	int a;
	int b;
	int c;
	int d;
	int end = 0;

	return sscanf(host, "%3d.%3d.%3d.%3d%n", &a, &b, &c, &d, &end) == 4 && host[end] == '\0' &&
		   a == 127;
}

static bool
is_this_machine(const char *host)
{
	struct in6_addr address;
	char digits[HOST_SIZE];
	size_t len = strlen(host);

	if (strcasecmp(host, "localhost") == 0 || is_dotted_loopback(host))
		return true;
	if (len < 3 || host[0] != '[' || host[len - 1] != ']')
		return false;
	(void) snprintf(digits, sizeof(digits), "%.*s", (int) len - 2, host + 1);
	return inet_pton(AF_INET6, digits, &address) == 1 && IN6_IS_ADDR_LOOPBACK(&address);
}

/* One line of a request's head: a name, a colon, and nothing that ends the line. */
static bool
may_be_header(const char *text)
{
	const char *colon = strchr(text, ':');

	for (const char *c = text; *c != '\0'; c++)
	{
		if (*c > 0 && *c < 32 && *c != '\t')
			return false;
	}
	return colon != NULL && colon > text;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	HttpRequest request = {.method = "GET"};
	RotorError err;
	Peer peer;

	MUST(text != NULL);
	memcpy(text, data, size);
	text[size] = '\0';
	request.url = text;
	for (int allow = 0; allow < 2; allow++)
	{
		request.allow_http = allow;
		if (!judge_url(&request, &peer, &err))
		{
			/* One that was cut may end in any way. */
			if (strlen(err.message) < ERROR_TEXT_SIZE - 1)
				must_be_error(&err, ROTOR_ERROR_ARGUMENT, ROTOR_ERROR_ARGUMENT);
			continue;
		}
		MUST(strnlen(peer.host, HOST_SIZE) < HOST_SIZE && peer.host[0] != '\0');
		MUST(peer.loopback == is_this_machine(peer.host));
		MUST(peer.https || peer.loopback || allow);
		MUST(!peer.loopback || peer.on_link);
		/* Nothing of the URL that ends up in an error or a log is more than a host's name. */
		MUST(strpbrk(peer.host, "@/?#\r\n") == NULL);
	}
	MUST(judge_header(text, &err) == may_be_header(text));
	free(text);
	return 0;
}

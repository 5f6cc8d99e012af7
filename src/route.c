/*
 * route.c - see route.h.
 */
#include "postgres.h"

#include "compat.h"
#include "guc.h"
#include "libpq/libpq.h"
#include "postmaster/postmaster.h"
#include "route.h"
#include "utils/guc.h"
#include "utils/varlena.h"

typedef struct Candidate
{
	const char *host;
	const char *address; /* for pg_hba.conf; NULL: the socket */
	const char *sslmode;
	bool tls;
} Candidate;

#define MAX_CANDIDATES 5

/* The loopback address that the server listens on; NULL if none. */
static const char *
loopback(void)
{
	List *addresses;
	ListCell *cell;
	const char *found = NULL;

	if (!SplitGUCList(pstrdup(ListenAddresses), ',', &addresses))
		return NULL;
	foreach(cell, addresses)
	{
		const char *address = lfirst(cell);

		if (strcmp(address, "*") == 0 || strcmp(address, "localhost") == 0 ||
			strcmp(address, "0.0.0.0") == 0 || strncmp(address, "127.", 4) == 0)
			return strncmp(address, "127.", 4) == 0 ? address : "127.0.0.1";
		if (strcmp(address, "::") == 0 || strcmp(address, "::1") == 0)
			found = "::1";
	}
	return found;
}

/* The first socket folder; NULL if there is none. */
static const char *
socket_folder(void)
{
	List *folders;

	if (!SplitDirectoriesString(pstrdup(Unix_socket_directories), ',', &folders) || folders == NIL)
		return NULL;
	return linitial(folders);
}

/* What an administrator's rotor.verify_host means for pg_hba.conf. */
static const char *
address_of(const char *host)
{
	if (host[0] == '/' || host[0] == '@')
		return NULL;
	return strcmp(host, "localhost") == 0 ? "127.0.0.1" : host;
}

static int
add(Candidate *candidates, int count, const char *host, const char *address)
{
	if (address == NULL || rotor_verify_sslmode == VERIFY_SSLMODE_AUTO)
		candidates[count++] = (Candidate){host, address, "disable", false};
	if (address != NULL && rotor_verify_sslmode == VERIFY_SSLMODE_AUTO && EnableSSL)
		candidates[count++] = (Candidate){host, address, "require", true};
	if (address != NULL && rotor_verify_sslmode != VERIFY_SSLMODE_AUTO)
		candidates[count++] = (Candidate){host, address, verify_sslmode_name(rotor_verify_sslmode),
										  rotor_verify_sslmode != VERIFY_SSLMODE_DISABLE};
	return count;
}

/* How much an answer is worth: a proof, else a line that lets in, else a line, else no line. */
static int
rank(const HbaAnswer *answer)
{
	if (answer->proof == HBA_PROOF_PASSWORD)
		return 3;
	if (answer->line > 0 && answer->proof != HBA_PROOF_REJECT)
		return 2;
	return answer->line > 0 ? 1 : 0;
}

void
route_choose(const char *dbname, const char *user, Route *route)
{
	Candidate candidates[MAX_CANDIDATES];
	int count = 0;
	const char *address = loopback();
	const char *folder = socket_folder();

	if (rotor_verify_host[0] != '\0')
		count = add(candidates, count, rotor_verify_host, address_of(rotor_verify_host));
	else
	{
		if (address != NULL)
			count = add(candidates, count, address, address);
		if (folder != NULL)
			count = add(candidates, count, folder, NULL);
		if (count == 0)
			count = add(candidates, count, "127.0.0.1", "127.0.0.1");
	}
	for (int i = 0; i < count; i++)
	{
		HbaAnswer answer;

		hba_ask(candidates[i].address, candidates[i].tls, dbname, user, &answer);
		if (i > 0 && rank(&answer) <= rank(&route->answer))
			continue;
		strlcpy(route->host, candidates[i].host, sizeof(route->host));
		route->port = rotor_verify_port ? rotor_verify_port : PostPortNumber;
		route->sslmode = candidates[i].sslmode;
		route->answer = answer;
	}
}

/* Why an answer proves nothing, as the end of a sentence. */
static const char *
why(const HbaAnswer *answer)
{
	switch (answer->proof)
	{
		case HBA_PROOF_REJECT:
			return "refuses the login";
		case HBA_PROOF_EXTERNAL:
			return "has the password checked elsewhere";
		default:
			return answer->wants_certificate ? "asks for a client certificate besides the password"
											 : "asks for no password";
	}
}

char *
route_complaint(const Route *route)
{
	const HbaAnswer *answer = &route->answer;

	if (answer->line == 0)
		return psprintf("No line of \"%s\" lets the role in by \"%s\".", answer->file, route->host);
	return psprintf("Line %d of \"%s\" (%s) %s.", answer->line, answer->file, answer->method,
					why(answer));
}

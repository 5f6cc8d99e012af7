/*
 * hba.c - see hba.h.
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "compat.h"
#include "hba.h"
#include "libpq/hba.h"
#include "libpq/libpq-be.h"
#include "postmaster/postmaster.h"
#include "utils/guc.h"
#include "utils/memutils.h"

static bool loaded;

bool
hba_reload(void)
{
	/* load_hba() keeps its lines there; only the postmaster has the context by itself. */
	if (PostmasterContext == NULL)
		PostmasterContext =
			AllocSetContextCreate(TopMemoryContext, "rotor pg_hba.conf", ALLOCSET_DEFAULT_SIZES);
	loaded = load_hba();
	return loaded;
}

static HbaProof
proof_of(const HbaLine *line)
{
	switch (line->auth_method)
	{
		case uaPassword:
		case uaMD5:
		case uaSCRAM:
			/* A line that wants a client certificate too cannot be passed with a password alone. */
			return line->clientcert == clientCertOff ? HBA_PROOF_PASSWORD : HBA_PROOF_NONE;
		case uaReject:
		case uaImplicitReject:
			return HBA_PROOF_REJECT;
		case uaPAM:
		case uaBSD:
		case uaLDAP:
		case uaRADIUS:
			return HBA_PROOF_EXTERNAL;
		default:
			return HBA_PROOF_NONE;
	}
}

static void
set_address(SockAddr *out, const char *address)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *) &out->addr;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *) &out->addr;

	memset(out, 0, sizeof(*out));
	if (address == NULL)
	{
		out->addr.ss_family = AF_UNIX;
		out->salen = sizeof(sa_family_t);
	}
	else if (inet_pton(AF_INET, address, &v4->sin_addr) == 1)
	{
		v4->sin_family = AF_INET;
		out->salen = sizeof(*v4);
	}
	else if (inet_pton(AF_INET6, address, &v6->sin6_addr) == 1)
	{
		v6->sin6_family = AF_INET6;
		out->salen = sizeof(*v6);
	}
}

void
hba_ask(const char *address, bool tls, const char *dbname, const char *user, HbaAnswer *answer)
{
	Port *port;

	memset(answer, 0, sizeof(*answer));
	if (!loaded && !hba_reload())
	{
		answer->proof = HBA_PROOF_UNKNOWN;
		answer->method = "unknown";
		return;
	}
	port = palloc0(sizeof(Port));
	set_address(&port->raddr, address);
	port->database_name = pstrdup(dbname);
	port->user_name = pstrdup(user);
	port->ssl_in_use = tls;
	hba_getauthmethod(port);
	answer->proof = proof_of(port->hba);
	answer->method = hba_authname(port->hba->auth_method);
	answer->line = port->hba->linenumber;
	strlcpy(answer->file, answer->line > 0 ? HBA_LINE_FILE(port->hba) : HbaFileName,
			sizeof(answer->file));
	pfree(port);
}

/*
 * audit.c - see audit.h.
 */
#include "postgres.h"

#include <netdb.h>

#include "audit.h"
#include "common/ip.h"
#include "compat.h"
#include "guc.h"
#include "lib/stringinfo.h"
#include "libpq/libpq-be.h"
#include "utils/json.h"

void
actor_current(Actor *actor)
{
	char *name;

	memset(actor, 0, sizeof(*actor));
	actor->role = GetUserId();
	actor->pid = MyProcPid;
	strlcpy(actor->name, GetUserNameFromId(actor->role, false), sizeof(actor->name));
	name = GetSessionUserId() == actor->role ? actor->name
											 : GetUserNameFromId(GetSessionUserId(), true);
	if (name != NULL)
		strlcpy(actor->session_user, name, sizeof(actor->session_user));
	if (MyProcPort != NULL && (MyProcPort->raddr.addr.ss_family == AF_INET ||
							   MyProcPort->raddr.addr.ss_family == AF_INET6))
	{
		if (pg_getnameinfo_all(&MyProcPort->raddr.addr, (int) MyProcPort->raddr.salen,
							   actor->client_addr, sizeof(actor->client_addr), NULL, 0,
							   NI_NUMERICHOST | NI_NUMERICSERV) != 0)
			actor->client_addr[0] = '\0';
		/* No zone of a link-local address: inet does not take it. */
		actor->client_addr[strcspn(actor->client_addr, "%")] = '\0';
	}
}

void
actor_schedule(Actor *actor)
{
	memset(actor, 0, sizeof(*actor));
	strlcpy(actor->name, "(schedule)", sizeof(actor->name));
}

void
audit_log_line(const Actor *actor, const char *event, const char *subject, const char *result)
{
	StringInfoData line;
	const struct
	{
		const char *key;
		const char *value;
	} fields[] = {
		{"event", event},
		{"secret", subject},
		{"actor", actor->name},
		{"session_user", actor->session_user[0] ? actor->session_user : NULL},
		{"client_addr", actor->client_addr[0] ? actor->client_addr : NULL},
		{"result", result},
	};
	bool json = rotor_log_format == LOG_FORMAT_JSON;

	initStringInfo(&line);
	appendStringInfoString(&line, json ? "{\"rotor\":{" : "rotor: ");
	for (size_t i = 0; i < lengthof(fields); i++)
	{
		if (fields[i].value == NULL)
			continue;
		if (i > 0)
			appendStringInfoChar(&line, json ? ',' : ' ');
		if (json)
			appendStringInfoChar(&line, '"');
		appendStringInfoString(&line, fields[i].key);
		appendStringInfoString(&line, json ? "\":" : "=");
		/* Quoted either way: a name may hold anything, a newline too. */
		escape_json(&line, fields[i].value);
	}
	if (json)
		appendStringInfoString(&line, "}}");
	/* Not for translation, and so cheaper: this is written for every read of a secret. */
	ereport(LOG_SERVER_ONLY,
			(errmsg_internal("%s", line.data), errhidestmt(true), errhidecontext(true)));
	pfree(line.data);
}

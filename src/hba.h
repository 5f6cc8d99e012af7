/*
 * hba.h - what pg_hba.conf will ask of a login, by the server's own parser and matcher.
 *
 * It tells before a role is touched whether a login can prove a password, and which line prevents
 * it. Reads the file as the server would at its next reload.
 */
#ifndef ROTOR_HBA_H
#define ROTOR_HBA_H

#include "postgres.h"

typedef enum HbaProof
{
	HBA_PROOF_PASSWORD, /* the server asks for the password and checks it itself */
	HBA_PROOF_NONE,		/* it asks for none: trust, peer, ident, cert, gss */
	HBA_PROOF_EXTERNAL, /* it sends the password elsewhere: ldap, pam, radius, bsd */
	HBA_PROOF_REJECT,	/* it refuses: reject, or no line matches */
	HBA_PROOF_UNKNOWN	/* pg_hba.conf could not be read */
} HbaProof;

typedef struct HbaAnswer
{
	HbaProof proof;
	const char *method; /* static */
	int line;			/* 0: none matches */
	char file[MAXPGPATH];
} HbaAnswer;

/* Reads pg_hba.conf anew; false, with a server log line, if it is malformed. */
extern bool hba_reload(void);

/*
 * Fills *answer for a login of user to dbname from address (numeric; NULL: the local socket), with
 * TLS or without. Inside a transaction.
 */
extern void hba_ask(const char *address, bool tls, const char *dbname, const char *user,
					HbaAnswer *answer);

#endif

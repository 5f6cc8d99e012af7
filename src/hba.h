/*
 * hba.h - what pg_hba.conf will ask of a login.
 *
 * It tells before a role is touched whether a login can prove a password, and which line prevents
 * it. The server's own parser reads the file (pg_hba_file_rules), as it would at its next reload;
 * the matching is ours, because the server's matcher is bound to the postmaster's memory.
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
	HBA_PROOF_UNKNOWN	/* pg_hba.conf has no line that could be read */
} HbaProof;

typedef struct HbaAnswer
{
	HbaProof proof;
	char method[32];
	bool wants_certificate; /* besides the password */
	int line;				/* 0: none matches */
	char file[MAXPGPATH];
} HbaAnswer;

/* The file is read anew at the next hba_ask(). */
extern void hba_forget(void);

/*
 * Fills *answer for a login of user to dbname from address (numeric; NULL: the local socket), with
 * TLS or without. Inside a transaction, as superuser, in SPI.
 */
extern void
hba_ask(const char *address, bool tls, const char *dbname, const char *user, HbaAnswer *answer);

#endif

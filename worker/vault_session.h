/*
 * vault_session.h - talks to a Vault or OpenBao server: logins, and the token they gave.
 *
 * A token is kept for each server, namespace and way to log in, and is renewed when two thirds of its time are over;
 * where that is refused, a login follows. One thread does it, the others wait for it. Tokens live in SecretBufs.
 *
 * Credentials come from the worker's own settings, never from the store's options: the environment's VAULT_TOKEN, or the
 * files that the settings vault_token_file, vault_secret_id_file (with vault_role_id) and vault_jwt_file name. Files are read
 * at each login, so whoever replaces them need not restart anything.
 *
 * Called by store_vault.c, from any thread.
 */
#ifndef ROTOR_WORKER_VAULT_SESSION_H
#define ROTOR_WORKER_VAULT_SESSION_H

#include "http_client.h"
#include "outcome.h"

/* Which server, and who we are there; the texts are the caller's. */
typedef struct VaultServer
{
	const char *address;	/* https://host:8200 */
	const char *name_space; /* NULL: none */
	const char *auth;		/* token, approle, kubernetes */
	const char *auth_mount; /* where that is mounted */
	const char *role;		/* of kubernetes */
	const char *ca_file;	/* NULL: the system's */
} VaultServer;

typedef struct VaultCall
{
	const char *method;
	const char *path;		  /* behind /v1/, percent-encoded */
	const char *content_type; /* NULL: application/json */
	const char *body;		  /* NULL: none */
	Deadline deadline;
} VaultCall;

/*
 * Sends the call with a token, and once more with another one if the answer was 403. True: there is an answer, whatever
 * its status, which the caller frees. False: *outcome is UNKNOWN if the request may have taken effect, else TRANSIENT or
 * PERMANENT.
 */
extern bool
vault_call(const VaultServer *server, const VaultCall *call, HttpAnswer *answer, Outcome *outcome);

/*
 * What a status that is no success means, with the server's words. For a call that writes, UNKNOWN where it
 * may have taken effect or still may.
 */
extern Outcome
vault_outcome(const VaultServer *server, const VaultCall *call, const HttpAnswer *answer);

/* For tests: forgets all tokens; lets the next call renew them. */
extern void vault_forget_tokens(void);
extern void vault_renew_tokens(void);

#endif

/*
 * vault_kv.h - reads and writes the paths of one secret in a KV version 2 mount.
 *
 * What is kept where is in the header of store_vault.c, which alone calls this.
 */
#ifndef ROTOR_WORKER_VAULT_KV_H
#define ROTOR_WORKER_VAULT_KV_H

#include "job.h"
#include "vault_session.h"

#define VAULT_ID_NAME	"rotor_version"
#define VAULT_PATH_SIZE 2048

typedef struct VaultSecret
{
	VaultServer server;
	char mount[256];	 /* percent-encoded, as are the paths */
	char raw_mount[256]; /* as they are */
	char raw_key[VAULT_PATH_SIZE];
	char key[VAULT_PATH_SIZE];		   /* of KEY */
	char pending_key[VAULT_PATH_SIZE]; /* of KEY.rotor-pending */
	Deadline deadline;
} VaultSecret;

/* What a path has. */
typedef struct VaultEntry
{
	int version;	   /* of the newest KV version, for check-and-set; 0: the path is not there */
	cJSON *tree;	   /* the answer */
	const cJSON *data; /* NULL: not there, or deleted */
} VaultEntry;

/* Reads the job's options; nothing is sent, and nothing has to be closed. */
extern Outcome vault_kv_open(const Job *job, VaultSecret *vault, Deadline deadline);

/* Sends the call to MOUNT/kind/key, and writes that path to path; as vault_call(). */
extern bool
vault_kv_call(const VaultSecret *vault, VaultCall *call, const char *kind, const char *key,
			  char *path, size_t size, HttpAnswer *answer, Outcome *outcome);

/* Reads a path; that nothing is there is no error. vault_kv_free() follows, whatever comes of it. */
extern Outcome vault_kv_read(const VaultSecret *vault, const char *key, VaultEntry *entry);
extern void vault_kv_free(VaultEntry *entry);

/* The uuid of the value, empty if it has none; is it the job's version? */
extern const char *vault_kv_id(const VaultEntry *entry);
extern bool vault_kv_is(const VaultEntry *entry, const Job *job);

/*
 * Writes data, which is taken over and has the job's version, as the KV version after entry's. If that does
 * not simply succeed, the path is read anew into *entry. OK: it is there. SUPERSEDED: another version is there, and
 * this write never will be. UNKNOWN: it may be there or may still come. Else nothing was written.
 */
extern Outcome vault_kv_write(const VaultSecret *vault, const char *key, const Job *job,
							  VaultEntry *entry, cJSON *data);

#endif

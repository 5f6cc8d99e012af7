/*
 * secret_file.h - the file of the file store, and the versions of one secret in it.
 *
 * The forms of the file are in the header of store_file.c, which alone calls this.
 */
#ifndef ROTOR_WORKER_SECRET_FILE_H
#define ROTOR_WORKER_SECRET_FILE_H

#include "atomic_file.h"
#include "outcome.h"
#include "pgpass.h"

#define ID_NAME "version_id"

typedef struct SecretFile
{
	bool is_pgpass;
	FileAccess access;
	AtomicFile main;	/* at the store's path; its lock guards both */
	AtomicFile sidecar; /* of pgpass */

	FileContent lines; /* of pgpass */
	PgpassKey line;	   /* without username */
	char number[16];   /* the port, where it is given as a number */

	const JobValue
		*made; /* what was put into the tree, and is to be in what is written; NULL: nothing */

	cJSON *tree;
	cJSON
		*secret; /* in the tree: the object of this secret, maybe empty; never NULL after loading */
} SecretFile;

#define SECRET_FILE_CLOSED                              \
	{                                                   \
		.main = {-1, -1, ""}, .sidecar = { -1, -1, "" } \
	}

/* Reads the options and opens the folder; changes nothing. secret_file_close() follows, whatever comes of it. */
extern Outcome secret_file_open(const Job *job, SecretFile *file);

/* Reads what is there; of pgpass the lines decide what is current. */
extern Outcome secret_file_load(SecretFile *file, const Job *job);

/* Opens, waits for the lock, and loads. */
extern Outcome secret_file_open_locked(const Job *job, SecretFile *file, Deadline deadline);

extern void secret_file_close(SecretFile *file);

/* The version under a label, NULL if there is none; and its uuid, empty if it has none. */
extern cJSON *secret_file_version(const SecretFile *file, const char *label);
extern const char *secret_file_id(const SecretFile *file, const char *label);

/* Puts the version, which is taken over, under the label; NULL takes away what is there. False: out of memory. */
extern bool secret_file_set(SecretFile *file, const char *label, cJSON *version);

/* current becomes version, which is taken over; previous what was current; pending goes. False: out of memory. */
extern bool secret_file_move(SecretFile *file, cJSON *version);

/*
 * Does libpq look up what the fields of pgpass's line say? It looks up each of several hosts alone, with its port, and the
 * folder of a socket by another name where it is its own default. PERMANENT with the remedy if not.
 */
extern Outcome secret_file_check_fields(const SecretFile *file, const Job *job);

/* Can a line of pgpass hold the value? */
extern Outcome secret_file_check_line(const SecretFile *file, const JobValue *value);

/* Writes the object; and before it, of pgpass, the current version's line. */
extern Outcome secret_file_write(SecretFile *file);
extern Outcome secret_file_write_promotion(SecretFile *file);

#endif

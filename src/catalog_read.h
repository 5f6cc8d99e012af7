/*
 * catalog_read.h - reading rotor's tables by index, without SPI.
 *
 * The quick way, for get_secret() and the checks of rights: no planner, no search_path, and always
 * the newest snapshot, because the password that a server accepts is the newest one, whatever the
 * caller's isolation level. Works on a standby.
 */
#ifndef ROTOR_CATALOG_READ_H
#define ROTOR_CATALOG_READ_H

#include "types.h"

/* The address of a target as applications should see it; parts that are null in the table are empty or 0. */
typedef struct TargetAddress
{
	char type[16];
	char host[256];
	int port;
	char dbname[NAMEDATALEN];
	char sslmode[16];
} TargetAddress;

/*
 * Reads until catalog_read_end() see one state of the tables. The caller calls that on errors too.
 */
extern void catalog_read_begin(void);
extern void catalog_read_end(void);

/* The managed secret of that name; false if there is none. */
extern bool catalog_find_secret(const char *name, Secret *secret);

/* The two managed secrets that are used in turn under that name; false if there is none. */
extern bool catalog_find_pair(const char *name, Pair *pair);

/* True if the secret is the one that rests, of two that are used in turn. */
extern bool catalog_is_resting(int64 secret_id);

/* True if the secret is one of two that are used in turn. */
extern bool catalog_is_paired(int64 secret_id);
/* When what was in use before is not to log in any more; DT_NOEND: nothing is planned. */
extern TimestampTz catalog_retirement(int64 secret_id);
/* The other one of two that are used in turn; 0 if there is none. */
extern int64 catalog_pair_other(int64 secret_id);

/* The managed secret of that role; false if there is none. */
extern bool catalog_find_secret_of_role(Oid role, Secret *secret);

/*
 * How many secrets, unmanaged ones too, follow that id, at most limit, and the id of the last of
 * them. By the index: the planner of a table that grew without ANALYZE sorts all of it.
 */
extern int catalog_secrets_after(int64 id, int limit, int64 *last);

/* True if a role that caller has the privileges of was granted the privilege, or manage. */
extern bool catalog_has_grant(int64 secret_id, Oid caller, const char *privilege);

/* The version with that stage; false if there is none. value->sealed is palloc'd. */
extern bool
catalog_find_version(int64 secret_id, const char *stage, pg_uuid_t *version, SealedValue *value);

/*
 * Waits for the rotation's row, if there is one, and locks it to the end of the transaction; also
 * where SELECT ... FOR UPDATE raises 40001, because the row has changed since the snapshot.
 */
extern void catalog_lock_rotation(const pg_uuid_t *id);

/* False if there is no such target. Remembered until one is written, see functions_guard.c. */
extern bool catalog_find_target(const char *name, TargetAddress *address);

/* False if there is no such data key. */
extern bool catalog_find_data_key(const pg_uuid_t *id, DataKeyRow *row);

/*
 * Calls visit for each version that the data key seals, as of the beginning, until it returns
 * false. By the index, whatever the planner thinks: statistics are wrong while values move.
 */
typedef bool (*VisitVersion)(const pg_uuid_t *version, void *arg);
extern void catalog_each_version_of_key(const pg_uuid_t *key_id, VisitVersion visit, void *arg);

typedef enum CatalogState
{
	CATALOG_OURS,
	CATALOG_NOT_OURS,
	CATALOG_OTHER_VERSION
} CatalogState;

/*
 * CATALOG_OURS if extension rotor is installed here in this library's version, and each table of
 * rotor's is a member of it and owned by a superuser, and this is the database it was created in,
 * no copy; then, and only then, may a superuser process work with them. With another version,
 * *version is that of the extension, palloc'd.
 */
extern CatalogState catalog_state(char **version);
extern bool catalog_is_ours(void);

/* Raises 55000 if the extension's SQL has another version than this library. Every read does. */
extern void catalog_require_version(void);

/*
 * Tells every session, when the present transaction commits, to look at version and tables anew:
 * nothing else tells them of a new version.
 */
extern void catalog_version_changed(void);

/* Who owns the extension; InvalidOid if it is not installed here. */
extern Oid catalog_extension_owner(void);

/* What helps if the extension has this version and the library another. */
extern const char *catalog_version_remedy(const char *version);

#endif

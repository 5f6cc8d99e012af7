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
extern bool catalog_find_secret(const char *name, Secret *secret, char target[SECRET_NAME_SIZE]);

/* The managed secret of that role; false if there is none. */
extern bool catalog_find_secret_of_role(Oid role, Secret *secret);

/* True if a role that caller has the privileges of was granted the privilege, or manage. */
extern bool catalog_has_grant(int64 secret_id, Oid caller, const char *privilege);

/* The version with that stage; false if there is none. value->sealed is palloc'd. */
extern bool
catalog_find_version(int64 secret_id, const char *stage, pg_uuid_t *version, SealedValue *value);

/* False if there is no such target. Remembered until one is written, see functions_guard.c. */
extern bool catalog_find_target(const char *name, TargetAddress *address);

/* False if there is no such data key. */
extern bool catalog_find_data_key(const pg_uuid_t *id, DataKeyRow *row);

/*
 * True if extension rotor is installed here and each table of rotor's is a member of it, and owned
 * by a superuser, and this is the database it was created in, no copy; then, and only then, may a
 * superuser process work with them.
 */
extern bool catalog_is_ours(void);

#endif

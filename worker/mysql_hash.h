/*
 * mysql_hash.h - what MySQL and MariaDB store for a password, so that the password itself need not travel.
 *
 * Pure, by OpenSSL; what is derived on the way is wiped. Called by target_mysql.
 */
#ifndef ROTOR_WORKER_MYSQL_HASH_H
#define ROTOR_WORKER_MYSQL_HASH_H

#include <stdbool.h>

#include "secret_buf.h"

#define MYSQL_HASH_MAX	80 /* bytes of the longest, with the NUL */
#define MYSQL_SALT_SIZE 20

/*
 * Writes to out the text for an authentication plugin: mysql_native_password, caching_sha2_password (MySQL)
 * or ed25519 (MariaDB); printable, without quotes or backslashes. The password is not empty.
 * Errors: NOT_FOUND for a plugin that none is known for; CRYPTO. out is then an empty string.
 */
extern bool mysql_hash(const char *plugin, const SecretBuf *password, char out[MYSQL_HASH_MAX],
					   RotorError *err);

/* caching_sha2_password's with a given salt; rounds are thousands. */
extern bool mysql_hash_sha2(const SecretBuf *password, const unsigned char salt[MYSQL_SALT_SIZE],
							int rounds, char out[MYSQL_HASH_MAX], RotorError *err);

/*
 * Is that what a server stores for the password? False also for a plugin or a form that is not known, and if
 * it cannot be told.
 */
extern bool mysql_hash_is_of(const char *stored, const char *plugin, const SecretBuf *password);

#endif

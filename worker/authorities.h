/*
 * authorities.h - whom the system trusts to sign certificates.
 *
 * Database libraries verify against a file that they are given, and have none of their own. Called by
 * pg_client and mysql_client.
 */
#ifndef ROTOR_WORKER_AUTHORITIES_H
#define ROTOR_WORKER_AUTHORITIES_H

/* The system's file of authorities; one that does not exist if it has none. Static memory. */
extern const char *authorities_file(void);

#endif

/*
 * resolve.h - a host's addresses, by a deadline.
 *
 * libpq and libmariadb ask the resolver themselves, and then nothing but the resolver's patience ends the
 * wait. Here a thread of its own asks, and is left behind if it takes too long; it ends by itself. An
 * address in digits is answered at once. Called by pg_client and mysql_client, from any thread.
 */
#ifndef ROTOR_WORKER_RESOLVE_H
#define ROTOR_WORKER_RESOLVE_H

#include <stdbool.h>

#include "deadline.h"

#define RESOLVE_ADDRESS_SIZE 80 /* digits of an IPv6 address with its zone */
#define RESOLVE_MAX			 8	/* more are left out */

typedef struct ResolvedHost
{
	int count; /* at least 1 */
	char address[RESOLVE_MAX][RESOLVE_ADDRESS_SIZE];
} ResolvedHost;

/*
 * Fills *out with the addresses of a host, in the order in which they are to be tried. NULL, or why there
 * is none: static memory.
 */
extern const char *resolve_host(const char *host, Deadline deadline, ResolvedHost *out);

/* The name or address stands for this machine, or is a socket's folder; no name is looked up. */
extern bool resolve_is_loopback(const char *host);

#endif

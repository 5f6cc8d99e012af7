/*
 * route.h - which way a verification login goes: the first on which this server asks for the
 * password itself. Joins the settings, the server's listen addresses and hba.
 */
#ifndef ROTOR_ROUTE_H
#define ROTOR_ROUTE_H

#include "postgres.h"

#include "hba.h"

typedef struct Route
{
	char host[MAXPGPATH]; /* address, host name or socket folder */
	int port;
	const char *sslmode; /* static */
	HbaAnswer answer;	 /* what pg_hba.conf will ask there */
} Route;

/* Fills *route for a login of user to dbname. Inside a transaction, as superuser, in SPI. */
extern void route_choose(const char *dbname, const char *user, Route *route);

/* A sentence that names the pg_hba.conf line and why it proves nothing; palloc'd. */
extern char *route_complaint(const Route *route);

#endif

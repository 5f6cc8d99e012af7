/*
 * functions_manage.h - taking a role under management; shared by manage() and a queued rotate().
 */
#ifndef ROTOR_FUNCTIONS_MANAGE_H
#define ROTOR_FUNCTIONS_MANAGE_H

#include "audit.h"
#include "types.h"

/*
 * Inserts the secret and its audit row, fills *secret. The caller checked rights and names. In SPI,
 * as superuser. 42704 for an unknown policy, store or target, 42710 for a name that is taken.
 */
extern void manage_role(const char *name, Oid role, const char *policy, const char *store,
						const char *target, const Actor *actor, Secret *secret);

#endif

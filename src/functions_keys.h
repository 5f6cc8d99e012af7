/*
 * functions_keys.h - what the functions on keys share.
 */
#ifndef ROTOR_FUNCTIONS_KEYS_H
#define ROTOR_FUNCTIONS_KEYS_H

#include "access.h"
#include "audit.h"

/* Who asks, may they; then as superuser, with all keys locked. The caller ends with access_leave(). */
extern void keys_enter(const char *event, Actor *actor, AccessScope *scope);

/* Raises 58P01 if a master key that a data key needs is missing or another one. */
extern void keys_require_master_keys(void);

#endif

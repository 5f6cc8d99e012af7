/*
 * login_slots.h - how many verification logins there are at a time, of all workers together:
 * rotor.max_concurrent_logins, so that rotor never takes the connections that applications need.
 */
#ifndef ROTOR_LOGIN_SLOTS_H
#define ROTOR_LOGIN_SLOTS_H

#include "port/atomics.h"

typedef struct LoginSlots
{
	pg_atomic_uint32 taken;
} LoginSlots;

/* Sets up slots in shared memory, which request.c keeps. */
extern void login_slots_init(LoginSlots *shared);

/* From now on this process shares them; without, it counts its own logins only. */
extern void login_slots_share(LoginSlots *shared);

/*
 * False if all are taken: try again after a while. What a process has taken is given back when it
 * ends; a crash resets shared memory.
 */
extern bool login_slot_take(void);
extern void login_slot_free(void);

#endif

/*
 * login_slots.c - see login_slots.h.
 */
#include "postgres.h"

#include "guc.h"
#include "login_slots.h"
#include "storage/ipc.h"

static LoginSlots own; /* of a process that shares none */
static LoginSlots *slots = &own;
static int mine;

void
login_slots_init(LoginSlots *shared)
{
	pg_atomic_init_u32(&shared->taken, 0);
}

void
login_slots_share(LoginSlots *shared)
{
	slots = shared;
}

static void
free_mine(int code, Datum arg)
{
	while (mine > 0)
		login_slot_free();
}

bool
login_slot_take(void)
{
	static bool registered;
	uint32 taken = pg_atomic_read_u32(&slots->taken);

	if (!registered)
		before_shmem_exit(free_mine, (Datum) 0);
	registered = true;
	while (taken < (uint32) rotor_max_concurrent_logins)
	{
		if (pg_atomic_compare_exchange_u32(&slots->taken, &taken, taken + 1))
		{
			mine++;
			return true;
		}
	}
	return false;
}

void
login_slot_free(void)
{
	mine--;
	(void) pg_atomic_fetch_sub_u32(&slots->taken, 1);
}

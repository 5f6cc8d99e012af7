/*
 * work_order.h - one step for a worker outside, as JSON: the only place where values leave the server
 * but get_secret() and connection_uri(). docs/worker-protocol.md has the form.
 */
#ifndef ROTOR_WORK_ORDER_H
#define ROTOR_WORK_ORDER_H

#include "catalog.h"

/* The lease that the step is handed out under. */
typedef struct WorkLease
{
	pg_uuid_t id;
	int seconds;
	bool look; /* what an earlier one sent may have taken effect or not */
} WorkLease;

/*
 * The JSON text, palloc'd in *size bytes, which the caller wipes. NULL, with *failure filled, if what it
 * needs is not there: a credential that may change the account, a target, a store. In SPI, as superuser.
 */
extern char *work_order(const Secret *secret, const Policy *policy, const RotationRow *row,
						const WorkLease *lease, size_t *size, Failure *failure);

#endif

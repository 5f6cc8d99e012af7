/*
 * maintenance.h - what workers do for the years: partitions of the audit in time, and purging.
 *
 * Once in rotor.maintenance_interval over all workers, in small transactions of their own, between
 * which callers and rotations come first.
 */
#ifndef ROTOR_MAINTENANCE_H
#define ROTOR_MAINTENANCE_H

/* Does the next piece, if maintenance is due; true if there is more to do now. No transaction. */
extern bool maintenance_turn(void);

#endif

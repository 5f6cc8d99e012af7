/*
 * emergency.h - a worker's part in an emergency: takes secrets off the list batch by batch, so that
 * several workers share the work, and ends the emergency when nothing is left.
 */
#ifndef ROTOR_EMERGENCY_H
#define ROTOR_EMERGENCY_H

#include "fsm.h"

#define EMERGENCY_NONE (-1)

/*
 * One batch, counted by status. EMERGENCY_NONE if there is no emergency; 0 if something was done, so
 * that there may be more; else milliseconds after which to look again: the rest is in other hands.
 */
extern int emergency_turn(int64 counts[FSM_STATUS_COUNT]);

#endif

/*
 * glance.h - a look at rotor's tables as the superuser, in a subtransaction that is undone, so that no
 * lock stays while a caller waits: DROP EXTENSION would wait for it, the workers for that, and we for
 * them. For functions that wait for others.
 */
#ifndef ROTOR_GLANCE_H
#define ROTOR_GLANCE_H

/*
 * Runs look(arg), within SPI; it writes nothing. What it allocates stays, in the context that is current.
 * An error is raised again when the subtransaction is undone: whoever catches it takes the innermost
 * one for his own.
 */
extern void glance(void (*look)(void *arg), void *arg);

/*
 * The pause between two looks, interruptible; not cut short by what sets the latch, as the end of each
 * one-shot worker does.
 */
extern void glance_pause(long ms);

#endif

/*
 * toxic.h
 *		Starts proxy.c, which stands beside the test's own program, and tells it what to do.
 *
 * A failure is one of the test.  A test that uses it has EXTRA_<test> = toxic.c in the Makefile.
 */
#ifndef ROTOR_TEST_TOXIC_H
#define ROTOR_TEST_TOXIC_H

#include <stdint.h>

typedef struct Toxic Toxic;

typedef struct ToxicStats
{
	unsigned long open;		/* connections that are open now */
	unsigned long accepted; /* that there were */
	unsigned long up;		/* bytes sent to the target */
	unsigned long down;		/* bytes sent to clients */
} ToxicStats;

/* A proxy to that port of 127.0.0.1; the caller ends it by toxic_stop(). */
extern Toxic *toxic_start(unsigned port);

/* Where it listens, on 127.0.0.1. */
extern unsigned toxic_port(const Toxic *toxic);

/* Gives it a command (see proxy.c), which is in force when this returns. */
extern void toxic_say(Toxic *toxic, const char *format, ...) __attribute__((format(printf, 2, 3)));

extern ToxicStats toxic_stats(Toxic *toxic);

/* Ends the proxy, and with it all of its connections. */
extern void toxic_stop(Toxic *toxic);

#endif /* ROTOR_TEST_TOXIC_H */

/*
 * traces.h - looks for a secret in all that this process can write to.
 *
 * A test that looks must not hold what it looks for: texts are masked, byte by byte, and unmasked only where
 * they are used. Servers that are told the secret must be other processes.
 */
#ifndef ROTOR_TEST_TRACES_H
#define ROTOR_TEST_TRACES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

/*
 * A sanitizer's shadow has terabytes to look through; under valgrind, of which `make check-valgrind` tells us,
 * some of what the process may write to is not to be read.
 */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CAN_LOOK_FOR_TRACES false
#else
#define CAN_LOOK_FOR_TRACES (getenv("TEST_UNDER_VALGRIND") == NULL)
#endif

/* Writes the text that is meant, ended by NUL. */
extern void unmask(const char *masked, char *to);

/* How often it stands in memory; 0 also for an empty one. */
extern size_t traces_of(const char *masked);

#endif

/*
 * process.h - what this process is to the operating system: what nobody may read, which signals count.
 */
#ifndef ROTOR_WORKER_PROCESS_H
#define ROTOR_WORKER_PROCESS_H

#include <stdbool.h>

#include "error.h"

/*
 * First of all: no core dumps, no reading of its memory by other processes of the user, no signal from a
 * closed connection.
 */
extern void process_protect(void);
/* Keeps all memory out of swap. Error: the limit does not allow it. */
extern bool process_lock_memory(RotorError *err);
/* SIGTERM, SIGINT and SIGHUP are blocked and can be read here; -1 with *err. Before threads are started. */
extern int process_signals(RotorError *err);
/* The next of them that has come; 0: none. */
extern int process_next_signal(int fd);

#endif

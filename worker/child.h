/*
 * child.h - runs a program that is not trusted with more than its input.
 *
 * The program gets three pipes and nothing else of ours: no other descriptor, no environment but PATH and LANG, default
 * signals, a session and process group of its own, / as its folder, umask 077, no core dump, no privileges by
 * set-user-id, and the kernel kills it if we die. At the deadline its whole group is ended, by SIGTERM shortly
 * before and SIGKILL then; the group also ends when the program does. What it writes on standard error is read and
 * dropped.
 *
 * Any thread may call it; SIGPIPE is ignored in this process (process.c), and nobody else waits for unknown children.
 */
#ifndef ROTOR_WORKER_CHILD_H
#define ROTOR_WORKER_CHILD_H

#include <stddef.h>

#include "deadline.h"

typedef enum ChildEnd
{
	CHILD_NOT_STARTED, /* number is an errno; the program never ran */
	CHILD_EXITED,	   /* number is its exit status */
	CHILD_SIGNALED,	   /* number is the signal that ended it */
	CHILD_TIMED_OUT
} ChildEnd;

typedef struct Child
{
	const char *const *argv; /* the first is an absolute path; ended by NULL */
	const char *input;		 /* for its standard input */
	size_t input_len;
	Deadline deadline;

	char *
		output; /* takes what it writes on standard output, as much as fits, and a NUL; the caller wipes it */
	size_t output_size; /* at least 1 */
	size_t output_len;
	int number;
} Child;

extern ChildEnd child_run(Child *child);

#endif

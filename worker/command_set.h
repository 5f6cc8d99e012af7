/*
 * command_set.h - `rotor set NAME`: a value of the user's own, which is on no command line and in no SQL; or,
 * with --from-store, the one that the secret's store has already.
 */
#ifndef ROTOR_WORKER_COMMAND_SET_H
#define ROTOR_WORKER_COMMAND_SET_H

/* argv[0] is "set"; returns the exit status: 0 done, 1 refused, 2 used wrongly. */
extern int command_set(int argc, char **argv);

#endif

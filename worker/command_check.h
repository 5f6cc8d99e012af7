/*
 * command_check.h - `rotor check`: connects to everything that is configured, and reports line by line.
 *
 * Changes nothing, save that password_file gets the value of own_secret if it has another. Targets and stores are rows of the control database that the worker's role need not read:
 * they are checked if the role that is used may (control_user names it), and told as skipped if not.
 */
#ifndef ROTOR_WORKER_COMMAND_CHECK_H
#define ROTOR_WORKER_COMMAND_CHECK_H

/* argv[0] is "check"; returns the exit status: 0 all is well, 1 something would fail, 2 used wrongly. */
extern int command_check(int argc, char **argv);

#endif

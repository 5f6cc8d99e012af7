/*
 * loop.h - the main loop of `rotor worker`: claims jobs, has them run, reports what came of them.
 *
 * One thread owns the control connection and all that is decided here; the pool's threads only run jobs.
 * What always holds: a job is held under a lease that is extended until its result was reported; what was
 * not sent is handed back; what was sent is never forgotten while its lease runs.
 */
#ifndef ROTOR_WORKER_LOOP_H
#define ROTOR_WORKER_LOOP_H

/*
 * Runs until SIGTERM or SIGINT; settings have been read. Returns the exit status: 0 after a stop that was
 * asked for, 1 if it could not start or was told to stop at once while jobs ran.
 */
extern int loop_run(void);

#endif

/*
 * request.h - a caller's order to a worker, and the answer.
 *
 * One struct and one code path: it lies in a slot of shared memory when rotor is preloaded, in a
 * dynamic segment of its own when not. It carries ids and options, never a password. Its state
 * moves by compare-and-swap only, so no lock is held by anybody:
 *
 *   FREE -> FILLING -> WAITING -> TAKEN -> DONE -> FREE         the usual way
 *                      WAITING -> FREE                          the caller left before it was taken
 *                                 TAKEN -> ABANDONED -> FREE    the caller left, the worker goes on
 */
#ifndef ROTOR_REQUEST_H
#define ROTOR_REQUEST_H

#include "port/atomics.h"

#include "catalog_emergency.h"
#include "catch_up.h"
#include "rotation.h"

typedef enum RequestState
{
	REQUEST_FREE,
	REQUEST_FILLING,
	REQUEST_WAITING,
	REQUEST_TAKEN,
	REQUEST_DONE,
	REQUEST_ABANDONED
} RequestState;

typedef enum RequestKind
{
	REQUEST_ROTATE,	  /* order says what */
	REQUEST_RUN_DUE,  /* everything that is due */
	REQUEST_EMERGENCY /* emergency says what; it is begun, not waited for */
} RequestKind;

typedef struct Request
{
	pg_atomic_uint32 state; /* RequestState */
	pg_atomic_uint32 gate;	/* RotationGate */
	uint32 generation;		/* grows with each use of the slot */
	RequestKind kind;
	Oid database;
	int caller_proc; /* number of the caller's PGPROC: whose latch to set */
	RotationOrder order;
	EmergencyOrder emergency;
	/* the answer */
	bool worker_left; /* it ended before it was done */
	RotationAnswer answer;
	int64 counts[FSM_STATUS_COUNT]; /* of REQUEST_RUN_DUE */
	pg_uuid_t emergency_id;			/* of REQUEST_EMERGENCY */
	int64 total;					/* its secrets */
} Request;

/* Shared memory: asked for and set up from _PG_init when preloading. */
extern void request_shmem_init(void);

/* True if rotor was preloaded, so that its workers and slots exist. */
extern bool request_is_preloaded(void);

/* Raises 55000 if preloaded workers serve another database than this one. */
extern void request_require_home(void);

/*
 * Has a worker carry the order (or the emergency: the other is NULL) out and waits, interruptibly.
 * Fills *result. Raises 53400 if there
 * is no worker or no slot for it, 57014 if the caller is cancelled (the DETAIL says what becomes of the rotation), 57P01 if the worker ended.
 */
extern void request_submit(RequestKind kind, const RotationOrder *order,
						   const EmergencyOrder *emergency, Request *result);

/* --- the worker's side --- */

/* A waiting request for this database, now ours; NULL if there is none. */
extern Request *request_take(void);

/* Is one waiting? */
extern bool request_is_waiting(void);

/* The request in a dynamic segment, now ours. */
extern Request *request_attach(uint32 handle);

/* Its answer is complete: tell the caller. Safe to call twice. */
extern void request_finish(Request *request);

/* This worker is there, until its process ends. */
extern void request_register_worker(void);
extern int request_worker_count(void);
/* True in a preloaded worker. */
extern bool request_am_worker(void);

/* The pace of what was missed, common to the preloaded workers; NULL when not preloaded. */
extern CatchUp *request_catch_up(void);

/* Wakes the preloaded workers; safe after a commit. No-op when not preloaded. */
extern void request_wake_workers(void);

/*
 * Changes with each request_wake_workers(): tells a worker that it was woken while it worked, when
 * whatever it waited for there (a login, a lock) has reset its latch.
 */
extern uint32 request_wake_ups(void);

/*
 * Asks the workers to leave the home database, because somebody needs it to be empty, until
 * request_let_return(), or a few seconds if that is never called. request_should_leave() is the
 * worker's side.
 */
extern void request_ask_to_leave(void);
extern void request_let_return(void);
extern bool request_should_leave(void);

#endif

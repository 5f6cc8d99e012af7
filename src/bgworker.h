/*
 * bgworker.h - rotor's processes: preloaded workers, and one-shot workers where it is not.
 */
#ifndef ROTOR_BGWORKER_H
#define ROTOR_BGWORKER_H

#include "postmaster/bgworker.h"

/* Registers rotor.workers workers; from _PG_init when preloading. */
extern void bgworker_register(void);

/* Starts a worker for the request in that segment; false if there is no free place for it. */
extern bool bgworker_start_one_shot(uint32 segment, BackgroundWorkerHandle **handle);

#endif

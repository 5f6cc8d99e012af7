/*
 * registry.h - the names of the kinds of stores and targets that are compiled in, for rotor.claim().
 *
 * store_find() and target_find() of registry.c are declared beside what they find, in store.h and target.h.
 */
#ifndef ROTOR_WORKER_REGISTRY_H
#define ROTOR_WORKER_REGISTRY_H

#include <stdbool.h>
#include <stddef.h>

#define REGISTRY_TYPES_SIZE 256

/* Joined by commas, cut to fit. */
extern void registry_store_types(char *out, size_t size);
extern void registry_target_types(bool with_commands, char *out, size_t size);
/* Whether a worker would have it among its types. */
extern bool registry_serves_target(const char *type, bool with_commands);

#endif

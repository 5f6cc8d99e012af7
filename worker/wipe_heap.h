/*
 * wipe_heap.h - a heap whose blocks are wiped when they are given back.
 *
 * libcurl copies what passes through it, passwords and tokens included, into blocks of its own and frees
 * those without wiping. http_client_init() makes it use these functions instead, so that the rule "every
 * buffer that held a secret is wiped" holds for its blocks too. (job.c does the same to cJSON.)
 */
#ifndef ROTOR_WORKER_WIPE_HEAP_H
#define ROTOR_WORKER_WIPE_HEAP_H

#include <stddef.h>

/* As in the C library; what they give may be freed by either free(), but only wipe_free() wipes. */
extern void *wipe_malloc(size_t size);
extern void *wipe_calloc(size_t count, size_t size);
extern void *wipe_realloc(void *block, size_t size);
extern char *wipe_strdup(const char *text);
extern void wipe_free(void *block);

#endif

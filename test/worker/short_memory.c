/*
 * short_memory.c - one allocation of cJSON's that fails; see short_memory.h.
 */
#include "short_memory.h"

#include <errno.h>
#include <stdlib.h>

#include <cjson/cJSON.h>

#include "wipe_heap.h"

static int left;

static void *
allocate(size_t size)
{
	if (--left != 0)
		return malloc(size);
	errno = ENOMEM;
	return NULL;
}

void
short_memory_at(int number)
{
	cJSON_Hooks hooks = {.malloc_fn = allocate, .free_fn = wipe_free};

	left = number;
	cJSON_InitHooks(&hooks);
}

bool
short_memory_end(void)
{
	/* As job.c has them. */
	cJSON_Hooks hooks = {.malloc_fn = malloc, .free_fn = wipe_free};

	cJSON_InitHooks(&hooks);
	return left <= 0;
}

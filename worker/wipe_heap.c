/*
 * wipe_heap.c - a heap whose blocks are wiped when they are given back; see wipe_heap.h.
 */
#include "wipe_heap.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "secret_buf.h"

void *
wipe_malloc(size_t size)
{
	return malloc(size);
}

void *
wipe_calloc(size_t count, size_t size)
{
	return calloc(count, size);
}

/* Never realloc(): where that moves a block, the old one stays behind as it was. */
void *
wipe_realloc(void *block, size_t size)
{
	size_t held = block != NULL ? malloc_usable_size(block) : 0;
	void *moved;

	if (block != NULL && size > 0 && size <= held && size >= held / 2)
		return block;
	moved = malloc(size > 0 ? size : 1);
	if (moved == NULL)
		return NULL;
	if (block != NULL)
		memcpy(moved, block, held < size ? held : size);
	wipe_free(block);
	return moved;
}

char *
wipe_strdup(const char *text)
{
	return strdup(text);
}

void
wipe_free(void *block)
{
	if (block != NULL)
		secret_wipe(block, malloc_usable_size(block));
	free(block);
}

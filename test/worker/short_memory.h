/*
 * short_memory.h - one allocation of cJSON's that fails, as under a limit of memory.
 */
#ifndef ROTOR_TEST_SHORT_MEMORY_H
#define ROTOR_TEST_SHORT_MEMORY_H

#include <stdbool.h>

/* The allocation of that number, from 1, gets nothing; those after it are as ever. */
extern void short_memory_at(int number);

/* All is as ever; true if it came to that allocation. */
extern bool short_memory_end(void);

#endif

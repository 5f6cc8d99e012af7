/*
 * registry.c - the kinds of stores and targets that are compiled in, one per line.
 *
 * Tests that have fakes define the two functions themselves and do without this file.
 */
#include <string.h>

#include "store.h"
#include "target.h"

static const StoreClass *const stores[] = {
	&store_aws,
	&store_file,
	&store_vault,
	NULL,
};

static const TargetClass *const targets[] = {
	&target_postgres,
	NULL,
};

const StoreClass *
store_find(const char *type)
{
	for (const StoreClass *const *store = stores; *store != NULL; store++)
	{
		if (strcmp((*store)->type, type) == 0)
			return *store;
	}
	return NULL;
}

const TargetClass *
target_find(const char *type)
{
	for (const TargetClass *const *target = targets; *target != NULL; target++)
	{
		if (strcmp((*target)->type, type) == 0)
			return *target;
	}
	return NULL;
}

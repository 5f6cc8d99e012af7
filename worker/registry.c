/*
 * registry.c - the kinds of stores and targets that are compiled in, one per line.
 *
 * Tests that have fakes define the two functions themselves and do without this file.
 */
#include "registry.h"

#include <stdio.h>
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
	&target_command, &target_http, &target_mysql, &target_postgres, NULL,
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

void
registry_store_types(char *out, size_t size)
{
	size_t used = 0;

	out[0] = '\0';
	for (size_t i = 0; stores[i] != NULL && used < size; i++)
		used +=
			(size_t) snprintf(out + used, size - used, "%s%s", i > 0 ? "," : "", stores[i]->type);
}

bool
registry_serves_target(const char *type, bool with_commands)
{
	const TargetClass *target = target_find(type);

	return target != NULL && (target != &target_command || with_commands);
}

void
registry_target_types(bool with_commands, char *out, size_t size)
{
	size_t used = 0;

	out[0] = '\0';
	for (size_t i = 0; targets[i] != NULL && used < size; i++)
	{
		if (!registry_serves_target(targets[i]->type, with_commands))
			continue;
		used += (size_t) snprintf(out + used, size - used, "%s%s", used > 0 ? "," : "",
								  targets[i]->type);
	}
}

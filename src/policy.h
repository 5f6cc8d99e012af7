/*
 * policy.h - what a policy generates, and whether its settings can be obeyed.
 */
#ifndef ROTOR_POLICY_H
#define ROTOR_POLICY_H

#include "secret_buf.h"
#include "types.h"

/* A new value as the policy says, into *value, which the caller wipes. Raises 22023. */
extern void policy_generate(const Policy *policy, SecretBuf *value);

/*
 * Raises 22023 for settings that contradict each other, 0A000 for what does not exist yet: type,
 * length, classes, exclusions, a verification query that is not one SELECT.
 */
extern void policy_check(const Policy *policy, const char *strategy);

/* 0A000 for one that does not exist yet, 22023 for anything else that is none. */
extern Strategy policy_strategy_of(const char *name);
/* As it stands in the catalog; static memory. */
extern const char *policy_strategy_name(Strategy strategy);

#endif

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
 * Raises 22023 for settings that contradict each other or make no sense: type, strategy, length, classes,
 * exclusions, a verification query that is not one SELECT.
 */
extern void policy_check(const Policy *policy, const char *strategy);

/* 22023 if there is none of that name. */
extern Strategy policy_strategy_of(const char *name);
/* As it stands in the catalog; static memory. */
extern const char *policy_strategy_name(Strategy strategy);

/* Raises 0A000 if the policy's strategy cannot be followed at a target of that type. */
extern void policy_require_possible(const Policy *policy, const char *target_type);

#endif

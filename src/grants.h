/*
 * grants.h - rights of roles on single secrets, with the USAGE and EXECUTE that go with them.
 *
 * In SPI, as superuser; the caller checked who asks. What a role had by somebody's own GRANT before
 * is never taken back.
 */
#ifndef ROTOR_GRANTS_H
#define ROTOR_GRANTS_H

#include "access.h"

/* Gives role the right, and what EXECUTE and USAGE it needs; false if it had the right already. */
extern bool grants_give(int64 secret_id, Oid role, Privilege privilege, const char *by);

/* Takes the right, and what no other right needs; false if role has it not. Role may be gone. */
extern bool grants_take(int64 secret_id, Oid role, Privilege privilege);

/* {"role": ..., "privilege": ...} for the audit; palloc'd. */
extern char *grants_detail(const char *role, const char *privilege);

#endif

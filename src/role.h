/*
 * role.h - the role itself: its lock, its verifier, password checks.
 *
 * The only place that changes a role. Runs in the worker, as superuser, inside a transaction. The
 * plaintext is seen by the server's password check hook alone: ALTER ROLE gets the verifier.
 */
#ifndef ROTOR_ROLE_H
#define ROTOR_ROLE_H

#include "secret_buf.h"
#include "types.h"

/*
 * Takes the role's lock for this process, across transactions and databases: two rotations exclude
 * one another, and DROP ROLE waits. With wait, up to lock_timeout (then 55P03); without, false if
 * somebody holds it.
 */
extern bool role_lock(Oid role, bool wait);
extern void role_unlock(Oid role);

/* The same for a secret whose account is not a role of this cluster. */
extern bool secret_lock(int64 secret_id, bool wait);
extern void secret_unlock(int64 secret_id);

/*
 * Gives up every role lock of this process, which is ending: the server itself forgets those of a
 * process that dies outside of a transaction.
 */
extern void role_unlock_all(void);

/* SHA-256 of a verifier; NULL, for a role without a password, has the fingerprint of "". */
extern void role_fingerprint(const char *verifier, uint8_t out[FINGERPRINT_LEN]);

/*
 * Lets the server's check_password_hook judge the plaintext as ALTER ROLE would. False, with
 * *failure filled, if it refuses; anything else it raises (out of memory, cancelled) goes through.
 */
extern bool role_judge(const char *name, const SecretBuf *password, bool has_valid_until,
					   TimestampTz valid_until, Failure *failure);

/*
 * Gives the role a verifier, which then stands in pg_authid as it is: ALTER ROLE through
 * ProcessUtility, with a built node and a redacted text, so that every hook sees the event and none
 * sees a value. valid_until NULL: VALID UNTIL is left alone. check_password_hook is set aside for
 * the call: it has judged the plaintext already, and some modules refuse verifiers as such. A
 * role that cannot log in gets LOGIN too.
 */
extern void
role_alter(const RoleState *state, const char *verifier, const TimestampTz *valid_until);

/*
 * Gives the role state's verifier (or none) and VALID UNTIL (or none) back, byte for byte, whatever
 * form they have, in the same way; and NOLOGIN, if it had that.
 */
extern void role_restore(const RoleState *state);

/* ALTER ROLE ... NOLOGIN, as every hook sees it. */
extern void role_lock_out(const char *name);

/* In-process check of password against the role's verifier, VALID UNTIL included. */
extern bool role_accepts(const char *name, const SecretBuf *password);

#endif

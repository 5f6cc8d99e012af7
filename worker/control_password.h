/*
 * control_password.h - the password for the control database: from where it is read, and how it is kept.
 *
 * It is that of password_file, or of PGPASSWORD as it was at the start. If own_secret is set, its value
 * as last seen is kept too, for the time when the file could not be written. Called by control_db.c.
 */
#ifndef ROTOR_WORKER_CONTROL_PASSWORD_H
#define ROTOR_WORKER_CONTROL_PASSWORD_H

#include <stdbool.h>

#include "job.h"
#include "secret_buf.h"

typedef struct ControlPassword
{
	SecretBuf own;				 /* of own_secret; empty: not seen yet */
	char own_version[UUID_SIZE]; /* of that value */
	bool prefers_own;			 /* the other one was refused */
} ControlPassword;

/* Once a process: takes PGPASSWORD out of the environment. */
extern void control_password_init(void);
/* The one to try now; empty if there is none. Error: the file cannot be read, or others can read it. */
extern bool control_password_get(const ControlPassword *password, SecretBuf *out, RotorError *err);
/* The server did not take it. */
extern void control_password_was_refused(ControlPassword *password, const SecretBuf *refused);
/* The version of own_secret that was seen last; empty if none was. */
extern const char *control_password_version(const ControlPassword *password);
/* Keeps a new value of own_secret, and writes password_file if there is one. Error: that was not possible. */
extern bool control_password_keep(ControlPassword *password, const char *version, const char *value,
								  RotorError *err);
extern void control_password_wipe(ControlPassword *password);

#endif

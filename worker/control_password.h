/*
 * control_password.h - the password for the control database: from where it is read, and how it is kept.
 *
 * It is that of password_file, or of PGPASSWORD as it was at the start. If own_secret is set, its value
 * as last seen is kept too, for the time when the file could not be written. Called by control_db.c.
 */
#ifndef ROTOR_WORKER_CONTROL_PASSWORD_H
#define ROTOR_WORKER_CONTROL_PASSWORD_H

#include <stdbool.h>

#include "deadline.h"
#include "job.h"
#include "secret_buf.h"

typedef struct ControlPassword
{
	SecretBuf own;				 /* of own_secret; empty: not seen yet */
	char own_version[UUID_SIZE]; /* of that value */
	bool prefers_own;			 /* the other one was refused */
	bool file_is_stale;			 /* password_file has another value than own, as far as we know */
	char failure
		[ERROR_TEXT_SIZE]; /* why it could not be written, as was told; empty: it was not tried */
	Deadline tell_again;
} ControlPassword;

/* Once a process: takes PGPASSWORD out of the environment. */
extern void control_password_init(void);
/*
 * The one to try now; empty if there is none. Error: the file cannot be read, or others can read it, and no value of
 * own_secret has been seen that could stand in.
 */
extern bool control_password_get(const ControlPassword *password, SecretBuf *out, RotorError *err);
/* The server did not take it. */
extern void control_password_was_refused(ControlPassword *password, const SecretBuf *refused);
/* The version of own_secret that was seen last; empty if none was. */
extern const char *control_password_version(const ControlPassword *password);
/* Keeps a new value of own_secret; control_password_save() is to follow. Error: it is too long. */
extern bool control_password_keep(ControlPassword *password, const char *version, const char *value,
								  RotorError *err);
/* Whether control_password_save() has something to do. */
extern bool control_password_is_unsaved(const ControlPassword *password);
/*
 * Writes the value to password_file. Error: that was not possible; the next call tries again. *is_news: the error is
 * another one than before, or was told long ago.
 */
extern bool control_password_save(ControlPassword *password, bool *is_news, RotorError *err);
extern void control_password_wipe(ControlPassword *password);

#endif

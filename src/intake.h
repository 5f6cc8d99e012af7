/*
 * intake.h - a value that comes from outside, without ever standing in SQL text or a parameter.
 *
 * A session asks for a certificate, whose private key exists in its own server process only and dies
 * with it; who has the value wraps it for that certificate (common/envelope.h, or `openssl cms
 * -encrypt`), and passes the envelope. Called by functions_intake.c.
 */
#ifndef ROTOR_INTAKE_H
#define ROTOR_INTAKE_H

#include "secret_buf.h"

/* The session's certificate, PEM, palloc'd; made at its first use, and anew after half a day. */
extern char *intake_certificate(void);

/*
 * Opens an envelope for that certificate into *value, which the caller wipes. 55000 if the session has
 * none; 22023 if it is no envelope, not for it, or holds too much.
 */
extern void intake_open(const char *envelope, size_t len, SecretBuf *value);

#endif

/*
 * envelope.h
 *		Wraps a secret text for the owner of an X.509 certificate and opens it with the
 *		private key: CMS AuthEnvelopedData (RFC 5083) with AES-256-GCM, in PEM, which
 *		`openssl cms -decrypt -inform PEM` opens too.
 *
 * The certificate's key is RSA (OAEP with SHA-256) or on an elliptic curve (ECDH), of at
 * least 112 bits of strength (RSA 2048).  An envelope says nothing of who made it: anybody
 * with the certificate can.
 *
 * What always holds: the plain text lies in the caller's buffers only, apart from the
 * block that the cipher is at; an envelope that was altered is not opened in part; no error
 * holds anything of what is inside.
 *
 * Called by the extension's functions for disaster recovery.
 */
#ifndef ROTOR_COMMON_ENVELOPE_H
#define ROTOR_COMMON_ENVELOPE_H

#include <stdbool.h>
#include <stddef.h>

#include "error.h"

/* The longest envelope, certificate or private key that is read, and the longest that is written. */
#define ENVELOPE_MAX_SIZE 262144

/* Whom an envelope is for. */
typedef struct EnvelopeRecipient
{
	char subject[256];	  /* RFC 2253, ASCII; cut if it is longer */
	char fingerprint[65]; /* SHA-256 of the certificate, lower-case hexadecimal */
} EnvelopeRecipient;

/*
 * Wraps len bytes of plain for the one certificate in PEM that is given and writes the
 * envelope, NUL-terminated, to out (ENVELOPE_MAX_SIZE suffices for plain of up to 128 kB);
 * *out_len is its length without the NUL.  *recipient may be NULL.
 * Errors: ARGUMENT if there is no certificate, more than one, or one that is not valid now,
 * too weak, or of a kind of key that CMS has no use for; SPACE; CRYPTO.
 */
extern bool envelope_seal(const char *certificate, size_t certificate_len, const void *plain,
						  size_t len, char *out, size_t out_size, size_t *out_len,
						  EnvelopeRecipient *recipient, RotorError *err);

/*
 * Opens an envelope with a private key, in PEM and without a passphrase, and writes what was
 * wrapped to out; the caller wipes out after use.
 * Errors: ARGUMENT if envelope or key is not one; AUTHENTICATION if the key is not that of
 * the recipient or the envelope was altered; SPACE if it does not fit; CRYPTO.  out is then
 * wiped.
 */
extern bool
envelope_open(const char *envelope, size_t envelope_len, const char *private_key,
			  size_t private_key_len, void *out, size_t out_size, size_t *out_len, RotorError *err);

#endif /* ROTOR_COMMON_ENVELOPE_H */

/*
 * intake.c - see intake.h.
 */
#include "postgres.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "compat.h"
#include "envelope.h"
#include "intake.h"
#include "keyring.h"
#include "report.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define VALID_SECONDS	 86400
#define PRIVATE_KEY_SIZE 2048 /* of a P-256 key in PEM: a few hundred bytes */

/* The session's own pair; empty until it is asked for. */
static char private_key[PRIVATE_KEY_SIZE];
static size_t private_key_len = 0;
static char *certificate = NULL;
static TimestampTz made_at;

static void crypto_failed(const char *what) ROTOR_NORETURN;

static void
crypto_failed(const char *what)
{
	RotorError err;

	(void) error_set_crypto(&err, what);
	report_raise(&err);
}

/* What is written to the BIO, as a string in the session's memory. */
static char *
text_of(BIO *bio)
{
	char *data;
	long len = BIO_get_mem_data(bio, &data);
	char *text = MemoryContextAllocZero(TopMemoryContext, (Size) len + 1);

	memcpy(text, data, (size_t) len);
	return text;
}

static bool
keep_private_key(EVP_PKEY *key)
{
	BIO *bio = BIO_new(BIO_s_secmem());
	char *data;
	long len;
	bool kept = bio != NULL && PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1 &&
				(len = BIO_get_mem_data(bio, &data)) > 0 && len < PRIVATE_KEY_SIZE;

	if (kept)
	{
		memcpy(private_key, data, (size_t) len);
		private_key_len = (size_t) len;
		secret_wipe(data, (size_t) len);
	}
	BIO_free(bio);
	return kept;
}

/* Signs itself: it is handed over on the session's own connection, which vouches for it. */
static bool
fill_certificate(X509 *x509, EVP_PKEY *key)
{
	X509_NAME *name = X509_get_subject_name(x509);

	return X509_set_version(x509, 2) == 1 &&
		   ASN1_INTEGER_set(X509_get_serialNumber(x509), 1) == 1 &&
		   X509_gmtime_adj(X509_getm_notBefore(x509), -300) != NULL &&
		   X509_gmtime_adj(X509_getm_notAfter(x509), VALID_SECONDS) != NULL &&
		   X509_set_pubkey(x509, key) == 1 &&
		   X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
									  (const unsigned char *) "rotor intake", -1, -1, 0) == 1 &&
		   X509_set_issuer_name(x509, name) == 1 && X509_sign(x509, key, EVP_sha256()) > 0;
}

static void
make_pair(void)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x509 = X509_new();
	BIO *bio = BIO_new(BIO_s_mem());
	bool made = key != NULL && x509 != NULL && bio != NULL && fill_certificate(x509, key) &&
				PEM_write_bio_X509(bio, x509) == 1 && keep_private_key(key);

	if (made)
	{
		if (certificate != NULL)
			pfree(certificate);
		certificate = text_of(bio);
		made_at = GetCurrentTimestamp();
	}
	BIO_free(bio);
	X509_free(x509);
	EVP_PKEY_free(key);
	if (!made)
		crypto_failed("make a certificate");
}

char *
intake_certificate(void)
{
	/* Whoever gets it has half of its life left to use it. */
	if (certificate == NULL ||
		TimestampDifferenceExceeds(made_at, GetCurrentTimestamp(), VALID_SECONDS * 1000 / 2))
	{
		keyring_protect_process();
		make_pair();
	}
	return pstrdup(certificate);
}

void
intake_open(const char *envelope, size_t len, SecretBuf *value)
{
	RotorError err;

	if (certificate == NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("this session has no certificate for an envelope"),
						errhint("Call rotor.intake_certificate() first, in this session.")));
	secret_buf_wipe(value);
	if (!envelope_open(envelope, len, private_key, private_key_len, value->data,
					   SECRET_BUF_CAPACITY, &value->len, &err))
	{
		value->len = 0;
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("the envelope cannot be opened: %s", err.message),
						errhint("Wrap the value, of at most %d bytes, for what "
								"rotor.intake_certificate() returns in this very session.",
								SECRET_BUF_CAPACITY)));
	}
	value->data[value->len] = '\0';
}

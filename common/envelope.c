/*
 * envelope.c
 *		CMS envelopes; see envelope.h.
 *
 * CMS_encrypt() and CMS_decrypt() are not used: they copy the plain text through buffers
 * that they do not wipe.
 */
#include "envelope.h"

#include <string.h>

#include <openssl/pem.h> /* before cms.h, which declares more then */

#include <openssl/cms.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/objects.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "codec.h"
#include "secret_buf.h"

#define MIN_STRENGTH 112 /* bits: RSA of 2048 has so many */

/* Nobody is there to be asked. */
static int
/* NOLINTNEXTLINE(readability-non-const-parameter): OpenSSL's type of such a function. */
no_passphrase(char *out, int size, int writing, void *arg)
{
	(void) out;
	(void) size;
	(void) writing;
	(void) arg;
	return -1;
}

/* A reader of len bytes at data, which are not copied; NULL, with *err filled, if they are too many. */
static BIO *
reader(const char *data, size_t len, const char *what, RotorError *err)
{
	BIO *bio;

	if (len > ENVELOPE_MAX_SIZE)
	{
		(void) error_set(err, ROTOR_ERROR_ARGUMENT, "%s of %zu bytes is longer than %d", what, len,
						 ENVELOPE_MAX_SIZE);
		(void) error_hint(err, "Pass one, in PEM, and nothing else.");
		return NULL;
	}
	bio = BIO_new_mem_buf(len > 0 ? data : "", (int) len);
	if (bio == NULL)
		(void) error_set_crypto(err, "read what was passed");
	return bio;
}

/* --- the certificate --- */

/* The one certificate of the text; NULL, with *err filled, if there is none, or more. */
static X509 *
read_certificate(const char *text, size_t len, RotorError *err)
{
	BIO *bio = reader(text, len, "certificate", err);
	X509 *certificate;
	X509 *another;

	if (bio == NULL)
		return NULL;
	certificate = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL);
	another = certificate != NULL ? PEM_read_bio_X509(bio, NULL, no_passphrase, NULL) : NULL;
	BIO_free(bio);
	ERR_clear_error(); /* the end of the text is one */
	if (certificate == NULL)
	{
		(void) error_set(err, ROTOR_ERROR_ARGUMENT, "this is no X.509 certificate in PEM");
		(void) error_hint(err, "Pass the text from BEGIN CERTIFICATE to END CERTIFICATE.");
	}
	else if (another != NULL)
	{
		(void) error_set(err, ROTOR_ERROR_ARGUMENT, "there is more than one certificate");
		(void) error_hint(err, "Pass that of the recipient alone, without those that signed it.");
		X509_free(certificate);
		certificate = NULL;
	}
	X509_free(another);
	return certificate;
}

/* Does somebody have the private key for years, and is it strong enough to wait for them? */
static bool
check_certificate(const X509 *certificate, RotorError *err)
{
	EVP_PKEY *key = X509_get0_pubkey(certificate);
	int type = key != NULL ? EVP_PKEY_get_base_id(key) : EVP_PKEY_NONE;

	if (X509_cmp_current_time(X509_get0_notBefore(certificate)) >= 0)
	{
		(void) error_set(err, ROTOR_ERROR_ARGUMENT, "the certificate is not valid yet");
		return error_hint(err, "Look at the clocks of this machine and of its maker.");
	}
	if (X509_cmp_current_time(X509_get0_notAfter(certificate)) <= 0)
	{
		(void) error_set(err, ROTOR_ERROR_ARGUMENT, "the certificate has expired");
		(void) error_detail(err, "Its private key may not be kept any more.");
		return error_hint(err, "Make a new certificate whose private key is kept.");
	}
	if (type != EVP_PKEY_RSA && type != EVP_PKEY_EC)
	{
		ERR_clear_error();
		(void) error_set(err, ROTOR_ERROR_ARGUMENT, "the certificate's key is of another kind");
		return error_hint(err, "Make a certificate for an RSA or an elliptic curve key.");
	}
	if (EVP_PKEY_get_security_bits(key) < MIN_STRENGTH)
	{
		(void) error_set(err, ROTOR_ERROR_ARGUMENT, "the certificate's key of %d bits is too weak",
						 EVP_PKEY_get_bits(key));
		return error_hint(err, "Use RSA with 2048 bits or more, or a curve such as P-256.");
	}
	return true;
}

static bool
describe(const X509 *certificate, EnvelopeRecipient *recipient, RotorError *err)
{
	BIO *bio = BIO_new(BIO_s_mem());
	uint8_t digest[32];
	unsigned int digest_len = sizeof(digest);
	int len = -1;

	memset(recipient, 0, sizeof(*recipient));
	if (bio != NULL &&
		X509_NAME_print_ex(bio, X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253) >= 0)
		len = BIO_read(bio, recipient->subject, sizeof(recipient->subject) - 1);
	BIO_free(bio);
	/* An empty name has nothing to read. */
	if (len < 0)
		recipient->subject[0] = '\0';
	if (X509_digest(certificate, EVP_sha256(), digest, &digest_len) != 1)
		return error_set_crypto(err, "make the fingerprint of the certificate");
	return codec_hex_encode(digest, sizeof(digest), recipient->fingerprint,
							sizeof(recipient->fingerprint), err);
}

/* --- sealing --- */

/* Adds the recipient; the defaults would be PKCS #1 v1.5 for RSA, SHA-1 for a curve. */
static bool
add_recipient(CMS_ContentInfo *cms, X509 *certificate)
{
	CMS_RecipientInfo *recipient = CMS_add1_recipient_cert(cms, certificate, CMS_KEY_PARAM);
	EVP_PKEY_CTX *ctx = recipient != NULL ? CMS_RecipientInfo_get0_pkey_ctx(recipient) : NULL;

	if (ctx == NULL)
		return false;
	if (EVP_PKEY_get_base_id(X509_get0_pubkey(certificate)) == EVP_PKEY_RSA)
		return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) > 0 &&
			   EVP_PKEY_CTX_set_rsa_oaep_md(ctx, EVP_sha256()) > 0;
	return EVP_PKEY_CTX_set_ecdh_kdf_md(ctx, EVP_sha256()) > 0;
}

static bool
write_content(CMS_ContentInfo *cms, const void *plain, size_t len)
{
	BIO *bio = CMS_set_detached(cms, 0) ? CMS_dataInit(cms, NULL) : NULL;
	bool ok = bio != NULL && (len == 0 || BIO_write(bio, plain, (int) len) == (int) len) &&
			  BIO_flush(bio) == 1 && CMS_dataFinal(cms, bio) == 1;

	BIO_free_all(bio);
	return ok;
}

/* Writes the PEM of cms to out. */
static bool
write_envelope(CMS_ContentInfo *cms, char *out, size_t out_size, size_t *out_len, RotorError *err)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *data = NULL;
	long len = 0;
	bool ok;

	if (bio != NULL && PEM_write_bio_CMS(bio, cms) == 1)
		len = BIO_get_mem_data(bio, &data);
	if (len <= 0)
		ok = error_set_crypto(err, "write the envelope");
	else if ((size_t) len >= out_size)
		ok = error_set(err, ROTOR_ERROR_SPACE, "the envelope does not fit %zu bytes", out_size);
	else
	{
		memcpy(out, data, (size_t) len);
		out[len] = '\0';
		*out_len = (size_t) len;
		ok = true;
	}
	BIO_free(bio);
	return ok;
}

bool
envelope_seal(const char *certificate, size_t certificate_len, const void *plain, size_t len,
			  char *out, size_t out_size, size_t *out_len, EnvelopeRecipient *recipient,
			  RotorError *err)
{
	X509 *x509;
	CMS_ContentInfo *cms = NULL;
	EnvelopeRecipient described;
	bool ok = false;

	*out_len = 0;
	if (len > ENVELOPE_MAX_SIZE)
		return error_set(err, ROTOR_ERROR_SPACE, "a text of %zu bytes is too long to wrap", len);
	x509 = read_certificate(certificate, certificate_len, err);
	if (x509 == NULL)
		return false;
	if (!check_certificate(x509, err) || !describe(x509, &described, err))
		goto cleanup;
	cms = CMS_AuthEnvelopedData_create(EVP_aes_256_gcm());
	if (cms == NULL || !add_recipient(cms, x509) || !write_content(cms, plain, len))
	{
		(void) error_set_crypto(err, "wrap for this certificate");
		goto cleanup;
	}
	ok = write_envelope(cms, out, out_size, out_len, err);
	if (ok && recipient != NULL)
		*recipient = described;
cleanup:
	CMS_ContentInfo_free(cms);
	X509_free(x509);
	return ok;
}

/* --- opening --- */

static CMS_ContentInfo *
read_envelope(const char *text, size_t len, RotorError *err)
{
	BIO *bio = reader(text, len, "envelope", err);
	CMS_ContentInfo *cms;

	if (bio == NULL)
		return NULL;
	cms = PEM_read_bio_CMS(bio, NULL, no_passphrase, NULL);
	BIO_free(bio);
	ERR_clear_error();
	if (cms != NULL && OBJ_obj2nid(CMS_get0_type(cms)) == NID_id_smime_ct_authEnvelopedData)
		return cms;
	(void) error_set(err, ROTOR_ERROR_ARGUMENT,
					 cms == NULL ? "this is no CMS envelope in PEM"
								 : "this CMS message is no authenticated envelope");
	(void) error_hint(err, "Pass the text from BEGIN CMS to END CMS, as it was made.");
	CMS_ContentInfo_free(cms);
	return NULL;
}

static EVP_PKEY *
read_private_key(const char *text, size_t len, RotorError *err)
{
	BIO *bio = reader(text, len, "private key", err);
	EVP_PKEY *key;

	if (bio == NULL)
		return NULL;
	key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
	BIO_free(bio);
	ERR_clear_error();
	if (key == NULL)
	{
		(void) error_set(err, ROTOR_ERROR_ARGUMENT, "this is no private key in PEM");
		(void) error_hint(err,
						  "It must not have a passphrase; \"openssl pkey\" writes it without.");
	}
	return key;
}

/* Reads all of the content, at most out_size bytes; true only if its tag is right. */
static bool
read_content(CMS_ContentInfo *cms, char *out, size_t out_size, size_t *out_len, RotorError *err)
{
	BIO *bio = CMS_dataInit(cms, NULL);
	size_t done = 0;
	int n = -1;
	bool ok = false;

	while (bio != NULL && done < out_size &&
		   (n = BIO_read(bio, out + done, (int) (out_size - done))) > 0)
		done += (size_t) n;
	if (bio != NULL && done == out_size)
	{
		char more;

		n = BIO_read(bio, &more, 1);
		secret_wipe(&more, sizeof(more));
	}
	if (n > 0)
	{
		(void) error_set(err, ROTOR_ERROR_SPACE, "what is wrapped does not fit %zu bytes",
						 out_size);
		(void) error_hint(err, "Is it what was meant? Key files are smaller.");
	}
	else if (bio == NULL || n < 0 || BIO_get_cipher_status(bio) <= 0)
	{
		(void) error_set(err, ROTOR_ERROR_AUTHENTICATION,
						 "the envelope does not open with this private key");
		(void) error_detail(err, "It is for another recipient, or it was altered.");
		(void) error_hint(err, "Pass the private key of the certificate that it was made for.");
	}
	else
	{
		*out_len = done;
		ok = true;
	}
	BIO_free_all(bio);
	ERR_clear_error();
	return ok;
}

/* Takes the content's key out of what a recipient was sent; whether it is the right one shows later. */
static void
unlock_for(CMS_ContentInfo *cms, CMS_RecipientInfo *recipient, EVP_PKEY *key)
{
	bool done = false;

	if (CMS_RecipientInfo_type(recipient) == CMS_RECIPINFO_TRANS)
	{
		/* With a wrong key it may go on with a random one, so that nobody learns why it fails. */
		if (EVP_PKEY_up_ref(key) && CMS_RecipientInfo_set0_pkey(recipient, key))
			(void) CMS_RecipientInfo_decrypt(cms, recipient);
		return;
	}
	if (CMS_RecipientInfo_type(recipient) != CMS_RECIPINFO_AGREE)
		return;
	for (int i = 0;
		 i < sk_CMS_RecipientEncryptedKey_num(CMS_RecipientInfo_kari_get0_reks(recipient)) && !done;
		 i++)
	{
		(void) CMS_RecipientInfo_kari_set0_pkey(recipient, key);
		done =
			CMS_RecipientInfo_kari_decrypt(cms, recipient,
										   sk_CMS_RecipientEncryptedKey_value(
											   CMS_RecipientInfo_kari_get0_reks(recipient), i)) > 0;
		(void) CMS_RecipientInfo_kari_set0_pkey(recipient, NULL);
	}
}

/* As the recipient of that number; on a message of its own, for an attempt leaves its traces. */
static bool
open_as(int number, const char *envelope, size_t envelope_len, EVP_PKEY *key, void *out,
		size_t out_size, size_t *out_len, RotorError *err)
{
	CMS_ContentInfo *cms = read_envelope(envelope, envelope_len, err);
	bool ok;

	if (cms == NULL)
		return false;
	unlock_for(cms, sk_CMS_RecipientInfo_value(CMS_get0_RecipientInfos(cms), number), key);
	ok = read_content(cms, out, out_size, out_len, err);
	CMS_ContentInfo_free(cms);
	return ok;
}

/*
 * The recipients are tried one by one until the tag says that it was the right one:
 * CMS_decrypt_set1_pkey() without a certificate tries all, and goes on with what the last one gave.
 */
bool
envelope_open(const char *envelope, size_t envelope_len, const char *private_key,
			  size_t private_key_len, void *out, size_t out_size, size_t *out_len, RotorError *err)
{
	CMS_ContentInfo *cms;
	EVP_PKEY *key;
	RotorError last;
	int count;
	bool ok = false;

	*out_len = 0;
	cms = read_envelope(envelope, envelope_len, err);
	if (cms == NULL)
		return false;
	count = sk_CMS_RecipientInfo_num(CMS_get0_RecipientInfos(cms));
	CMS_ContentInfo_free(cms);
	key = read_private_key(private_key, private_key_len, err);
	if (key != NULL)
	{
		(void) error_set(&last, ROTOR_ERROR_AUTHENTICATION, "the envelope is for nobody");
		for (int i = 0; i < count && !ok; i++)
			ok = open_as(i, envelope, envelope_len, key, out, out_size, out_len, &last);
		if (!ok)
			*err = last;
	}
	if (!ok)
		secret_wipe(out, out_size);
	EVP_PKEY_free(key);
	return ok;
}

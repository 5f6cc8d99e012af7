/*
 * test_envelope.c
 *		Tests of common/envelope.c.
 */
#include "support.h"

#include <stdlib.h>

#include <openssl/pem.h>

#include <openssl/cms.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "envelope.h"

#define TEXT_MAX 65536

/* A key pair and its certificate, in PEM. */
typedef struct Person
{
	char certificate[8192];
	char private_key[8192];
	EVP_PKEY *key;
	X509 *x509;
} Person;

static Person rsa;
static Person other;
static Person curve;

static char envelope[ENVELOPE_MAX_SIZE + 2];
static size_t envelope_len;
static char opened[TEXT_MAX];
static size_t opened_len;

static const char plain[] = "a:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n";

static void
take_pem(BIO *bio, char *out, size_t size)
{
	int len = BIO_read(bio, out, (int) size - 1);

	assert_true(len > 0 && (size_t) len < size - 1);
	out[len] = '\0';
	BIO_free(bio);
}

/* The certificate of key, valid from one moment to another, in seconds from now. */
static void
make_person(Person *person, EVP_PKEY *key, const char *name, long from, long until)
{
	BIO *bio;
	X509_NAME *subject;

	assert_non_null(key);
	memset(person, 0, sizeof(*person));
	person->key = key;
	person->x509 = X509_new();
	assert_true(X509_set_version(person->x509, 2));
	assert_true(ASN1_INTEGER_set(X509_get_serialNumber(person->x509), 7));
	assert_non_null(X509_gmtime_adj(X509_getm_notBefore(person->x509), from));
	assert_non_null(X509_gmtime_adj(X509_getm_notAfter(person->x509), until));
	assert_true(X509_set_pubkey(person->x509, key));
	subject = X509_get_subject_name(person->x509);
	assert_true(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
										   (const unsigned char *) name, -1, -1, 0));
	assert_true(X509_set_issuer_name(person->x509, subject));
	assert_true(X509_sign(person->x509, key,
						  EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519 ? NULL : EVP_sha256()));
	bio = BIO_new(BIO_s_mem());
	assert_true(PEM_write_bio_X509(bio, person->x509));
	take_pem(bio, person->certificate, sizeof(person->certificate));
	bio = BIO_new(BIO_s_mem());
	assert_true(PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL));
	take_pem(bio, person->private_key, sizeof(person->private_key));
}

static void
forget_person(Person *person)
{
	EVP_PKEY_free(person->key);
	X509_free(person->x509);
}

static int
make_persons(void **state)
{
	(void) state;
	make_person(&rsa, EVP_RSA_gen(2048), "Keeper of the \xc3\xa4lteste key, rotor", -60, 86400);
	make_person(&other, EVP_RSA_gen(2048), "somebody else", -60, 86400);
	make_person(&curve, EVP_EC_gen("P-256"), "curve", -60, 86400);
	return 0;
}

static int
forget_persons(void **state)
{
	(void) state;
	forget_person(&rsa);
	forget_person(&other);
	forget_person(&curve);
	return 0;
}

static bool
seal(const char *certificate, RotorError *err)
{
	memset(envelope, 'x', sizeof(envelope));
	return envelope_seal(certificate, strlen(certificate), plain, sizeof(plain) - 1, envelope,
						 ENVELOPE_MAX_SIZE, &envelope_len, NULL, err);
}

static bool
open_with(const char *private_key, RotorError *err)
{
	memset(opened, 'x', sizeof(opened));
	return envelope_open(envelope, envelope_len, private_key, strlen(private_key), opened,
						 sizeof(opened), &opened_len, err);
}

static void
assert_opens(const char *private_key)
{
	RotorError err = fresh_error();

	assert_true(open_with(private_key, &err));
	assert_int_equal(opened_len, sizeof(plain) - 1);
	assert_memory_equal(opened, plain, opened_len);
	assert_string_equal(err.message, "untouched");
}

/* Asserts that the envelope as it is now is refused, and that nothing is left in the buffer. */
static void
assert_refused(const char *private_key, RotorErrorCode code, const char *message)
{
	RotorError err = fresh_error();

	assert_false(open_with(private_key, &err));
	assert_error(&err, code);
	if (message != NULL)
		assert_string_equal(err.message, message);
	assert_true(err.hint[0] != '\0');
	assert_error_lacks(&err, "aaaa");
	assert_int_equal(opened_len, 0);
	/* What is no envelope or key at all is refused before the buffer is looked at. */
	if (opened[0] != 'x' || code == ROTOR_ERROR_AUTHENTICATION)
		assert_zero(opened, sizeof(opened));
	assert_int_equal(ERR_peek_error(), 0);
}

/* --- what opens --- */

TEST(the_owner_of_the_private_key_opens_the_envelope)
{
	RotorError err = fresh_error();

	assert_true(seal(rsa.certificate, &err));
	assert_int_equal(strlen(envelope), envelope_len);
	assert_non_null(strstr(envelope, "-----BEGIN CMS-----"));
	/* What the letters of the value are in base64, wherever they begin. */
	assert_null(strstr(envelope, "YWFhYWFhYWFhYWFh"));
	assert_opens(rsa.private_key);
	assert_true(seal(curve.certificate, &err));
	assert_opens(curve.private_key);
	assert_int_equal(ERR_peek_error(), 0);
}

TEST(no_envelope_is_like_another)
{
	static char first[ENVELOPE_MAX_SIZE];
	RotorError err = fresh_error();

	assert_true(seal(rsa.certificate, &err));
	memcpy(first, envelope, envelope_len + 1);
	assert_true(seal(rsa.certificate, &err));
	assert_string_not_equal(first, envelope);
}

TEST(what_openssl_makes_of_it_is_what_was_sealed)
{
	const Person *persons[] = {&rsa, &curve};

	for (size_t i = 0; i < COUNT_OF(persons); i++)
	{
		RotorError err = fresh_error();
		BIO *in;
		BIO *out = BIO_new(BIO_s_mem());
		CMS_ContentInfo *cms;

		assert_true(seal(persons[i]->certificate, &err));
		in = BIO_new_mem_buf(envelope, -1);
		cms = PEM_read_bio_CMS(in, NULL, NULL, NULL);
		assert_non_null(cms);
		assert_int_equal(OBJ_obj2nid(CMS_get0_type(cms)), NID_id_smime_ct_authEnvelopedData);
		assert_true(CMS_decrypt(cms, persons[i]->key, persons[i]->x509, NULL, out, 0));
		assert_int_equal(BIO_read(out, opened, sizeof(opened)), sizeof(plain) - 1);
		assert_memory_equal(opened, plain, sizeof(plain) - 1);
		CMS_ContentInfo_free(cms);
		BIO_free(in);
		BIO_free(out);
	}
}

TEST(texts_of_any_size_that_fit_come_back)
{
	static char text[TEXT_MAX];
	const size_t sizes[] = {0, 1, 15, 16, 17, 4095, 4096, 4097, TEXT_MAX - 1, TEXT_MAX};

	memset(text, 'k', sizeof(text));
	for (size_t i = 0; i < COUNT_OF(sizes); i++)
	{
		RotorError err = fresh_error();

		assert_true(envelope_seal(rsa.certificate, strlen(rsa.certificate), text, sizes[i],
								  envelope, ENVELOPE_MAX_SIZE, &envelope_len, NULL, &err));
		assert_true(open_with(rsa.private_key, &err));
		assert_int_equal(opened_len, sizes[i]);
		assert_memory_equal(opened, text, sizes[i]);
	}
}

TEST(an_envelope_may_have_words_before_it_and_behind_it)
{
	static char words[ENVELOPE_MAX_SIZE + 64];
	RotorError err = fresh_error();

	assert_true(seal(rsa.certificate, &err));
	(void) snprintf(words, sizeof(words), "keys of the year\n\n%s\nkeep them\n", envelope);
	assert_true(strlen(words) < sizeof(envelope));
	memcpy(envelope, words, strlen(words) + 1);
	envelope_len = strlen(words);
	assert_opens(rsa.private_key);
}

TEST(the_recipient_is_told_by_name_and_fingerprint)
{
	EnvelopeRecipient recipient;
	unsigned char digest[32];
	char expected[65];
	RotorError err = fresh_error();

	assert_true(envelope_seal(rsa.certificate, strlen(rsa.certificate), plain, sizeof(plain) - 1,
							  envelope, ENVELOPE_MAX_SIZE, &envelope_len, &recipient, &err));
	/* In ASCII, whatever the name holds. */
	assert_string_equal(recipient.subject, "CN=Keeper of the \\C3\\A4lteste key\\, rotor");
	assert_true(X509_digest(rsa.x509, EVP_sha256(), digest, NULL));
	for (int i = 0; i < 32; i++)
		(void) snprintf(expected + (ptrdiff_t) 2 * i, 3, "%02x", digest[i]);
	assert_string_equal(recipient.fingerprint, expected);
}

/* --- certificates --- */

static void
assert_no_recipient(const char *certificate, const char *message)
{
	RotorError err = fresh_error();

	assert_false(seal(certificate, &err));
	assert_error(&err, ROTOR_ERROR_ARGUMENT);
	assert_string_equal(err.message, message);
	assert_true(err.hint[0] != '\0');
	assert_int_equal(envelope_len, 0);
	assert_int_equal(ERR_peek_error(), 0);
}

TEST(what_is_no_certificate_is_refused)
{
	static char text[16384];

	assert_no_recipient("", "this is no X.509 certificate in PEM");
	assert_no_recipient("nonsense", "this is no X.509 certificate in PEM");
	assert_no_recipient(rsa.private_key, "this is no X.509 certificate in PEM");
	(void) snprintf(text, sizeof(text), "%.*s", (int) strlen(rsa.certificate) / 2, rsa.certificate);
	assert_no_recipient(text, "this is no X.509 certificate in PEM");
	(void) snprintf(text, sizeof(text), "%s%s", rsa.certificate, other.certificate);
	assert_no_recipient(text, "there is more than one certificate");
}

TEST(a_certificate_that_is_not_valid_now_is_refused)
{
	Person person;

	make_person(&person, EVP_EC_gen("P-256"), "late", -86400, -1);
	assert_no_recipient(person.certificate, "the certificate has expired");
	forget_person(&person);
	make_person(&person, EVP_EC_gen("P-256"), "early", 3600, 86400);
	assert_no_recipient(person.certificate, "the certificate is not valid yet");
	forget_person(&person);
}

TEST(a_key_that_is_too_weak_or_of_another_kind_is_refused)
{
	Person person;

	make_person(&person, EVP_RSA_gen(1024), "weak", -60, 86400);
	assert_no_recipient(person.certificate, "the certificate's key of 1024 bits is too weak");
	forget_person(&person);
	make_person(&person, EVP_EC_gen("secp192k1"), "weak", -60, 86400);
	assert_no_recipient(person.certificate, "the certificate's key of 192 bits is too weak");
	forget_person(&person);
	make_person(&person, EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), "signs", -60, 86400);
	assert_no_recipient(person.certificate, "the certificate's key is of another kind");
	forget_person(&person);
}

/* --- what does not open --- */

TEST(another_private_key_does_not_open_it)
{
	RotorError err = fresh_error();

	assert_true(seal(rsa.certificate, &err));
	assert_refused(other.private_key, ROTOR_ERROR_AUTHENTICATION,
				   "the envelope does not open with this private key");
	assert_refused(curve.private_key, ROTOR_ERROR_AUTHENTICATION, NULL);
	assert_true(seal(curve.certificate, &err));
	assert_refused(rsa.private_key, ROTOR_ERROR_AUTHENTICATION, NULL);
}

TEST(what_is_no_private_key_is_refused)
{
	RotorError err = fresh_error();
	BIO *bio = BIO_new(BIO_s_mem());
	static char locked[8192];

	assert_true(seal(rsa.certificate, &err));
	assert_refused("", ROTOR_ERROR_ARGUMENT, "this is no private key in PEM");
	assert_refused(rsa.certificate, ROTOR_ERROR_ARGUMENT, "this is no private key in PEM");
	/* With a passphrase that nobody is there to give. */
	assert_true(
		PEM_write_bio_PKCS8PrivateKey(bio, rsa.key, EVP_aes_256_cbc(), "secret", 6, NULL, NULL));
	take_pem(bio, locked, sizeof(locked));
	assert_refused(locked, ROTOR_ERROR_ARGUMENT, "this is no private key in PEM");
}

TEST(each_shortened_envelope_is_refused)
{
	RotorError err = fresh_error();
	size_t len;

	assert_true(seal(curve.certificate, &err));
	len = envelope_len;
	for (envelope_len = 0; envelope_len < len; envelope_len += 13)
	{
		/* Without the line that ends it, or a part of that, it is none. */
		if (envelope_len < len - strlen("-----END CMS-----\n"))
			assert_refused(curve.private_key, ROTOR_ERROR_ARGUMENT,
						   "this is no CMS envelope in PEM");
	}
}

/* Puts the PEM of a CMS message in the place of the envelope. */
static void
put_cms(CMS_ContentInfo *cms)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *data;
	long len;

	assert_non_null(cms);
	assert_true(PEM_write_bio_CMS(bio, cms));
	len = BIO_get_mem_data(bio, &data);
	assert_true(len > 0 && (size_t) len <= ENVELOPE_MAX_SIZE);
	memcpy(envelope, data, (size_t) len);
	envelope_len = (size_t) len;
	BIO_free(bio);
	CMS_ContentInfo_free(cms);
}

TEST(messages_of_another_type_are_refused)
{
	static const char message[] = "this CMS message is no authenticated envelope";
	BIO *in = BIO_new_mem_buf(plain, -1);
	STACK_OF(X509) *recipients = sk_X509_new_null();

	assert_true(sk_X509_push(recipients, rsa.x509) > 0);
	/* Enveloped, and not authenticated: whoever alters it would alter the keys. */
	put_cms(CMS_encrypt(recipients, in, EVP_aes_256_cbc(), CMS_BINARY));
	assert_refused(rsa.private_key, ROTOR_ERROR_ARGUMENT, message);
	assert_true(BIO_reset(in) >= 0);
	put_cms(CMS_sign(rsa.x509, rsa.key, NULL, in, CMS_BINARY));
	assert_refused(rsa.private_key, ROTOR_ERROR_ARGUMENT, message);
	assert_true(BIO_reset(in) >= 0);
	put_cms(CMS_data_create(in, CMS_BINARY));
	assert_refused(rsa.private_key, ROTOR_ERROR_ARGUMENT, message);
	sk_X509_free(recipients);
	BIO_free(in);
}

TEST(an_envelope_for_several_opens_for_each_of_them)
{
	BIO *in = BIO_new_mem_buf(plain, -1);
	STACK_OF(X509) *recipients = sk_X509_new_null();

	assert_true(sk_X509_push(recipients, other.x509) > 0);
	assert_true(sk_X509_push(recipients, rsa.x509) > 0);
	assert_true(sk_X509_push(recipients, curve.x509) > 0);
	put_cms(CMS_encrypt(recipients, in, EVP_aes_256_gcm(), CMS_BINARY));
	assert_opens(rsa.private_key);
	assert_opens(other.private_key);
	assert_opens(curve.private_key);
	sk_X509_free(recipients);
	BIO_free(in);
}

TEST(more_than_fits_is_refused_and_not_cut)
{
	RotorError err = fresh_error();
	char small[16];
	size_t len;
	static char huge[ENVELOPE_MAX_SIZE + 1];

	assert_true(seal(rsa.certificate, &err));
	for (size_t size = 0; size < sizeof(small); size++)
	{
		memset(small, 'x', sizeof(small));
		assert_false(envelope_open(envelope, envelope_len, rsa.private_key, strlen(rsa.private_key),
								   small, size, &len, &err));
		assert_error(&err, ROTOR_ERROR_SPACE);
		assert_zero(small, size);
		assert_int_equal(small[sizeof(small) - 1], 'x');
	}
	memset(huge, 'A', sizeof(huge));
	assert_false(envelope_open(huge, sizeof(huge), rsa.private_key, strlen(rsa.private_key), opened,
							   sizeof(opened), &opened_len, &err));
	assert_error(&err, ROTOR_ERROR_ARGUMENT);
	assert_false(envelope_open(envelope, envelope_len, huge, sizeof(huge), opened, sizeof(opened),
							   &opened_len, &err));
	assert_error(&err, ROTOR_ERROR_ARGUMENT);
	assert_false(envelope_seal(huge, sizeof(huge), plain, 1, envelope, sizeof(envelope),
							   &envelope_len, NULL, &err));
	assert_error(&err, ROTOR_ERROR_ARGUMENT);
	assert_false(envelope_seal(rsa.certificate, strlen(rsa.certificate), huge, sizeof(huge),
							   envelope, sizeof(envelope), &envelope_len, NULL, &err));
	assert_error(&err, ROTOR_ERROR_SPACE);
	for (size_t size = 0; size < 64; size++)
	{
		assert_false(envelope_seal(rsa.certificate, strlen(rsa.certificate), plain, 1, small,
								   size < sizeof(small) ? size : sizeof(small), &len, NULL, &err));
		assert_error(&err, ROTOR_ERROR_SPACE);
	}
}

TEST(an_envelope_with_any_bytes_changed_opens_to_what_was_sealed_or_not_at_all)
{
	static char intact[ENVELOPE_MAX_SIZE];
	RotorError err = fresh_error();
	size_t len;

	assert_true(seal(curve.certificate, &err));
	len = envelope_len;
	memcpy(intact, envelope, len);
	use_seeded_source(5);
	for (int round = 0; round < 500; round++)
	{
		uint8_t choice[12];

		memcpy(envelope, intact, len);
		envelope_len = len;
		assert_true(random_bytes(choice, sizeof(choice), &err));
		for (int i = 0; i < 1 + choice[0] % 3; i++)
		{
			size_t at = ((size_t) choice[1 + 3 * i] << 8 | choice[2 + 3 * i]) % len;

			envelope[at] = (char) (choice[10] & 1 ? "ABCDwxyz0189+/=\n"[choice[3 + 3 * i] % 16]
												  : choice[3 + 3 * i]);
		}
		/* A change of the words around it, or of bits that mean nothing, is none. */
		err = fresh_error();
		if (open_with(curve.private_key, &err))
		{
			assert_int_equal(opened_len, sizeof(plain) - 1);
			assert_memory_equal(opened, plain, opened_len);
		}
		else
			assert_error_lacks(&err, "aaaa");
		assert_int_equal(ERR_peek_error(), 0);
	}
}

#define ENVELOPE_TEST(name) cmocka_unit_test_setup_teardown(name, use_real_source, use_real_source)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		ENVELOPE_TEST(the_owner_of_the_private_key_opens_the_envelope),
		ENVELOPE_TEST(no_envelope_is_like_another),
		ENVELOPE_TEST(what_openssl_makes_of_it_is_what_was_sealed),
		ENVELOPE_TEST(texts_of_any_size_that_fit_come_back),
		ENVELOPE_TEST(an_envelope_may_have_words_before_it_and_behind_it),
		ENVELOPE_TEST(the_recipient_is_told_by_name_and_fingerprint),
		ENVELOPE_TEST(what_is_no_certificate_is_refused),
		ENVELOPE_TEST(a_certificate_that_is_not_valid_now_is_refused),
		ENVELOPE_TEST(a_key_that_is_too_weak_or_of_another_kind_is_refused),
		ENVELOPE_TEST(another_private_key_does_not_open_it),
		ENVELOPE_TEST(what_is_no_private_key_is_refused),
		ENVELOPE_TEST(each_shortened_envelope_is_refused),
		ENVELOPE_TEST(messages_of_another_type_are_refused),
		ENVELOPE_TEST(an_envelope_for_several_opens_for_each_of_them),
		ENVELOPE_TEST(more_than_fits_is_refused_and_not_cut),
		ENVELOPE_TEST(an_envelope_with_any_bytes_changed_opens_to_what_was_sealed_or_not_at_all),
	};

	return cmocka_run_group_tests_name("envelope", tests, make_persons, forget_persons);
}

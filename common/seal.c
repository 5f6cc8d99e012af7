/*
 * seal.c
 *		AES-256-GCM sealing; see seal.h.
 */
#include "seal.h"

#include <stdatomic.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "random.h"

#define SEAL_VERSION 0x01
#define SEAL_AAD_MAX 65536

/* Where the parts of a sealed value begin. */
#define NONCE_OFFSET	  1
#define CIPHERTEXT_OFFSET (NONCE_OFFSET + SEAL_NONCE_LEN)

/*
 * The cipher, fetched once for the life of the process: each EVP_CIPHER_fetch searches the
 * providers anew.  Two threads that come first together both fetch, and one lets go again.
 */
static const EVP_CIPHER *
aes_256_gcm(void)
{
	static _Atomic(EVP_CIPHER *) fetched = NULL;
	EVP_CIPHER *cipher = atomic_load_explicit(&fetched, memory_order_acquire);
	EVP_CIPHER *other = NULL;

	if (cipher != NULL)
		return cipher;
	cipher = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
	if (cipher == NULL || atomic_compare_exchange_strong(&fetched, &other, cipher))
		return cipher;
	EVP_CIPHER_free(cipher);
	return other;
}

static bool
check_aad(size_t aad_len, RotorError *err)
{
	if (aad_len > SEAL_AAD_MAX)
		return error_set(err, ROTOR_ERROR_ARGUMENT,
						 "associated data of %zu bytes is longer than %d", aad_len, SEAL_AAD_MAX);
	return true;
}

/* Writes ciphertext and tag behind the nonce that out already holds. */
static bool
encrypt_value(const uint8_t *key, const void *aad, size_t aad_len, const void *plain,
			  size_t plain_len, uint8_t *out, RotorError *err)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	const EVP_CIPHER *cipher = aes_256_gcm();
	uint8_t *ciphertext = out + CIPHERTEXT_OFFSET;
	int n = 0;
	bool ok;

	ok = ctx != NULL && cipher != NULL &&
		 EVP_EncryptInit_ex2(ctx, cipher, key, out + NONCE_OFFSET, NULL) == 1 &&
		 (aad_len == 0 || EVP_EncryptUpdate(ctx, NULL, &n, aad, (int) aad_len) == 1) &&
		 (plain_len == 0 || EVP_EncryptUpdate(ctx, ciphertext, &n, plain, (int) plain_len) == 1) &&
		 EVP_EncryptFinal_ex(ctx, ciphertext + plain_len, &n) == 1 &&
		 EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, SEAL_TAG_LEN, ciphertext + plain_len) == 1;
	if (!ok)
		(void) error_set_crypto(err, "seal a value");
	EVP_CIPHER_CTX_free(ctx); /* wipes the key schedule */
	return ok;
}

bool
seal_value(const uint8_t key[SEAL_KEY_LEN], const void *aad, size_t aad_len, const void *plain,
		   size_t plain_len, uint8_t *out, size_t out_size, size_t *out_len, RotorError *err)
{
	*out_len = 0;
	if (!check_aad(aad_len, err))
		return false;
	if (plain_len > SECRET_BUF_CAPACITY)
		return error_set(err, ROTOR_ERROR_ARGUMENT, "value of %zu bytes is longer than %d",
						 plain_len, SECRET_BUF_CAPACITY);
	if (out_size < plain_len + SEAL_OVERHEAD)
		return error_set(err, ROTOR_ERROR_SPACE, "sealed value of %zu bytes does not fit %zu bytes",
						 plain_len + SEAL_OVERHEAD, out_size);

	out[0] = SEAL_VERSION;
	if (!random_bytes(out + NONCE_OFFSET, SEAL_NONCE_LEN, err) ||
		!encrypt_value(key, aad, aad_len, plain, plain_len, out, err))
	{
		secret_wipe(out, plain_len + SEAL_OVERHEAD);
		return false;
	}
	*out_len = plain_len + SEAL_OVERHEAD;
	return true;
}

/* Writes the plain value to out, verified or not; true only if it was verified. */
static bool
decrypt_value(const uint8_t *key, const void *aad, size_t aad_len, const uint8_t *sealed,
			  size_t plain_len, char *out, RotorError *err)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	const EVP_CIPHER *cipher = aes_256_gcm();
	const uint8_t *ciphertext = sealed + CIPHERTEXT_OFFSET;
	uint8_t tag[SEAL_TAG_LEN];
	uint8_t *plain = (uint8_t *) out;
	int n = 0;
	bool ok;

	memcpy(tag, ciphertext + plain_len, SEAL_TAG_LEN); /* the control call takes it non-const */
	ok = ctx != NULL && cipher != NULL &&
		 EVP_DecryptInit_ex2(ctx, cipher, key, sealed + NONCE_OFFSET, NULL) == 1 &&
		 EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, SEAL_TAG_LEN, tag) == 1 &&
		 (aad_len == 0 || EVP_DecryptUpdate(ctx, NULL, &n, aad, (int) aad_len) == 1) &&
		 (plain_len == 0 || EVP_DecryptUpdate(ctx, plain, &n, ciphertext, (int) plain_len) == 1);
	if (!ok)
		(void) error_set_crypto(err, "open a sealed value");
	else if (EVP_DecryptFinal_ex(ctx, plain + plain_len, &n) != 1)
	{
		ok = error_set(err, ROTOR_ERROR_AUTHENTICATION, "sealed value cannot be authenticated");
		(void) error_detail(err, "The key is not the one it was sealed with, it belongs to "
								 "something else, or it was altered.");
		ERR_clear_error();
	}
	EVP_CIPHER_CTX_free(ctx); /* wipes the key schedule */
	return ok;
}

static bool
check_sealed(const uint8_t *sealed, size_t sealed_len, RotorError *err)
{
	if (sealed_len < SEAL_OVERHEAD || sealed_len > SEAL_MAX_LEN)
		return error_set(err, ROTOR_ERROR_FORMAT, "sealed value has an impossible length of %zu",
						 sealed_len);
	if (sealed[0] != SEAL_VERSION)
		return error_set(err, ROTOR_ERROR_FORMAT, "sealed value has unknown version %d", sealed[0]);
	return true;
}

bool
seal_open(const uint8_t key[SEAL_KEY_LEN], const void *aad, size_t aad_len, const void *sealed,
		  size_t sealed_len, SecretBuf *out, RotorError *err)
{
	secret_buf_wipe(out);
	if (!check_aad(aad_len, err) || !check_sealed(sealed, sealed_len, err))
		return false;

	out->len = sealed_len - SEAL_OVERHEAD;
	out->data[out->len] = '\0';
	if (!decrypt_value(key, aad, aad_len, sealed, out->len, out->data, err))
	{
		secret_buf_wipe(out);
		return false;
	}
	return true;
}

bool
seal_check_value(const uint8_t key[SEAL_KEY_LEN], uint8_t out[SEAL_CHECK_LEN], RotorError *err)
{
	static const char label[] = "rotor key check";
	uint8_t full[EVP_MAX_MD_SIZE] = {0};
	bool ok;

	ok = HMAC(EVP_sha256(), key, SEAL_KEY_LEN, (const unsigned char *) label, sizeof(label) - 1,
			  full, NULL) != NULL;
	if (ok)
		memcpy(out, full, SEAL_CHECK_LEN);
	else
	{
		memset(out, 0, SEAL_CHECK_LEN);
		(void) error_set_crypto(err, "compute the check value of a key");
	}
	secret_wipe(full, sizeof(full));
	return ok;
}

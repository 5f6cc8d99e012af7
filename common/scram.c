/*
 * scram.c
 *		Builds SCRAM-SHA-256 verifiers; see scram.h.
 */
#include "scram.h"

#include <stdio.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "codec.h"
#include "random.h"
#include "secret_buf.h"

#define SCRAM_KEY_LEN 32 /* SHA-256 */

/* The two keys a verifier is made of, RFC 5802 section 3. */
typedef struct ScramKeys
{
	uint8_t stored[SCRAM_KEY_LEN];
	uint8_t server[SCRAM_KEY_LEN];
} ScramKeys;

static bool
check_arguments(const char *password, size_t len, int iterations, const uint8_t *salt,
				size_t salt_len, RotorError *err)
{
	if (len == 0)
		return error_set(err, ROTOR_ERROR_ARGUMENT, "password is empty");
	if (len > SECRET_BUF_CAPACITY)
		return error_set(err, ROTOR_ERROR_ARGUMENT, "password is longer than %d bytes",
						 SECRET_BUF_CAPACITY);
	for (size_t i = 0; i < len; i++)
	{
		if (password[i] < ' ' || password[i] > '~')
			return error_set(err, ROTOR_ERROR_ARGUMENT,
							 "password holds something other than printable ASCII");
	}
	if (iterations < SCRAM_MIN_ITERATIONS || iterations > SCRAM_MAX_ITERATIONS)
	{
		(void) error_set(err, ROTOR_ERROR_ARGUMENT, "SCRAM iteration count %d is out of range",
						 iterations);
		return error_hint(err, "Use a count from %d to %d.", SCRAM_MIN_ITERATIONS,
						  SCRAM_MAX_ITERATIONS);
	}
	if (salt != NULL && (salt_len == 0 || salt_len > SCRAM_SALT_MAX))
		return error_set(err, ROTOR_ERROR_ARGUMENT, "SCRAM salt of %zu bytes is out of range",
						 salt_len);
	return true;
}

static bool
hmac_sha256(const uint8_t key[SCRAM_KEY_LEN], const char *text, size_t len,
			uint8_t out[SCRAM_KEY_LEN])
{
	return HMAC(EVP_sha256(), key, SCRAM_KEY_LEN, (const unsigned char *) text, len, out, NULL) !=
		   NULL;
}

static bool
derive_keys(const char *password, size_t len, int iterations, const uint8_t *salt, size_t salt_len,
			ScramKeys *keys, RotorError *err)
{
	static const char client_label[] = "Client Key";
	static const char server_label[] = "Server Key";
	uint8_t salted[SCRAM_KEY_LEN];
	uint8_t client[SCRAM_KEY_LEN];
	bool ok;

	ok = PKCS5_PBKDF2_HMAC(password, (int) len, salt, (int) salt_len, iterations, EVP_sha256(),
						   sizeof(salted), salted) == 1 &&
		 hmac_sha256(salted, client_label, sizeof(client_label) - 1, client) &&
		 hmac_sha256(salted, server_label, sizeof(server_label) - 1, keys->server) &&
		 EVP_Digest(client, sizeof(client), keys->stored, NULL, EVP_sha256(), NULL) == 1;
	if (!ok)
		(void) error_set_crypto(err, "derive the SCRAM keys");
	secret_wipe(salted, sizeof(salted));
	secret_wipe(client, sizeof(client));
	return ok;
}

/* Appends bytes in base64 to the text of *used characters in out. */
static bool
append_base64(const uint8_t *bytes, size_t len, char out[SCRAM_VERIFIER_MAX], size_t *used,
			  RotorError *err)
{
	if (!codec_base64_encode(bytes, len, out + *used, SCRAM_VERIFIER_MAX - *used, err))
		return false;
	*used += CODEC_BASE64_SIZE(len) - 1;
	return true;
}

static bool
format_verifier(int iterations, const uint8_t *salt, size_t salt_len, const ScramKeys *keys,
				char out[SCRAM_VERIFIER_MAX], RotorError *err)
{
	size_t used = (size_t) snprintf(out, SCRAM_VERIFIER_MAX, "SCRAM-SHA-256$%d:", iterations);

	/* The longest verifier, 14 + 8 + 1 + 88 + 1 + 44 + 1 + 44 characters, leaves room. */
	if (!append_base64(salt, salt_len, out, &used, err))
		return false;
	out[used++] = '$';
	if (!append_base64(keys->stored, SCRAM_KEY_LEN, out, &used, err))
		return false;
	out[used++] = ':';
	return append_base64(keys->server, SCRAM_KEY_LEN, out, &used, err);
}

bool
scram_build_verifier(const char *password, size_t len, int iterations, const uint8_t *salt,
					 size_t salt_len, char out[SCRAM_VERIFIER_MAX], RotorError *err)
{
	uint8_t random_salt[SCRAM_SALT_LEN];
	ScramKeys keys;
	bool ok;

	out[0] = '\0';
	if (!check_arguments(password, len, iterations, salt, salt_len, err))
		return false;
	if (salt == NULL)
	{
		if (!random_bytes(random_salt, sizeof(random_salt), err))
			return false;
		salt = random_salt;
		salt_len = sizeof(random_salt);
	}

	ok = derive_keys(password, len, iterations, salt, salt_len, &keys, err) &&
		 format_verifier(iterations, salt, salt_len, &keys, out, err);
	secret_wipe(&keys, sizeof(keys));
	if (!ok)
		secret_wipe(out, SCRAM_VERIFIER_MAX);
	return ok;
}

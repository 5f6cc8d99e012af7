/*
 * fuzz_scram.c
 *		SCRAM verifiers: odd passwords, rounds and salts.
 *
 * The input: flags, a number of rounds, a salt with its length in front, and the rest,
 * which is the password.  The verifier is taken apart and computed again from RFC 5802's
 * own definition, one HMAC at a time.
 */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "codec.h"
#include "scram.h"

enum
{
	FLAG_ANY_ROUNDS = 1, /* any int; else one that is quick */
	FLAG_OWN_SALT = 2	 /* none is given */
};

#define KEY_LEN		 32
#define QUICK_ROUNDS 16

typedef struct Verifier
{
	int rounds;
	size_t salt_len;
	uint8_t salt[SCRAM_SALT_MAX];
	uint8_t stored[KEY_LEN];
	uint8_t server[KEY_LEN];
} Verifier;

static void
hmac(const void *key, size_t key_len, const void *text, size_t len, uint8_t out[KEY_LEN])
{
	MUST(HMAC(EVP_sha256(), key, (int) key_len, text, len, out, NULL) != NULL);
}

/* Hi(password, salt, rounds) of RFC 5802, section 2.2. */
static void
salted_password(Input password, const Verifier *verifier, uint8_t out[KEY_LEN])
{
	uint8_t first[SCRAM_SALT_MAX + 4] = {0};
	uint8_t u[KEY_LEN];

	memcpy(first, verifier->salt, verifier->salt_len);
	first[verifier->salt_len + 3] = 1;
	hmac(password.data, password.len, first, verifier->salt_len + 4, u);
	memcpy(out, u, KEY_LEN);
	for (int round = 1; round < verifier->rounds; round++)
	{
		hmac(password.data, password.len, u, KEY_LEN, u);
		for (int i = 0; i < KEY_LEN; i++)
			out[i] ^= u[i];
	}
}

static void
check_keys(Input password, const Verifier *verifier)
{
	uint8_t salted[KEY_LEN];
	uint8_t key[KEY_LEN];
	uint8_t hash[KEY_LEN];

	salted_password(password, verifier, salted);
	hmac(salted, KEY_LEN, "Server Key", 10, key);
	MUST(memcmp(key, verifier->server, KEY_LEN) == 0);
	hmac(salted, KEY_LEN, "Client Key", 10, key);
	MUST(EVP_Digest(key, KEY_LEN, hash, NULL, EVP_sha256(), NULL) == 1);
	MUST(memcmp(hash, verifier->stored, KEY_LEN) == 0);
}

/* Decodes up to the character that ends a part; returns what is behind it. */
static const char *
read_part(const char *text, char end, uint8_t *out, size_t size, size_t *len)
{
	const char *stop = strchr(text, end);
	RotorError err;

	MUST(stop != NULL);
	MUST(codec_base64_decode(text, (size_t) (stop - text), out, size, len, &err));
	return stop + 1;
}

static void
read_verifier(const char *text, Verifier *verifier)
{
	int used = 0;
	size_t len;

	/* NOLINTNEXTLINE(cert-err34-c): the rounds are compared with those that were asked for. */
	MUST(sscanf(text, "SCRAM-SHA-256$%d:%n", &verifier->rounds, &used) == 1 && used > 0);
	text = read_part(text + used, '$', verifier->salt, SCRAM_SALT_MAX, &verifier->salt_len);
	text = read_part(text, ':', verifier->stored, KEY_LEN, &len);
	MUST(len == KEY_LEN);
	(void) read_part(text, '\0', verifier->server, KEY_LEN, &len);
	MUST(len == KEY_LEN);
}

static bool
is_possible(Input password, int rounds, const uint8_t *salt, size_t salt_len)
{
	for (size_t i = 0; i < password.len; i++)
	{
		if (password.data[i] < 0x20 || password.data[i] > 0x7e)
			return false;
	}
	return password.len > 0 && password.len <= SECRET_BUF_CAPACITY && rounds >= 1 &&
		   rounds <= 10000000 && (salt == NULL || (salt_len >= 1 && salt_len <= 64));
}

static void
check_verifier(Input password, int rounds, const uint8_t *salt, size_t salt_len)
{
	char text[SCRAM_VERIFIER_MAX];
	Verifier verifier;
	RotorError err;

	memset(text, 'x', sizeof(text));
	if (!is_possible(password, rounds, salt, salt_len))
	{
		MUST(!scram_build_verifier((const char *) password.data, password.len, rounds, salt,
								   salt_len, text, &err));
		must_be_error(&err, ROTOR_ERROR_ARGUMENT, ROTOR_ERROR_ARGUMENT);
		MUST(text[0] == '\0');
		return;
	}
	MUST(scram_build_verifier((const char *) password.data, password.len, rounds, salt, salt_len,
							  text, &err));
	MUST(strnlen(text, sizeof(text)) < sizeof(text));
	read_verifier(text, &verifier);
	MUST(verifier.rounds == rounds);
	MUST(verifier.salt_len == (salt != NULL ? salt_len : 16));
	MUST(salt == NULL || memcmp(verifier.salt, salt, salt_len) == 0);
	check_keys(password, &verifier);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Input input = {data, size};
	uint8_t flags = take_byte(&input);
	uint32_t number = take_number(&input);
	Input salt = take_bytes(&input);
	int rounds = (int) number;

	/* Any number of rounds that is refused; of those that are not, few. */
	if (!(flags & FLAG_ANY_ROUNDS) || (rounds >= 1 && rounds <= 10000000))
		rounds = (int) (number % QUICK_ROUNDS) + 1;
	use_seeded_source(number);
	check_verifier(input, rounds, flags & FLAG_OWN_SALT ? NULL : salt.data, salt.len);
	return 0;
}

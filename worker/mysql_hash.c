/*
 * mysql_hash.c - see mysql_hash.h.
 */
#include "mysql_hash.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/bn.h>
#include <openssl/evp.h>

#include "codec.h"
#include "random.h"

#define SHA1_SIZE		 20
#define SHA256_SIZE		 32
#define SHA512_SIZE		 64
#define POINT_SIZE		 32
#define SHA2_ROUNDS		 5 /* thousands; MySQL's own default */
#define SHA2_PREFIX_SIZE 7
#define SHA2_MOST_ROUNDS 0xFFF
#define SHA2_DIGITS		 43
#define CRYPT_DIGITS	 "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

/* ---- mysql_native_password: the hash of the hash */

static bool
hash_native(const SecretBuf *password, char out[MYSQL_HASH_MAX], RotorError *err)
{
	unsigned char once[SHA1_SIZE];
	unsigned char twice[SHA1_SIZE];
	bool ok = EVP_Digest(password->data, password->len, once, NULL, EVP_sha1(), NULL) == 1 &&
			  EVP_Digest(once, sizeof(once), twice, NULL, EVP_sha1(), NULL) == 1;

	out[0] = '*';
	for (size_t i = 0; ok && i < sizeof(twice); i++)
		(void) snprintf(out + 1 + 2 * i, 3, "%02X", twice[i]);
	secret_wipe(once, sizeof(once));
	return ok ? true : error_set_crypto(err, "hash for mysql_native_password");
}

/* ---- caching_sha2_password: SHA-crypt with SHA-256, but with 20 bytes of salt instead of 16 */

typedef struct Crypt
{
	EVP_MD *md;
	EVP_MD_CTX *context;
	const SecretBuf *password;
	const unsigned char *salt;
	unsigned char state[SHA256_SIZE];			   /* A of the specification, and of each round */
	unsigned char stretched[SECRET_BUF_CAPACITY];  /* P: as long as the password */
	unsigned char stretched_salt[MYSQL_SALT_SIZE]; /* S */
	bool ok;
} Crypt;

static void
begin(Crypt *crypt)
{
	crypt->ok = crypt->ok && EVP_DigestInit_ex(crypt->context, crypt->md, NULL) == 1;
}

static void
add(Crypt *crypt, const void *data, size_t len)
{
	crypt->ok = crypt->ok && EVP_DigestUpdate(crypt->context, data, len) == 1;
}

/* Adds len bytes: block again and again, cut at the end. */
static void
add_repeated(Crypt *crypt, const unsigned char block[SHA256_SIZE], size_t len)
{
	for (; len > SHA256_SIZE; len -= SHA256_SIZE)
		add(crypt, block, SHA256_SIZE);
	add(crypt, block, len);
}

static void
end(Crypt *crypt, unsigned char out[SHA256_SIZE])
{
	crypt->ok = crypt->ok && EVP_DigestFinal_ex(crypt->context, out, NULL) == 1;
}

static void
repeat(unsigned char *out, size_t len, const unsigned char block[SHA256_SIZE])
{
	for (size_t i = 0; i < len; i++)
		out[i] = block[i % SHA256_SIZE];
}

/* Steps 1 to 20 of the specification. */
static void
prepare(Crypt *crypt)
{
	const char *password = crypt->password->data;
	size_t len = crypt->password->len;
	unsigned char other[SHA256_SIZE] = {0};

	begin(crypt);
	add(crypt, password, len);
	add(crypt, crypt->salt, MYSQL_SALT_SIZE);
	add(crypt, password, len);
	end(crypt, other);

	begin(crypt);
	add(crypt, password, len);
	add(crypt, crypt->salt, MYSQL_SALT_SIZE);
	add_repeated(crypt, other, len);
	for (size_t bits = len; bits > 0; bits >>= 1)
	{
		if (bits & 1)
			add(crypt, other, sizeof(other));
		else
			add(crypt, password, len);
	}
	end(crypt, crypt->state);

	begin(crypt);
	for (size_t i = 0; i < len; i++)
		add(crypt, password, len);
	end(crypt, other);
	repeat(crypt->stretched, len, other);

	begin(crypt);
	for (size_t i = 0; i < 16 + (size_t) crypt->state[0]; i++)
		add(crypt, crypt->salt, MYSQL_SALT_SIZE);
	end(crypt, other);
	repeat(crypt->stretched_salt, MYSQL_SALT_SIZE, other);
	secret_wipe(other, sizeof(other));
}

/* Step 21. */
static void
stretch(Crypt *crypt, int rounds)
{
	size_t len = crypt->password->len;

	for (int round = 0; crypt->ok && round < rounds; round++)
	{
		bool odd = round % 2 != 0;

		begin(crypt);
		add(crypt, odd ? crypt->stretched : crypt->state, odd ? len : SHA256_SIZE);
		if (round % 3 != 0)
			add(crypt, crypt->stretched_salt, MYSQL_SALT_SIZE);
		if (round % 7 != 0)
			add(crypt, crypt->stretched, len);
		add(crypt, odd ? crypt->state : crypt->stretched, odd ? SHA256_SIZE : len);
		end(crypt, crypt->state);
	}
}

/* Step 22: 43 digits, the bytes in the specification's order. */
static void
write_digits(const unsigned char state[SHA256_SIZE], char *out)
{
	static const unsigned char order[][3] = {{0, 10, 20}, {21, 1, 11}, {12, 22, 2}, {3, 13, 23},
											 {24, 4, 14}, {15, 25, 5}, {6, 16, 26}, {27, 7, 17},
											 {18, 28, 8}, {9, 19, 29}};

	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++)
	{
		unsigned bits = (unsigned) state[order[i][0]] << 16 | (unsigned) state[order[i][1]] << 8 |
						state[order[i][2]];

		for (int digit = 0; digit < 4; digit++, bits >>= 6)
			*out++ = CRYPT_DIGITS[bits & 63];
	}
	*out++ = CRYPT_DIGITS[state[30] & 63];
	*out++ = CRYPT_DIGITS[(state[31] & 15) << 2 | state[30] >> 6];
	*out++ = CRYPT_DIGITS[state[31] >> 4];
	*out = '\0';
}

bool
mysql_hash_sha2(const SecretBuf *password, const unsigned char salt[MYSQL_SALT_SIZE], int rounds,
				char out[MYSQL_HASH_MAX], RotorError *err)
{
	Crypt crypt = {.md = EVP_MD_fetch(NULL, "SHA256", NULL),
				   .context = EVP_MD_CTX_new(),
				   .password = password,
				   .salt = salt};
	bool ok;

	crypt.ok = crypt.md != NULL && crypt.context != NULL;
	out[0] = '\0';
	prepare(&crypt);
	stretch(&crypt, rounds * 1000);
	if (crypt.ok)
	{
		int used = snprintf(out, MYSQL_HASH_MAX, "$A$%03X$%.*s", (unsigned) rounds, MYSQL_SALT_SIZE,
							(const char *) salt);

		write_digits(crypt.state, out + used);
	}
	ok = crypt.ok;
	EVP_MD_CTX_free(crypt.context);
	EVP_MD_free(crypt.md);
	secret_wipe(&crypt, sizeof(crypt));
	return ok ? true : error_set_crypto(err, "hash for caching_sha2_password");
}

static bool
hash_sha2(const SecretBuf *password, char out[MYSQL_HASH_MAX], RotorError *err)
{
	unsigned char salt[MYSQL_SALT_SIZE];

	if (!random_bytes(salt, sizeof(salt), err))
		return false;
	for (size_t i = 0; i < sizeof(salt); i++)
		salt[i] = (unsigned char) CRYPT_DIGITS[salt[i] & 63];
	return mysql_hash_sha2(password, salt, SHA2_ROUNDS, out, err);
}

/*
 * ---- ed25519: the public key whose private key is the password
 *
 * MariaDB hashes a password of any length to the scalar, where Ed25519 proper has a seed of 32 bytes; OpenSSL
 * makes keys of seeds only, so the multiple of the base point is computed here, in extended coordinates.
 */

typedef struct Point
{
	BIGNUM *x, *y, *z, *t; /* of the curve's x = x/z, y = y/z, and t = xy/z */
} Point;

typedef struct Curve
{
	BN_CTX *context;
	BIGNUM *p;	/* 2^255 - 19 */
	BIGNUM *d2; /* 2d */
	BIGNUM *tmp[8];
	Point sum;
	Point step; /* the base point's multiples by powers of two */
	bool ok;
} Curve;

static void
mul(Curve *curve, BIGNUM *out, const BIGNUM *a, const BIGNUM *b)
{
	curve->ok = curve->ok && BN_mod_mul(out, a, b, curve->p, curve->context) == 1;
}

static void
plus(Curve *curve, BIGNUM *out, const BIGNUM *a, const BIGNUM *b)
{
	curve->ok = curve->ok && BN_mod_add_quick(out, a, b, curve->p) == 1;
}

static void
minus(Curve *curve, BIGNUM *out, const BIGNUM *a, const BIGNUM *b)
{
	curve->ok = curve->ok && BN_mod_sub_quick(out, a, b, curve->p) == 1;
}

/* to = to + what; complete for this curve, so also for doubling (RFC 8032, section 5.1.4). */
static void
add_point(Curve *curve, Point *to, const Point *what)
{
	BIGNUM **v = curve->tmp;

	minus(curve, v[4], to->y, to->x);
	minus(curve, v[5], what->y, what->x);
	mul(curve, v[0], v[4], v[5]); /* A */
	plus(curve, v[4], to->y, to->x);
	plus(curve, v[5], what->y, what->x);
	mul(curve, v[1], v[4], v[5]); /* B */
	mul(curve, v[4], to->t, what->t);
	mul(curve, v[2], v[4], curve->d2); /* C */
	mul(curve, v[4], to->z, what->z);
	plus(curve, v[3], v[4], v[4]);	/* D */
	minus(curve, v[4], v[1], v[0]); /* E */
	minus(curve, v[5], v[3], v[2]); /* F */
	plus(curve, v[6], v[3], v[2]);	/* G */
	plus(curve, v[7], v[1], v[0]);	/* H */
	mul(curve, to->x, v[4], v[5]);
	mul(curve, to->y, v[6], v[7]);
	mul(curve, to->t, v[4], v[7]);
	mul(curve, to->z, v[5], v[6]);
}

static BIGNUM *
number(Curve *curve, const char *hex)
{
	BIGNUM *out = BN_CTX_get(curve->context);

	curve->ok = curve->ok && out != NULL && (hex == NULL || BN_hex2bn(&out, hex) != 0);
	return out;
}

static void
make_curve(Curve *curve)
{
	static const char base_x[] = "216936D3CD6E53FEC0A4E231FDD6DC5C692CC7609525A7B2C9562D608F25D51A";
	static const char base_y[] = "6666666666666666666666666666666666666666666666666666666666666658";

	curve->p = number(curve, "7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFED");
	curve->d2 = number(curve, "2406D9DC56DFFCE7198E80F2EEF3D13000E0149A8283B156EBD69B9426B2F159");
	for (size_t i = 0; i < sizeof(curve->tmp) / sizeof(curve->tmp[0]); i++)
		curve->tmp[i] = number(curve, NULL);
	curve->sum =
		(Point){number(curve, "0"), number(curve, "1"), number(curve, "1"), number(curve, "0")};
	curve->step = (Point){number(curve, base_x), number(curve, base_y), number(curve, "1"),
						  number(curve, NULL)};
	if (curve->ok)
		mul(curve, curve->step.t, curve->step.x, curve->step.y);
}

/* The multiple of the base point, as Ed25519 writes public keys. */
static bool
multiply_base(const unsigned char scalar[POINT_SIZE], unsigned char out[POINT_SIZE])
{
	Curve curve = {.context = BN_CTX_secure_new()};

	if (curve.context == NULL)
		return false;
	BN_CTX_start(curve.context);
	curve.ok = true;
	make_curve(&curve);
	for (int bit = 0; curve.ok && bit < 255; bit++)
	{
		if (scalar[bit / 8] >> bit % 8 & 1)
			add_point(&curve, &curve.sum, &curve.step);
		add_point(&curve, &curve.step, &curve.step);
	}
	if (curve.ok)
	{
		BIGNUM *inverse = BN_mod_inverse(curve.tmp[0], curve.sum.z, curve.p, curve.context);

		curve.ok = inverse != NULL;
		mul(&curve, curve.tmp[1], curve.sum.x, curve.tmp[0]);
		mul(&curve, curve.tmp[2], curve.sum.y, curve.tmp[0]);
		curve.ok = curve.ok && BN_bn2lebinpad(curve.tmp[2], out, POINT_SIZE) == POINT_SIZE;
		if (curve.ok && BN_is_odd(curve.tmp[1]))
			out[POINT_SIZE - 1] |= 0x80;
	}
	BN_CTX_end(curve.context);
	BN_CTX_free(curve.context); /* wipes: it is a secure one */
	return curve.ok;
}

static bool
hash_ed25519(const SecretBuf *password, char out[MYSQL_HASH_MAX], RotorError *err)
{
	unsigned char hashed[SHA512_SIZE];
	unsigned char key[POINT_SIZE] = {0};
	bool ok = EVP_Digest(password->data, password->len, hashed, NULL, EVP_sha512(), NULL) == 1;

	hashed[0] &= 248;
	hashed[31] &= 63;
	hashed[31] |= 64;
	ok = ok && multiply_base(hashed, key);
	secret_wipe(hashed, sizeof(hashed));
	if (!ok)
		return error_set_crypto(err, "derive the key for ed25519");
	if (!codec_base64_encode(key, sizeof(key), out, MYSQL_HASH_MAX, err))
		return false;
	out[strcspn(out, "=")] = '\0'; /* MariaDB leaves the padding out */
	return true;
}

bool
mysql_hash(const char *plugin, const SecretBuf *password, char out[MYSQL_HASH_MAX], RotorError *err)
{
	static const struct
	{
		const char *plugin;
		bool (*hash)(const SecretBuf *password, char out[MYSQL_HASH_MAX], RotorError *err);
	} known[] = {{"mysql_native_password", hash_native},
				 {"caching_sha2_password", hash_sha2},
				 {"ed25519", hash_ed25519}};

	out[0] = '\0';
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
	{
		if (strcmp(plugin, known[i].plugin) != 0)
			continue;
		if (known[i].hash(password, out, err))
			return true;
		secret_wipe(out, MYSQL_HASH_MAX);
		return false;
	}
	(void) error_set(err, ROTOR_ERROR_NOT_FOUND, "no hash is known for the plugin %.64s", plugin);
	return error_hint(err, "Use mysql_native_password, caching_sha2_password or ed25519.");
}

/* $A$, three hexadecimal digits, $, the salt and the digits. */
static bool
is_sha2_of(const char *stored, const SecretBuf *password, char out[MYSQL_HASH_MAX])
{
	RotorError err;
	unsigned long rounds;
	char *end;

	/* A salt of a server's own may have any character but the NUL and the dollar sign. */
	if (strlen(stored) != SHA2_PREFIX_SIZE + MYSQL_SALT_SIZE + SHA2_DIGITS ||
		strncmp(stored, "$A$", 3) != 0)
		return false;
	rounds = strtoul(stored + 3, &end, 16);
	/* Another form of the number is not the same text below. */
	if (end != stored + SHA2_PREFIX_SIZE - 1 || *end != '$' || rounds > SHA2_MOST_ROUNDS)
		return false;
	return mysql_hash_sha2(password, (const unsigned char *) stored + SHA2_PREFIX_SIZE,
						   (int) rounds, out, &err) &&
		   strcmp(stored, out) == 0;
}

bool
mysql_hash_is_of(const char *stored, const char *plugin, const SecretBuf *password)
{
	char out[MYSQL_HASH_MAX] = "";
	RotorError err;
	bool is;

	if (strcmp(plugin, "caching_sha2_password") == 0)
		is = is_sha2_of(stored, password, out);
	else
		is = strcmp(plugin, "mysql_native_password") == 0 &&
			 mysql_hash(plugin, password, out, &err) && strcasecmp(stored, out) == 0;
	secret_wipe(out, sizeof(out));
	return is;
}

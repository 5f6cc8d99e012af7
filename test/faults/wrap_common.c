/*
 * wrap_common.c
 *		Wrappers of what common/ calls: OpenSSL, the C library, itself.  See fault.h.
 *
 * OpenSSL's functions fail without a reason in its error queue, which is the poorest case for
 * whoever is to report it.
 */
#include <pthread.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include "codec.h"
#include "fault.h"
#include "secret_buf.h"

WRAP(random, int, RAND_bytes, (unsigned char *buf, int num), (buf, num), return 0)
WRAP(random, int, pthread_once, (pthread_once_t * once, void (*init)(void)), (once, init), return 1)

WRAP(crypto, EVP_CIPHER *, EVP_CIPHER_fetch,
	 (OSSL_LIB_CTX * ctx, const char *name, const char *properties), (ctx, name, properties),
	 return NULL)
WRAP(crypto, EVP_CIPHER_CTX *, EVP_CIPHER_CTX_new, (void), (), return NULL)
WRAP(crypto, int, EVP_CIPHER_CTX_ctrl, (EVP_CIPHER_CTX * ctx, int type, int arg, void *ptr),
	 (ctx, type, arg, ptr), return 0)
WRAP(crypto, int, EVP_EncryptInit_ex2,
	 (EVP_CIPHER_CTX * ctx, const EVP_CIPHER *cipher, const unsigned char *key,
	  const unsigned char *iv, const OSSL_PARAM params[]),
	 (ctx, cipher, key, iv, params), return 0)
WRAP(crypto, int, EVP_EncryptUpdate,
	 (EVP_CIPHER_CTX * ctx, unsigned char *out, int *outl, const unsigned char *in, int inl),
	 (ctx, out, outl, in, inl), return 0)
WRAP(crypto, int, EVP_EncryptFinal_ex, (EVP_CIPHER_CTX * ctx, unsigned char *out, int *outl),
	 (ctx, out, outl), return 0)
WRAP(crypto, int, EVP_DecryptInit_ex2,
	 (EVP_CIPHER_CTX * ctx, const EVP_CIPHER *cipher, const unsigned char *key,
	  const unsigned char *iv, const OSSL_PARAM params[]),
	 (ctx, cipher, key, iv, params), return 0)
WRAP(crypto, int, EVP_DecryptUpdate,
	 (EVP_CIPHER_CTX * ctx, unsigned char *out, int *outl, const unsigned char *in, int inl),
	 (ctx, out, outl, in, inl), return 0)
WRAP(crypto, int, EVP_DecryptFinal_ex, (EVP_CIPHER_CTX * ctx, unsigned char *out, int *outl),
	 (ctx, out, outl), return 0)
WRAP(crypto, int, EVP_Digest,
	 (const void *data, size_t count, unsigned char *md, unsigned int *size, const EVP_MD *type,
	  ENGINE *impl),
	 (data, count, md, size, type, impl), return 0)
WRAP(decode, int, EVP_DecodeBlock, (unsigned char *out, const unsigned char *in, int n),
	 (out, in, n), return -1)
WRAP(crypto, int, PKCS5_PBKDF2_HMAC,
	 (const char *pass, int passlen, const unsigned char *salt, int saltlen, int iter,
	  const EVP_MD *digest, int keylen, unsigned char *out),
	 (pass, passlen, salt, saltlen, iter, digest, keylen, out), return 0)
WRAP(crypto, unsigned char *, HMAC,
	 (const EVP_MD *type, const void *key, int key_len, const unsigned char *data, size_t data_len,
	  unsigned char *md, unsigned int *md_len),
	 (type, key, key_len, data, data_len, md, md_len), return NULL)

/* What cannot fail as it is called today, and is looked after all the same. */
WRAP(own, bool, codec_base64_encode,
	 (const void *in, size_t len, char *out, size_t out_size, RotorError *err),
	 (in, len, out, out_size, err), return error_set(err, ROTOR_ERROR_SPACE, "made up by a test"))
WRAP(own, bool, codec_hex_encode,
	 (const void *in, size_t len, char *out, size_t out_size, RotorError *err),
	 (in, len, out, out_size, err), return error_set(err, ROTOR_ERROR_SPACE, "made up by a test"))
WRAP(own, bool, secret_buf_append, (SecretBuf * buf, const void *data, size_t len, RotorError *err),
	 (buf, data, len, err), return error_set(err, ROTOR_ERROR_SPACE, "made up by a test"))
WRAP(own, bool, secret_buf_set, (SecretBuf * buf, const void *data, size_t len, RotorError *err),
	 (buf, data, len, err), return error_set(err, ROTOR_ERROR_SPACE, "made up by a test"))

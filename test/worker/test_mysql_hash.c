/*
 * test_mysql_hash.c
 *		Tests of worker/mysql_hash.c.
 */
#include "support.h"

#include <openssl/evp.h>

#include "codec.h"
#include "mysql_hash.h"

static void
put(SecretBuf *buf, const char *text)
{
	RotorError err;

	assert_true(secret_buf_set(buf, text, strlen(text), &err));
}

TEST(native_hashes_are_those_that_password_gives)
{
	SecretBuf password = {0};
	char out[MYSQL_HASH_MAX];
	RotorError err;

	/* SELECT PASSWORD('mariadb'), from MariaDB's documentation of CREATE USER. */
	put(&password, "mariadb");
	assert_true(mysql_hash("mysql_native_password", &password, out, &err));
	assert_string_equal(out, "*54958E764CE10E50764C2EECBB71D01F08549980");
}

TEST(sha2_hashes_are_those_of_mysqls_own_tests)
{
	/* The first three are of MySQL's unit tests (sha2_password-t.cc), the last is hashcat's for mode 7401. */
	static const struct
	{
		const char *password;
		const char *salt;
		const char *digits;
	} known[] = {
		{"HahaH0hO1234#$@#%", "AbCd!@#\tEfgH%^&*01@#",
		 "dNFegEa4OGDrnEu7M4T.nkmm794xI/QoCR3Z.xpLOW6"},
		{";bCdEF34^i9&*\":({\\56\"", "CVlq))+AC>Q)#4!@# x!",
		 "SPMN/L8.noKqe8IXVZ2DpCE6w29b106vCQecap9JKpA"},
		{" CQ#$ML CF%IF$#(<#R ()<_q@#(rq", "X#y)+q x2cx3,qr2##3\t",
		 "rP8Jn8Mtp6XCMx1QjSDA8NSalfVMSBNMIr2yqcEi6Q8"},
		{"hashcat",
		 "\xF9\xCC\x98\xCE\x08\x89\x29\x24\xF5\x0A\x21\x3B\x6B\xC5\x71\xA2\xC1\x17\x78\xC5",
		 "bTy95Y99eAME1dwEkHOA1ndHGBWz.1bxSSRkuTXFGV/"},
	};

	for (size_t i = 0; i < COUNT_OF(known); i++)
	{
		SecretBuf password = {0};
		char out[MYSQL_HASH_MAX];
		RotorError err;

		put(&password, known[i].password);
		assert_true(
			mysql_hash_sha2(&password, (const unsigned char *) known[i].salt, 5, out, &err));
		assert_int_equal(strlen(out), 70);
		assert_memory_equal(out, "$A$005$", 7);
		assert_memory_equal(out + 7, known[i].salt, MYSQL_SALT_SIZE);
		assert_string_equal(out + 27, known[i].digits);
	}
}

TEST(sha2_salts_are_printable_and_never_the_same)
{
	SecretBuf password = {0};
	char first[MYSQL_HASH_MAX];
	char second[MYSQL_HASH_MAX];
	RotorError err;

	put(&password, "x");
	assert_true(mysql_hash("caching_sha2_password", &password, first, &err));
	assert_true(mysql_hash("caching_sha2_password", &password, second, &err));
	assert_string_not_equal(first, second);
	assert_int_equal(strspn(first + 7, "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrst"
									   "uvwxyz"),
					 63);
}

TEST(ed25519_hashes_are_those_of_mariadbs_documentation)
{
	SecretBuf password = {0};
	char out[MYSQL_HASH_MAX];
	RotorError err;

	put(&password, "secret");
	assert_true(mysql_hash("ed25519", &password, out, &err));
	assert_string_equal(out, "ZIgUREUg5PVgQ6LskhXmO+eZLS0nC8be6HPjYWR4YJY");
}

TEST(ed25519_of_32_bytes_is_the_public_key_that_openssl_makes_of_them_as_a_seed)
{
	for (int i = 0; i < 40; i++)
	{
		SecretBuf password = {0};
		char out[MYSQL_HASH_MAX];
		char expected[MYSQL_HASH_MAX];
		unsigned char key[32];
		size_t len = sizeof(key);
		RotorError err;
		EVP_PKEY *pair;

		use_seeded_source((uint64_t) i);
		password.len = 32;
		assert_true(random_bytes(password.data, 32, &err));
		pair = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL,
											(const unsigned char *) password.data, 32);
		assert_int_equal(EVP_PKEY_get_raw_public_key(pair, key, &len), 1);
		assert_true(codec_base64_encode(key, 32, expected, sizeof(expected), &err));
		expected[43] = '\0';
		assert_true(mysql_hash("ed25519", &password, out, &err));
		assert_string_equal(out, expected);
		EVP_PKEY_free(pair);
	}
}

TEST(what_a_server_stores_is_told_from_what_it_stores_for_another_password)
{
	static const char *const plugins[] = {"mysql_native_password", "caching_sha2_password"};
	SecretBuf password = {0};
	SecretBuf other = {0};
	char stored[MYSQL_HASH_MAX];
	RotorError err;

	put(&password, "HahaH0hO1234#$@#%");
	put(&other, "HahaH0hO1234#$@#");
	for (size_t i = 0; i < COUNT_OF(plugins); i++)
	{
		assert_true(mysql_hash(plugins[i], &password, stored, &err));
		assert_true(mysql_hash_is_of(stored, plugins[i], &password));
		assert_false(mysql_hash_is_of(stored, plugins[i], &other));
		assert_false(mysql_hash_is_of(stored, plugins[1 - i], &password));
		assert_false(mysql_hash_is_of("", plugins[i], &password));
		stored[strlen(stored) - 1] = '\0';
		assert_false(mysql_hash_is_of(stored, plugins[i], &password));
	}
	/* a salt that has no other rule than MySQL's own, and another number of rounds */
	assert_true(
		mysql_hash_is_of("$A$005$AbCd!@#\tEfgH%^&*01@#dNFegEa4OGDrnEu7M4T.nkmm794xI/QoCR3Z.xpLOW6",
						 "caching_sha2_password", &password));
	assert_false(
		mysql_hash_is_of("$A$006$AbCd!@#\tEfgH%^&*01@#dNFegEa4OGDrnEu7M4T.nkmm794xI/QoCR3Z.xpLOW6",
						 "caching_sha2_password", &password));
	assert_false(mysql_hash_is_of("x", "ed25519", &password));
	secret_buf_wipe(&password);
	secret_buf_wipe(&other);
}

TEST(a_plugin_without_a_known_hash_is_refused)
{
	SecretBuf password = {0};
	char out[MYSQL_HASH_MAX] = "former";
	RotorError err = fresh_error();

	put(&password, "x");
	assert_false(mysql_hash("unix_socket", &password, out, &err));
	assert_error(&err, ROTOR_ERROR_NOT_FOUND);
	assert_string_equal(out, "");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(native_hashes_are_those_that_password_gives),
		cmocka_unit_test(sha2_hashes_are_those_of_mysqls_own_tests),
		cmocka_unit_test_setup(sha2_salts_are_printable_and_never_the_same, use_real_source),
		cmocka_unit_test(ed25519_hashes_are_those_of_mariadbs_documentation),
		cmocka_unit_test_teardown(
			ed25519_of_32_bytes_is_the_public_key_that_openssl_makes_of_them_as_a_seed,
			use_real_source),
		cmocka_unit_test_setup(
			what_a_server_stores_is_told_from_what_it_stores_for_another_password, use_real_source),
		cmocka_unit_test(a_plugin_without_a_known_hash_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

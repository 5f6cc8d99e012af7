/*
 * support.h
 *		What the unit tests share: how a test is written, and sources of bytes that
 *		are not random.
 *
 * Every source is deterministic, so that a test either always passes or always fails.
 */
#ifndef ROTOR_TEST_SUPPORT_H
#define ROTOR_TEST_SUPPORT_H

/* cmocka wants these before itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "error.h"
#include "random.h"
#include "secret_buf.h"

/* A test: its name is the sentence it proves. */
#define TEST(name) static void name(void **state __attribute__((unused)))

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* Setup of a test that draws: the real source, an empty pool.  Also the teardown. */
extern int use_real_source(void **state);

/* Bytes of a good generator (SplitMix64) started at seed. */
extern void use_seeded_source(uint64_t seed);

/* The bytes 0, 1, 2 .. 255, 0, 1 .. */
extern void use_counting_source(void);

/* The same byte for ever. */
extern void use_constant_source(uint8_t byte);

/* The len bytes given, then zeros; the bytes are copied, at most 4096. */
extern void use_scripted_source(const void *bytes, size_t len);

/*
 * The seeded source, which fails at the call'th call (from 1) and ever after, having
 * written garbage.  The pool is left with `ready` bytes (0 .. 4095) from calls before.
 */
extern void use_failing_source(int call, size_t ready);

/* Fails always, with that answer. */
extern void use_source_answering(int answer);

/* How often the source was called since it was set. */
extern int source_calls(void);

/* Asserts what holds for each error: its code, texts in the house form. */
extern void assert_error(const RotorError *err, RotorErrorCode code);

/* Asserts that no text of the error holds the secret. */
extern void assert_error_lacks(const RotorError *err, const char *secret);

/* An error to be filled, full of traces so that untouched fields show. */
extern RotorError fresh_error(void);

/* Fills a buffer with a value, which must not survive what follows. */
extern void put_former_value(SecretBuf *buf);

/* Asserts that a buffer is empty and that nothing but zeros is left in it. */
extern void assert_wiped(const SecretBuf *buf);

/* Asserts that len bytes at p are zero. */
extern void assert_zero(const void *p, size_t len);

#endif /* ROTOR_TEST_SUPPORT_H */

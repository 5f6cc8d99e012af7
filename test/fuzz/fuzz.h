/*
 * fuzz.h
 *		What the fuzz targets share: how a property is stated, how bytes become arguments,
 *		and a source of bytes that is not random.
 *
 * Each fuzz_*.c is a program: libFuzzer calls its LLVMFuzzerTestOneInput() with bytes that
 * it makes up, looking for new paths through common/.  A target does more than not crash:
 * it states with MUST() what has to hold for any input.
 *
 * What always holds: the same input does the same.
 */
#ifndef ROTOR_TEST_FUZZ_H
#define ROTOR_TEST_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "secret_buf.h"

/* What has to hold; if not, the process ends, and libFuzzer keeps the input. */
#define MUST(condition) \
	((condition) ? (void) 0 : fuzz_broken(#condition, __FILE__, __LINE__, __func__))

/* What is left of an input. */
typedef struct Input
{
	const uint8_t *data;
	size_t len;
} Input;

extern void fuzz_broken(const char *condition, const char *file, int line, const char *function)
	__attribute__((noreturn));

/* The next byte, 0 when none is left. */
extern uint8_t take_byte(Input *input);

/* The next four bytes as a number, low byte first. */
extern uint32_t take_number(Input *input);

/* The next bytes, as many as the first of them says and as there are. */
extern Input take_bytes(Input *input);

/* Asserts what holds for each error: one of two codes, texts in the house form. */
extern void must_be_error(const RotorError *err, RotorErrorCode code, RotorErrorCode other);

/* Asserts that a buffer is empty, and that none of the bytes it held before is left. */
extern void must_be_wiped(const SecretBuf *buf);

/* Fills a buffer, which must not survive what follows. */
extern void put_former_value(SecretBuf *buf);

/* common/random hands out the bytes of a generator started at seed. */
extern void use_seeded_source(uint32_t seed);

/* common/random hands out these bytes, then zeros.  They must last as long. */
extern void use_these_bytes(const uint8_t *bytes, size_t len);

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif /* ROTOR_TEST_FUZZ_H */

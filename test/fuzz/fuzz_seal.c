/*
 * fuzz_seal.c
 *		Sealing: bytes that nobody sealed, and sealed values that were changed.
 *
 * The input: one byte that says what to do, a number for the key, associated data with
 * their length in front, and the rest, which is either to be opened or to be sealed.
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "seal.h"

/* What is done to a sealed value before it is opened. */
typedef enum Change
{
	CHANGE_BYTE,
	CHANGE_CUT,
	CHANGE_EXTEND,
	CHANGE_KEY,
	CHANGE_AAD,
	CHANGE_COUNT
} Change;

typedef struct Sealed
{
	uint8_t key[SEAL_KEY_LEN];
	uint8_t *aad;
	size_t aad_len;
	size_t len;
	uint8_t bytes[SEAL_MAX_LEN + 1];
} Sealed;

static bool
open_it(const Sealed *sealed, SecretBuf *out, RotorError *err)
{
	put_former_value(out);
	return seal_open(sealed->key, sealed->aad, sealed->aad_len, sealed->bytes, sealed->len, out,
					 err);
}

static void
must_not_open(const Sealed *sealed)
{
	SecretBuf out;
	RotorError err;

	MUST(!open_it(sealed, &out, &err));
	must_be_error(&err, ROTOR_ERROR_AUTHENTICATION, ROTOR_ERROR_FORMAT);
	must_be_wiped(&out);
}

/*
 * Any bytes.  If they open, then somebody has sealed them: sealing the value with that nonce
 * gives these very bytes.
 */
static void
open_bytes(Sealed *sealed, Input rest)
{
	uint8_t again[SEAL_MAX_LEN];
	size_t again_len;
	SecretBuf out;
	RotorError err;
	bool possible;

	sealed->len = rest.len < sizeof(sealed->bytes) ? rest.len : sizeof(sealed->bytes);
	memcpy(sealed->bytes, rest.data, sealed->len);
	possible = sealed->len >= SEAL_OVERHEAD && sealed->len <= SEAL_MAX_LEN && rest.data[0] == 1;
	if (!open_it(sealed, &out, &err))
	{
		must_be_error(&err, ROTOR_ERROR_AUTHENTICATION, ROTOR_ERROR_FORMAT);
		MUST(err.code == (possible ? ROTOR_ERROR_AUTHENTICATION : ROTOR_ERROR_FORMAT));
		must_be_wiped(&out);
		return;
	}
	MUST(possible && out.len == sealed->len - SEAL_OVERHEAD && out.data[out.len] == '\0');
	use_these_bytes(sealed->bytes + 1, SEAL_NONCE_LEN);
	MUST(seal_value(sealed->key, sealed->aad, sealed->aad_len, out.data, out.len, again,
					sizeof(again), &again_len, &err));
	MUST(again_len == sealed->len && memcmp(again, sealed->bytes, again_len) == 0);
}

/* Seals the value; *sealed is then what was made of it. */
static void
seal_it(Sealed *sealed, Input value)
{
	RotorError err;
	size_t needed = value.len + SEAL_OVERHEAD;

	memset(sealed->bytes, 'x', sizeof(sealed->bytes));
	MUST(!seal_value(sealed->key, sealed->aad, sealed->aad_len, value.data, value.len,
					 sealed->bytes, needed - 1, &sealed->len, &err));
	must_be_error(&err, ROTOR_ERROR_SPACE, ROTOR_ERROR_SPACE);
	MUST(sealed->len == 0);
	for (size_t i = 0; i < sizeof(sealed->bytes); i++)
		MUST(sealed->bytes[i] == 'x');

	MUST(seal_value(sealed->key, sealed->aad, sealed->aad_len, value.data, value.len, sealed->bytes,
					needed, &sealed->len, &err));
	MUST(sealed->len == needed && sealed->bytes[needed] == 'x');
}

/* Changes the sealed value, as `where` says, into one that differs. */
static void
change(Sealed *sealed, Change what, uint32_t where)
{
	uint8_t flip = (uint8_t) (where >> 24 != 0 ? where >> 24 : 1);

	switch (what)
	{
		case CHANGE_BYTE:
			sealed->bytes[where % 0x10000 % sealed->len] ^= flip;
			break;
		case CHANGE_CUT:
			sealed->len = where % sealed->len;
			break;
		case CHANGE_EXTEND:
			sealed->bytes[sealed->len++] = flip;
			break;
		case CHANGE_KEY:
			sealed->key[where % SEAL_KEY_LEN] ^= flip;
			break;
		default:
			if (sealed->aad_len > 0 && where % 2 == 0)
				sealed->aad_len--;
			else if (sealed->aad_len > 0)
				sealed->aad[where / 2 % sealed->aad_len] ^= flip;
			else
				sealed->aad_len++; /* there is room for one more */
	}
}

static void
seal_change_open(Sealed *sealed, Input value, Change what, uint32_t where)
{
	SecretBuf out;
	RotorError err;

	if (value.len > SECRET_BUF_CAPACITY)
		value.len = SECRET_BUF_CAPACITY;
	seal_it(sealed, value);
	MUST(open_it(sealed, &out, &err));
	MUST(out.len == value.len && memcmp(out.data, value.data, value.len) == 0);
	MUST(out.data[out.len] == '\0');
	change(sealed, what, where);
	must_not_open(sealed);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static Sealed sealed;
	Input input = {data, size};
	uint8_t what = take_byte(&input);
	uint32_t number = take_number(&input);
	Input aad = take_bytes(&input);

	sealed.aad = calloc(1, aad.len + 1);
	MUST(sealed.aad != NULL);
	sealed.aad_len = aad.len;
	memcpy(sealed.aad, aad.data, aad.len);
	memset(sealed.key, (int) (number & 0xff), sizeof(sealed.key));
	if (what == 0)
		open_bytes(&sealed, input);
	else
	{
		use_seeded_source(number);
		seal_change_open(&sealed, input, (Change) (what % CHANGE_COUNT), number);
	}
	free(sealed.aad);
	return 0;
}

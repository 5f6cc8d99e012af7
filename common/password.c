/*
 * password.c
 *		Makes passwords, hexadecimal strings and UUIDs; see password.h.
 *
 * How a password comes out uniform.  Each character is drawn uniformly from the whole
 * alphabet, by rejection: a random byte selects a character only if it lies below the
 * largest multiple of the alphabet's size, so that no remainder favours the first
 * characters.  If a required class is missing, the whole value is thrown away and drawn
 * anew.  What is accepted is therefore uniform over the allowed passwords; to repair a
 * value by putting a missing class somewhere would not be.
 *
 * How often that happens.  For classes of s_1 .. s_k characters, n together, a value of L
 * characters holds all of them with probability
 *	  P = sum over subsets S of the classes of (-1)^|S| (1 - s(S) / n)^L,
 * where s(S) is the number of characters in S.  P grows with L, since a longer value
 * has all that its beginning has.  At the least length, 8, and over all class sizes
 * that exclusion can leave (1..26, 1..26, 1..10, 1..32, or a class off), P is least for
 * (1, 1, 1, 32): P = 0.0063 (test_password.c goes through all of them).  The usual
 * spec, all classes and 32 characters, has 0.97.
 */
#include "password.h"

#include <stdint.h>
#include <string.h>

#include "codec.h"
#include "random.h"

enum
{
	CLASS_UPPERCASE = 1,
	CLASS_LOWERCASE = 2,
	CLASS_DIGITS = 4,
	CLASS_SYMBOLS = 8
};

#define CLASS_COUNT	   4
#define CLASS_SIZE_MAX 32

/* Printable ASCII without the space. */
#define ALPHABET_MAX 94

/* (1 - 0.0063)^16384 < 2^-149: with random bytes nobody will ever see this bound reached. */
#define MAX_TRIES 16384

/* Random bytes drawn at a time. */
#define DRAW_CHUNK 256

typedef struct CharClass
{
	const char *name;
	char chars[CLASS_SIZE_MAX + 1];
	uint8_t size;
	uint8_t bit;
} CharClass;

static const CharClass char_classes[CLASS_COUNT] = {
	{"uppercase", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", 26, CLASS_UPPERCASE},
	{"lowercase", "abcdefghijklmnopqrstuvwxyz", 26, CLASS_LOWERCASE},
	{"digits", "0123456789", 10, CLASS_DIGITS},
	{"symbols", "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", 32, CLASS_SYMBOLS},
};

/* The class of each character; 0 for what is in none, above all for NUL. */
static const uint8_t class_of[128] = {
	['A' ... 'Z'] = CLASS_UPPERCASE, ['a' ... 'z'] = CLASS_LOWERCASE, ['0' ... '9'] = CLASS_DIGITS,
	['!' ... '/'] = CLASS_SYMBOLS,	 [':' ... '@'] = CLASS_SYMBOLS,	  ['[' ... '`'] = CLASS_SYMBOLS,
	['{' ... '~'] = CLASS_SYMBOLS,
};

/*
 * What a spec boils down to.  Nothing in it is secret.
 *
 * chars has room behind the alphabet so that tables are put together from copies of
 * constant size; gcc makes of a copy whose size it only knows to be small an instruction
 * that takes longer than drawing the password.
 */
typedef struct Alphabet
{
	int size;								   /* 1 .. ALPHABET_MAX */
	uint8_t required;						   /* classes that must occur, as bits */
	char chars[ALPHABET_MAX + CLASS_SIZE_MAX]; /* each allowed character once */
} Alphabet;

/* The character that each value of a random byte selects, NUL if it is to be rejected. */
typedef struct ByteMap
{
	char chars[256 + ALPHABET_MAX]; /* the excess as in Alphabet */
} ByteMap;

static uint8_t
enabled_classes(const PasswordSpec *spec)
{
	return (spec->uppercase ? CLASS_UPPERCASE : 0) | (spec->lowercase ? CLASS_LOWERCASE : 0) |
		   (spec->digits ? CLASS_DIGITS : 0) | (spec->symbols ? CLASS_SYMBOLS : 0);
}

static bool
check_length(const PasswordSpec *spec, uint8_t enabled, RotorError *err)
{
	int required = spec->require_each_type ? __builtin_popcount(enabled) : 0;

	if (required > 1 && spec->length < required)
	{
		(void) error_set(err, ROTOR_ERROR_ARGUMENT,
						 "password length %d is less than the %d character types required",
						 spec->length, required);
		return error_hint(err, "Use a length of at least %d.", PASSWORD_MIN_LENGTH);
	}
	if (spec->length < PASSWORD_MIN_LENGTH || spec->length > PASSWORD_MAX_LENGTH)
	{
		(void) error_set(err, ROTOR_ERROR_ARGUMENT, "password length %d is out of range",
						 spec->length);
		return error_hint(err, "Use a length from %d to %d.", PASSWORD_MIN_LENGTH,
						  PASSWORD_MAX_LENGTH);
	}
	return true;
}

/* Marks in excluded[] the characters that exclude names. */
static bool
read_exclusions(const char *exclude, bool excluded[128], RotorError *err)
{
	for (const char *c = exclude; *c != '\0'; c++)
	{
		if (*c < ' ' || *c > '~')
		{
			(void) error_set(err, ROTOR_ERROR_ARGUMENT,
							 "excluded characters hold something other than printable ASCII");
			(void) error_detail(err, "It is at byte %zu.", (size_t) (c - exclude) + 1);
			return error_hint(err, "Passwords are ASCII: leave other characters out of the list.");
		}
		excluded[(unsigned char) *c] = true;
	}
	return true;
}

/* Adds what exclusion leaves of a class; returns how many characters that is. */
static int
add_class(Alphabet *alphabet, const CharClass *class, const bool excluded[128])
{
	char *chars = alphabet->chars + alphabet->size;
	int added = 0;

	for (int i = 0; i < class->size; i++)
	{
		chars[added] = class->chars[i];
		added += !excluded[(unsigned char) class->chars[i]];
	}
	alphabet->size += added;
	return added;
}

static bool
add_classes(const PasswordSpec *spec, uint8_t enabled, Alphabet *alphabet, RotorError *err)
{
	bool excluded[128] = {false};

	if (!read_exclusions(spec->exclude, excluded, err))
		return false;
	for (int i = 0; i < CLASS_COUNT; i++)
	{
		const CharClass *class = &char_classes[i];

		if ((enabled & class->bit) && add_class(alphabet, class, excluded) == 0 &&
			spec->require_each_type)
		{
			(void) error_set(err, ROTOR_ERROR_ARGUMENT,
							 "every character of the required type \"%s\" is excluded",
							 class->name);
			return error_hint(err, "Exclude fewer characters, or switch that type off.");
		}
	}
	return true;
}

static void
add_classes_whole(uint8_t enabled, Alphabet *alphabet)
{
	for (int i = 0; i < CLASS_COUNT; i++)
	{
		if (enabled & char_classes[i].bit)
		{
			memcpy(alphabet->chars + alphabet->size, char_classes[i].chars, CLASS_SIZE_MAX);
			alphabet->size += char_classes[i].size;
		}
	}
}

/* Checks spec and works out its alphabet; *alphabet says nothing on error. */
static bool
build_alphabet(const PasswordSpec *spec, Alphabet *alphabet, RotorError *err)
{
	uint8_t enabled = enabled_classes(spec);

	memset(alphabet, 0, sizeof(*alphabet));
	if (!check_length(spec, enabled, err))
		return false;
	if (enabled == 0)
	{
		(void) error_set(err, ROTOR_ERROR_ARGUMENT, "all character types are switched off");
		return error_hint(err, "Switch on uppercase, lowercase, digits or symbols.");
	}

	alphabet->required = spec->require_each_type ? enabled : 0;
	if (spec->exclude == NULL || spec->exclude[0] == '\0')
		add_classes_whole(enabled, alphabet);
	else if (!add_classes(spec, enabled, alphabet, err))
		return false;

	if (alphabet->size == 0)
	{
		(void) error_set(err, ROTOR_ERROR_ARGUMENT, "every allowed character is excluded");
		return error_hint(err, "Exclude fewer characters, or switch on another type.");
	}
	return true;
}

bool
password_spec_check(const PasswordSpec *spec, RotorError *err)
{
	Alphabet alphabet;

	return build_alphabet(spec, &alphabet, err);
}

static bool
not_random(RotorError *err)
{
	return error_set(err, ROTOR_ERROR_CRYPTO, "random source is not random");
}

/*
 * Turns count random bytes into at most wanted characters at out; returns how many.  Whether
 * a byte counts is no branch, as it could not be predicted.
 */
static int
select_characters(const ByteMap *map, const uint8_t *bytes, int count, char *out, int wanted)
{
	int filled = 0;

	for (int i = 0; i < count && filled < wanted; i++)
	{
		char c = map->chars[bytes[i]];

		out[filled] = c;
		filled += (c != '\0');
	}
	return filled;
}

/* The classes that occur in length characters, as bits. */
static uint8_t
classes_in(const char *chars, int length)
{
	uint8_t seen = 0;

	for (int i = 0; i < length; i++)
		seen |= class_of[(unsigned char) chars[i]];
	return seen;
}

/* Draws length characters into out, uniformly over the alphabet of map. */
static bool
draw_characters(const ByteMap *map, int length, char *out, RotorError *err)
{
	uint8_t bytes[DRAW_CHUNK];
	int filled = 0;

	/*
	 * A byte is accepted with probability 172/256 at the least (for 86 characters), so the
	 * mean need is below 1.5 bytes a character.  The chance to need more than this budget
	 * is below 2^-128 for every length from 8 on (Chernoff).
	 */
	for (int budget = 4 * length + 512; filled < length;)
	{
		int chunk = (length - filled) * 3 / 2 + 4;

		if (chunk > DRAW_CHUNK)
			chunk = DRAW_CHUNK;
		if (budget < chunk)
			return not_random(err);
		budget -= chunk;
		if (!random_bytes(bytes, (size_t) chunk, err))
			return false;
		filled += select_characters(map, bytes, chunk, out + filled, length - filled);
		secret_wipe(bytes, (size_t) chunk);
	}
	return true;
}

/* The alphabet as often as it fits 256 values whole; the rest, less than that, is rejected. */
static void
build_map(const Alphabet *alphabet, ByteMap *map)
{
	int end = 0;

	for (; end + alphabet->size <= 256; end += alphabet->size)
		memcpy(map->chars + end, alphabet->chars, ALPHABET_MAX);
	memset(map->chars + end, 0, ALPHABET_MAX);
}

static bool
draw_password(const Alphabet *alphabet, int length, char *out, RotorError *err)
{
	ByteMap map;

	build_map(alphabet, &map);
	for (int try = 0; try < MAX_TRIES; try++)
	{
		if (!draw_characters(&map, length, out, err))
			return false;
		if (alphabet->required == 0 || classes_in(out, length) == alphabet->required)
			return true;
	}
	return not_random(err);
}

/* Makes out a buffer of len bytes, to be written to directly. */
static void
prepare(SecretBuf *out, size_t len)
{
	secret_buf_wipe(out);
	out->len = len;
	out->data[len] = '\0';
}

bool
password_generate(const PasswordSpec *spec, SecretBuf *out, RotorError *err)
{
	Alphabet alphabet;

	secret_buf_wipe(out);
	if (!build_alphabet(spec, &alphabet, err))
		return false;

	prepare(out, (size_t) spec->length);
	if (!draw_password(&alphabet, spec->length, out->data, err))
	{
		secret_buf_wipe(out);
		return false;
	}
	return true;
}

bool
password_generate_hex(int bytes, SecretBuf *out, RotorError *err)
{
	uint8_t raw[PASSWORD_HEX_MAX_BYTES];
	bool ok;

	secret_buf_wipe(out);
	if (bytes < PASSWORD_HEX_MIN_BYTES || bytes > PASSWORD_HEX_MAX_BYTES)
	{
		(void) error_set(err, ROTOR_ERROR_ARGUMENT, "number of random bytes %d is out of range",
						 bytes);
		return error_hint(err, "Use %d to %d bytes.", PASSWORD_HEX_MIN_BYTES,
						  PASSWORD_HEX_MAX_BYTES);
	}

	prepare(out, 2 * (size_t) bytes);
	ok = random_bytes(raw, (size_t) bytes, err) &&
		 codec_hex_encode(raw, (size_t) bytes, out->data, sizeof(out->data), err);
	secret_wipe(raw, (size_t) bytes);
	if (!ok)
		secret_buf_wipe(out);
	return ok;
}

bool
password_generate_uuid(SecretBuf *out, RotorError *err)
{
	/* Digits of each group; groups are joined by hyphens. */
	static const uint8_t group_digits[] = {8, 4, 4, 4, 12};
	uint8_t raw[16];
	char digits[CODEC_HEX_SIZE(16)];
	bool ok = false;

	secret_buf_wipe(out);
	if (!random_bytes(raw, sizeof(raw), err))
		goto cleanup;
	raw[6] = (raw[6] & 0x0f) | 0x40; /* version 4 */
	raw[8] = (raw[8] & 0x3f) | 0x80; /* the variant of RFC 9562 */
	if (!codec_hex_encode(raw, sizeof(raw), digits, sizeof(digits), err))
		goto cleanup;

	for (size_t group = 0, used = 0; group < sizeof(group_digits); group++)
	{
		if ((group > 0 && !secret_buf_append(out, "-", 1, err)) ||
			!secret_buf_append(out, digits + used, group_digits[group], err))
			goto cleanup;
		used += group_digits[group];
	}
	ok = true;

cleanup:
	secret_wipe(raw, sizeof(raw));
	secret_wipe(digits, sizeof(digits));
	if (!ok)
		secret_buf_wipe(out);
	return ok;
}

/*
 * outcome.c - what came of one act outside; see outcome.h.
 */
#include "outcome.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const names[OUTCOME_COUNT] = {
	[OUTCOME_OK] = "ok",
	[OUTCOME_PROVED] = "proved",
	[OUTCOME_REFUSED] = "refused",
	[OUTCOME_INCONCLUSIVE] = "inconclusive",
	[OUTCOME_TRANSIENT] = "transient",
	[OUTCOME_UNKNOWN] = "unknown",
	[OUTCOME_SUPERSEDED] = "superseded",
	[OUTCOME_PERMANENT] = "permanent",
	[OUTCOME_INTERNAL] = "internal",
};

/* What stands for a value that was taken out. */
#define MASK "***"

/* The shortest beginning of a value that is taken out at the end of a text, which may have been cut. */
#define TAIL_MIN 4

const char *
outcome_name(OutcomeClass class)
{
	return (unsigned) class < OUTCOME_COUNT ? names[class] : names[OUTCOME_INTERNAL];
}

Outcome
outcome_make(OutcomeClass class, const char *code, const char *format, ...)
{
	Outcome outcome = {.class = class};
	va_list args;

	if (code != NULL)
		(void) snprintf(outcome.code, sizeof(outcome.code), "%s", code);
	if (format != NULL)
	{
		va_start(args, format);
		(void) vsnprintf(outcome.message, sizeof(outcome.message), format, args);
		va_end(args);
	}
	return outcome;
}

Outcome
outcome_of_error(OutcomeClass class, const RotorError *err)
{
	return outcome_make(class, NULL, "%s%s%s%s%s", err->message, err->detail[0] != '\0' ? ": " : "",
						err->detail, err->hint[0] != '\0' ? " " : "", err->hint);
}

/* ------------------------------------------------------------------------------------------------
 * Taking values out
 *
 * Nobody knows which bytes a peer escapes, and how, so each byte of a value is looked for in every
 * form it may have. One place of the text can be read in two ways (a backslash is itself, or begins
 * an escape), so all places that the first n bytes of the value may end at are followed at once.
 */

typedef struct Places
{
	bool at[OUTCOME_MESSAGE_SIZE + 1];
	size_t first, last; /* between which some are set; first > last: none */
} Places;

static void
places_clear(Places *places)
{
	memset(places->at, 0, sizeof(places->at));
	places->first = OUTCOME_MESSAGE_SIZE + 1;
	places->last = 0;
}

static void
places_add(Places *places, size_t place)
{
	places->at[place] = true;
	if (place < places->first)
		places->first = place;
	if (place > places->last)
		places->last = place;
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Are there `digits` hexadecimal digits at text, and do they say byte? */
static bool
is_hex_of(const char *text, int digits, unsigned char byte)
{
	int number = 0;

	for (int i = 0; i < digits; i++)
	{
		int digit = hex_digit(text[i]);

		if (digit < 0)
			return false;
		number = number * 16 + digit;
	}
	return number == byte;
}

/* Adds behind which bytes of text, of which there are len and a NUL, the byte may end that begins at place. */
static void
add_ends(Places *ends, const char *text, size_t len, size_t place, unsigned char byte)
{
	static const char escaped[] = "\"\\/\b\f\n\r\t'";
	static const char letters[] = "\"\\/bfnrt'";
	size_t left = len - place;
	const char *here = text + place;
	const char *letter;

	if (left >= 1 && (unsigned char) *here == byte)
		places_add(ends, place + 1);
	if (left >= 1 && *here == '+' && byte == ' ')
		places_add(ends, place + 1);
	if (left >= 2 && *here == '\'' && here[1] == '\'' && byte == '\'')
		places_add(ends, place + 2);
	if (left >= 3 && *here == '%' && is_hex_of(here + 1, 2, byte))
		places_add(ends, place + 3);
	if (left >= 6 && *here == '\\' && here[1] == 'u' && is_hex_of(here + 2, 4, byte))
		places_add(ends, place + 6);
	letter = byte != '\0' ? strchr(escaped, byte) : NULL;
	if (left >= 2 && letter != NULL && *here == '\\' && here[1] == letters[letter - escaped])
		places_add(ends, place + 2);
}

/*
 * The length of the value's occurrence that begins at start; 0: there is none. At the end of the
 * text its first least bytes are enough, because the rest may have been cut off.
 */
static size_t
occurrence(const char *text, size_t len, size_t start, const SecretBuf *value, size_t least)
{
	Places places[2];
	Places *now = &places[0];
	Places *next = &places[1];

	places_clear(now);
	places_add(now, start);
	for (size_t matched = 0; matched < value->len; matched++)
	{
		if (now->first > now->last)
			return 0;
		if (matched >= least && now->at[len])
			return len - start;
		places_clear(next);
		for (size_t place = now->first; place <= now->last; place++)
		{
			if (now->at[place])
				add_ends(next, text, len, place, (unsigned char) value->data[matched]);
		}
		now = now == &places[0] ? &places[1] : &places[0];
		next = now == &places[0] ? &places[1] : &places[0];
	}
	return now->first <= now->last ? now->last - start : 0;
}

static void
scrub(char *text, size_t size, const SecretBuf *value)
{
	size_t len = strlen(text);
	/* A text that fills its buffer was cut for certain. */
	size_t least = len + 1 >= size ? 1 : TAIL_MIN;
	char clean[OUTCOME_MESSAGE_SIZE];
	size_t used = 0;

	for (size_t place = 0; place < len;)
	{
		size_t found = occurrence(text, len, place, value, least);
		const char *from = found > 0 ? MASK : text + place;
		size_t count = found > 0 ? strlen(MASK) : 1;

		if (count > size - 1 - used)
			count = size - 1 - used;
		memcpy(clean + used, from, count);
		used += count;
		place += found > 0 ? found : 1;
	}
	clean[used] = '\0';
	/* Also what lay behind the end of the text. */
	secret_wipe(text, size);
	memcpy(text, clean, used + 1);
}

void
outcome_scrub(Outcome *outcome, const SecretBuf *value)
{
	if (value->len == 0)
		return;
	scrub(outcome->code, sizeof(outcome->code), value);
	scrub(outcome->message, sizeof(outcome->message), value);
}

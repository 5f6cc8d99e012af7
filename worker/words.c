/*
 * words.c - see words.h.
 */
#include "words.h"

#include <stdbool.h>
#include <string.h>

/* The length of the UTF-8 character at the beginning of len bytes, at least 1; 0 if it is none. */
static size_t
character_length(const unsigned char *text, size_t len)
{
	size_t length = *text < 0x80   ? 1
					: *text < 0xC2 ? 0
					: *text < 0xE0 ? 2
					: *text < 0xF0 ? 3
					: *text < 0xF5 ? 4
								   : 0;

	if (length > len)
		return 0;
	for (size_t i = 1; i < length; i++)
	{
		if ((text[i] & 0xC0) != 0x80)
			return 0;
	}
	/* Overlong forms, surrogates, and what lies beyond Unicode. */
	if ((*text == 0xE0 && text[1] < 0xA0) || (*text == 0xED && text[1] > 0x9F) ||
		(*text == 0xF0 && text[1] < 0x90) || (*text == 0xF4 && text[1] > 0x8F))
		return 0;
	return length;
}

void
words_copy(char *out, size_t size, const char *text, size_t len)
{
	const unsigned char *at = (const unsigned char *) text;
	const unsigned char *end = at + strnlen(text, len);
	size_t used = 0;

	while (at < end)
	{
		size_t length = character_length(at, (size_t) (end - at));
		size_t taken = length > 0 ? length : 1;
		bool is_blank = *at <= ' ' || *at == 0x7F;

		if (used + taken >= size)
			break;
		if (is_blank && (used == 0 || out[used - 1] == ' '))
		{
			at++;
			continue;
		}
		if (length > 1)
			memcpy(out + used, at, length);
		else
			out[used] = (char) (length == 0 ? '?' : is_blank ? ' ' : *at);
		used += taken;
		at += taken;
	}
	while (used > 0 && out[used - 1] == ' ')
		used--;
	out[used] = '\0';
}

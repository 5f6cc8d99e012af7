/*
 * fuzz_keyfile.c
 *		Key files: the input is the text.
 *
 * A reader of our own, written without a look at keyfile.c, says what each line is; both
 * must agree on whether the text is valid, on the line that is at fault, and on every key.
 * That errors say nothing of what a line holds shows in this: a text of the same form with
 * other letters and digits gets the very same error.
 */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "keyfile.h"

typedef enum LineKind
{
	LINE_SKIPPED,
	LINE_KEY,
	LINE_BAD
} LineKind;

static const char base64_digits[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char hex_digits[] = "0123456789abcdef0123456789ABCDEF";

/* A digit's value in an alphabet; -1 if it is none. */
static int
digit(const char *alphabet, char c)
{
	const char *found = c != '\0' ? strchr(alphabet, c) : NULL;

	return found != NULL ? (int) (found - alphabet) : -1;
}

static bool
read_hex(const char *text, uint8_t key[SEAL_KEY_LEN])
{
	for (size_t i = 0; i < SEAL_KEY_LEN; i++)
	{
		int high = digit(hex_digits, text[2 * i]);
		int low = digit(hex_digits, text[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		key[i] = (uint8_t) ((high % 16) * 16 + low % 16);
	}
	return true;
}

/* 43 digits of six bits, the last two of which are no part of the 256, and one '='. */
static bool
read_base64(const char *text, uint8_t key[SEAL_KEY_LEN])
{
	uint32_t bits = 0;
	int count = 0;
	int filled = 0;

	for (int i = 0; i < 43; i++)
	{
		int value = digit(base64_digits, text[i]);

		if (value < 0)
			return false;
		bits = bits << 6 | (uint32_t) value;
		count += 6;
		if (count >= 8)
		{
			count -= 8;
			key[filled++] = (uint8_t) (bits >> count);
		}
	}
	return text[43] == '=' && (bits & 3) == 0;
}

static LineKind
read_line(const char *line, size_t len, MasterKey *key)
{
	static const char id_chars[] = "-._0123456789"
								   "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
	size_t id_len = 0;
	size_t blanks = 0;
	bool ok;

	while (blanks < len && (line[blanks] == ' ' || line[blanks] == '\t'))
		blanks++;
	if (blanks == len || line[0] == '#')
		return LINE_SKIPPED;

	while (id_len < len && digit(id_chars, line[id_len]) >= 0)
		id_len++;
	if (id_len < 1 || id_len > 63 || id_len == len || line[id_len] != ':')
		return LINE_BAD;
	memset(key, 0, sizeof(*key));
	memcpy(key->id, line, id_len);
	line += id_len + 1;
	len -= id_len + 1;
	ok = (len == 64 && read_hex(line, key->key)) || (len == 44 && read_base64(line, key->key));
	return ok ? LINE_KEY : LINE_BAD;
}

/* The keys of a text, and the number of the first line that is at fault, or 0. */
typedef struct Reference
{
	size_t count;
	MasterKey keys[KEYFILE_MAX_SIZE / 46 + 1];
	int bad_line;
} Reference;

static void
read_text(const char *text, size_t len, Reference *reference)
{
	const char *end = text + len;
	int number = 0;

	reference->count = 0;
	reference->bad_line = 0;
	while (text < end && reference->bad_line == 0)
	{
		const char *feed = memchr(text, '\n', (size_t) (end - text));
		size_t line_len = (size_t) ((feed != NULL ? feed : end) - text);
		MasterKey *key = &reference->keys[reference->count];
		LineKind kind;

		number++;
		if (line_len > 0 && text[line_len - 1] == '\r')
			kind = read_line(text, line_len - 1, key);
		else
			kind = read_line(text, line_len, key);
		for (size_t i = 0; kind == LINE_KEY && i < reference->count; i++)
		{
			if (strcmp(reference->keys[i].id, key->id) == 0)
				kind = LINE_BAD;
		}
		if (kind == LINE_BAD)
			reference->bad_line = number;
		else if (kind == LINE_KEY)
			reference->count++;
		text = feed != NULL ? feed + 1 : end;
	}
}

static void
must_be_key(const MasterKey *found, const MasterKey *expected)
{
	MUST(strcmp(found->id, expected->id) == 0);
	MUST(memcmp(found->key, expected->key, SEAL_KEY_LEN) == 0);
}

/* The line that is written for a key reads as that key. */
static void
check_line(const MasterKey *key)
{
	SecretBuf line;
	MasterKey again;
	RotorError err;

	put_former_value(&line);
	MUST(keyfile_format_line(key, &line, &err));
	MUST(keyfile_find(line.data, line.len, NULL, &again, &err));
	must_be_key(&again, key);
}

static void
check_keys(const char *text, size_t len, const Reference *reference)
{
	MasterKey key;
	RotorError err;

	MUST(keyfile_find(text, len, NULL, &key, &err));
	must_be_key(&key, &reference->keys[reference->count - 1]);
	check_line(&key);
	for (size_t i = 0; i < reference->count; i++)
	{
		MUST(keyfile_find(text, len, reference->keys[i].id, &key, &err));
		must_be_key(&key, &reference->keys[i]);
	}
}

/*
 * Another letter or digit for each, such that the form stays: hexadecimal digits remain
 * such, and so do the characters that may end base64 without bits left over.
 */
static void
other_characters(char *text, size_t len)
{
	static const char from[] = "AEBCDFGHJKLNOPRSTVWXZIMQUYabdefcgkoswhijlmnpqrtuvxyz0481235679";
	static const char to[] = "EACDFBHJKLNOPRSTVWXZGMQUYIbdefackoswgijlmnpqrtuvxyzh4802356791";

	for (size_t i = 0; i < len; i++)
	{
		int place = digit(from, text[i]);

		if (place >= 0)
			text[i] = to[place];
	}
}

static void
check_error_is_blind(const char *text, size_t len, const RotorError *err)
{
	char *other = malloc(len + 1);
	MasterKey key;
	RotorError other_err;

	MUST(other != NULL);
	memcpy(other, text, len);
	other_characters(other, len);
	MUST(!keyfile_find(other, len, NULL, &key, &other_err));
	MUST(other_err.code == err->code);
	MUST(strcmp(other_err.message, err->message) == 0);
	MUST(strcmp(other_err.detail, err->detail) == 0);
	MUST(strcmp(other_err.hint, err->hint) == 0);
	free(other);
}

static void
check_error(const char *text, size_t len, const Reference *reference)
{
	static const MasterKey none;
	char place[32];
	MasterKey key;
	RotorError err;

	memset(&key, 'x', sizeof(key));
	MUST(!keyfile_find(text, len, NULL, &key, &err));
	must_be_error(&err, ROTOR_ERROR_FORMAT, ROTOR_ERROR_FORMAT);
	MUST(memcmp(&key, &none, sizeof(key)) == 0);
	(void) snprintf(place, sizeof(place), "line %d of", reference->bad_line);
	/* A NUL is looked for first, and so may lie behind the line that is at fault. */
	if (reference->bad_line > 0 && memchr(text, '\0', len) == NULL)
		MUST(strstr(err.message, place) != NULL);
	check_error_is_blind(text, len, &err);
}

/* An id that no text has: the text is judged all the same, then it is what is not found. */
static void
check_unknown_id(const char *text, size_t len, const Reference *reference, bool valid)
{
	static const char id[] = "no.text-has_this";
	MasterKey key;
	RotorError err;

	for (size_t i = 0; i < reference->count; i++)
	{
		if (strcmp(reference->keys[i].id, id) == 0)
			return;
	}
	MUST(!keyfile_find(text, len, id, &key, &err));
	must_be_error(&err, valid ? ROTOR_ERROR_NOT_FOUND : ROTOR_ERROR_FORMAT, ROTOR_ERROR_FORMAT);
	MUST(!valid || err.code == ROTOR_ERROR_NOT_FOUND);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static Reference reference;
	const char *text = (const char *) data;
	bool valid;

	if (size > KEYFILE_MAX_SIZE)
		return -1;
	read_text(text, size, &reference);
	valid = reference.count > 0 && reference.bad_line == 0;
	if (valid && size > 0)
		valid = memchr(text, '\0', size) == NULL; /* also in a comment */
	if (valid)
		check_keys(text, size, &reference);
	else
		check_error(text, size, &reference);
	check_unknown_id(text, size, &reference, valid);
	return 0;
}

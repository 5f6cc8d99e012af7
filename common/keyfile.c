/*
 * keyfile.c
 *		Master key files; see keyfile.h.
 */
#include "keyfile.h"

#include <string.h>

#include "codec.h"
#include "random.h"

#define KEY_HEX_LEN	   (2 * SEAL_KEY_LEN)
#define KEY_BASE64_LEN (CODEC_BASE64_SIZE(SEAL_KEY_LEN) - 1)

/* The shortest key line: one character of id, a colon, base64, a line feed. */
#define MAX_KEYS (KEYFILE_MAX_SIZE / (1 + 1 + KEY_BASE64_LEN + 1) + 1)

/* One line, without its end; not NUL-terminated. */
typedef struct Line
{
	int number; /* from 1 */
	const char *start;
	size_t len;
} Line;

/* The ids met so far, as slices of the text. */
typedef struct IdSet
{
	size_t count;
	struct
	{
		const char *start;
		size_t len;
	} ids[MAX_KEYS];
} IdSet;

/* Why an id is not one, as the end of a sentence; NULL if it is one. */
static const char *
id_fault(const char *id, size_t len)
{
	if (len == 0)
		return "is empty";
	if (len > KEYFILE_ID_MAX)
		return "is longer than 63 characters";
	for (size_t i = 0; i < len; i++)
	{
		char c = id[i];

		if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
			  c == '.' || c == '_' || c == '-'))
			return "holds a character other than A-Z a-z 0-9 . _ -";
	}
	return NULL;
}

bool
keyfile_check_id(const char *id, RotorError *err)
{
	const char *fault = id_fault(id, strnlen(id, KEYFILE_ID_MAX + 1));

	if (fault != NULL)
		return error_set(err, ROTOR_ERROR_ARGUMENT, "master key id %s", fault);
	return true;
}

/* Takes the next line off *rest, which must not be empty. */
static void
next_line(const char **rest, const char *end, Line *line)
{
	const char *feed = memchr(*rest, '\n', (size_t) (end - *rest));
	const char *stop = feed != NULL ? feed : end;

	line->number++;
	line->start = *rest;
	line->len = (size_t) (stop - *rest);
	if (line->len > 0 && line->start[line->len - 1] == '\r')
		line->len--;
	*rest = feed != NULL ? feed + 1 : end;
}

static bool
is_skipped(const Line *line)
{
	if (line->len > 0 && line->start[0] == '#')
		return true;
	for (size_t i = 0; i < line->len; i++)
	{
		if (line->start[i] != ' ' && line->start[i] != '\t')
			return false;
	}
	return true;
}

static bool
decode_key(const char *text, size_t len, uint8_t key[SEAL_KEY_LEN])
{
	RotorError ignored; /* the caller knows the line, which says more */
	size_t key_len = 0;

	if (len == KEY_HEX_LEN)
		return codec_hex_decode(text, len, key, SEAL_KEY_LEN, &key_len, &ignored);
	if (len == KEY_BASE64_LEN)
		return codec_base64_decode(text, len, key, SEAL_KEY_LEN, &key_len, &ignored) &&
			   key_len == SEAL_KEY_LEN;
	return false;
}

/* Reads `id:key` into *out, which holds no valid key on failure. */
static bool
parse_line(const Line *line, MasterKey *out, RotorError *err)
{
	const char *colon = memchr(line->start, ':', line->len);
	const char *fault;
	size_t id_len;

	if (colon == NULL)
	{
		(void) error_set(err, ROTOR_ERROR_FORMAT, "line %d of the master keys has no colon",
						 line->number);
		return error_hint(err, "Write each key as a line of the form id:key.");
	}
	id_len = (size_t) (colon - line->start);
	fault = id_fault(line->start, id_len);
	if (fault != NULL)
	{
		(void) error_set(err, ROTOR_ERROR_FORMAT, "id in line %d of the master keys %s",
						 line->number, fault);
		return error_hint(err,
						  "An id is 1 to %d of the characters A-Z, a-z, 0-9, dot, underscore "
						  "and hyphen.",
						  KEYFILE_ID_MAX);
	}
	memcpy(out->id, line->start, id_len);
	out->id[id_len] = '\0';

	if (!decode_key(colon + 1, line->len - id_len - 1, out->key))
	{
		(void) error_set(err, ROTOR_ERROR_FORMAT, "key in line %d of the master keys is malformed",
						 line->number);
		return error_hint(err, "A key is 32 bytes, written as 64 hexadecimal digits or as 44 "
							   "characters of base64, with nothing behind.");
	}
	return true;
}

static bool
remember_id(IdSet *set, const Line *line, size_t id_len, RotorError *err)
{
	for (size_t i = 0; i < set->count; i++)
	{
		if (set->ids[i].len == id_len && memcmp(set->ids[i].start, line->start, id_len) == 0)
		{
			(void) error_set(err, ROTOR_ERROR_FORMAT,
							 "line %d of the master keys repeats the id of another line",
							 line->number);
			return error_hint(err, "Give each key an id of its own, and never use one again.");
		}
	}
	if (set->count == MAX_KEYS) /* cannot happen: the text is not long enough */
		return error_set(err, ROTOR_ERROR_FORMAT, "too many master keys");
	set->ids[set->count].start = line->start;
	set->ids[set->count].len = id_len;
	set->count++;
	return true;
}

static bool
check_text(const char *text, size_t len, RotorError *err)
{
	const char *nul;
	int line = 1;

	if (len > KEYFILE_MAX_SIZE)
	{
		(void) error_set(err, ROTOR_ERROR_FORMAT, "master keys of %zu bytes are longer than %d",
						 len, KEYFILE_MAX_SIZE);
		return error_hint(err, "Keep only lines of the form id:key.");
	}
	nul = len > 0 ? memchr(text, '\0', len) : NULL;
	if (nul == NULL)
		return true;
	for (const char *c = text; c < nul; c++)
		line += (*c == '\n');
	(void) error_set(err, ROTOR_ERROR_FORMAT, "line %d of the master keys holds a NUL byte", line);
	return error_hint(err, "Restore the keys from where they were kept.");
}

/*
 * Validates all lines of text and copies the key that is wanted, the last one if id is NULL,
 * to *out.  *found tells whether there was one, ids->count how many there are.
 */
static bool
scan_text(const char *text, size_t len, const char *id, IdSet *ids, MasterKey *out, bool *found,
		  RotorError *err)
{
	const char *rest = text;
	const char *end = len > 0 ? text + len : text;
	Line line = {0};
	MasterKey key = {0};
	bool ok = true;

	*found = false;
	while (ok && rest < end)
	{
		next_line(&rest, end, &line);
		if (is_skipped(&line))
			continue;
		ok = parse_line(&line, &key, err) && remember_id(ids, &line, strlen(key.id), err);
		if (ok && (id == NULL || strcmp(key.id, id) == 0))
		{
			*out = key;
			*found = true;
		}
	}
	secret_wipe(&key, sizeof(key));
	return ok;
}

bool
keyfile_find(const char *text, size_t len, const char *id, MasterKey *out, RotorError *err)
{
	IdSet ids;
	bool found;

	ids.count = 0;
	memset(out, 0, sizeof(*out));
	if ((id != NULL && !keyfile_check_id(id, err)) || !check_text(text, len, err))
		return false;
	if (!scan_text(text, len, id, &ids, out, &found, err))
	{
		secret_wipe(out, sizeof(*out));
		return false;
	}
	if (ids.count == 0)
	{
		(void) error_set(err, ROTOR_ERROR_FORMAT, "there is no master key");
		return error_hint(err, "Write each key as a line of the form id:key.");
	}
	if (found)
		return true;
	(void) error_set(err, ROTOR_ERROR_NOT_FOUND, "there is no master key \"%s\"", id);
	return error_hint(err, "Restore the key of this id from where it was kept. Nothing is lost "
						   "while it is away.");
}

bool
keyfile_new(MasterKey *out, RotorError *err)
{
	static const char prefix[] = "key-";
	uint8_t id[4];

	memset(out, 0, sizeof(*out));
	memcpy(out->id, prefix, sizeof(prefix));
	if (random_bytes(id, sizeof(id), err) &&
		codec_hex_encode(id, sizeof(id), out->id + sizeof(prefix) - 1,
						 sizeof(out->id) - (sizeof(prefix) - 1), err) &&
		random_bytes(out->key, sizeof(out->key), err))
		return true;
	secret_wipe(out, sizeof(*out));
	return false;
}

bool
keyfile_format_line(const MasterKey *key, SecretBuf *out, RotorError *err)
{
	char hex[CODEC_HEX_SIZE(SEAL_KEY_LEN)];
	bool ok;

	secret_buf_wipe(out);
	if (!keyfile_check_id(key->id, err))
		return false;

	ok = codec_hex_encode(key->key, SEAL_KEY_LEN, hex, sizeof(hex), err) &&
		 secret_buf_set(out, key->id, strlen(key->id), err) &&
		 secret_buf_append(out, ":", 1, err) && secret_buf_append(out, hex, sizeof(hex) - 1, err) &&
		 secret_buf_append(out, "\n", 1, err);
	secret_wipe(hex, sizeof(hex));
	if (!ok)
		secret_buf_wipe(out);
	return ok;
}

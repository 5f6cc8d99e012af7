/*
 * keyfile.c
 *		Master key files; see keyfile.h.
 */
#include "keyfile.h"

#include <string.h>

#include "codec.h"
#include "random.h"

#define KEY_HEX_LEN	   ((size_t) 2 * SEAL_KEY_LEN)
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

static bool
id_hint(RotorError *err)
{
	return error_hint(err,
					  "An id is 1 to %d of the characters A-Z, a-z, 0-9, dot, underscore and "
					  "hyphen.",
					  KEYFILE_ID_MAX);
}

bool
keyfile_check_id(const char *id, RotorError *err)
{
	const char *fault = id_fault(id, strnlen(id, KEYFILE_ID_MAX + 1));

	if (fault == NULL)
		return true;
	(void) error_set(err, ROTOR_ERROR_ARGUMENT, "master key id %s", fault);
	return id_hint(err);
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
		return id_hint(err);
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

bool
keyfile_next(const char *text, size_t len, size_t *offset, MasterKey *out)
{
	const char *rest = *offset < len ? text + *offset : NULL;
	Line line = {0};
	RotorError ignored; /* the text was checked before, or the line is the end of it */

	while (rest != NULL && rest < text + len)
	{
		next_line(&rest, text + len, &line);
		*offset = (size_t) (rest - text);
		if (is_skipped(&line))
			continue;
		if (parse_line(&line, out, &ignored))
			return true;
		break;
	}
	*offset = len;
	secret_wipe(out, sizeof(*out));
	return false;
}

/* Fills ids with those of a valid text, which may hold no key. */
static bool
read_ids(const KeyfileText *text, IdSet *ids, RotorError *err)
{
	MasterKey newest = {0};
	bool found;
	bool ok;

	ids->count = 0;
	ok = check_text(text->data, text->len, err) &&
		 scan_text(text->data, text->len, NULL, ids, &newest, &found, err);
	secret_wipe(&newest, sizeof(newest));
	return ok;
}

static size_t
line_len(const MasterKey *key)
{
	return strlen(key->id) + 1 + KEY_HEX_LEN + 1;
}

static bool
check_space(const KeyfileText *text, size_t more, RotorError *err)
{
	/* One byte less than the buffer: who reads a file sees by it that there is no more. */
	if (more < sizeof(text->data) - text->len)
		return true;
	(void) error_set(err, ROTOR_ERROR_SPACE, "the master keys would not fit %d bytes",
					 KEYFILE_MAX_SIZE);
	return error_hint(err, "Remove keys that nothing needs.");
}

/* Writes the line of key at offset; there is room. */
static bool
insert_line(KeyfileText *text, size_t offset, const MasterKey *key, RotorError *err)
{
	SecretBuf line = {0};

	if (!keyfile_format_line(key, &line, err))
		return false;
	memmove(text->data + offset + line.len, text->data + offset, text->len - offset);
	memcpy(text->data + offset, line.data, line.len);
	text->len += line.len;
	secret_buf_wipe(&line);
	return true;
}

static void
end_last_line(KeyfileText *text)
{
	if (text->len > 0 && text->data[text->len - 1] != '\n')
		text->data[text->len++] = '\n';
}

bool
keyfile_append(KeyfileText *text, const MasterKey *key, RotorError *err)
{
	IdSet ids;

	if (!keyfile_check_id(key->id, err) || !read_ids(text, &ids, err))
		return false;
	for (size_t i = 0; i < ids.count; i++)
	{
		if (ids.ids[i].len == strlen(key->id) &&
			memcmp(ids.ids[i].start, key->id, ids.ids[i].len) == 0)
		{
			(void) error_set(err, ROTOR_ERROR_ARGUMENT, "master key \"%s\" is there already",
							 key->id);
			return error_hint(err, "Give each key an id of its own, and never use one again.");
		}
	}
	if (!check_space(text, line_len(key) + 1, err))
		return false;
	end_last_line(text);
	return insert_line(text, text->len, key, err);
}

bool
keyfile_remove(KeyfileText *text, const char *id, RotorError *err)
{
	MasterKey key;
	size_t start = 0;
	size_t end = 0;

	if (!keyfile_find(text->data, text->len, id, &key, err))
		return false;
	/* Valid, and it is there: the walk ends behind its line. */
	do
	{
		start = end;
		(void) keyfile_next(text->data, text->len, &end, &key);
	} while (strcmp(key.id, id) != 0);
	secret_wipe(&key, sizeof(key));
	/* What was skipped before the key stays. */
	for (size_t i = start; i + 1 < end; i++)
	{
		if (text->data[i] == '\n')
			start = i + 1;
	}
	memmove(text->data + start, text->data + end, text->len - end);
	secret_wipe(text->data + text->len - (end - start), end - start);
	text->len -= end - start;
	return true;
}

/* Where the line of the first key begins; the end if there is none. */
static size_t
first_key_offset(const IdSet *ids, const KeyfileText *text)
{
	return ids->count > 0 ? (size_t) (ids->ids[0].start - text->data) : text->len;
}

/* Counts the bytes of the keys that text lacks; false if one that it has is another. */
static bool
compare_keys(const KeyfileText *text, const KeyfileText *older, size_t *missing, RotorError *err)
{
	MasterKey theirs;
	MasterKey ours = {0};
	RotorError ignored;
	size_t offset = 0;
	bool same = true;

	*missing = 0;
	while (same && keyfile_next(older->data, older->len, &offset, &theirs))
	{
		if (!keyfile_find(text->data, text->len, theirs.id, &ours, &ignored))
			*missing += line_len(&theirs);
		else if (memcmp(ours.key, theirs.key, sizeof(ours.key)) != 0)
		{
			same = error_set(err, ROTOR_ERROR_ARGUMENT,
							 "master key \"%s\" is there already, and is another one", theirs.id);
			(void) error_hint(err, "Find out which of the two is wanted; nothing was changed.");
		}
	}
	secret_wipe(&theirs, sizeof(theirs));
	secret_wipe(&ours, sizeof(ours));
	return same;
}

bool
keyfile_merge(KeyfileText *text, const KeyfileText *older, RotorError *err)
{
	IdSet ids;
	MasterKey key;
	MasterKey present = {0};
	RotorError ignored;
	size_t missing;
	size_t at;
	size_t offset = 0;
	bool ok = true;

	if (!read_ids(older, &ids, err) || !read_ids(text, &ids, err) ||
		!compare_keys(text, older, &missing, err) || !check_space(text, missing + 1, err))
		return false;
	if (ids.count == 0)
		end_last_line(text);
	at = first_key_offset(&ids, text);
	while (ok && keyfile_next(older->data, older->len, &offset, &key))
	{
		size_t before = text->len;

		if (keyfile_find(text->data, text->len, key.id, &present, &ignored))
			continue;
		ok = insert_line(text, at, &key, err);
		at += text->len - before;
	}
	secret_wipe(&key, sizeof(key));
	secret_wipe(&present, sizeof(present));
	return ok;
}

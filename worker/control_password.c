/*
 * control_password.c - the password for the control database; see control_password.h.
 */
#include "control_password.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "atomic_file.h"
#include "options.h"

#define LOCK_TIMEOUT_MS 2000
#define TELL_AGAIN_MS	600000

static const FileAccess private_access = {.mode = 0600, .group = (gid_t) -1};

/* PGPASSWORD; wiped never, as it is needed as long as the process lives. */
static SecretBuf from_environment;

void
control_password_init(void)
{
	char *value = getenv("PGPASSWORD"); /* NOLINT(concurrency-mt-unsafe): before any thread. */
	RotorError err;

	if (value == NULL)
		return;
	/* One that is too long is no password of PostgreSQL. */
	(void) secret_buf_set(&from_environment, value, strlen(value), &err);
	secret_wipe(value, strlen(value));
}

/* The file's content without the line's end. */
static bool
read_file(const char *path, SecretBuf *out, RotorError *err)
{
	AtomicFile file = {.folder = -1, .lock = -1};
	FileContent content = {0};
	const char *code;
	size_t length;
	bool done = false;

	if (atomic_file_open(&file, path, &code, err) != FILE_DONE)
		goto cleanup;
	if (atomic_file_read(&file, &private_access, &content, &code, err) != FILE_DONE)
		goto cleanup;
	if (content.data == NULL)
	{
		(void) error_set(err, ROTOR_ERROR_NOT_FOUND, "there is no file %.200s", path);
		goto cleanup;
	}
	length = strcspn(content.data, "\r\n");
	done = secret_buf_set(out, content.data, length, err);

cleanup:
	file_content_free(&content);
	atomic_file_close(&file);
	return done;
}

static bool
write_file(const char *path, const SecretBuf *value, Deadline lock_by, RotorError *err)
{
	AtomicFile file = {.folder = -1, .lock = -1};
	SecretBuf line = {0};
	const char *code;
	FileResult result;

	result = atomic_file_open(&file, path, &code, err);
	if (result == FILE_DONE)
		result = atomic_file_lock(&file, lock_by, &code, err);
	if (result == FILE_DONE && (!secret_buf_set(&line, value->data, value->len, err) ||
								!secret_buf_append(&line, "\n", 1, err)))
		result = FILE_FAILED;
	if (result == FILE_DONE)
		result = atomic_file_replace(&file, &private_access, line.data, line.len, &code, err);
	secret_buf_wipe(&line);
	atomic_file_close(&file);
	return result == FILE_DONE;
}

static bool
own_is_there(const ControlPassword *password)
{
	return password->own.len > 0;
}

bool
control_password_get(const ControlPassword *password, SecretBuf *out, RotorError *err)
{
	const char *path = option_text(OPT_PASSWORD_FILE);
	bool has_own = own_is_there(password);
	const SecretBuf *source = has_own ? &password->own : &from_environment;

	if (path[0] != '\0' && !(has_own && password->prefers_own))
	{
		if (read_file(path, out, err))
			return true;
		if (!has_own)
			return false;
	}
	return secret_buf_set(out, source->data, source->len, err);
}

void
control_password_was_refused(ControlPassword *password, const SecretBuf *refused)
{
	bool was_own = own_is_there(password) && refused->len == password->own.len &&
				   memcmp(refused->data, password->own.data, refused->len) == 0;

	/* Whichever it was, the other one is next. */
	password->prefers_own = own_is_there(password) && !was_own;
}

const char *
control_password_version(const ControlPassword *password)
{
	return password->own_version;
}

bool
control_password_keep(ControlPassword *password, const char *version, const char *value,
					  RotorError *err)
{
	if (!secret_buf_set(&password->own, value, strlen(value), err))
		return false;
	(void) strncpy(password->own_version, version, UUID_SIZE - 1);
	password->file_is_stale = option_text(OPT_PASSWORD_FILE)[0] != '\0';
	password->failure[0] = '\0';
	return true;
}

bool
control_password_is_unsaved(const ControlPassword *password)
{
	return password->file_is_stale;
}

/* Remembers what is told. */
static bool
is_to_be_told(ControlPassword *password, const RotorError *err)
{
	if (strcmp(password->failure, err->message) == 0 && deadline_left(password->tell_again) > 0)
		return false;
	(void) snprintf(password->failure, sizeof(password->failure), "%s", err->message);
	password->tell_again = deadline_in(TELL_AGAIN_MS);
	return true;
}

bool
control_password_save(ControlPassword *password, bool *is_news, RotorError *err)
{
	const char *path = option_text(OPT_PASSWORD_FILE);
	/* Whoever tries at each poll does not keep the main loop waiting each time. */
	Deadline lock_by = deadline_in(password->failure[0] == '\0' ? LOCK_TIMEOUT_MS : 0);
	SecretBuf there = {0};
	RotorError unreadable;

	*is_news = false;
	/* Another worker may have written it, where several share the file. */
	if (password->file_is_stale)
		password->file_is_stale =
			!read_file(path, &there, &unreadable) || strcmp(there.data, password->own.data) != 0;
	secret_buf_wipe(&there);
	if (password->file_is_stale)
		password->file_is_stale = !write_file(path, &password->own, lock_by, err);
	if (password->file_is_stale)
		*is_news = is_to_be_told(password, err);
	else
		password->failure[0] = '\0';
	return !password->file_is_stale;
}

void
control_password_wipe(ControlPassword *password)
{
	secret_buf_wipe(&password->own);
	password->own_version[0] = '\0';
	password->file_is_stale = false;
	password->failure[0] = '\0';
}

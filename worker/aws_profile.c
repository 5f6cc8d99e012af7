/*
 * aws_profile.c - one profile of the files that AWS tools share; see aws_profile.h.
 */
#include "aws_profile.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ini_lines.h"
#include "wipe_heap.h"

#define MAX_FILE ((size_t) 1024 * 1024)

/* One file as it is read. */
typedef struct Reading
{
	const char *section;
	AwsProfile *profile;
	bool too_long; /* a value does not fit */
} Reading;

const char *
aws_environment(const char *name)
{
	const char *value = getenv(name); /* NOLINT(concurrency-mt-unsafe): nothing sets it by then. */

	return value != NULL && value[0] != '\0' ? value : NULL;
}

bool
aws_read_file(const char *path, size_t max, char **text, bool *exists, RotorError *err)
{
	FILE *file = fopen(path, "re");
	char *buffer = NULL;
	size_t len = 0;

	*text = NULL;
	*exists = file != NULL || (errno != ENOENT && errno != ENOTDIR);
	if (file == NULL)
	{
		if (!*exists)
			return true;
		return error_set(err, ROTOR_ERROR_NOT_FOUND, "could not open file \"%s\": %s", path,
						 strerrordesc_np(errno));
	}
	(void) setvbuf(file, NULL, _IONBF, 0); /* no buffer that nobody wipes */
	buffer = wipe_malloc(max + 2);
	if (buffer != NULL)
		len = fread(buffer, 1, max + 1, file);
	if (buffer == NULL || ferror(file) || len > max)
	{
		error_set(err, ROTOR_ERROR_FORMAT, "file \"%s\" %s", path,
				  len > max ? "is too long" : "could not be read");
		wipe_free(buffer);
		(void) fclose(file);
		return false;
	}
	(void) fclose(file);
	while (len > 0 && strchr(" \t\r\n", buffer[len - 1]) != NULL)
		len--;
	buffer[len] = '\0';
	*text = buffer;
	return true;
}

static bool
put_text(char *to, size_t size, const char *value)
{
	size_t len = strlen(value);

	if (len < size)
		memcpy(to, value, len + 1);
	return len < size;
}

static bool
put_secret(SecretBuf *to, const char *value)
{
	RotorError ignored; /* that it is too long is all there is to say */

	return secret_buf_set(to, value, strlen(value), &ignored);
}

/* Of kinds of credentials that other tools have. */
static bool
is_unsupported(const char *name)
{
	static const char *const names[] = {"credential_process", "credential_source", "source_profile",
										"sso_session",		  "sso_start_url",	   "login_session"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		if (strcmp(name, names[i]) == 0)
			return true;
	}
	return false;
}

static int
take_line(void *reading_, const char *section, const char *name, const char *value)
{
	Reading *reading = reading_;
	AwsProfile *profile = reading->profile;
	bool fits = true;

	if (strcmp(section, reading->section) != 0)
		return 1;
	profile->exists = true;
	if (strcmp(name, "aws_access_key_id") == 0)
		fits = put_text(profile->key_id, sizeof(profile->key_id), value);
	else if (strcmp(name, "aws_secret_access_key") == 0)
		fits = put_secret(&profile->secret_key, value);
	else if (strcmp(name, "aws_session_token") == 0)
		fits = put_secret(&profile->session_token, value);
	else if (strcmp(name, "region") == 0)
		fits = put_text(profile->region, sizeof(profile->region), value);
	else if (strcmp(name, "role_arn") == 0)
		fits = put_text(profile->role_arn, sizeof(profile->role_arn), value);
	else if (strcmp(name, "role_session_name") == 0)
		fits = put_text(profile->role_session_name, sizeof(profile->role_session_name), value);
	else if (strcmp(name, "web_identity_token_file") == 0)
		fits = put_text(profile->web_identity_token_file, sizeof(profile->web_identity_token_file),
						value);
	else if (is_unsupported(name))
		fits = put_text(profile->unsupported, sizeof(profile->unsupported), name);
	reading->too_long = reading->too_long || !fits;
	return 1;
}

static bool
read_one(const char *path, const char *section, AwsProfile *profile, RotorError *err)
{
	Reading reading = {.section = section, .profile = profile};
	char *text;
	bool exists;

	if (!aws_read_file(path, MAX_FILE, &text, &exists, err))
		return false;
	if (text == NULL)
		return true;
	/* A line that libinih cannot read belongs to a setting that is not one of ours. */
	(void) ini_read_text(text, take_line, &reading);
	wipe_free(text);
	if (reading.too_long)
		return error_set(err, ROTOR_ERROR_FORMAT, "file \"%s\" has a value that is too long", path);
	return true;
}

/* The file that the environment names, else the one at home. */
static bool
file_path(const char *variable, const char *name, char *path, size_t size)
{
	const char *named = aws_environment(variable);
	const char *home = aws_environment("HOME");
	char buffer[1024];
	struct passwd entry;
	struct passwd *found = NULL;
	int len;

	if (named == NULL && home == NULL &&
		getpwuid_r(geteuid(), &entry, buffer, sizeof(buffer), &found) == 0 && found != NULL)
		home = found->pw_dir;
	if (named != NULL)
		len = snprintf(path, size, "%s", named);
	else
		len = snprintf(path, size, "%s/.aws/%s", home != NULL ? home : "", name);
	return len >= 0 && (size_t) len < size;
}

/* Both have the same size. */
#define COPY_TEXT(to, from) (void) snprintf(to, sizeof(to), "%s", from)

/* The key of the credentials file replaces the one of the config file as a whole. */
static void
take_keys(AwsProfile *to, AwsProfile *from)
{
	RotorError ignored; /* equal buffers always fit */

	if (from->key_id[0] == '\0')
		return;
	COPY_TEXT(to->key_id, from->key_id);
	(void) secret_buf_set(&to->secret_key, from->secret_key.data, from->secret_key.len, &ignored);
	(void) secret_buf_set(&to->session_token, from->session_token.data, from->session_token.len,
						  &ignored);
}

static void
take_settings(AwsProfile *to, const AwsProfile *from)
{
	to->exists = to->exists || from->exists;
	if (to->region[0] == '\0')
		COPY_TEXT(to->region, from->region);
	if (to->role_arn[0] == '\0')
		COPY_TEXT(to->role_arn, from->role_arn);
	if (to->role_session_name[0] == '\0')
		COPY_TEXT(to->role_session_name, from->role_session_name);
	if (to->web_identity_token_file[0] == '\0')
		COPY_TEXT(to->web_identity_token_file, from->web_identity_token_file);
	if (to->unsupported[0] == '\0')
		COPY_TEXT(to->unsupported, from->unsupported);
}

bool
aws_profile_read(AwsProfile *profile, RotorError *err)
{
	const char *name = aws_environment("AWS_PROFILE");
	AwsProfile credentials = {0};
	char path[PATH_MAX];
	char section[128];
	bool ok = false;

	memset(profile, 0, sizeof(*profile));
	if (name == NULL)
		name = "default";
	(void) snprintf(section, sizeof(section), "%s%s",
					strcmp(name, "default") == 0 ? "" : "profile ", name);
	if (file_path("AWS_CONFIG_FILE", "config", path, sizeof(path)) &&
		!read_one(path, section, profile, err))
		goto cleanup;
	if (file_path("AWS_SHARED_CREDENTIALS_FILE", "credentials", path, sizeof(path)) &&
		!read_one(path, name, &credentials, err))
		goto cleanup;
	take_keys(profile, &credentials);
	take_settings(profile, &credentials);
	ok = true;

cleanup:
	aws_profile_wipe(&credentials);
	return ok;
}

void
aws_profile_wipe(AwsProfile *profile)
{
	secret_wipe(profile, sizeof(*profile));
}

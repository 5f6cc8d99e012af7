/*
 * master_key_file.c - see master_key_file.h.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "compat.h"
#include "guc.h"
#include "keyfile.h"
#include "master_key_file.h"
#include "miscadmin.h"
#include "report.h"
#include "storage/fd.h"
#include "types.h"

char *
master_key_file_path(void)
{
	if (is_absolute_path(rotor_key_file))
		return pstrdup(rotor_key_file);
	return psprintf("%s/%s", DataDir, rotor_key_file);
}

bool
master_key_read_all(int fd, KeyfileText *text)
{
	ssize_t n = 0;

	text->len = 0;
	while (text->len < sizeof(text->data) &&
		   ((n = read(fd, text->data + text->len, sizeof(text->data) - text->len)) > 0 ||
			(n < 0 && errno == EINTR)))
	{
		CHECK_FOR_INTERRUPTS();
		if (n > 0)
			text->len += n;
	}
	if (n < 0)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not read the master keys: %m")));
	return text->len < sizeof(text->data);
}

bool
master_key_file_read(const char *path, KeyfileText *text)
{
	/* O_NONBLOCK: opening a FIFO must not wait for a writer; a regular file does not mind. */
	int fd = OpenTransientFile(path, O_RDONLY | O_NONBLOCK);
	struct stat st;

	if (fd < 0 && errno == ENOENT)
		return false;
	if (fd < 0 || fstat(fd, &st) != 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FILE),
						errmsg("could not open key file \"%s\": %m", path),
						errhint("Restore it, or set rotor.key_file, and reload.")));
	/* The rule of ssl_key_file: ours and private, or root's and readable by our group. */
	if (!S_ISREG(st.st_mode) || (st.st_uid != geteuid() && st.st_uid != 0) ||
		(st.st_mode & (st.st_uid == 0 ? (S_IWGRP | S_IXGRP | S_IRWXO) : (S_IRWXG | S_IRWXO))))
		ereport(
			ERROR,
			(errcode(ERRCODE_CONFIG_FILE_ERROR),
			 errmsg("key file \"%s\" is readable by others, or not a regular file of ours", path),
			 errhint("Make it owned by the server's user with mode 0600, or by root with 0640.")));
	if (!master_key_read_all(fd, text))
		ereport(ERROR, (errcode(ERRCODE_CONFIG_FILE_ERROR),
						errmsg("key file \"%s\" is larger than %d bytes", path, KEYFILE_MAX_SIZE),
						errhint("Keep only lines of the form id:key.")));
	CloseTransientFile(fd);
	return true;
}

/* Raises what errno says of the file that could not be written, without its temporary file. */
static void could_not_write(const char *path, const char *temporary) ROTOR_NORETURN;

static void
could_not_write(const char *path, const char *temporary)
{
	int saved = errno ? errno : ENOSPC; /* a write that is cut short says nothing */

	(void) unlink(temporary);
	errno = saved;
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_FILE), errmsg("could not write key file \"%s\": %m", path),
			 errhint("Make its folder writable for the server, or set rotor.key_file.")));
}

static bool
write_all(int fd, const KeyfileText *text)
{
	size_t done = 0;

	while (done < text->len)
	{
		ssize_t n;

		errno = 0;
		n = write(fd, text->data + done, text->len - done);
		if (n > 0)
			done += n;
		else if (errno != EINTR)
			return false;
	}
	return true;
}

/* Not pg_fsync(): keys must be durable even where the cluster runs with fsync off. */
static void
sync_folder_of(const char *path)
{
	char *folder = pstrdup(path);
	int fd;

	get_parent_directory(folder);
	fd = OpenTransientFile(folder[0] ? folder : "/", O_RDONLY);
	if (fd < 0 || fsync(fd) != 0)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not sync \"%s\": %m", folder)));
	CloseTransientFile(fd);
}

/* Writes text to a new file beside path, all of it on disk on return; its name, palloc'd. */
static char *
write_temporary(const char *path, const KeyfileText *text, mode_t mode)
{
	char *temporary = psprintf("%s.%d.tmp", path, MyProcPid);
	int fd;

	(void) unlink(temporary); /* left by an earlier process of this id */
	fd = OpenTransientFilePerm(temporary, O_WRONLY | O_CREAT | O_EXCL | PG_BINARY,
							   S_IRUSR | S_IWUSR);
	if (fd < 0 || !write_all(fd, text) || fchmod(fd, mode) != 0 || fsync(fd) != 0)
		could_not_write(path, temporary);
	if (CloseTransientFile(fd) != 0)
		could_not_write(path, temporary);
	return temporary;
}

bool
master_key_file_create(const char *path, const KeyfileText *text)
{
	char *temporary = write_temporary(path, text, S_IRUSR | S_IWUSR);
	bool made = link(temporary, path) == 0;

	if (!made && errno != EEXIST)
		could_not_write(path, temporary);
	(void) unlink(temporary);
	sync_folder_of(path);
	return made;
}

void
master_key_file_replace(const char *path, const KeyfileText *text)
{
	char real[PATH_MAX];
	char *temporary;
	struct stat st;

	/* A link stays one, and leads to the new file. */
	if (realpath(path, real) == NULL || stat(real, &st) != 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FILE),
						errmsg("could not find key file \"%s\": %m", path),
						errhint("Restore it from where it was kept.")));
	if (st.st_uid != geteuid())
		ereport(
			ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("key file \"%s\" is not the server's to change", path),
			 errdetail("It belongs to another user, and a new file would not."),
			 errhint("Change the file by hand as that user, or give it to the server's user.")));
	temporary = write_temporary(real, text, st.st_mode & 07777);
	if (rename(temporary, real) != 0)
		could_not_write(path, temporary);
	sync_folder_of(real);
}

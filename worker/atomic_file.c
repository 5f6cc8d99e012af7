/*
 * atomic_file.c - replaces a file as a whole; see atomic_file.h.
 */
#include "atomic_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "secret_buf.h"

/* The lock is asked for this often: flock() cannot wait until a deadline. */
#define LOCK_PAUSE_NS 10000000L

static int
call_openat(int folder, const char *name, int flags, mode_t mode)
{
	return openat(folder, name, flags, mode);
}

FileCalls file_calls = {
	.openat = call_openat,
	.write = write,
	.fchmod = fchmod,
	.fchown = fchown,
	.fsync = fsync,
	.renameat = renameat,
	.unlinkat = unlinkat,
};

/* Says what could not be done, in the words of errno, and whether another attempt makes sense. */
static FileResult
failed(const char *what, const char *name, const char **code, RotorError *err)
{
	int number = errno;
	char words[128];
	const char *text = strerror_r(number, words, sizeof(words));

	*code = strerrorname_np(number);
	if (*code == NULL)
		*code = "";
	(void) error_set(err, ROTOR_ERROR_ARGUMENT, "could not %s \"%s\"", what, name);
	(void) error_detail(err, "%s.", text);
	switch (number)
	{
		case EACCES:
		case EPERM:
			(void) error_hint(err, "Give the user rotor runs as the right to write in the folder.");
			return FILE_REFUSED;
		case ELOOP:
		case ENOTDIR:
		case EISDIR:
		case ENAMETOOLONG:
			return FILE_REFUSED;
		default:
			return FILE_FAILED;
	}
}

static FileResult
refused(const char **code, const char *why)
{
	*code = why;
	return FILE_REFUSED;
}

/* Could somebody else put another entry into this folder? */
static FileResult
check_folder(int folder, const char *path, const char **code, RotorError *err)
{
	struct stat st;

	if (fstat(folder, &st) != 0)
		return failed("look at the folder", path, code, err);
	if (st.st_uid != 0 && st.st_uid != geteuid())
	{
		(void) error_set(err, ROTOR_ERROR_ARGUMENT, "folder \"%s\" belongs to another user", path);
		(void) error_hint(err, "Let it belong to root or to the user rotor runs as.");
		return refused(code, "EPERM");
	}
	if ((st.st_mode & S_ISVTX) == 0 &&
		((st.st_mode & S_IWOTH) != 0 ||
		 ((st.st_mode & S_IWGRP) != 0 && st.st_gid != 0 && st.st_gid != getegid())))
	{
		(void) error_set(err, ROTOR_ERROR_ARGUMENT, "folder \"%s\" can be written by others", path);
		(void) error_hint(err, "Run: chmod go-w \"%s\"", path);
		return refused(code, "EPERM");
	}
	return FILE_DONE;
}

/* Opens a folder whose path has no symlinks any more, from the root down, and looks at each on the way. */
static FileResult
open_folder(const char *path, int *folder, const char **code, RotorError *err)
{
	char rest[PATH_MAX];
	char *state = NULL;
	int at = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	FileResult result = at >= 0 ? check_folder(at, "/", code, err) : failed("open", "/", code, err);

	(void) snprintf(rest, sizeof(rest), "%s", path);
	for (char *name = strtok_r(rest, "/", &state); result == FILE_DONE && name != NULL;
		 name = strtok_r(NULL, "/", &state))
	{
		int next = openat(at, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

		if (next < 0)
		{
			result = failed("open the folder", path, code, err);
			break;
		}
		(void) close(at);
		at = next;
		result = check_folder(at, name, code, err);
	}
	if (result == FILE_DONE)
	{
		/* One that can be flushed. */
		*folder = openat(at, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (*folder < 0)
			result = failed("open the folder", path, code, err);
	}
	if (at >= 0)
		(void) close(at);
	return result;
}

FileResult
atomic_file_open(AtomicFile *file, const char *path, const char **code, RotorError *err)
{
	const char *slash = strrchr(path, '/');
	char folder[PATH_MAX];
	char real[PATH_MAX];

	*file = (AtomicFile){.folder = -1, .lock = -1};
	*code = "";
	/* The longest name beside it is that of the lock. */
	if (path[0] != '/' || slash[1] == '\0' || strcmp(slash, "/.") == 0 ||
		strcmp(slash, "/..") == 0 || strlen(path) >= PATH_MAX ||
		strlen(slash + 1) > NAME_MAX - strlen(".") - strlen(".rotor-lock"))
	{
		(void) error_set(err, ROTOR_ERROR_ARGUMENT, "path \"%s\" is not an absolute path of a file",
						 path);
		return FILE_REFUSED;
	}
	(void) snprintf(file->name, sizeof(file->name), "%s", slash + 1);
	(void) snprintf(folder, sizeof(folder), "%.*s", (int) (slash - path), path);
	if (realpath(folder[0] != '\0' ? folder : "/", real) == NULL)
		return failed("find the folder", folder, code, err);
	return open_folder(real, &file->folder, code, err);
}

/* ".NAME.rotor-lock" and ".NAME.rotor-new"; NAME is short enough. */
static void
name_beside(const AtomicFile *file, const char *what, char name[NAME_MAX + 1])
{
	(void) snprintf(name, NAME_MAX + 1, ".%.*s.rotor-%s", NAME_MAX - 12, file->name, what);
}

FileResult
atomic_file_lock(AtomicFile *file, Deadline deadline, const char **code, RotorError *err)
{
	const struct timespec pause = {.tv_nsec = LOCK_PAUSE_NS};
	char name[NAME_MAX + 1];
	int fd;

	*code = "";
	name_beside(file, "lock", name);
	fd = file_calls.openat(file->folder, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return failed("open the lock file", name, code, err);
	while (flock(fd, LOCK_EX | LOCK_NB) != 0)
	{
		FileResult result = FILE_DONE;

		if (errno != EWOULDBLOCK && errno != EINTR)
			result = failed("lock", name, code, err);
		else if (deadline_left(deadline) == 0)
		{
			*code = "ETIMEDOUT";
			(void) error_set(err, ROTOR_ERROR_ARGUMENT, "another worker holds the lock \"%s\"",
							 name);
			result = FILE_FAILED;
		}
		if (result != FILE_DONE)
		{
			(void) close(fd);
			return result;
		}
		(void) nanosleep(&pause, NULL);
	}
	file->lock = fd;
	return FILE_DONE;
}

/* May a file that is there be read and replaced by us, and does it keep its secret? */
static FileResult
check_file(const AtomicFile *file, const struct stat *st, const FileAccess *access,
		   const char **code, RotorError *err)
{
	*code = "EPERM";
	if (!S_ISREG(st->st_mode))
	{
		(void) error_set(err, ROTOR_ERROR_ARGUMENT, "\"%s\" is no regular file", file->name);
		(void) error_hint(err, "Give the path of the file itself; symlinks are not followed.");
		return FILE_REFUSED;
	}
	if (st->st_uid != geteuid() && geteuid() != 0)
	{
		(void) error_set(err, ROTOR_ERROR_ARGUMENT, "file \"%s\" belongs to another user",
						 file->name);
		(void) error_hint(err, "Let it belong to the user rotor runs as, and let its group read it "
							   "by the store's options \"mode\" and \"group\".");
		return FILE_REFUSED;
	}
	if ((st->st_mode & 07777 & ~access->mode) != 0)
	{
		(void) error_set(err, ROTOR_ERROR_ARGUMENT, "file \"%s\" has mode %04o, wider than %04o",
						 file->name, (unsigned) st->st_mode & 07777, (unsigned) access->mode);
		(void) error_hint(err, "Run: chmod %04o on it.", (unsigned) access->mode);
		return FILE_REFUSED;
	}
	if (st->st_size > ATOMIC_FILE_MAX)
	{
		*code = "EFBIG";
		(void) error_set(err, ROTOR_ERROR_SPACE, "file \"%s\" is longer than %ld bytes", file->name,
						 ATOMIC_FILE_MAX);
		return FILE_REFUSED;
	}
	*code = "";
	return FILE_DONE;
}

/* Reads to the end; one byte more than allowed tells that it grew. */
static FileResult
read_all(const AtomicFile *file, int fd, size_t expected, FileContent *content, const char **code,
		 RotorError *err)
{
	size_t capacity = expected + 1;

	content->data = malloc(capacity + 1);
	content->len = 0;
	for (;;)
	{
		ssize_t got = content->data == NULL
						  ? -1
						  : read(fd, content->data + content->len, capacity - content->len);

		if (got == 0)
			break;
		if (got < 0 && content->data != NULL && errno == EINTR)
			continue;
		if (got < 0)
			return failed("read", file->name, code, err);
		content->len += (size_t) got;
		if (content->len == capacity)
		{
			/* It is replaced, never written: whoever does that does not take part. */
			errno = EAGAIN;
			return failed("read, while another program writes it,", file->name, code, err);
		}
	}
	content->data[content->len] = '\0';
	return FILE_DONE;
}

FileResult
atomic_file_read(const AtomicFile *file, const FileAccess *access, FileContent *content,
				 const char **code, RotorError *err)
{
	/* Non-blocking, so that a fifo in its place does not hold us. */
	int fd = openat(file->folder, file->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;
	FileResult result;

	*content = (FileContent){0};
	*code = "";
	if (fd < 0 && errno == ENOENT)
		return FILE_DONE;
	if (fd < 0)
	{
		bool is_symlink = errno == ELOOP;

		result = failed("open", file->name, code, err);
		if (is_symlink)
			(void) error_hint(err, "Give the path of the file itself; symlinks are not followed.");
		return result;
	}
	if (fstat(fd, &st) != 0)
		result = failed("look at", file->name, code, err);
	else
		result = check_file(file, &st, access, code, err);
	if (result == FILE_DONE)
		result = read_all(file, fd, (size_t) st.st_size, content, code, err);
	(void) close(fd);
	if (result != FILE_DONE)
		file_content_free(content);
	return result;
}

static bool
write_all(int fd, const char *data, size_t len)
{
	while (len > 0)
	{
		ssize_t written = file_calls.write(fd, data, len);

		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
			return false;
		data += written;
		len -= (size_t) written;
	}
	return true;
}

/* Writes the temporary, whole and flushed, with the owner, group and mode that the file is to have. */
static FileResult
write_new(const AtomicFile *file, const char *name, const FileAccess *access,
		  const struct stat *former, const void *data, size_t len, const char **code,
		  RotorError *err)
{
	uid_t owner = former != NULL && geteuid() == 0 ? former->st_uid : (uid_t) -1;
	gid_t group = access->group;
	int fd;
	FileResult result = FILE_DONE;

	if (group == (gid_t) -1 && former != NULL && geteuid() == 0)
		group = former->st_gid;
	if (file_calls.unlinkat(file->folder, name, 0) != 0 && errno != ENOENT)
		return failed("remove", name, code, err);
	fd = file_calls.openat(file->folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
						   0600);
	if (fd < 0)
		return failed("make", name, code, err);
	if (!write_all(fd, data, len))
		result = failed("write", name, code, err);
	else if ((owner != (uid_t) -1 || group != (gid_t) -1) &&
			 file_calls.fchown(fd, owner, group) != 0)
	{
		result = failed("give the owner or group to", name, code, err);
		(void) error_hint(err, "The user rotor runs as must be a member of the group.");
	}
	else if (file_calls.fchmod(fd, access->mode) != 0)
		result = failed("set the mode of", name, code, err);
	else if (file_calls.fsync(fd) != 0)
		result = failed("flush", name, code, err);
	(void) close(fd);
	return result;
}

FileResult
atomic_file_replace(const AtomicFile *file, const FileAccess *access, const void *data, size_t len,
					const char **code, RotorError *err)
{
	char name[NAME_MAX + 1];
	struct stat former;
	bool is_there = fstatat(file->folder, file->name, &former, AT_SYMLINK_NOFOLLOW) == 0;
	FileResult result = FILE_DONE;

	*code = "";
	name_beside(file, "new", name);
	if (!is_there && errno != ENOENT)
		return failed("look at", file->name, code, err);
	if (is_there)
		result = check_file(file, &former, access, code, err);
	if (result == FILE_DONE && len > ATOMIC_FILE_MAX)
	{
		errno = EFBIG;
		result = failed("write", file->name, code, err);
	}
	if (result != FILE_DONE)
		return result;

	result = write_new(file, name, access, is_there ? &former : NULL, data, len, code, err);
	if (result == FILE_DONE &&
		file_calls.renameat(file->folder, name, file->folder, file->name) != 0)
		result = failed("replace", file->name, code, err);
	if (result != FILE_DONE)
	{
		(void) file_calls.unlinkat(file->folder, name, 0);
		return result;
	}
	if (file_calls.fsync(file->folder) == 0)
		return FILE_DONE;
	(void) failed("flush the folder of", file->name, code, err);
	return FILE_UNSURE;
}

void
atomic_file_close(AtomicFile *file)
{
	/* The lock goes with its descriptor; nobody of ours forks without closing it. */
	if (file->lock >= 0)
		(void) close(file->lock);
	if (file->folder >= 0)
		(void) close(file->folder);
	file->lock = -1;
	file->folder = -1;
}

void
file_content_free(FileContent *content)
{
	if (content->data != NULL)
		secret_wipe(content->data, content->len);
	free(content->data);
	*content = (FileContent){0};
}

/*
 * crash_at.c - for tests: preloaded (LD_PRELOAD) into a server, it notes each call that changes a
 * file of one folder, and kills its process just before one of them.
 *
 * ROTOR_CRASH_FOLDER is the folder, with all links resolved. ROTOR_CRASH_NOTES is a folder with the
 * file `calls`, to which "name file" is appended for each call, and the file `at`: if it holds the
 * number N, the process is killed before call N of all that `calls` notes. No file `at`: no kill.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static ssize_t (*real_write)(int fd, const void *data, size_t len);
static int (*real_fsync)(int fd);
static int (*real_rename)(const char *from, const char *to);
static int (*real_link)(const char *from, const char *to);
static int (*real_unlink)(const char *path);
static const char *folder;
static const char *notes;

/* A copy: the server writes its process title over the environment. NULL if it is not set. */
static const char *
setting(const char *name)
{
	const char *value = getenv(name); /* NOLINT(concurrency-mt-unsafe): one thread so far. */

	return value != NULL ? strdup(value) : NULL;
}

__attribute__((constructor)) static void
set_up(void)
{
	real_write = (ssize_t(*)(int, const void *, size_t)) dlsym(RTLD_NEXT, "write");
	real_fsync = (int (*)(int)) dlsym(RTLD_NEXT, "fsync");
	real_rename = (int (*)(const char *, const char *)) dlsym(RTLD_NEXT, "rename");
	real_link = (int (*)(const char *, const char *)) dlsym(RTLD_NEXT, "link");
	real_unlink = (int (*)(const char *)) dlsym(RTLD_NEXT, "unlink");
	folder = setting("ROTOR_CRASH_FOLDER");
	notes = setting("ROTOR_CRASH_NOTES");
}

/* The lines of a file of the notes, or its number; 0 if it is not there. */
static int
number_in(const char *name, int count_lines)
{
	char path[PATH_MAX];
	char text[4096];
	ssize_t len;
	int lines = 0;
	int fd;

	(void) snprintf(path, sizeof(path), "%s/%s", notes, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	len = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (len <= 0)
		return 0;
	text[len] = '\0';
	if (!count_lines)
		return (int) strtol(text, NULL, 10);
	for (ssize_t i = 0; i < len; i++)
		lines += text[i] == '\n';
	return lines;
}

static void
note(const char *call, const char *path)
{
	char name[PATH_MAX];
	char line[PATH_MAX];
	size_t len = folder ? strlen(folder) : 0;
	int saved = errno;
	int fd;

	if (folder == NULL || notes == NULL || strncmp(path, folder, len) != 0 ||
		(path[len] != '/' && path[len] != '\0'))
		return;
	if (number_in("at", 0) == number_in("calls", 1) + 1)
		kill(getpid(), SIGKILL);
	(void) snprintf(name, sizeof(name), "%s/calls", notes);
	fd = open(name, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	(void) snprintf(line, sizeof(line), "%s %s\n", call, path[len] ? path + len + 1 : ".");
	(void) !real_write(fd, line, strlen(line));
	close(fd);
	errno = saved;
}

static void
note_descriptor(const char *call, int fd)
{
	char descriptor[64];
	char file[PATH_MAX];
	ssize_t len;
	int saved = errno;

	(void) snprintf(descriptor, sizeof(descriptor), "/proc/self/fd/%d", fd);
	len = readlink(descriptor, file, sizeof(file) - 1);
	errno = saved;
	if (len <= 0)
		return;
	file[len] = '\0';
	note(call, file);
}

ssize_t
/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name): not the names of libc. */
write(int fd, const void *data, size_t len)
{
	note_descriptor("write", fd);
	return real_write(fd, data, len);
}

int
fsync(int fd)
{
	note_descriptor("fsync", fd);
	return real_fsync(fd);
}

int
/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name): not the names of libc. */
rename(const char *from, const char *to)
{
	note("rename", to);
	return real_rename(from, to);
}

int
link(const char *from, const char *to)
{
	note("link", to);
	return real_link(from, to);
}

int
/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name): not the names of libc. */
unlink(const char *path)
{
	note("unlink", path);
	return real_unlink(path);
}

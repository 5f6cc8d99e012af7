/*
 * atomic_file.h - replaces a file as a whole, so that at any moment, also after a crash, it is the old one or the new one.
 *
 * The new content goes to a temporary in the same folder (O_EXCL, 0600 until it is whole), is flushed, gets
 * its final mode and owner, is renamed over the file, and the folder is flushed. Whoever replaces a file holds its lock:
 * flock() on ".NAME.rotor-lock", a file of its own that stays there. The temporary is ".NAME.rotor-new"; one that a
 * crash left behind is removed by the next who holds the lock.
 *
 * What always holds: only a regular file is read or replaced, never what a symlink points at; each folder above it belongs
 * to us or to root and cannot be written by others (unless it is sticky), so nobody else can put another file in its place;
 * symlinks in the folder's path are resolved first. Content is wiped from our buffers; errors never show it.
 *
 * Called by store_file.c, and by whoever keeps a password in a file. Any thread may call it.
 */
#ifndef ROTOR_WORKER_ATOMIC_FILE_H
#define ROTOR_WORKER_ATOMIC_FILE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "deadline.h"
#include "error.h"

#define ATOMIC_FILE_MAX (1024L * 1024) /* bytes of content */

typedef enum FileResult
{
	FILE_DONE,
	FILE_FAILED, /* nothing was changed; may go by itself: the disk is full, the lock is held, no such folder yet */
	FILE_REFUSED, /* nothing was changed, and it will not go by itself: permissions, a symlink, a bad path */
	FILE_UNSURE /* the file is the new one, but after a crash it may be the old one: the folder was not flushed */
} FileResult;

/* A path that was looked at: its folder is open. */
typedef struct AtomicFile
{
	int folder;
	int lock; /* -1: not held */
	char name[NAME_MAX + 1];
} AtomicFile;

/* Who may read the file. */
typedef struct FileAccess
{
	mode_t mode; /* 0600 or 0640 */
	gid_t group; /* (gid_t) -1: ours, or the one the file has if we are root */
} FileAccess;

/* Content on the heap; NULL: there is no file. */
typedef struct FileContent
{
	char *data; /* NUL-terminated */
	size_t len;
} FileContent;

/*
 * On failure the errors say what is wrong and what to do; *code is the errno's name ("ENOSPC") or empty, static memory.
 * Opens the folder of an absolute path; a file that is open is closed by atomic_file_close() on every path.
 */
extern FileResult
atomic_file_open(AtomicFile *file, const char *path, const char **code, RotorError *err);

/* Waits for the lock until the deadline. */
extern FileResult
atomic_file_lock(AtomicFile *file, Deadline deadline, const char **code, RotorError *err);

/*
 * Reads it. FILE_DONE with data NULL: it does not exist. Refused if it is no regular file, is not ours, or lets
 * others do more than access does. The lock need not be held. The caller frees by file_content_free().
 */
extern FileResult atomic_file_read(const AtomicFile *file, const FileAccess *access,
								   FileContent *content, const char **code, RotorError *err);

/* Replaces it by len bytes, or makes it; the lock must be held. A file that atomic_file_read() would refuse is refused. */
extern FileResult
atomic_file_replace(const AtomicFile *file, const FileAccess *access, const void *data, size_t len,
					const char **code, RotorError *err);

/* Lets go of the lock and the folder; of one that is closed nothing happens. */
extern void atomic_file_close(AtomicFile *file);

extern void file_content_free(FileContent *content);

/* The calls that change something: tests let them fail, or end the process between them. */
typedef struct FileCalls
{
	int (*openat)(int folder, const char *name, int flags, mode_t mode);
	ssize_t (*write)(int fd, const void *data, size_t len);
	int (*fchmod)(int fd, mode_t mode);
	int (*fchown)(int fd, uid_t owner, gid_t group);
	int (*fsync)(int fd);
	int (*renameat)(int folder, const char *from, int to_folder, const char *to);
	int (*unlinkat)(int folder, const char *name, int flags);
} FileCalls;

extern FileCalls file_calls;

#endif

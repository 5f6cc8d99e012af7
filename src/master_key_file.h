/*
 * master_key_file.h - the file that rotor.key_file names: reading it, writing it.
 *
 * What always holds: a file that others could read or write is not used; a first file replaces
 * none; a change is whole or has not happened, whatever crashes. Called by master_key.c, and by
 * health().
 */
#ifndef ROTOR_MASTER_KEY_FILE_H
#define ROTOR_MASTER_KEY_FILE_H

#include "keyfile.h"

/* rotor.key_file as an absolute path, palloc'd. */
extern char *master_key_file_path(void);

/* Reads the descriptor to its end; false if it holds more than a key file may. Interruptible. */
extern bool master_key_read_all(int fd, KeyfileText *text);

/* False if there is no such file; raises F0000 if it is unfit, 58P01 if it cannot be opened. */
extern bool master_key_file_read(const char *path, KeyfileText *text);

/*
 * Makes the first key file: written, synced, linked without replacing, its folder synced, mode
 * 0600. If somebody else makes one first, theirs stays, and the answer is false. Raises 58P01.
 */
extern bool master_key_file_create(const char *path, const KeyfileText *text);

/*
 * Puts a new file in the place of the one that is there: written beside it with its mode, synced,
 * renamed over it, its folder synced. Whoever reads meanwhile, and whoever comes after a crash,
 * finds the one or the other, whole. The caller excludes others who change it. Raises 55000 if the
 * file is another user's, 58P01 if it cannot be written.
 */
extern void master_key_file_replace(const char *path, const KeyfileText *text);

#endif

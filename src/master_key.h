/*
 * master_key.h - master keys, from rotor.key_command or from rotor.key_file.
 *
 * They never enter the database and are never kept: whoever asks for one wipes it after use. Only
 * keys of a file can be changed here; whoever changes them holds catalog_lock_keys().
 */
#ifndef ROTOR_MASTER_KEY_H
#define ROTOR_MASTER_KEY_H

#include "keyfile.h"
#include "types.h"

/*
 * Fills *master with the key of that id (NULL: the newest); false if there is neither a key command
 * nor a key file. Raises 58P01 or F0000 if there is, but not this key.
 */
extern bool master_key_find(const char *id, MasterKey *master);

/* Raises 58P01: there is no key file. id is the key that is wanted, NULL: any. */
extern void master_key_missing(const char *id) ROTOR_NORETURN;

/* Makes the first key file with one random key; if somebody else makes one first, theirs stays. */
extern void master_key_make_first(void);

/* Raises 55000 with this remedy if master keys come from rotor.key_command. */
extern void master_key_require_file(const char *remedy);

/* The text of the key file, which the caller wipes; false if there is none. */
extern bool master_key_read_text(KeyfileText *text);

/* Puts text in the place of the key file that exists, or makes the first one; durable on return. */
extern void master_key_write_text(const KeyfileText *text, bool exists);

/*
 * Appends key to the key file as the newest, durable on return. With may_make_file there need not
 * be a file. Raises 42710 if its id is there, 58P01 if there is no file.
 */
extern void master_key_add(const MasterKey *key, bool may_make_file);

/* The ids in the key file, palloc'd, in its order, the newest last; how many, 0 if there is no file. */
extern int master_key_ids(char (**ids)[KEYFILE_ID_MAX + 1]);

/*
 * Takes the key of that id out of the key file, durable on return. Raises 42704 if it is not there,
 * 2BP01 if it is the newest. That nothing needs it is the caller's business.
 */
extern void master_key_remove(const char *id);

#endif

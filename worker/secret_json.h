/*
 * secret_json.h - the JSON object in which a store keeps a secret, read and written without loss.
 *
 * An application reads "username" and "password", and maybe "engine", "host", "port" and "dbname": the names AWS
 * Secrets Manager uses. All else in the object belongs to others and is kept as it is, also numbers that a
 * double cannot hold.
 *
 * What always holds: texts and trees are wiped when they are freed, because cJSON wipes what it frees (job.c).
 *
 * Called by the stores.
 */
#ifndef ROTOR_WORKER_SECRET_JSON_H
#define ROTOR_WORKER_SECRET_JSON_H

#include "job.h"

/*
 * Reads an object. NULL with *err (FORMAT, never with content) if it is none, or if it holds what could
 * not be written back as it was: a NUL character in a string; SPACE if memory ran out. The caller frees by cJSON_Delete().
 */
extern cJSON *secret_json_parse(const char *text, size_t len, RotorError *err);

/*
 * Reads any JSON text, with a NUL behind its len bytes, as cJSON does; whole: nothing but white space may follow what was
 * read. NULL with *err: SPACE if memory ran out, which says nothing about the text, else FORMAT.
 */
extern cJSON *secret_json_read(const char *text, size_t len, bool whole, RotorError *err);

/* The text of a tree, for a machine or (pretty) for a reader; NULL: out of memory. Freed by cJSON_free(). */
extern char *secret_json_print(const cJSON *tree, bool pretty);

/*
 * Puts the value into the object: its username and password and, under the name id_name, its uuid; then engine,
 * host, port and dbname of the job's target, where the object has none of its own. An empty password leaves the one
 * that is there. False: out of memory; the object may then be half changed.
 */
extern bool
secret_json_fill(cJSON *object, const Job *job, const JobValue *value, const char *id_name);

/* Sets a string, replacing what has that name; false: out of memory. */
extern bool secret_json_set(cJSON *object, const char *name, const char *text);

/* Does the object hold the value's username and password? */
extern bool secret_json_holds(const cJSON *object, const JobValue *value);

/*
 * Does the text, read as whoever reads it from the store will, hold the value? Asked of each text before it is sent:
 * nothing that went wrong while it was made, for lack of memory above all, may publish another password. path: the names of
 * the members that lead to the object, ended by NULL. False also if there is no memory to tell.
 */
extern bool secret_json_prove(const char *text, const char *const path[], const JobValue *value);

/*
 * May what a store has as current give way to the job's version: the former version, the one before, where the store
 * lags behind, or one that somebody else wrote with the former value? id: its uuid, empty if it has none of
 * rotor's; value: NULL, there is nothing. In an emergency everything may.
 */
extern bool secret_json_gives_way(const Job *job, const char *id, const cJSON *value);

/* Copies a string of the object, "" if it has none; FORMAT if it does not fit. */
extern bool
secret_json_copy(const cJSON *object, const char *name, SecretBuf *out, RotorError *err);

#endif

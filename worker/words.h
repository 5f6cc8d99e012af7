/*
 * words.h - what a peer said, in a form that can be handed on.
 *
 * A server may speak any encoding, and a text that was cut may end within a character; the control database
 * takes neither. Called by pg_error, mysql_client and control_db.
 */
#ifndef ROTOR_WORKER_WORDS_H
#define ROTOR_WORKER_WORDS_H

#include <stddef.h>

/*
 * Copies at most len bytes of text, up to a NUL, into out, whose size is at least 1: on one line, without
 * control characters or blanks at the ends, what is no UTF-8 as question marks, cut between characters.
 */
extern void words_copy(char *out, size_t size, const char *text, size_t len);

#endif

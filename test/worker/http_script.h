/*
 * http_script.h - an HTTP server on 127.0.0.1 that answers what it was told, byte for byte, and remembers
 * what it was asked.
 *
 * Answers are taken in the order in which they were added, by whichever request comes next; one too many is
 * answered with status 599. Any number of connections at once.
 */
#ifndef ROTOR_TEST_HTTP_SCRIPT_H
#define ROTOR_TEST_HTTP_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>

typedef enum ScriptEnd
{
	SCRIPT_KEEP,  /* the connection stays open for another request */
	SCRIPT_CLOSE, /* it is closed behind the answer */
	SCRIPT_HANG,  /* it stays open, and nothing more is ever said */
	SCRIPT_HOLD	  /* nothing is said before script_release(); then as SCRIPT_KEEP */
} ScriptEnd;

typedef struct Script Script;

extern Script *script_start(void);
extern void script_stop(Script *script);

/* http://127.0.0.1:PORT and the path; of the script, until the next call. */
extern const char *script_url(Script *script, const char *path);

/* Adds an answer: whole bytes, headers included; or status, further header lines ("" or "A: b\r\n"), body. */
extern void script_bytes(Script *script, const void *bytes, size_t len, ScriptEnd end);
extern void script_answer(Script *script, int status, const char *headers, const char *body);
extern void
script_answer_end(Script *script, int status, const char *headers, const char *body, ScriptEnd end);
extern void script_release(Script *script);

/* Waits until so many requests have come. */
extern void script_wait(Script *script, int requests);

/* How many came, and on how many connections; the text of one, from 0, head and body. */
extern int script_requests(Script *script);
extern int script_connections(Script *script);
extern const char *script_request(Script *script, int number);

/* The value of a header of a request; NULL if it has none. Of the script, until the next call. */
extern const char *script_header(Script *script, int number, const char *name);
extern const char *script_body(Script *script, int number);

#endif

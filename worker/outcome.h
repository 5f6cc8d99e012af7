/*
 * outcome.h - what came of one act outside.
 *
 * The worker reports a class and the peer's own code and words; only the extension decides what
 * follows (rotor.transitions). No text of an outcome ever holds a secret: outcome_scrub() sees to it
 * before anything leaves steps.c.
 */
#ifndef ROTOR_WORKER_OUTCOME_H
#define ROTOR_WORKER_OUTCOME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "secret_buf.h"

#define OUTCOME_CODE_SIZE	 64
#define OUTCOME_MESSAGE_SIZE 512

typedef enum OutcomeClass
{
	OUTCOME_OK,		/* done, or found to be done already */
	OUTCOME_PROVED, /* of a login: the password was accepted, then something else barred the session */
	OUTCOME_REFUSED,	  /* of a login: the peer does not accept the password */
	OUTCOME_INCONCLUSIVE, /* of a login: the peer asked for no password */
	OUTCOME_TRANSIENT,	  /* nothing was changed; may go by itself */
	OUTCOME_UNKNOWN,	  /* sent, but the answer was lost: may have taken effect or not */
	OUTCOME_SUPERSEDED,	  /* somebody else changed it meanwhile: compare-and-swap failed */
	OUTCOME_PERMANENT,	  /* nothing was changed, and will not go by itself */
	OUTCOME_INTERNAL,	  /* a defect; nothing was changed as far as is known */
	OUTCOME_COUNT
} OutcomeClass;

typedef struct Outcome
{
	OutcomeClass class;
	char code
		[OUTCOME_CODE_SIZE]; /* the peer's: SQLSTATE, HTTP status, AWS error type; may be empty */
	char message[OUTCOME_MESSAGE_SIZE]; /* the peer's own words, or ours; may be empty */
	int64_t retry_after_ms;				/* the peer asked to wait so long; 0: it did not */
	bool peer_answered; /* a failure of this account's alone: the peer is there for others */
	bool by_refused;	/* of a change: the credential that was to do it was not let in */
} Outcome;

/* An outcome of that class; format may be NULL. Cut to fit. */
extern Outcome outcome_make(OutcomeClass class, const char *code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* An outcome of that class with the message, detail and hint of *err. */
extern Outcome outcome_of_error(OutcomeClass class, const RotorError *err);

/* The name as the extension knows it; static memory. */
extern const char *outcome_name(OutcomeClass class);

/* Replaces each occurrence of the value, also percent-encoded or JSON-escaped, by ***. */
extern void outcome_scrub(Outcome *outcome, const SecretBuf *value);

#endif

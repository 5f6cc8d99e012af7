/*
 * http_client.h - one HTTP request, by libcurl; the only file that knows it is http_client.c.
 *
 * https only, save for loopback hosts or with allow_http; certificates are checked always; redirects and signals
 * are off, and so are the environment's proxies for plain http, loopback and link-local hosts: a proxy only carries
 * TLS that ends at the peer. Both timeouts are the deadline; the answer has a largest size. Any thread may call it.
 */
#ifndef ROTOR_WORKER_HTTP_CLIENT_H
#define ROTOR_WORKER_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

#include "deadline.h"
#include "error.h"

#define HTTP_MAX_ANSWER	 ((size_t) 256 * 1024) /* bytes */
#define HTTP_MAX_HEADERS 16

typedef enum HttpResult
{
	HTTP_ANSWERED, /* a whole answer, whatever its status */
	HTTP_NOT_SENT, /* nothing can have reached the peer: no address, no connection, TLS refused, no memory */
	HTTP_NO_ANSWER, /* it may have taken effect: sent in part or whole, the answer is missing */
	HTTP_BAD		/* the request itself is bad: a URL that may not be used; err says why */
} HttpResult;

typedef struct HttpRequest
{
	const char *method; /* GET, POST, PUT, PATCH, DELETE, LIST */
	const char *url;
	const char *headers[HTTP_MAX_HEADERS]; /* "Name: value"; ended by NULL */
	const char *body;					   /* NULL: none */
	size_t body_len;
	const char *ca_file;	 /* NULL: the system's */
	const char *aws_sigv4;	 /* "aws:amz:region:service"; NULL: not signed */
	const char *aws_userpwd; /* "key id:secret key" */
	bool allow_http;		 /* plain http to hosts that are not loopback */
	bool repeatable; /* changes nothing: as GET and LIST, sent again if a kept connection dies */
	bool once;		 /* on a connection of its own, and never again, whatever the method */
	Deadline deadline;
} HttpRequest;

typedef struct HttpAnswer
{
	long status;
	char *body; /* NUL-terminated, at most HTTP_MAX_ANSWER bytes; wiped by http_answer_free() */
	size_t body_len;
	char error_type[128]; /* x-amzn-errortype */
	long retry_after_ms;  /* of the header Retry-After; 0: none */
} HttpAnswer;

/* Once a process, before any thread is started. */
extern bool http_client_init(RotorError *err);
/* On HTTP_ANSWERED fills *answer, which the caller frees; else *err. */
extern HttpResult http_send(const HttpRequest *request, HttpAnswer *answer, RotorError *err);
/* Wipes and frees; of a zeroed answer nothing happens. */
extern void http_answer_free(HttpAnswer *answer);

#endif

/*
 * http_server.h - /metrics, /healthz and /readyz; the only file that knows libmicrohttpd is http_server.c.
 *
 * It listens on loopback unless told otherwise, speaks HTTP without TLS, and only tells: nothing that a client
 * sends changes anything. It runs in a thread of its own with bounded connections, memory and time, so that
 * no client holds up a rotation. No answer holds a secret.
 *
 *   /metrics  the text of metrics.h
 *   /healthz  200 while the main loop turns, else 503: the process hangs, start it anew
 *   /readyz   200 while the worker can claim, else 503 with the reason
 *
 * The main loop starts it, tells it of its turns, and stops it last.
 */
#ifndef ROTOR_WORKER_HTTP_SERVER_H
#define ROTOR_WORKER_HTTP_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "error.h"

#define HTTP_SERVER_LISTEN		"127.0.0.1:9469"
#define HTTP_SERVER_REASON_SIZE 256

#define HTTP_SERVER_CONNECTIONS 16 /* at a time; others wait */

typedef struct HttpServer HttpServer;

/* A connection that says nothing for so long is closed: for tests, before a start. */
extern unsigned http_server_idle_seconds;

/*
 * Is this a place to listen at: "off", or a numeric address and a port, IPv6 in brackets? Error: ARGUMENT.
 */
extern bool http_server_check(const char *listen, RotorError *err);

/*
 * Listens there. The main loop is taken to hang when it has not turned for stall_ms. *server becomes NULL for
 * "off"; all functions below take that, and do nothing. The caller stops it by http_server_stop().
 * Errors: ARGUMENT as above, or the address is in use, not of this machine, or not permitted.
 */
extern bool
http_server_start(const char *listen, int64_t stall_ms, HttpServer **server, RotorError *err);

/* The port that it listens at: for tests, which ask for port 0. 0 if it is off. */
extern unsigned http_server_port(const HttpServer *server);

/* The main loop has turned. Any thread may call it. */
extern void http_server_turned(HttpServer *server);

/* NULL: the worker can claim; else why it cannot, cut to HTTP_SERVER_REASON_SIZE. It begins as "starting". */
extern void http_server_ready(HttpServer *server, const char *reason);

/* Ends all connections and the thread, frees. */
extern void http_server_stop(HttpServer *server);

#endif

/*
 * peer.h - real servers for the tests of targets.
 *
 * A peer is a script of peers/ that starts a server, prints name=value lines and "ready", and lives until
 * its standard input is closed: so it ends with the test, however that ends.
 */
#ifndef ROTOR_TEST_PEER_H
#define ROTOR_TEST_PEER_H

#include <stdbool.h>
#include <sys/types.h>

#include "job.h"

#define PEER_TEXT_SIZE 4096

typedef struct Peer
{
	pid_t pid;
	int input;
	char text[PEER_TEXT_SIZE]; /* the lines it printed, each ended by NUL */
	size_t len;
} Peer;

/* Starts peers/NAME.sh of the folder where the tests lie, and waits until it is ready. */
extern bool peer_start(Peer *peer, const char *name);
/* What the script printed for name; fails the test if it printed nothing. */
extern const char *peer_value(const Peer *peer, const char *name);
/* Whether it printed it. */
extern bool peer_has(const Peer *peer, const char *name);
extern void peer_stop(Peer *peer);

/* The whole file, ended by NUL; the caller frees it. */
extern char *read_whole_file(const char *path);

/* The job of a JSON text made by printf; fails the test if it is none. */
extern Job *make_job(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A value without a job. */
extern JobValue value_of(const char *username, const char *password);

/*
 * A way to a server on 127.0.0.1 that can lose, hold back or change what the client sends. It looks for
 * `mark` in what the client sends; from there on it does what `act` says. One connection at a time.
 */
typedef enum RelayAct
{
	RELAY_ALL,	/* only relays */
	RELAY_DROP, /* closes both sides instead of passing the mark on */
	RELAY_MUTE, /* passes it on, reads the whole answer, and closes the client's side without it */
	RELAY_HOLD	/* passes it on only at relay_release(), and keeps the answer */
} RelayAct;

typedef struct Relay Relay;

/* from and to have the same length: what the client sends is changed so; may be NULL. */
extern Relay *
relay_start(int server_port, RelayAct act, const char *mark, const char *from, const char *to);
extern int relay_port(const Relay *relay);
/* RELAY_HOLD: passes on what was held, waits for the answer; 0-terminated, printable, of the relay. */
extern const char *relay_release(Relay *relay);
extern void relay_stop(Relay *relay);

/* A port of 127.0.0.1 that takes connections and never says a word; -1 if there is none. */
extern int silent_port(int *listener);

#endif

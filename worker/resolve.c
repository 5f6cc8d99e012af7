/*
 * resolve.c - see resolve.h.
 */
#include "resolve.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define RESOLVER_STACK \
	((size_t) 256 * 1024) /* bytes; what the name services of glibc get by with */

/* One question; whoever of the two sides leaves last frees it. */
typedef struct Question
{
	pthread_mutex_t lock;
	pthread_cond_t answered;
	int sides;
	bool done;
	int error; /* of getaddrinfo() */
	ResolvedHost host;
	char name[];
} Question;

static int
ask(const char *name, int flags, ResolvedHost *out)
{
	const struct addrinfo hints = {
		.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = flags};
	struct addrinfo *list = NULL;
	int error = getaddrinfo(name, NULL, &hints, &list);

	out->count = 0;
	if (error != 0)
		return error;
	for (struct addrinfo *at = list; at != NULL && out->count < RESOLVE_MAX; at = at->ai_next)
	{
		if (getnameinfo(at->ai_addr, at->ai_addrlen, out->address[out->count], RESOLVE_ADDRESS_SIZE,
						NULL, 0, NI_NUMERICHOST) == 0)
			out->count++;
	}
	freeaddrinfo(list);
	return out->count > 0 ? 0 : EAI_NONAME;
}

/* The question's lock is held; it is gone afterwards. */
static void
leave(Question *question)
{
	bool last = --question->sides == 0;

	(void) pthread_mutex_unlock(&question->lock);
	if (!last)
		return;
	(void) pthread_cond_destroy(&question->answered);
	(void) pthread_mutex_destroy(&question->lock);
	free(question);
}

static void *
resolver(void *argument)
{
	Question *question = argument;
	ResolvedHost host;
	int error = ask(question->name, 0, &host);

	(void) pthread_mutex_lock(&question->lock);
	question->done = true;
	question->error = error;
	question->host = host;
	(void) pthread_cond_signal(&question->answered);
	leave(question);
	return NULL;
}

static Question *
question_make(const char *name)
{
	Question *question = calloc(1, sizeof(*question) + strlen(name) + 1);
	pthread_condattr_t attributes;

	if (question == NULL)
		return NULL;
	memcpy(question->name, name, strlen(name) + 1);
	question->sides = 2;
	(void) pthread_mutex_init(&question->lock, NULL);
	(void) pthread_condattr_init(&attributes);
	(void) pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	(void) pthread_cond_init(&question->answered, &attributes);
	(void) pthread_condattr_destroy(&attributes);
	return question;
}

static bool
start_resolver(Question *question)
{
	pthread_attr_t attributes;
	pthread_t thread;
	bool started;

	(void) pthread_attr_init(&attributes);
	(void) pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	(void) pthread_attr_setstacksize(&attributes, RESOLVER_STACK);
	started = pthread_create(&thread, &attributes, resolver, question) == 0;
	(void) pthread_attr_destroy(&attributes);
	return started;
}

static const char *
why_not(int error)
{
	return error == EAI_SYSTEM ? "the name cannot be resolved: system error" : gai_strerror(error);
}

const char *
resolve_host(const char *host, Deadline deadline, ResolvedHost *out)
{
	Question *question;
	const char *why = NULL;
	struct timespec until;
	int64_t left = deadline_left(deadline);

	if (ask(host, AI_NUMERICHOST, out) == 0)
		return NULL;
	question = question_make(host);
	if (question == NULL)
		return "out of memory";
	(void) pthread_mutex_lock(&question->lock);
	if (!start_resolver(question))
	{
		question->sides = 1;
		leave(question);
		return "no thread can be started to resolve the name";
	}

	(void) clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += left / 1000;
	until.tv_nsec += left % 1000 * 1000000;
	if (until.tv_nsec >= 1000000000)
	{
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	while (!question->done &&
		   pthread_cond_timedwait(&question->answered, &question->lock, &until) != ETIMEDOUT)
		;
	if (!question->done)
		why = "the name was not resolved in time";
	else if (question->error != 0)
		why = why_not(question->error);
	else
		*out = question->host;
	leave(question);
	return why;
}

bool
resolve_is_loopback(const char *host)
{
	struct in_addr v4;
	struct in6_addr v6;

	if (host[0] == '/' || host[0] == '@' || strcasecmp(host, "localhost") == 0)
		return true;
	if (inet_pton(AF_INET, host, &v4) == 1)
		return (ntohl(v4.s_addr) >> 24) == 127;
	return inet_pton(AF_INET6, host, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

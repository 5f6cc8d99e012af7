/*
 * peers.c - what the main loop knows of targets and stores; see peers.h.
 */
#include "peers.h"

#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "metrics.h"
#include "options.h"

/* How soon one asks again that waits for a result: the result wakes it, too. */
#define ASK_AGAIN_MS INT64_C(250)

/* A peer that has jobs and has said nothing for so long gets no more of them. */
#define SILENCE_MS INT64_C(1000)

typedef struct Peer
{
	struct Peer *next;
	bool is_store;
	Breaker breaker;
	Bucket bucket;
	int running;
	int64_t heard_at; /* while some run: when one ended, or the first of them began */
	int waiting;	  /* as last counted, less those that began since */
	bool is_left_out; /* of the last claim */
	char name[];
} Peer;

struct Peers
{
	Peer *first;
	int count;
};

Peers *
peers_new(void)
{
	return calloc(1, sizeof(Peers));
}

void
peers_free(Peers *peers)
{
	if (peers == NULL)
		return;
	while (peers->first != NULL)
	{
		Peer *peer = peers->first;

		peers->first = peer->next;
		free(peer);
	}
	free(peers);
}

bool
peers_is_at_store(const Job *job)
{
	return job->step == STEP_PUBLISH || job->step == STEP_FINISH;
}

static const char *
name_of(const Job *job)
{
	return peers_is_at_store(job) ? job->store_name : job->target_name;
}

bool
peers_are_same(const Job *one, const Job *other)
{
	return peers_is_at_store(one) == peers_is_at_store(other) &&
		   strcmp(name_of(one), name_of(other)) == 0;
}

static void
forget_one(Peers *peers)
{
	for (Peer **link = &peers->first; *link != NULL; link = &(*link)->next)
	{
		Peer *peer = *link;

		if (peer->running == 0 && peer->breaker.state == BREAKER_CLOSED)
		{
			*link = peer->next;
			free(peer);
			peers->count--;
			return;
		}
	}
}

/* NULL if there is no memory for one more. */
static Peer *
peer_of(Peers *peers, const Job *job)
{
	bool is_store = peers_is_at_store(job);
	const char *name = name_of(job);
	Peer *peer;

	for (peer = peers->first; peer != NULL; peer = peer->next)
	{
		if (peer->is_store == is_store && strcmp(peer->name, name) == 0)
			return peer;
	}
	if (peers->count >= PEERS_MAX)
		forget_one(peers);
	peer = calloc(1, sizeof(*peer) + strlen(name) + 1);
	if (peer == NULL)
		return NULL;
	peer->is_store = is_store;
	memcpy(peer->name, name, strlen(name) + 1);
	peer->next = peers->first;
	peers->first = peer;
	peers->count++;
	return peer;
}

static void
show_state(const Peer *peer)
{
	static const MetricBreaker states[] = {
		[BREAKER_CLOSED] = METRIC_BREAKER_CLOSED,
		[BREAKER_HALF_OPEN] = METRIC_BREAKER_HALF_OPEN,
		[BREAKER_OPEN] = METRIC_BREAKER_OPEN,
	};

	metrics_set(
		METRIC_BREAKER_STATE, states[peer->breaker.state],
		METRIC_LABELS(peer->is_store ? NULL : peer->name, peer->is_store ? peer->name : NULL));
}

static void
log_state(const Peer *peer, int64_t now)
{
	LogEvent event = {.attempt = -1,
					  .duration_ms = -1,
					  .target = peer->is_store ? NULL : peer->name,
					  .store = peer->is_store ? peer->name : NULL};

	if (peer->breaker.state == BREAKER_OPEN)
		log_event(LOG_WARNING, &event, "left alone for %ld ms after %d failures in succession",
				  (long) (peer->breaker.open_until - now), peer->breaker.failures);
	else
		log_event(LOG_INFO, &event, "answers again");
}

static bool
turn_away(int64_t wait, const char *why, int64_t *wait_ms, const char **reason)
{
	*wait_ms = wait;
	*reason = why;
	return false;
}

/* Each job that waits for it in vain has a thread, which others want. */
static bool
is_silent(const Peer *peer, int64_t now)
{
	return peer->running > 0 && now - peer->heard_at >= SILENCE_MS;
}

/* Nor can a claim bring any that would begin soon. */
static bool
can_take_none(Peer *peer, int64_t now)
{
	int64_t next = option_number(peer->is_store ? OPT_STORE_RATE : OPT_PER_TARGET_LIMIT);
	int64_t wait;

	return !breaker_allows(&peer->breaker, now, &wait) || is_silent(peer, now) ||
		   peer->waiting >= next;
}

bool
peers_admit(Peers *peers, const Job *job, int64_t now, int64_t *wait_ms, const char **reason)
{
	Peer *peer = peer_of(peers, job);
	int64_t wait;

	if (peer == NULL)
		return turn_away(ASK_AGAIN_MS, "out of memory", wait_ms, reason);
	if (!breaker_allows(&peer->breaker, now, &wait))
		return turn_away(
			wait, peer->is_store ? "the store does not answer" : "the target does not answer",
			wait_ms, reason);
	if (is_silent(peer, now))
		return turn_away(ASK_AGAIN_MS,
						 peer->is_store ? "the store has not answered yet"
										: "the target has not answered yet",
						 wait_ms, reason);
	if (!peer->is_store && peer->running >= option_number(OPT_PER_TARGET_LIMIT))
		return turn_away(ASK_AGAIN_MS, "the target has as many jobs as it may", wait_ms, reason);
	if (peer->is_store && !bucket_take(&peer->bucket, option_number(OPT_STORE_RATE), now, &wait))
		return turn_away(wait, "the store has as many jobs a second as it may", wait_ms, reason);
	breaker_begin(&peer->breaker);
	if (peer->running == 0)
		peer->heard_at = now;
	peer->running++;
	if (peer->waiting > 0)
		peer->waiting--;
	show_state(peer);
	return true;
}

bool
peers_done(Peers *peers, const Job *job, const Outcome *outcome, int64_t now)
{
	Peer *peer = peer_of(peers, job);
	bool failed = (outcome->class == OUTCOME_TRANSIENT || outcome->class == OUTCOME_UNKNOWN) &&
				  !outcome->peer_answered;

	if (peer == NULL || peer->running == 0)
		return false;
	peer->running--;
	peer->heard_at = now;
	if (breaker_end(&peer->breaker, failed, now, option_number(OPT_BREAKER_FAILURES),
					option_number(OPT_BREAKER_PAUSE)))
		log_state(peer, now);
	show_state(peer);
	return peer->is_left_out && !can_take_none(peer, now);
}

void
peers_cancelled(Peers *peers, const Job *job)
{
	Peer *peer = peer_of(peers, job);

	if (peer == NULL || peer->running == 0)
		return;
	peer->running--;
	breaker_cancel(&peer->breaker);
}

/* ------------------------------------------------------------------------------------------------
 * Claims
 */

void
peers_count_anew(Peers *peers)
{
	for (Peer *peer = peers->first; peer != NULL; peer = peer->next)
		peer->waiting = 0;
}

void
peers_waits(Peers *peers, const Job *job)
{
	Peer *peer = peer_of(peers, job);

	if (peer != NULL)
		peer->waiting++;
}

/* Appends an element of an array literal; quotes and backslashes are escaped by a backslash. */
static char *
put_element(char *end, const char *name)
{
	*end++ = '"';
	for (; *name != '\0'; name++)
	{
		if (*name == '"' || *name == '\\')
			*end++ = '\\';
		*end++ = *name;
	}
	*end++ = '"';
	*end++ = ',';
	return end;
}

char *
peers_left_out(Peers *peers, bool stores, int64_t now)
{
	size_t size = sizeof("{}");
	char *list;
	char *end;

	for (const Peer *peer = peers->first; peer != NULL; peer = peer->next)
		size += 2 * strlen(peer->name) + sizeof("\"\",");
	list = malloc(size);
	if (list == NULL)
		return NULL;
	end = list;
	*end++ = '{';
	for (Peer *peer = peers->first; peer != NULL; peer = peer->next)
	{
		if (peer->is_store != stores)
			continue;
		peer->is_left_out = can_take_none(peer, now);
		if (peer->is_left_out)
			end = put_element(end, peer->name);
	}
	if (end[-1] == ',')
		end--;
	memcpy(end, "}", 2);
	return list;
}

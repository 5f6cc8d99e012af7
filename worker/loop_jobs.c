/*
 * loop_jobs.c - what the main loop does with jobs; see loop_jobs.h.
 */
#include "loop_jobs.h"

#include <stdlib.h>
#include <string.h>

#include "backoff.h"
#include "metrics.h"
#include "options.h"

/* A report that is refused: the pause doubles from the one to the other; then its lease is left to end. */
#define REPORT_RETRY_MS	  1000
#define REPORT_LONGEST_MS 30000
#define REPORT_TRIES	  10

/* What would wait longer is handed back: others may reach the peer. */
#define LONGEST_WAIT_MS 5000

#define LEASE_RETRY_MS	  1000
#define HEARTBEAT_IDLE_MS 20000
#define RECONNECT_BASE_MS 200
#define RECONNECT_CAP_MS  10000

static LogEvent
event_of(const Job *job)
{
	return (LogEvent){.rotation = job->rotation,
					  .secret = job->secret,
					  .step = job_step_name(job->step),
					  .attempt = job->attempt,
					  .duration_ms = -1,
					  .target = job->target_name,
					  .store = job->store_name};
}

int
loop_free_slots(const Loop *loop)
{
	return (int) option_number(OPT_CONCURRENCY) - pool_busy(loop->pool);
}

void
loop_lost_connection(Loop *loop, const PgError *err)
{
	LogEvent event = {
		.attempt = -1, .duration_ms = -1, .code = err->sqlstate, .detail = err->message};

	control_disconnect(loop->db);
	loop->connect_failures = 1;
	loop->next_connect = deadline_in(backoff_ms(1, RECONNECT_BASE_MS, RECONNECT_CAP_MS));
	metrics_set(METRIC_CONTROL_CONNECTED, 0, METRIC_NO_LABELS);
	metrics_forget(METRIC_QUEUE_WAITING);
	metrics_forget(METRIC_QUEUE_OVERDUE);
	http_server_ready(loop->http, "the connection to the control database is lost");
	log_event(LOG_WARNING, &event, "lost the connection to the control database");
}

/* ------------------------------------------------------------------------------------------------
 * Beginning, waiting, handing back
 */

/* Nothing of it was sent. False: it was refused, or cannot be said now; its lease ends by itself. */
static bool
hand_back(Loop *loop, const Job *job, const char *reason, int64_t wait_ms)
{
	LogEvent event = event_of(job);
	PgError err;
	ControlResult result;

	event.detail = reason;
	log_event(LOG_DEBUG, &event, "handed back");
	if (!control_is_connected(loop->db))
		return false;
	result = control_release(loop->db, job, reason, wait_ms, &err);
	if (result == CONTROL_LOST)
		loop_lost_connection(loop, &err);
	else if (result == CONTROL_REFUSED)
	{
		event.code = err.sqlstate;
		event.detail = err.message;
		log_event(LOG_WARNING, &event, "could not hand a job back");
	}
	return result == CONTROL_DONE || result == CONTROL_LATE;
}

static void
begin(Loop *loop, Held *held)
{
	LogEvent event = event_of(held->job);

	/* From here on the thread owns what can change in the job. */
	held->state = HELD_RUNNING;
	held->job->lease_end = held->lease_end;
	if (held->job->attempt > 0)
		metrics_add(METRIC_RETRIES, 1, METRIC_NO_LABELS);
	log_event(LOG_DEBUG, &event, held->job->look ? "begins, and looks first" : "begins");
	if (!pool_submit(loop->pool, held->job))
	{
		/* Cannot be: a slot was free. It waits, and nothing is lost. */
		held->state = HELD_WAITING;
		peers_cancelled(loop->peers, held->job);
	}
}

/* Begins a job that waits, if a thread and its peer are free. False: it is gone, for it was handed back. */
static bool
try_to_begin(Loop *loop, Held *held, int64_t now)
{
	int64_t left = deadline_left(held->lease_end);
	int64_t wait;

	if (loop->stops || held->lease_is_lost || loop_free_slots(loop) <= 0)
		return true;
	/* A heartbeat is overdue: it will tell whether the lease still runs. */
	if (left < held->lease_ms / 3)
	{
		held->not_before = now + LEASE_RETRY_MS;
		return true;
	}
	if (peers_admit(loop->peers, held->job, now, &wait, &held->reason))
	{
		begin(loop, held);
		return true;
	}
	if (wait <= LONGEST_WAIT_MS)
	{
		held->not_before = now + wait;
		return true;
	}
	(void) hand_back(loop, held->job, held->reason, 1000 + backoff_random(1000));
	held_remove(&loop->held, held);
	return false;
}

void
loop_accept(Loop *loop, Job *job)
{
	Held *held = loop->stops ? NULL : held_add(&loop->held, job);

	if (held == NULL)
	{
		(void) hand_back(loop, job,
						 loop->stops ? "the worker stops" : "the worker holds too many jobs",
						 backoff_random(1000));
		job_free(job);
		return;
	}
	(void) try_to_begin(loop, held, clock_ms());
	metrics_set(METRIC_LEASES_HELD, loop->held.count, METRIC_NO_LABELS);
}

void
loop_begin_waiting(Loop *loop)
{
	int64_t now = clock_ms();
	int i = 0;

	while (i < loop->held.count)
	{
		Held *held = loop->held.entries[i];

		if (held->state != HELD_WAITING || held->not_before > now || try_to_begin(loop, held, now))
			i++;
	}
}

int
loop_claim(Loop *loop, int size, PgError *err)
{
	Job *jobs[HELD_MAX];
	int64_t now = clock_ms();
	char *targets;
	char *stores;
	int count;
	ControlResult result;

	peers_count_anew(loop->peers);
	for (int i = 0; i < loop->held.count; i++)
	{
		if (loop->held.entries[i]->state == HELD_WAITING)
			peers_waits(loop->peers, loop->held.entries[i]->job);
	}
	targets = peers_left_out(loop->peers, false, now);
	stores = peers_left_out(loop->peers, true, now);
	result = control_claim(loop->db, size, targets != NULL ? targets : "{}",
						   stores != NULL ? stores : "{}", jobs, &count, err);
	free(targets);
	free(stores);
	if (result == CONTROL_LOST)
		loop_lost_connection(loop, err);
	if (result != CONTROL_DONE)
		return -1;
	for (int i = 0; i < count; i++)
		loop_accept(loop, jobs[i]);
	return count;
}

void
loop_release_waiting(Loop *loop)
{
	bool is_heard = true;
	Job *job;

	while ((job = pool_withdraw(loop->pool)) != NULL)
	{
		peers_cancelled(loop->peers, job);
		held_find(&loop->held, job)->state = HELD_WAITING;
	}
	for (int i = loop->held.count - 1; i >= 0; i--)
	{
		Held *held = loop->held.entries[i];

		if (held->state != HELD_WAITING)
			continue;
		/* Who refuses one may take seconds for each, and whoever stops is waited for. */
		is_heard = is_heard && hand_back(loop, held->job, "the worker stops", 0);
		held_remove(&loop->held, held);
	}
}

/* ------------------------------------------------------------------------------------------------
 * Results and reports
 */

/* Its place is free: whoever waits for one there may ask at once. */
static void
wake_waiting(Loop *loop, const Job *job)
{
	for (int i = 0; i < loop->held.count; i++)
	{
		Held *held = loop->held.entries[i];

		if (held->state == HELD_WAITING && peers_are_same(held->job, job))
			held->not_before = 0;
	}
}

static void
note_result(const Held *held)
{
	const Job *job = held->job;
	const Outcome *outcome = &held->outcome;
	LogEvent event = event_of(job);
	bool is_good = outcome->class == OUTCOME_OK || outcome->class == OUTCOME_PROVED;

	event.duration_ms = (double) (int64_t) (held->duration_ms * 10) / 10;
	event.class = outcome_name(outcome->class);
	event.code = outcome->code;
	event.detail = outcome->message;
	log_event(is_good ? LOG_INFO : LOG_WARNING, &event, is_good ? "done" : "not done");
	metrics_add(METRIC_STEPS, 1,
				METRIC_LABELS(job_step_name(job->step), outcome_name(outcome->class),
							  job->target_name, job->store_name));
	metrics_observe(METRIC_STEP_SECONDS, held->duration_ms / 1000,
					METRIC_LABELS(job_step_name(job->step), job->target_type));
}

void
loop_take_results(Loop *loop)
{
	PoolResult result;

	while (pool_take(loop->pool, &result))
	{
		Held *held = held_find(&loop->held, result.job);

		job_forget_passwords(result.job);
		held->state = HELD_DONE;
		held->outcome = result.outcome;
		held->duration_ms = result.duration_ms;
		held->not_before = 0;
		if (peers_done(loop->peers, result.job, &result.outcome, clock_ms()))
			loop->claim_wanted = true;
		note_result(held);
		wake_waiting(loop, result.job);
	}
}

/* Tells that a report cannot be made any more, or not yet. */
static void
log_report(const Held *held, LogLevel level, const PgError *err, const char *what)
{
	LogEvent event = event_of(held->job);

	event.class = outcome_name(held->outcome.class);
	event.code = err != NULL ? err->sqlstate : NULL;
	event.detail = err != NULL ? err->message : NULL;
	log_event(level, &event, "%s", what);
}

/* It may be the peer's words that are refused, so the next one goes without them; and nothing is tried for ever. */
static void
report_was_refused(Loop *loop, Held *held, const PgError *err)
{
	held->refusals++;
	if (held->refusals == 1)
		log_report(held, LOG_ERROR, err,
				   "the control database refused a report; it is tried again");
	held->not_before =
		deadline_in(backoff_ms(held->refusals, REPORT_RETRY_MS, REPORT_LONGEST_MS) + 1);
	if (held->refusals < REPORT_TRIES)
		return;
	log_report(held, LOG_ERROR, err,
			   "not reported: each report was refused; whoever has the step next looks first");
	held_remove(&loop->held, held);
}

/* False if others had better not be tried now. */
static bool
report_one(Loop *loop, Held *held)
{
	Job *next = NULL;
	PgError err;

	switch (control_report(loop->db, held->job, &held->outcome, held->duration_ms,
						   held->refusals == 0, &next, &err))
	{
		case CONTROL_DONE:
			held_remove(&loop->held, held);
			if (next != NULL)
				loop_accept(loop, next);
			return true;
		case CONTROL_LATE:
			metrics_add(METRIC_LATE_ANSWERS, 1, METRIC_NO_LABELS);
			log_report(held, LOG_WARNING, &err, "reported too late: the lease was over");
			held_remove(&loop->held, held);
			return true;
		case CONTROL_REFUSED:
			report_was_refused(loop, held, &err);
			return false;
		case CONTROL_LOST:
			break;
	}
	loop_lost_connection(loop, &err);
	return false;
}

void
loop_report(Loop *loop)
{
	/* Backwards, because entries go; what is added meanwhile is not done yet. */
	for (int i = loop->held.count - 1; i >= 0; i--)
	{
		Held *held = i < loop->held.count ? loop->held.entries[i] : NULL;

		if (held == NULL || held->state != HELD_DONE)
			continue;
		if (!control_is_connected(loop->db))
		{
			if (deadline_left(held->lease_end) > 0)
				continue;
			log_report(held, LOG_WARNING, NULL,
					   "not reported: the lease was over before there was a connection");
			metrics_add(METRIC_LATE_ANSWERS, 1, METRIC_NO_LABELS);
			held_remove(&loop->held, held);
			continue;
		}
		if (held->not_before > clock_ms())
			continue;
		if (!report_one(loop, held))
			break;
	}
	metrics_set(METRIC_LEASES_HELD, loop->held.count, METRIC_NO_LABELS);
}

/* ------------------------------------------------------------------------------------------------
 * Leases
 */

/* Somebody else may have it: what waits is dropped, what runs cannot be stopped. */
static void
lease_was_lost(Loop *loop, Held *held)
{
	LogEvent event = event_of(held->job);

	if (!held->lease_is_lost)
		log_event(LOG_WARNING, &event, "the lease is over");
	held->lease_is_lost = true;
	if (held->state == HELD_WAITING)
		held_remove(&loop->held, held);
}

void
loop_heartbeat(Loop *loop)
{
	const char *leases[HELD_MAX];
	LeaseState states[HELD_MAX];
	int64_t asked_at = clock_ms();
	int count = held_leases(&loop->held, leases);
	ControlQueue queue;
	PgError err;
	ControlResult result = control_heartbeat(loop->db, count, leases, states, &queue, &err);

	loop->next_heartbeat = asked_at + held_heartbeat_ms(&loop->held, HEARTBEAT_IDLE_MS);
	if (result == CONTROL_LOST)
		loop_lost_connection(loop, &err);
	if (result == CONTROL_REFUSED)
		log_event(
			LOG_ERROR,
			&(LogEvent){
				.attempt = -1, .duration_ms = -1, .code = err.sqlstate, .detail = err.message},
			"the control database refused a heartbeat");
	if (result != CONTROL_DONE)
		return;
	metrics_set(METRIC_QUEUE_WAITING, queue.waiting, METRIC_NO_LABELS);
	metrics_set(METRIC_QUEUE_OVERDUE, queue.oldest_overdue_seconds, METRIC_NO_LABELS);
	for (int i = count - 1; i >= 0; i--)
	{
		Held *held = loop->held.entries[i];

		if (states[i] == LEASE_RENEWED)
			held->lease_end = asked_at + held->lease_ms;
		else if (states[i] == LEASE_OVER)
			lease_was_lost(loop, held);
	}
}

Deadline
loop_next_moment(const Loop *loop)
{
	bool is_connected = control_is_connected(loop->db);
	bool can_begin = !loop->stops && loop_free_slots(loop) > 0;
	Deadline next = is_connected ? loop->next_heartbeat : INT64_MAX;

	for (int i = 0; i < loop->held.count; i++)
	{
		const Held *held = loop->held.entries[i];

		/* Without a free thread a result wakes the loop; without a connection the next attempt does. */
		if (held->state == HELD_WAITING && can_begin)
			next = deadline_sooner(next, held->not_before);
		if (held->state == HELD_DONE)
			next = deadline_sooner(next, is_connected ? held->not_before : held->lease_end);
	}
	return next;
}

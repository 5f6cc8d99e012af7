/*
 * loop.c - the main loop of `rotor worker`; see loop.h.
 */
#include "loop.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backoff.h"
#include "http_client.h"
#include "loop_jobs.h"
#include "metrics.h"
#include "options.h"
#include "process.h"
#include "registry.h"
#include "steps.h"

#define WORKER_NAME_SIZE  256
#define RECONNECT_BASE_MS 200
#define RECONNECT_CAP_MS  10000

/* Longer than the loop's longest turn: a connection and a few calls that hang. */
#define STALL_MS 120000

static void
log_plain(LogLevel level, const char *message, const char *detail, const char *code)
{
	LogEvent event = {.attempt = -1, .duration_ms = -1, .detail = detail, .code = code};

	log_event(level, &event, "%s", message);
}

static Outcome
run_job(const Job *job, void *context)
{
	(void) context;
	return steps_run(job, option_number(OPT_ACT_TIMEOUT));
}

/* ------------------------------------------------------------------------------------------------
 * Start
 */

static void
choose_name(char name[WORKER_NAME_SIZE])
{
	char host[128] = "?";
	const char *chosen = option_text(OPT_WORKER_NAME);

	(void) gethostname(host, sizeof(host) - 1);
	if (chosen[0] != '\0')
		(void) snprintf(name, WORKER_NAME_SIZE, "%s", chosen);
	else
		(void) snprintf(name, WORKER_NAME_SIZE, "%s:%ld", host, (long) getpid());
}

static bool
start_parts(Loop *loop, RotorError *err)
{
	char name[WORKER_NAME_SIZE];
	char stores[REGISTRY_TYPES_SIZE];
	char targets[REGISTRY_TYPES_SIZE];

	registry_store_types(stores, sizeof(stores));
	registry_target_types(option_flag(OPT_ALLOW_COMMANDS), targets, sizeof(targets));
	choose_name(name);
	if (option_flag(OPT_MLOCK) && !process_lock_memory(err))
		return false;
	control_init();
	metrics_init(ROTOR_VERSION);
	if (!http_client_init(err))
		return false;
	loop->signal_fd = process_signals(err);
	if (loop->signal_fd < 0)
		return false;
	loop->peers = peers_new();
	loop->db = control_new(name, targets, stores);
	if (loop->peers == NULL || loop->db == NULL)
		return error_set(err, ROTOR_ERROR_SPACE, "out of memory");
	if (!http_server_start(option_text(OPT_METRICS_LISTEN), STALL_MS, &loop->http, err))
		return false;
	loop->pool = pool_start((int) option_number(OPT_CONCURRENCY), run_job, NULL, err);
	if (loop->pool == NULL)
		return false;
	log_event(LOG_INFO, NULL, "rotor worker %s is %s; stores %s; targets %s", ROTOR_VERSION, name,
			  stores, targets);
	return true;
}

/* ------------------------------------------------------------------------------------------------
 * Signals
 */

static void
reload(void)
{
	char ignored[512];
	RotorError err;

	if (!options_reload(ignored, sizeof(ignored), &err))
	{
		log_plain(LOG_ERROR, "the settings were not read anew", err.message, NULL);
		return;
	}
	log_set_level((LogLevel) option_number(OPT_LOG_LEVEL));
	log_plain(LOG_INFO, "the settings were read anew", NULL, NULL);
	if (ignored[0] != '\0')
		log_plain(LOG_WARNING, "these settings change with a restart only", ignored, NULL);
}

static void
take_signals(Loop *loop)
{
	int number;

	while ((number = process_next_signal(loop->signal_fd)) != 0)
	{
		if (number == SIGHUP)
			reload();
		else if (loop->stops)
			loop->stop_at = clock_ms(); /* asked twice: at once */
		else
		{
			loop->stops = true;
			loop->stop_at = deadline_in(option_number(OPT_SHUTDOWN_GRACE));
			http_server_ready(loop->http, "the worker stops");
			log_plain(LOG_INFO, "stops: finishes what runs, hands back the rest", NULL, NULL);
			loop_release_waiting(loop);
		}
	}
}

/* ------------------------------------------------------------------------------------------------
 * The control database
 */

static void
refresh_own_password(Loop *loop)
{
	bool changed;
	PgError err;

	switch (control_refresh_own_password(loop->db, &changed, &err))
	{
		case CONTROL_DONE:
		case CONTROL_LATE:
			if (changed)
				log_plain(LOG_INFO, "the password of this program's own role is a new one", NULL,
						  NULL);
			break;
		case CONTROL_REFUSED:
			log_plain(LOG_ERROR, "could not keep up with the password of this program's own role",
					  err.message, err.sqlstate);
			break;
		case CONTROL_LOST:
			loop_lost_connection(loop, &err);
			break;
	}
}

/* False if it makes no sense to go on. */
static bool
connect_control(Loop *loop)
{
	PgError err = {0};
	ControlState state = control_connect(loop->db, &err);

	if (state == CONTROL_CONNECTED)
	{
		log_plain(LOG_INFO, "connected to the control database", NULL, NULL);
		metrics_set(METRIC_CONTROL_CONNECTED, 1, METRIC_NO_LABELS);
		if (!loop->stops)
			http_server_ready(loop->http, NULL);
		loop->was_connected = true;
		loop->connect_failures = 0;
		loop->next_poll = loop->next_claim = loop->next_heartbeat = clock_ms();
		return true;
	}
	loop->connect_failures++;
	loop->next_connect =
		deadline_in(backoff_ms(loop->connect_failures, RECONNECT_BASE_MS, RECONNECT_CAP_MS));
	http_server_ready(loop->http, err.message);
	log_plain(LOG_WARNING, "could not connect to the control database", err.message, err.sqlstate);
	/* After a failover an upgrade may be under way; at the start it is a mistake. */
	return state != CONTROL_UNFIT || loop->was_connected;
}

static int
claim_size(const Loop *loop)
{
	int64_t size = option_number(OPT_CLAIM_BATCH);
	int64_t room = HELD_MAX - loop->held.count;

	if (size > loop_free_slots(loop))
		size = loop_free_slots(loop);
	return (int) (size < room ? size : room);
}

static void
claim(Loop *loop)
{
	PgError err;
	int count;

	loop->claim_wanted = false;
	count = loop_claim(loop, claim_size(loop), &err);
	if (!control_is_connected(loop->db))
		return;
	if (count < 0)
	{
		loop->claim_failures++;
		loop->claim_wanted = true;
		loop->next_claim = deadline_in(backoff_ms(loop->claim_failures, 500, RECONNECT_CAP_MS));
		http_server_ready(loop->http, err.message);
		log_plain(LOG_ERROR, "the control database refused a claim", err.message, err.sqlstate);
		return;
	}
	loop->claim_failures = 0;
	http_server_ready(loop->http, NULL);
	if (count == 0)
		return;
	metrics_add(METRIC_CLAIMS, count, METRIC_NO_LABELS);
	/* There may be more, also where there was room left: what could not be handed out is not among them. */
	loop->claim_wanted = true;
	loop->next_heartbeat =
		deadline_sooner(loop->next_heartbeat, deadline_in(held_heartbeat_ms(&loop->held, 20000)));
}

/* What is due at the control database. */
static void
serve_control(Loop *loop)
{
	if (deadline_left(loop->next_poll) == 0)
	{
		loop->next_poll = deadline_in(option_number(OPT_POLL_INTERVAL));
		loop->claim_wanted = true;
		refresh_own_password(loop);
	}
	if (control_is_connected(loop->db) && deadline_left(loop->next_heartbeat) == 0)
		loop_heartbeat(loop);
	while (control_is_connected(loop->db) && loop->claim_wanted && !loop->stops &&
		   deadline_left(loop->next_claim) == 0 && claim_size(loop) > 0)
		claim(loop);
}

/* ------------------------------------------------------------------------------------------------
 * The loop
 */

static void
wait_for_something(Loop *loop)
{
	const int fds[] = {pool_fd(loop->pool), loop->signal_fd};
	Deadline until = loop_next_moment(loop);
	PgError err = {0};

	if (!control_is_connected(loop->db))
		until = deadline_sooner(until, loop->next_connect);
	else
	{
		until = deadline_sooner(until, loop->next_poll);
		if (loop->claim_wanted && !loop->stops && claim_size(loop) > 0)
			until = deadline_sooner(until, loop->next_claim);
	}
	if (loop->stops)
		until = deadline_sooner(until, loop->stop_at);
	switch (control_wait(loop->db, fds, 2, until))
	{
		case PG_WAKE_NOTIFY:
			loop->claim_wanted = true;
			break;
		case PG_WAKE_BROKEN:
			pg_error_say(&err, "the server ended the connection");
			loop_lost_connection(loop, &err);
			break;
		case PG_WAKE_FD:
		case PG_WAKE_TIME:
			break;
	}
}

/* One turn; false when the loop is over. */
static bool
turn(Loop *loop)
{
	http_server_turned(loop->http);
	take_signals(loop);
	loop_take_results(loop);
	loop_report(loop);
	if (loop->stops && (loop->held.count == 0 || deadline_left(loop->stop_at) == 0))
		return false;
	if (!control_is_connected(loop->db) && deadline_left(loop->next_connect) == 0)
	{
		if (!connect_control(loop))
			return false;
		loop_report(loop);
	}
	loop_begin_waiting(loop);
	if (control_is_connected(loop->db))
		serve_control(loop);
	wait_for_something(loop);
	return true;
}

int
loop_run(void)
{
	Loop loop = {.signal_fd = -1};
	RotorError err;
	int running;
	int status = 1;

	if (!start_parts(&loop, &err))
	{
		log_plain(LOG_ERROR, err.message, err.hint[0] != '\0' ? err.hint : err.detail, NULL);
		goto cleanup;
	}
	while (turn(&loop))
		;
	running = held_count(&loop.held, HELD_RUNNING);
	status = loop.stops && loop.held.count == 0 ? 0 : 1;
	if (running > 0)
	{
		/* Their threads cannot be stopped, and use what would be freed. Whoever takes them over looks first. */
		log_event(LOG_WARNING, NULL, "ends while %d jobs run; their leases end by themselves",
				  running);
		_exit(status);
	}
	log_plain(LOG_INFO, "ended", NULL, NULL);

cleanup:
	pool_stop(loop.pool);
	http_server_stop(loop.http);
	held_free_all(&loop.held);
	control_free(loop.db);
	peers_free(loop.peers);
	if (loop.signal_fd >= 0)
		(void) close(loop.signal_fd);
	return status;
}

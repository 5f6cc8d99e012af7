/*
 * outside.c - see outside.h.
 */
#include "postgres.h"

#include "catalog.h"
#include "catalog_read.h"
#include "compat.h"
#include "executor/spi.h"
#include "guc.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "outside.h"
#include "pgstat.h"
#include "reconcile.h"
#include "rotation_job.h"
#include "storage/lmgr.h"
#include "transaction.h"
#include "utils/json.h"
#include "utils/timestamp.h"
#include "watch.h"

#define EVENTS_PER_TURN	 32
#define SECRETS_PER_TURN 1000

static const Actor reconciler = {.name = "(reconcile)"};

static void
log_failure(const Failure *failure)
{
	ereport(LOG,
			(errcode(failure->sqlstate),
			 errmsg("rotor: could not see to a change of a managed role: %s", failure->message),
			 failure->detail[0] ? errdetail_internal("%s", failure->detail) : 0));
}

/* Nobody waits for this: a failure goes to the log. Who holds a lock keeps nobody else's role waiting. */
static bool
attempt(void (*work)(void *arg), void *arg, Failure *failure)
{
	bool done;

	transaction_set_lock_timeout(Min(rotor_lock_timeout, SHARED_LOCK_TIMEOUT_MS));
	done = transaction_run(work, arg, NULL, failure);
	transaction_set_lock_timeout(rotor_lock_timeout);
	if (!done)
		log_failure(failure);
	return done;
}

static bool
is_transient(const Failure *failure)
{
	return outcome_of_sqlstate(failure->sqlstate) == FSM_OUTCOME_TRANSIENT;
}

/* --- events --- */

static char *
event_detail(const WatchEvent *event)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoString(&json, "{\"role\":");
	escape_json(&json, event->name);
	appendStringInfoString(&json, ",\"database\":");
	escape_json(&json, event->database);
	appendStringInfoString(&json, ",\"at\":");
	escape_json(&json, timestamptz_to_str(event->at));
	appendStringInfoChar(&json, '}');
	return json.data;
}

static void
record(void *arg)
{
	static const AuditRow rows[] = {
		[WATCH_PASSWORD] = {.event = "password_changed_outside", .result = "ok"},
		[WATCH_RENAMED] = {.event = "renamed", .result = "ok"},
		[WATCH_DROPPED] = {.event = "role_dropped", .result = "ok"},
		[WATCH_REFUSED] = {.event = "outside_change_refused", .result = "refused"},
	};
	const WatchEvent *event = arg;
	AuditRow audit = rows[event->kind];
	Secret secret;

	/*
	 * It was told in the midst of a commit: whoever changed the role before all others have heard
	 * of it, as a rotation does that is due by then, would find the tuple concurrently updated.
	 */
	if (TransactionIdIsValid(event->transaction))
		XactLockTableWait(event->transaction, NULL, NULL, XLTW_None);
	if (!catalog_find_secret_of_role(event->role, &secret))
		return;
	audit.actor = &event->actor;
	audit.secret = secret.name;
	audit.duration_ms = -1;
	audit.detail = event_detail(event);
	/* The engine or maintenance may have learned the name already, but not who gave it. */
	if (event->kind != WATCH_RENAMED || reconcile_names(secret.id, &event->actor) == 0)
		catalog_audit(&audit);
}

static void
look(void *arg)
{
	const WatchEvent *event = arg;
	Secret secret;
	char role[USERNAME_SIZE];

	if (catalog_find_secret_of_role(event->role, &secret))
		(void) reconcile_secret(secret.id, &reconciler, role);
}

/*
 * False if it is to be tried again. The audit first: to look at the verifier takes the role's row, which
 * its owner can keep locked for as long as he likes.
 */
static bool
see_to(WatchEvent *event)
{
	Failure failure;

	if (event->kind != WATCH_LOOK)
	{
		if (!attempt(record, event, &failure))
		{
			if (is_transient(&failure))
				return false;
			watch_compare(WATCH_LOST);
			return true;
		}
		if (event->kind == WATCH_REFUSED)
			return true;
		watch_recorded();
	}
	return attempt(look, event, &failure) || !is_transient(&failure);
}

/* True if there may be more to do at once. */
static bool
see_to_events(void)
{
	WatchEvent event;
	bool done = false;
	bool waited = false;

	for (int i = 0; i < EVENTS_PER_TURN && watch_next(&event); i++)
	{
		/* One wait for a lock a turn. */
		if ((event.kind == WATCH_LOOK && waited) || !see_to(&event))
		{
			watch_put_back();
			waited = true;
			continue;
		}
		watch_done(true);
		done = true;
		CHECK_FOR_INTERRUPTS();
	}
	return done;
}

/* --- all secrets --- */

/* A comparison that is under way in this process. */
static struct
{
	bool running;
	bool not_ours; /* there is no extension here, or none that this library may touch */
	uint32 reasons;
	int64 after;
	bool changed; /* something, by it */
	int64 counts[RECONCILE_FINDING_COUNT];
} comparison;

static void
learn_names(void *unused)
{
	comparison.changed = reconcile_names(0, &reconciler) > 0;
}

static void
begin_comparison(void *unused)
{
	Failure failure;

	comparison.not_ours = !catalog_is_ours();
	if (comparison.not_ours)
		return;
	/* Whoever prepares a transaction from here on says so himself. */
	watch_prepared(false);
	if (catalog_execute("SELECT FROM pg_catalog.pg_locks WHERE pid IS NULL AND relation IN "
						"('pg_catalog.pg_authid'::regclass, 'rotor.secret'::regclass)",
						0, NULL, NULL, NULL) > 0)
		watch_prepared(true);
	/* What is locked is not settled, and is looked at by itself. */
	if (!subtransaction_run(learn_names, NULL, NULL, &failure))
		log_failure(&failure);
}

static void
compare_one(void *arg)
{
	ReconcileItem *item = arg;

	item->finding = reconcile_secret(item->id, &reconciler, item->role);
}

static void
compare_some(void *unused)
{
	ReconcileItem *items = palloc(SECRETS_PER_TURN * sizeof(ReconcileItem));

	int64 after = comparison.after;
	int count = reconcile_read(&after, items, SECRETS_PER_TURN);
	Failure failure;

	for (int i = 0; i < count; i++)
	{
		ReconcileItem *item = &items[i];

		if (!item->ours)
			continue;
		if (OidIsValid(item->role_oid))
			watch_found(item->role_oid, item->outside_change);
		/* One secret that fails, as its role is locked, does not keep all others from being compared. */
		if (!item->is_settled && !subtransaction_run(compare_one, item, NULL, &failure))
		{
			log_failure(&failure);
			if (OidIsValid(item->role_oid) && is_transient(&failure))
				watch_look(item->role_oid);
		}
		comparison.changed |= item->finding == RECONCILE_RELABELLED ||
							  item->finding == RECONCILE_HEALING ||
							  item->finding == RECONCILE_RENAMED;
		CHECK_FOR_INTERRUPTS();
	}
	for (int i = 0; i < count; i++)
		comparison.counts[items[i].finding] += items[i].ours;
	comparison.after = after;
}

/* The audit tells of a comparison that had a reason of its own, or has changed something. */
static void
record_comparison(void *unused)
{
	bool new_timeline = catalog_execute("UPDATE rotor.home SET timeline = " OUTSIDE_TIMELINE
										" WHERE timeline IS DISTINCT FROM " OUTSIDE_TIMELINE,
										0, NULL, NULL, NULL) > 0;
	const char *why = new_timeline						  ? "timeline"
					  : comparison.reasons & WATCH_LOST	  ? "lost"
					  : comparison.reasons & WATCH_START  ? "start"
					  : comparison.reasons & WATCH_POLICY ? "policy"
														  : "maintenance";

	if (new_timeline || comparison.changed || (comparison.reasons & WATCH_LOST))
		catalog_audit_event(&reconciler, "reconciled", NULL,
							reconcile_detail(comparison.counts, why));
}

static void
report_progress(void)
{
	char text[80];
	int64 count = 0;

	for (int i = 0; i < RECONCILE_FINDING_COUNT; i++)
		count += comparison.counts[i];
	snprintf(text, sizeof(text), "rotor: " INT64_FORMAT " secrets compared with their roles",
			 count);
	pgstat_report_activity(STATE_RUNNING, text);
}

/* True if there is more to do. */
static bool
compare(void)
{
	Failure failure;
	uint32 reasons;
	bool done;

	if (!comparison.running)
	{
		if (!watch_begin(&reasons))
			return false;
		memset(&comparison, 0, sizeof(comparison));
		comparison.reasons = reasons;
		comparison.running = attempt(begin_comparison, NULL, &failure);
		if (!comparison.running)
		{
			watch_end(WATCH_END_FAILED);
			return false;
		}
	}
	if (!comparison.not_ours)
	{
		done = attempt(compare_some, NULL, &failure);
		report_progress();
		if (done && comparison.after != RECONCILE_END)
			return true;
		done = done && attempt(record_comparison, NULL, &failure);
		comparison.running = false;
		watch_end(done ? WATCH_END_DONE : WATCH_END_FAILED);
		return done;
	}
	comparison.running = false;
	watch_end(WATCH_END_NOT_OURS);
	return false;
}

bool
outside_turn(bool here)
{
	WatchReport report;
	bool more;

	if (here)
	{
		more = see_to_events();
		return compare() || more;
	}
	/* Its tables went by a way that tells nobody: its roles are not managed any more. */
	watch_report(&report);
	if (report.roles > 0 || comparison.running)
	{
		watch_compare(WATCH_NO_EXTENSION);
		(void) compare();
	}
	return false;
}

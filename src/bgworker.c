/*
 * bgworker.c - see bgworker.h.
 *
 * Hazards: a worker blocks DROP DATABASE while it is connected, so it leaves when asked; it keeps
 * PostgreSQL's own SIGTERM handler, so that a shutdown is never held up; it must override, for
 * itself, whatever a database or role may have set.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "bgworker.h"
#include "catalog.h"
#include "catalog_read.h"
#include "clock.h"
#include "compat.h"
#include "emergency.h"
#include "guc.h"
#include "hba.h"
#include "keyring.h"
#include "login.h"
#include "maintenance.h"
#include "outside.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "report.h"
#include "request.h"
#include "resealing.h"
#include "role.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "transaction.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"
#include "watch.h"

#define WORKER_TYPE			 "rotor worker" /* catalog.c looks for it in pg_stat_activity */
#define RESTART_SECONDS		 2
#define DUE_BATCH			 64
#define LOOK_AT_MEMORY_TURNS 16
#define MAX_GROWTH			 ((Size) 16 * 1024 * 1024)
#define STUCK_PAUSE_MS		 5000 /* when nothing can be written, as on a full disk */
#define LOCKED_PAUSE_MS		 5000 /* before looking again at a role that others keep locked */
#define RESEALING_TURNS		 50	  /* of one rotor.run_due() */
#define BUSY_PAUSE_MS		 500  /* before looking again at what others are at */
#define MISSED_MS			 200 /* of missed rotations, before looking what has fallen due meanwhile */

extern PGDLLEXPORT void rotor_worker_main(Datum arg);
extern PGDLLEXPORT void rotor_one_shot_main(Datum arg);

/* The request being served, and what is known of its answer, for the exit callback. */
static Request *serving;
static RotationAnswer answer;

/* --- settings --- */

/* What would otherwise come from ALTER DATABASE or ALTER ROLE ... SET. */
static const char *const own_settings[][2] = {
	{"role", "none"},
	{"search_path", "pg_catalog, pg_temp"},
	{"synchronous_commit", "on"},
	{"default_transaction_read_only", "off"},
	{"default_transaction_isolation", "read committed"},
	{"default_transaction_deferrable", "off"},
	{"statement_timeout", "0"},
	{"idle_in_transaction_session_timeout", "0"},
	{"transaction_timeout", "0"}, /* from 17 on */
	{"session_replication_role", "origin"},
	{"password_encryption", "scram-sha-256"},
	{"row_security", "off"},
	{"DateStyle", "ISO, YMD"},
	{"transform_null_equals", "off"},
	{"max_parallel_workers_per_gather", "0"},
	{"jit", "off"},
};

static void
override_settings(void)
{
	char lock_timeout[16];

	for (size_t i = 0; i < lengthof(own_settings); i++)
	{
		if (GetConfigOption(own_settings[i][0], true, false) != NULL)
			SetConfigOption(own_settings[i][0], own_settings[i][1], PGC_SUSET, PGC_S_OVERRIDE);
	}
	snprintf(lock_timeout, sizeof(lock_timeout), "%d", rotor_lock_timeout);
	SetConfigOption("lock_timeout", lock_timeout, PGC_SUSET, PGC_S_OVERRIDE);
}

/* --- serving --- */

/* A failure outside of a rotation goes to the log, and to the caller if there is one. */
static bool
in_transaction(void (*work)(void *arg), void *arg, Failure *failure)
{
	if (transaction_run(work, arg, NULL, failure))
		return true;
	ereport(LOG, (errcode(failure->sqlstate), errmsg("rotor: %s", failure->message),
				  failure->detail[0] ? errdetail_internal("%s", failure->detail) : 0));
	if (failure->sqlstate == ERRCODE_LOCK_NOT_AVAILABLE)
		failure_set(failure, ERRCODE_LOCK_NOT_AVAILABLE,
					"a system catalog or a table of rotor's is locked",
					psprintf("Waited for %d ms, rotor.lock_timeout.", rotor_lock_timeout),
					"End the transaction that holds the lock; it may be the one that asks.");
	return false;
}

typedef struct Finding
{
	CatalogState state;
	char version[64]; /* of the extension, if it is another than the library's */
} Finding;

static void
look_for_extension(void *arg)
{
	Finding *found = arg;
	char *version;

	found->state = catalog_state(&version);
	if (found->state == CATALOG_OTHER_VERSION)
		strlcpy(found->version, version, sizeof(found->version));
}

/* True if the extension is here, so that its tables may be touched; else *failure says why. */
static bool
extension_is_here(Failure *failure)
{
	static bool told; /* an operator needs one line, not one a turn */
	Finding found = {.state = CATALOG_NOT_OURS};

	if (!in_transaction(look_for_extension, &found, failure))
		return false;
	if (found.state == CATALOG_NOT_OURS)
		failure_set(failure, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
					"the worker does not see the extension",
					"CREATE EXTENSION is not committed, or its tables here are not its own.",
					"Commit first.");
	else if (found.state == CATALOG_OTHER_VERSION)
	{
		failure_set(
			failure, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
			psprintf("the extension has version %s, the library %s", found.version, ROTOR_VERSION),
			"Nothing is done until they agree; nothing is lost.",
			catalog_version_remedy(found.version));
		if (!told)
			ereport(LOG, (errcode(failure->sqlstate), errmsg("rotor: %s", failure->message),
						  errhint("%s", failure->hint)));
	}
	told = found.state == CATALOG_OTHER_VERSION;
	return found.state == CATALOG_OURS;
}

typedef struct DueBatch
{
	DueItem items[DUE_BATCH];
	int count;
	TimestampTz read_at;
	TimestampTz next; /* when more falls due */
	DueKinds kinds;
	CatchUp *pace; /* of what was missed; NULL: none is kept */
} DueBatch;

/* So many of each kind could not be begun, as their roles are in other hands: look behind them. */
static int passed_over;

static void
read_due(void *arg)
{
	DueBatch *batch = arg;

	batch->read_at = clock_now();
	batch->count = catalog_due(batch->items, DUE_BATCH, passed_over, batch->read_at, batch->kinds,
							   catch_up_since(batch->pace));
	/* Only who may go to sleep has to know. */
	batch->next = batch->count == 0 || batch->items[batch->count - 1].missed
					  ? catalog_next_due(batch->read_at)
					  : DT_NOEND;
}

/* Milliseconds until then; -1 if it never comes. */
static int64
ms_until(TimestampTz then)
{
	if (TIMESTAMP_IS_NOEND(then))
		return -1;
	return Max((then - clock_now()) / 1000 + 1, 1);
}

/* The sooner of two pauses, -1 being none. */
static int64
sooner(int64 a, int64 b)
{
	return a < 0 ? b : b < 0 ? a : Min(a, b);
}

/* How a turn goes. */
typedef struct DueTurn
{
	TimestampTz start;
	bool ran;		 /* something is no longer as it was */
	bool failing;	 /* something that has failed before had its try */
	bool unrecorded; /* what was run, and not even that could be written */
	bool cut_short;	 /* others come first: pause_ms counts */
	int64 pause_ms;
	int64 wait_ms; /* for the pace of what was missed; 0: no need to */
} DueTurn;

/* Runs one item; true if there was something to do, which counts for the pace. */
static bool
run_item(const DueItem *item, DueTurn *turn, int64 counts[FSM_STATUS_COUNT])
{
	RotationOrder order = {.secret_id = item->secret_id,
						   .role = item->role,
						   .scheduled = true,
						   .retire = item->retire,
						   .strategy = -1,
						   .terminate_sessions = -1};
	RotationAnswer done;

	actor_schedule(&order.actor);
	rotation_run(&order, NULL, NULL, NULL, &done);
	turn->unrecorded |= done.unrecorded;
	turn->ran |= (done.ran && !done.unrecorded) || done.postponed;
	if (done.ran && !done.unrecorded)
		counts[done.status]++;
	return done.ran;
}

/* May the turn go on with that item? Who comes first, and whether it is time for what was missed. */
static bool
goes_on(DueTurn *turn, const DueItem *item, CatchUp *pace)
{
	turn->cut_short = true;
	turn->pause_ms = 0;
	if (request_should_leave())
	{
		turn->pause_ms = BUSY_PAUSE_MS;
		return false;
	}
	/* Also who changes the configuration: what was missed is paced by what is valid now. */
	if (pace != NULL && (request_is_waiting() || ConfigReloadPending))
		return false;
	if (item->missed && turn->ran &&
		TimestampDifferenceExceeds(turn->start, GetCurrentTimestamp(), MISSED_MS))
		return false;
	turn->cut_short = false;
	return !item->missed || catch_up_take(pace, &turn->wait_ms);
}

static void
run_batch(const DueBatch *batch, DueTurn *turn, int64 counts[FSM_STATUS_COUNT])
{
	for (int i = 0; i < batch->count; i++)
	{
		const DueItem *item = &batch->items[i];
		bool begun;

		/* One that fails in a batch: whatever falls due meanwhile comes before the next. */
		if (item->failing && turn->failing)
			continue;
		CHECK_FOR_INTERRUPTS();
		if (!goes_on(turn, item, batch->pace))
			return;
		begun = run_item(item, turn, counts);
		turn->failing |= item->failing && begun;
		if (!begun && item->missed)
			catch_up_give_back(batch->pace);
	}
}

/* Milliseconds until there is more to do: 0 if there may be at once, -1 if nothing is scheduled. */
static int64
pause_after(const DueBatch *batch, const DueTurn *turn)
{
	int64 pause = ms_until(batch->next);
	bool all_missed = batch->count > 0 && batch->items[0].missed;

	if (turn->cut_short)
		return turn->pause_ms;
	if (turn->unrecorded)
		return STUCK_PAUSE_MS;
	if (!turn->ran && turn->wait_ms == 0 && batch->count >= DUE_BATCH / 4)
	{
		passed_over += DUE_BATCH / 4; /* the least that each kind has */
		return 0;
	}
	/* What could not be begun is in other hands. */
	if (passed_over > 0 || (batch->count > 0 && !(turn->wait_ms > 0 && all_missed)))
		pause = sooner(pause, BUSY_PAUSE_MS);
	passed_over = 0;
	if (turn->ran)
		return 0;
	return turn->wait_ms > 0 ? sooner(pause, turn->wait_ms) : pause;
}

/*
 * Runs a batch of what is due, also of what a crash left; counts what it did by status. What was
 * missed goes by the pace, if there is one, and what callers ask for comes in between. Returns the
 * milliseconds until the next turn, or -1.
 */
static int64
due_turn(DueKinds kinds, CatchUp *pace, int64 counts[FSM_STATUS_COUNT])
{
	DueBatch batch = {.kinds = kinds, .pace = pace};
	DueTurn turn = {.start = GetCurrentTimestamp()};
	Failure failure;

	if (!in_transaction(read_due, &batch, &failure))
		return BUSY_PAUSE_MS;
	run_batch(&batch, &turn, counts);
	return pause_after(&batch, &turn);
}

/* All that is due, at once, until nothing is or all of it is in other hands. */
static void
run_due(DueKinds kinds, int64 counts[FSM_STATUS_COUNT])
{
	while (due_turn(kinds, NULL, counts) == 0)
		CHECK_FOR_INTERRUPTS();
}

/* An immediate rotation is answered when its password is set. */
static void
answer_early(const RotationAnswer *so_far, void *request)
{
	((Request *) request)->answer = *so_far;
	request_finish(request);
	serving = NULL;
}

/* A whole round of maintenance, if one is due; then a part of what is to be resealed. */
static void
maintain(void)
{
	while (!request_should_leave() && (maintenance_turn() || outside_turn(true)))
		CHECK_FOR_INTERRUPTS();
	for (int turn = 0; turn < RESEALING_TURNS && !request_should_leave() && resealing_turn();
		 turn++)
		CHECK_FOR_INTERRUPTS();
}

static void
plan_emergency(void *arg)
{
	Request *request = arg;

	request->emergency_id = catalog_begin_emergency(&request->emergency, &request->total);
}

/* Puts the secrets on the list, unless the caller has called it off; all workers go to work on it. */
static void
begin_emergency(Request *request)
{
	uint32 open = GATE_OPEN;

	if (!pg_atomic_compare_exchange_u32(&request->gate, &open, GATE_SETTING))
		failure_set(&request->answer.failure, ERRCODE_QUERY_CANCELED,
					"the emergency was called off by its caller", "Nothing was rotated.", NULL);
	else if (in_transaction(plan_emergency, request, &request->answer.failure))
		request_wake_workers();
}

static void
serve(Request *request)
{
	Failure failure;
	RotationOrder order = request->order; /* the slot may be another's after an early answer */

	memset(&answer, 0, sizeof(answer));
	serving = request;
	if (!extension_is_here(&failure))
		request->answer.failure = failure;
	else if (request->kind == REQUEST_RUN_DUE)
	{
		while (!request_should_leave() && emergency_turn(request->counts) == 0)
			CHECK_FOR_INTERRUPTS();
		run_due(DUE_MISSED, request->counts);
		maintain();
	}
	else if (request->kind == REQUEST_EMERGENCY)
		begin_emergency(request);
	else if (request->kind == REQUEST_ROTATE)
	{
		rotation_run(&order, &request->gate, answer_early, request, &answer);
		if (serving != NULL)
			request->answer = answer;
	}
	if (serving != NULL)
		request_finish(request);
	serving = NULL;
}

static void
leave_request(int code, Datum arg)
{
	/* Before the caller is told: it may ask again at once. */
	role_unlock_all();
	if (serving == NULL)
		return;
	serving->answer = answer;
	serving->worker_left = true;
	request_finish(serving);
	serving = NULL;
}

static void
start_up(void)
{
	before_shmem_exit(leave_request, (Datum) 0);
	keyring_protect_process();
	login_forget_environment();
	override_settings();
}

/* --- the preloaded worker --- */

static void
reload(void)
{
	char *database = pstrdup(rotor_database);

	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
	override_settings();
	hba_forget();
	/* exit 1: the postmaster starts us again, in the new database. */
	if (strcmp(database, rotor_database) != 0)
		proc_exit(1);
	pfree(database);
}

/*
 * The server's caches keep what a process has ever looked at: 17 MB for 50,000 roles. A worker whose
 * memory has grown by more than that ends between two turns, and the postmaster starts a new one.
 */
static void
make_room(void)
{
	static int turns;
	static Size at_first;
	Size now;

	if (turns++ % LOOK_AT_MEMORY_TURNS != 0)
		return;
	now = MemoryContextMemAllocated(TopMemoryContext, true);
	/* The first turns fill caches that are of use. */
	if (turns <= 2 * LOOK_AT_MEMORY_TURNS)
		at_first = now;
	else if (now > at_first + MAX_GROWTH)
	{
		ereport(DEBUG1, (errmsg_internal("rotor worker makes room: %zu kB", now / 1024)));
		proc_exit(1);
	}
}

/* How long there is nothing to do; negative: nothing of that kind is known to come. */
static long
rest_ms(int64 next_ms, int emergency_ms)
{
	long ms = rotor_poll_interval;

	if (next_ms >= 0)
		ms = Min(ms, next_ms);
	if (emergency_ms > 0)
		ms = Min(ms, emergency_ms);
	/* What could not be seen to, as its role is locked, is tried again. */
	return watch_is_waiting() ? Min(ms, LOCKED_PAUSE_MS) : ms;
}

void
rotor_worker_main(Datum arg)
{
	MemoryContext turn;
	Failure failure;
	int64 counts[FSM_STATUS_COUNT] = {0};

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	/* No user: a bootstrap superuser that may not log in does not stop us. */
	BackgroundWorkerInitializeConnection(rotor_database, NULL, 0);
	start_up();
	request_register_worker();
	turn = AllocSetContextCreate(TopMemoryContext, "rotor turn", ALLOCSET_DEFAULT_SIZES);

	for (;;)
	{
		Request *request;
		int64 next_ms = -1;
		int emergency_ms = EMERGENCY_NONE;
		uint32 wake_ups;
		bool here;

		MemoryContextSwitchTo(turn);
		MemoryContextReset(turn);
		ResetLatch(MyLatch);
		wake_ups = request_wake_ups();
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
			reload();
		if (request_should_leave())
			proc_exit(1);
		make_room();
		while ((request = request_take()) != NULL)
		{
			serve(request);
			CHECK_FOR_INTERRUPTS();
		}
		here = extension_is_here(&failure);
		if (here)
		{
			emergency_ms = emergency_turn(counts);
			if (emergency_ms == 0)
			{
				/* What others do meanwhile is put on record while there is room for it. */
				(void) outside_turn(true);
				(void) pgstat_report_stat(false);
				continue;
			}
			next_ms = due_turn(DUE_MISSED, request_catch_up(), counts);
		}
		if (outside_turn(here) || (here && (maintenance_turn() || resealing_turn())) ||
			next_ms == 0)
		{
			(void) pgstat_report_stat(false);
			continue;
		}
		/* Nothing else tells autovacuum of our rows: a worker is no backend that idles. */
		(void) pgstat_report_stat(true);
		/* Of who came meanwhile the latch may know no more: its waits have reset it. */
		if (request_wake_ups() != wake_ups || ConfigReloadPending)
			continue;
		pgstat_report_activity(STATE_IDLE, NULL);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 rest_ms(next_ms, emergency_ms), PG_WAIT_EXTENSION);
	}
}

/* What all workers have in common. */
static BackgroundWorker
new_worker(const char *function, int restart_time)
{
	BackgroundWorker worker;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = restart_time;
	strlcpy(worker.bgw_library_name, "rotor", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, function, sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_type, WORKER_TYPE, sizeof(worker.bgw_type));
	return worker;
}

void
bgworker_register(void)
{
	BackgroundWorker worker = new_worker("rotor_worker_main", RESTART_SECONDS);

	for (int i = 0; i < rotor_workers; i++)
	{
		snprintf(worker.bgw_name, sizeof(worker.bgw_name), WORKER_TYPE " %d", i + 1);
		RegisterBackgroundWorker(&worker);
	}
}

/* --- the one-shot worker --- */

void
rotor_one_shot_main(Datum arg)
{
	Oid database;
	Request *request;
	Failure failure;
	int64 counts[FSM_STATUS_COUNT] = {0};

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	memcpy(&database, MyBgworkerEntry->bgw_extra, sizeof(database));
	BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
	start_up();
	request = request_attach(DatumGetUInt32(arg));
	if (request == NULL)
		return;
	serve(request);
	/* Nobody else looks after what a crash left; the caller has its answer and need not wait. */
	if (extension_is_here(&failure))
	{
		run_due(DUE_UNFINISHED, counts);
		maintain();
	}
}

bool
bgworker_start_one_shot(uint32 segment, BackgroundWorkerHandle **handle)
{
	BackgroundWorker worker = new_worker("rotor_one_shot_main", BGW_NEVER_RESTART);

	strlcpy(worker.bgw_name, WORKER_TYPE " (one-shot)", sizeof(worker.bgw_name));
	worker.bgw_main_arg = UInt32GetDatum(segment);
	memcpy(worker.bgw_extra, &MyDatabaseId, sizeof(MyDatabaseId));
	worker.bgw_notify_pid = MyProcPid;
	return RegisterDynamicBackgroundWorker(&worker, handle);
}

/*
 * request.c - see request.h.
 */
#include "postgres.h"

#include "access/xact.h"
#include "bgworker.h"
#include "commands/dbcommands.h"
#include "compat.h"
#include "guc.h"
#include "login_slots.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "report.h"
#include "request.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#define SLOT_COUNT	64
#define MAX_WORKERS 64

/* A caller waits this long for a slot, and for a worker to take its request. */
#define PICK_UP_TIMEOUT_MS 10000
/* A worker that was asked to leave ends its rotation first, if that takes no longer than this. */
#define LEAVE_GRACE_MS 1000
/* How long workers stay away at most when they were asked to leave: DROP DATABASE waits 5 s. */
#define LEAVE_MS (6000 + LEAVE_GRACE_MS)

typedef struct SharedState
{
	pg_atomic_uint64 leave_until;		   /* TimestampTz */
	pg_atomic_uint32 workers[MAX_WORKERS]; /* PGPROC number + 1; 0: none */
	pg_atomic_uint32 wake_ups;			   /* how often workers were woken; wraps around */
	CatchUp catch_up;
	LoginSlots login_slots;
	Request slots[SLOT_COUNT];
} SharedState;

static SharedState *shared; /* NULL: not preloaded */
static int my_worker_index = -1;

static Size
shared_size(void)
{
	return MAXALIGN(sizeof(SharedState));
}

static void
init_request(Request *request)
{
	memset(request, 0, sizeof(*request));
	pg_atomic_init_u32(&request->state, REQUEST_FREE);
	pg_atomic_init_u32(&request->gate, GATE_OPEN);
}

#ifdef ROTOR_HAVE_SHMEM_REQUEST_HOOK
static shmem_request_hook_type next_shmem_request_hook;

static void
request_shared_memory(void)
{
	if (next_shmem_request_hook)
		next_shmem_request_hook();
	RequestAddinShmemSpace(shared_size());
}
#endif

static shmem_startup_hook_type next_shmem_startup_hook;

static void
attach_shared_memory(void)
{
	bool found;

	if (next_shmem_startup_hook)
		next_shmem_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct("rotor", shared_size(), &found);
	if (!found)
	{
		pg_atomic_init_u64(&shared->leave_until, 0);
		pg_atomic_init_u32(&shared->wake_ups, 0);
		catch_up_init(&shared->catch_up);
		login_slots_init(&shared->login_slots);
		for (int i = 0; i < MAX_WORKERS; i++)
			pg_atomic_init_u32(&shared->workers[i], 0);
		for (int i = 0; i < SLOT_COUNT; i++)
			init_request(&shared->slots[i]);
	}
	LWLockRelease(AddinShmemInitLock);
	login_slots_share(&shared->login_slots);
}

void
request_shmem_init(void)
{
#ifdef ROTOR_HAVE_SHMEM_REQUEST_HOOK
	next_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = request_shared_memory;
#else
	RequestAddinShmemSpace(shared_size());
#endif
	next_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = attach_shared_memory;
}

bool
request_is_preloaded(void)
{
	return shared != NULL;
}

static bool
move(Request *request, RequestState from, RequestState to)
{
	uint32 expected = from;

	return pg_atomic_compare_exchange_u32(&request->state, &expected, to);
}

static void
set_latch_of(int proc)
{
	if (proc >= 0 && proc < (int) ProcGlobal->allProcCount)
		SetLatch(&ProcGlobal->allProcs[proc].procLatch);
}

/* --- workers --- */

static void
unregister_worker(int code, Datum arg)
{
	if (my_worker_index >= 0)
		pg_atomic_write_u32(&shared->workers[my_worker_index], 0);
	my_worker_index = -1;
}

void
request_register_worker(void)
{
	if (shared == NULL)
		return;
	for (int i = 0; i < MAX_WORKERS && my_worker_index < 0; i++)
	{
		uint32 none = 0;

		if (pg_atomic_compare_exchange_u32(&shared->workers[i], &none, MY_PROC_NUMBER + 1))
			my_worker_index = i;
	}
	before_shmem_exit(unregister_worker, (Datum) 0);
	catch_up_begin(&shared->catch_up);
}

CatchUp *
request_catch_up(void)
{
	return shared != NULL ? &shared->catch_up : NULL;
}

bool
request_am_worker(void)
{
	return my_worker_index >= 0;
}

int
request_worker_count(void)
{
	int count = 0;

	for (int i = 0; shared != NULL && i < MAX_WORKERS; i++)
		count += pg_atomic_read_u32(&shared->workers[i]) != 0;
	return count;
}

void
request_wake_workers(void)
{
	if (shared != NULL)
		(void) pg_atomic_fetch_add_u32(&shared->wake_ups, 1);
	for (int i = 0; shared != NULL && i < MAX_WORKERS; i++)
	{
		uint32 proc = pg_atomic_read_u32(&shared->workers[i]);

		if (proc != 0)
			set_latch_of((int) proc - 1);
	}
}

uint32
request_wake_ups(void)
{
	return shared != NULL ? pg_atomic_read_u32(&shared->wake_ups) : 0;
}

/* Ends the workers that are still there, as a shutdown would: one hangs in a login, or waits for a lock. */
static void
terminate_workers(void)
{
	for (int i = 0; i < MAX_WORKERS; i++)
	{
		uint32 proc = pg_atomic_read_u32(&shared->workers[i]);
		int pid = proc != 0 ? ProcGlobal->allProcs[proc - 1].pid : 0;

		if (pid > 0)
			(void) kill(pid, SIGTERM);
	}
}

void
request_ask_to_leave(void)
{
	TimestampTz start = GetCurrentTimestamp();

	if (shared == NULL)
		return;
	pg_atomic_write_u64(&shared->leave_until,
						(uint64) TimestampTzPlusMilliseconds(start, LEAVE_MS));
	request_wake_workers();
	while (request_worker_count() > 0)
	{
		if (TimestampDifferenceExceeds(start, GetCurrentTimestamp(), LEAVE_GRACE_MS))
		{
			terminate_workers();
			return;
		}
		CHECK_FOR_INTERRUPTS();
		pg_usleep(10000L);
	}
}

void
request_let_return(void)
{
	if (shared != NULL)
		pg_atomic_write_u64(&shared->leave_until, 0);
}

bool
request_should_leave(void)
{
	return shared != NULL &&
		   (TimestampTz) pg_atomic_read_u64(&shared->leave_until) > GetCurrentTimestamp();
}

/* Does this slot hold a request that waits for one of us? */
static bool
is_waiting(Request *request)
{
	return pg_atomic_read_u32(&request->state) == REQUEST_WAITING &&
		   request->database == MyDatabaseId;
}

bool
request_is_waiting(void)
{
	for (int i = 0; shared != NULL && i < SLOT_COUNT; i++)
	{
		if (is_waiting(&shared->slots[i]))
			return true;
	}
	return false;
}

Request *
request_take(void)
{
	for (int i = 0; shared != NULL && i < SLOT_COUNT; i++)
	{
		Request *request = &shared->slots[i];

		if (is_waiting(request) && move(request, REQUEST_WAITING, REQUEST_TAKEN))
			return request;
	}
	return NULL;
}

Request *
request_attach(uint32 handle)
{
	dsm_segment *segment = dsm_attach(handle);
	Request *request;

	if (segment == NULL)
		return NULL; /* the caller has left */
	request = dsm_segment_address(segment);
	return move(request, REQUEST_WAITING, REQUEST_TAKEN) ? request : NULL;
}

void
request_finish(Request *request)
{
	int caller = request->caller_proc;

	if (move(request, REQUEST_TAKEN, REQUEST_DONE))
		set_latch_of(caller);
	else if (pg_atomic_read_u32(&request->state) == REQUEST_ABANDONED)
	{
		request->generation++;
		(void) move(request, REQUEST_ABANDONED, REQUEST_FREE);
	}
}

/* --- the caller's side --- */

/* Leaves a request, whatever its state, without waiting for anybody. */
static void
leave(Request *request)
{
	if (move(request, REQUEST_WAITING, REQUEST_FREE) ||
		move(request, REQUEST_TAKEN, REQUEST_ABANDONED))
		return;
	/* The worker was quicker. */
	request->generation++;
	(void) move(request, REQUEST_DONE, REQUEST_FREE);
}

static void
leave_at_exit(int code, Datum request)
{
	leave((Request *) DatumGetPointer(request));
}

static void no_worker(const char *detail, const char *hint) ROTOR_NORETURN;

static void
no_worker(const char *detail, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED), errmsg("no rotor worker is free"),
			 errdetail("%s", detail), errhint("%s", hint)));
}

static bool
expired(TimestampTz deadline)
{
	return GetCurrentTimestamp() >= deadline;
}

/* Sleeps until our latch is set or ms have passed; interrupts are left to the caller. */
static void
nap(long ms)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms,
					 PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
}

/* Cancels the rotation if it has not been set; tells what becomes of it. */
static void
called_off(Request *request)
{
	MemoryContext context = CurrentMemoryContext;
	ErrorData *edata;
	uint32 open = GATE_OPEN;
	bool stopped = pg_atomic_compare_exchange_u32(&request->gate, &open, GATE_CANCELLED);

	MemoryContextSwitchTo(TopTransactionContext);
	edata = CopyErrorData();
	FlushErrorState();
	if (edata->sqlerrcode == ERRCODE_QUERY_CANCELED)
		edata->detail = pstrdup(
			stopped ? "The rotation was cancelled before the role was changed."
					: "The new password was being set already: the rotation goes on by itself, "
					  "rotor.rotations shows it.");
	MemoryContextSwitchTo(context);
	ReThrowError(edata);
}

static void not_picked_up(Request *request, BackgroundWorkerHandle *handle) ROTOR_NORETURN;

/* The request was not taken in time. Who takes it in this very moment finds the gate closed. */
static void
not_picked_up(Request *request, BackgroundWorkerHandle *handle)
{
	uint32 open = GATE_OPEN;

	(void) pg_atomic_compare_exchange_u32(&request->gate, &open, GATE_CANCELLED);
	if (handle != NULL)
	{
		TerminateBackgroundWorker(handle);
		no_worker("The worker could not connect to the database for ten seconds.",
				  "A lock on a system catalog, perhaps of this very transaction, keeps it out: end "
				  "the transaction that holds it.");
	}
	no_worker(request_worker_count() > 0
				  ? "All workers have been busy for ten seconds."
				  : "Rotor is preloaded, but none of its workers is running.",
			  "Raise rotor.workers, or look into the server log for why they do not run.");
}

/*
 * Waits until the request is done. handle is that of a one-shot worker, NULL when preloaded. False
 * if the worker is gone without an answer.
 */
static bool
wait_until_done(Request *request, BackgroundWorkerHandle *handle)
{
	TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), PICK_UP_TIMEOUT_MS);
	pid_t pid;

	for (;;)
	{
		uint32 state = pg_atomic_read_u32(&request->state);

		if (state == REQUEST_DONE)
			return true;
		if (handle != NULL && GetBackgroundWorkerPid(handle, &pid) == BGWH_STOPPED)
			return pg_atomic_read_u32(&request->state) == REQUEST_DONE;
		if (state == REQUEST_WAITING && expired(deadline))
			not_picked_up(request, handle);
		nap(1000);
		PG_TRY();
		{
			CHECK_FOR_INTERRUPTS();
		}
		PG_CATCH();
		{
			called_off(request);
		}
		PG_END_TRY();
	}
}

static void
fill(Request *request, RequestKind kind, const RotationOrder *order,
	 const EmergencyOrder *emergency)
{
	pg_atomic_write_u32(&request->gate, GATE_OPEN);
	request->kind = kind;
	request->database = MyDatabaseId;
	request->caller_proc = MY_PROC_NUMBER;
	if (order != NULL)
		request->order = *order;
	if (emergency != NULL)
		request->emergency = *emergency;
	request->worker_left = false;
	memset(&request->answer, 0, sizeof(request->answer));
	memset(request->counts, 0, sizeof(request->counts));
	pg_write_barrier();
	pg_atomic_write_u32(&request->state, REQUEST_WAITING);
}

static Request *
claim_slot(void)
{
	TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), PICK_UP_TIMEOUT_MS);

	while (!expired(deadline))
	{
		for (int i = 0; i < SLOT_COUNT; i++)
		{
			if (move(&shared->slots[i], REQUEST_FREE, REQUEST_FILLING))
				return &shared->slots[i];
		}
		nap(100);
		CHECK_FOR_INTERRUPTS();
	}
	no_worker("All request slots have been in use for ten seconds.", "Raise rotor.workers.");
}

static bool
wait_and_copy(Request *request, BackgroundWorkerHandle *handle, Request *result)
{
	volatile bool done = false;

	PG_ENSURE_ERROR_CLEANUP(leave_at_exit, PointerGetDatum(request));
	{
		done = wait_until_done(request, handle);
		pg_read_barrier();
		memcpy(result, request, sizeof(*result));
	}
	PG_END_ENSURE_ERROR_CLEANUP(leave_at_exit, PointerGetDatum(request));
	leave(request);
	return done;
}

void
request_require_home(void)
{
	if ((request_is_preloaded() || guc_database_was_chosen()) &&
		get_database_oid(rotor_database, true) != MyDatabaseId)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("rotor's workers serve another database"),
						errdetail("rotor.database is \"%s\", this database is \"%s\".",
								  rotor_database, get_database_name(MyDatabaseId)),
						errhint("Set rotor.database = '%s' in postgresql.conf and reload.",
								get_database_name(MyDatabaseId))));
}

static bool
submit_to_preloaded(RequestKind kind, const RotationOrder *order, const EmergencyOrder *emergency,
					Request *result)
{
	Request *request;

	request = claim_slot();
	fill(request, kind, order, emergency);
	request_wake_workers();
	return wait_and_copy(request, NULL, result);
}

/* Starts a one-shot worker; waits up to the deadline for a place for it. */
static BackgroundWorkerHandle *
start_one_shot(uint32 segment)
{
	BackgroundWorkerHandle *handle;
	TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), PICK_UP_TIMEOUT_MS);

	while (!bgworker_start_one_shot(segment, &handle))
	{
		if (expired(deadline))
			no_worker("max_worker_processes has been exhausted for ten seconds.",
					  "Raise max_worker_processes, or add rotor to shared_preload_libraries.");
		nap(100);
		CHECK_FOR_INTERRUPTS();
	}
	return handle;
}

static bool
submit_to_one_shot(RequestKind kind, const RotationOrder *order, const EmergencyOrder *emergency,
				   Request *result)
{
	dsm_segment *segment = dsm_create(sizeof(Request), 0);
	Request *request = dsm_segment_address(segment);
	bool done;

	init_request(request);
	fill(request, kind, order, emergency);
	done = wait_and_copy(request, start_one_shot(dsm_segment_handle(segment)), result);
	dsm_detach(segment);
	return done;
}

void
request_submit(RequestKind kind, const RotationOrder *order, const EmergencyOrder *emergency,
			   Request *result)
{
	bool done = request_is_preloaded() ? submit_to_preloaded(kind, order, emergency, result)
									   : submit_to_one_shot(kind, order, emergency, result);

	if (done && !result->worker_left)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_ADMIN_SHUTDOWN), errmsg("the rotor worker ended before it was done"),
			 result->answer.started
				 ? errdetail("Rotation %s is on record.",
							 DatumGetCString(DirectFunctionCall1(
								 uuid_out, UUIDPGetDatum(&result->answer.rotation))))
				 : errdetail("The server log says why."),
			 errhint("What it began is taken up by the next worker, or by rotor.run_due().")));
}

/*
 * watch.c - see watch.h.
 *
 * One lock guards all of it, held for moments, by nobody who could raise an error meanwhile. The
 * set is an open-addressing table without deletion: a role that is not managed any more stays as
 * WATCH_NONE until the next comparison, which fills the other table and then changes places with
 * it. Neither allocates: what a commit has to say cannot fail any more.
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/dbcommands.h"
#include "common/hashfn.h"
#include "compat.h"
#include "guc.h"
#include "port/pg_bitutils.h"
#include "request.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "watch.h"

#define TRANCHE		"rotor"
#define EVENT_COUNT 1024

typedef struct Entry
{
	Oid role; /* InvalidOid: free */
	uint32 mode;
} Entry;

typedef struct Table
{
	bool full; /* a role found no room */
	int used;
	Entry *entries; /* in the same segment, which lies at one address in all processes */
} Table;

typedef struct SharedWatch
{
	Table tables[2];
	int current; /* the table that counts; the other one is being filled if comparer is set */
	bool complete;
	bool prepared;	  /* a prepared transaction may have changed roles */
	uint32 reasons;	  /* to compare all secrets; 0: none */
	uint32 comparing; /* reasons of the comparison that is under way */
	int comparer;	  /* its pid; 0: nobody */
	int teller;		  /* pid of who sees to the oldest event; 0: nobody */
	int64 lost;
	uint64 head; /* events so far; their places follow one another round the ring */
	uint64 tail; /* those that were seen to */
	WatchEvent events[EVENT_COUNT];
} SharedWatch;

static SharedWatch *shared; /* NULL: not preloaded */
static LWLock *lock;
static uint32 reasons_here; /* of this process, where not preloaded */

WatchMode
watch_mode_of(const char *name)
{
	if (strcmp(name, "allow") == 0)
		return WATCH_ALLOW;
	return strcmp(name, "refuse") == 0 ? WATCH_REFUSE : WATCH_WARN;
}

/* --- shared memory --- */

/* A fifth of the places stays free at least, so that a look-up is short. */
static uint32
place_count(void)
{
	return pg_nextpower2_32((uint32) rotor_max_watched_roles / 4 * 5 + 4);
}

static Size
table_size(void)
{
	return mul_size(place_count(), sizeof(Entry));
}

static Size
shared_size(void)
{
	return add_size(MAXALIGN(sizeof(SharedWatch)), mul_size(2, table_size()));
}

static void
ask_for_memory(void)
{
	RequestAddinShmemSpace(shared_size());
	RequestNamedLWLockTranche(TRANCHE, 1);
}

#ifdef ROTOR_HAVE_SHMEM_REQUEST_HOOK
static shmem_request_hook_type next_request_hook;

static void
request_hook(void)
{
	if (next_request_hook)
		next_request_hook();
	ask_for_memory();
}
#endif

static shmem_startup_hook_type next_startup_hook;

static void
startup_hook(void)
{
	bool found;

	if (next_startup_hook)
		next_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct("rotor watch", shared_size(), &found);
	lock = &GetNamedLWLockTranche(TRANCHE)->lock;
	if (!found)
	{
		char *tables = (char *) shared + MAXALIGN(sizeof(SharedWatch));

		memset(shared, 0, shared_size());
		shared->tables[0].entries = (Entry *) tables;
		shared->tables[1].entries = (Entry *) (tables + table_size());
		shared->reasons = WATCH_START;
	}
	LWLockRelease(AddinShmemInitLock);
}

void
watch_shmem_init(void)
{
#ifdef ROTOR_HAVE_SHMEM_REQUEST_HOOK
	next_request_hook = shmem_request_hook;
	shmem_request_hook = request_hook;
#else
	ask_for_memory();
#endif
	next_startup_hook = shmem_startup_hook;
	shmem_startup_hook = startup_hook;
}

bool
watch_is_on(void)
{
	return shared != NULL;
}

/* --- the set; under the lock --- */

/* The role's place, or the free one where it would be. */
static Entry *
place_of(const Table *table, Oid role)
{
	uint32 mask = place_count() - 1;
	uint32 i = murmurhash32(role) & mask;

	while (OidIsValid(table->entries[i].role) && table->entries[i].role != role)
		i = (i + 1) & mask;
	return &table->entries[i];
}

static void
put(Table *table, Oid role, WatchMode mode)
{
	Entry *entry = place_of(table, role);

	if (!OidIsValid(entry->role))
	{
		if (table->used >= rotor_max_watched_roles)
		{
			table->full = true;
			return;
		}
		table->used++;
		entry->role = role;
	}
	entry->mode = mode;
}

static void
empty(Table *table)
{
	memset(table->entries, 0, table_size());
	table->used = 0;
	table->full = false;
}

/* What a transaction has committed: goes into the table that is being filled, too. */
static void
put_committed(Oid role, WatchMode mode)
{
	Table *current = &shared->tables[shared->current];

	if (mode != WATCH_NONE || OidIsValid(place_of(current, role)->role))
		put(current, role, mode);
	if (shared->comparer != 0)
		put(&shared->tables[1 - shared->current], role, mode);
}

/* Nobody is managed: what happened to whom is nobody's matter either. */
static void
empty_both(void)
{
	empty(&shared->tables[0]);
	empty(&shared->tables[1]);
	shared->complete = true;
	shared->tail = shared->head;
}

WatchMode
watch_mode(Oid role)
{
	const Table *table;
	const Entry *entry;
	WatchMode mode;

	if (shared == NULL)
		return WATCH_NONE;
	LWLockAcquire(lock, LW_SHARED);
	table = &shared->tables[shared->current];
	entry = place_of(table, role);
	if (OidIsValid(entry->role))
		mode = (WatchMode) entry->mode;
	else
		mode = shared->complete && !table->full ? WATCH_NONE : WATCH_MAYBE;
	LWLockRelease(lock);
	return mode;
}

void
watch_report(WatchReport *report)
{
	const Table *table;

	memset(report, 0, sizeof(*report));
	if (shared == NULL)
		return;
	LWLockAcquire(lock, LW_SHARED);
	table = &shared->tables[shared->current];
	report->complete = shared->complete;
	report->full = table->full;
	report->waiting = (int) (shared->head - shared->tail);
	report->lost = shared->lost;
	for (uint32 i = 0; i < place_count(); i++)
		report->roles += OidIsValid(table->entries[i].role) && table->entries[i].mode != WATCH_NONE;
	LWLockRelease(lock);
}

/* --- events; under the lock --- */

static void
push(const WatchEvent *event)
{
	if (shared->head - shared->tail == EVENT_COUNT)
	{
		shared->lost++;
		shared->reasons |= WATCH_LOST;
		return;
	}
	shared->events[shared->head++ % EVENT_COUNT] = *event;
}

static void
fill_event(WatchEvent *event, WatchKind kind, Oid role, const char *name)
{
	char *database = OidIsValid(MyDatabaseId) ? get_database_name(MyDatabaseId) : NULL;

	memset(event, 0, sizeof(*event));
	event->kind = kind;
	event->role = role;
	strlcpy(event->name, name, sizeof(event->name));
	event->at = GetCurrentTimestamp();
	strlcpy(event->database, database ? database : "", sizeof(event->database));
	actor_current(&event->actor);
}

/* --- what is said at commit --- */

typedef enum SayingKind
{
	SAY_ROLE,
	SAY_EVENT,
	SAY_NO_ROLE,
	SAY_COMPARE
} SayingKind;

typedef struct Saying
{
	SayingKind kind;
	SubTransactionId subtransaction;
	Oid role;
	WatchMode mode;
	WatchReason reason;
	WatchEvent *event;
} Saying;

/*
 * In the order of time, in TopTransactionContext. Those of a subtransaction that fails, and of its
 * own, are the last ones: all that came after it began.
 */
static List *sayings;

static void
say(const Saying *saying)
{
	switch (saying->kind)
	{
		case SAY_ROLE:
			put_committed(saying->role, saying->mode);
			break;
		case SAY_EVENT:
			push(saying->event);
			break;
		case SAY_NO_ROLE:
			empty_both();
			break;
		case SAY_COMPARE:
			shared->reasons |= saying->reason;
			break;
	}
}

static void
say_all(void)
{
	ListCell *cell;

	if (sayings == NIL)
		return;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	foreach(cell, sayings)
		say(lfirst(cell));
	LWLockRelease(lock);
	request_wake_workers();
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
			say_all();
			sayings = NIL;
			break;
		case XACT_EVENT_PREPARE:
			/* Whoever commits it may be another session, after a restart even: then all is compared. */
			if (sayings != NIL)
				watch_prepared(true);
			sayings = NIL;
			break;
		case XACT_EVENT_ABORT:
			sayings = NIL;
			break;
		default:
			break;
	}
}

static void
at_subtransaction_end(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	if (event != SUBXACT_EVENT_ABORT_SUB)
		return;
	while (sayings != NIL && ((Saying *) llast(sayings))->subtransaction >= mine)
		sayings = list_delete_last(sayings);
}

static void
say_at_commit(Saying saying)
{
	static bool registered = false;
	MemoryContext caller;
	Saying *copy;

	if (shared == NULL)
		return;
	if (!registered)
	{
		RegisterXactCallback(at_transaction_end, NULL);
		RegisterSubXactCallback(at_subtransaction_end, NULL);
		registered = true;
	}
	caller = MemoryContextSwitchTo(TopTransactionContext);
	copy = palloc(sizeof(Saying));
	*copy = saying;
	copy->subtransaction = GetCurrentSubTransactionId();
	sayings = lappend(sayings, copy);
	MemoryContextSwitchTo(caller);
}

void
watch_role(Oid role, WatchMode mode)
{
	say_at_commit((Saying){.kind = SAY_ROLE, .role = role, .mode = mode});
}

void
watch_tell(WatchKind kind, Oid role, const char *name)
{
	WatchEvent *event;

	if (shared == NULL)
		return;
	event = MemoryContextAlloc(TopTransactionContext, sizeof(WatchEvent));
	fill_event(event, kind, role, name);
	event->transaction = GetTopTransactionIdIfAny();
	say_at_commit((Saying){.kind = SAY_EVENT, .event = event});
}

void
watch_no_role(void)
{
	say_at_commit((Saying){.kind = SAY_NO_ROLE});
}

void
watch_compare_at_commit(WatchReason reason)
{
	say_at_commit((Saying){.kind = SAY_COMPARE, .reason = reason});
}

/* --- at once --- */

void
watch_tell_now(WatchKind kind, Oid role, const char *name)
{
	WatchEvent event;

	if (shared == NULL)
		return;
	fill_event(&event, kind, role, name);
	LWLockAcquire(lock, LW_EXCLUSIVE);
	push(&event);
	LWLockRelease(lock);
	request_wake_workers();
}

void
watch_forget(void)
{
	if (shared == NULL)
		return;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	empty_both();
	LWLockRelease(lock);
}

void
watch_compare(WatchReason reason)
{
	if (shared == NULL)
	{
		reasons_here |= reason;
		return;
	}
	LWLockAcquire(lock, LW_EXCLUSIVE);
	shared->reasons |= reason;
	LWLockRelease(lock);
}

void
watch_prepared(bool exists)
{
	if (shared == NULL)
		return;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	shared->prepared = exists;
	LWLockRelease(lock);
}

void
watch_prepared_committed(void)
{
	bool compare;

	if (shared == NULL)
		return;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	compare = shared->prepared;
	if (compare)
		shared->reasons |= WATCH_LOST;
	LWLockRelease(lock);
	if (compare)
		request_wake_workers();
}

/* --- the worker's side --- */

static uint64 telling; /* the event that this process sees to */

/* Another worker takes over what this one leaves. */
static void
leave(int code, Datum arg)
{
	watch_done(false);
	watch_end(WATCH_END_FAILED);
}

static void
leave_at_exit(void)
{
	static bool registered = false;

	if (!registered)
		before_shmem_exit(leave, (Datum) 0);
	registered = true;
}

bool
watch_next(WatchEvent *event)
{
	bool mine;

	if (shared == NULL)
		return false;
	leave_at_exit();
	LWLockAcquire(lock, LW_EXCLUSIVE);
	mine = shared->teller == 0 && shared->head != shared->tail;
	if (mine)
	{
		shared->teller = MyProcPid;
		telling = shared->tail;
		*event = shared->events[shared->tail % EVENT_COUNT];
	}
	LWLockRelease(lock);
	return mine;
}

void
watch_done(bool done)
{
	LWLockAcquire(lock, LW_EXCLUSIVE);
	if (shared->teller == MyProcPid)
	{
		/* All may have been thrown away meanwhile. */
		if (done && shared->tail == telling)
			shared->tail++;
		shared->teller = 0;
	}
	LWLockRelease(lock);
}

/* Under the lock: the event that this process sees to; NULL if all were thrown away meanwhile. */
static WatchEvent *
my_event(void)
{
	if (shared->teller != MyProcPid || shared->tail != telling || shared->head == shared->tail)
		return NULL;
	return &shared->events[telling % EVENT_COUNT];
}

void
watch_recorded(void)
{
	WatchEvent *event;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	event = my_event();
	if (event != NULL)
		event->kind = WATCH_LOOK;
	LWLockRelease(lock);
}

void
watch_put_back(void)
{
	WatchEvent *event;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	event = my_event();
	if (event != NULL)
	{
		WatchEvent again = *event;

		shared->tail++;
		push(&again);
	}
	if (shared->teller == MyProcPid)
		shared->teller = 0;
	LWLockRelease(lock);
}

bool
watch_is_waiting(void)
{
	bool waiting;

	if (shared == NULL)
		return false;
	LWLockAcquire(lock, LW_SHARED);
	waiting = shared->head != shared->tail;
	LWLockRelease(lock);
	return waiting;
}

void
watch_look(Oid role)
{
	WatchEvent event = {.kind = WATCH_LOOK, .role = role};

	if (shared == NULL)
		return;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	push(&event);
	LWLockRelease(lock);
}

bool
watch_begin(uint32 *reasons)
{
	bool mine;

	if (shared == NULL)
	{
		*reasons = reasons_here;
		reasons_here = 0;
		return *reasons != 0;
	}
	leave_at_exit();
	LWLockAcquire(lock, LW_EXCLUSIVE);
	mine = shared->reasons != 0 && shared->comparer == 0;
	if (mine)
	{
		*reasons = shared->reasons;
		shared->comparing = shared->reasons;
		shared->reasons = 0;
		shared->comparer = MyProcPid;
		empty(&shared->tables[1 - shared->current]);
	}
	LWLockRelease(lock);
	return mine;
}

void
watch_found(Oid role, WatchMode mode)
{
	Table *table;

	if (shared == NULL)
		return;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	table = &shared->tables[1 - shared->current];
	/* A role that is there was committed after our look: that is newer. */
	if (shared->comparer == MyProcPid && !OidIsValid(place_of(table, role)->role))
		put(table, role, mode);
	LWLockRelease(lock);
}

void
watch_end(WatchEnd end)
{
	if (shared == NULL)
		return;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	if (shared->comparer == MyProcPid)
	{
		shared->comparer = 0;
		if (end == WATCH_END_FAILED)
			shared->reasons |= shared->comparing;
		else
			shared->current = 1 - shared->current;
		if (end == WATCH_END_DONE)
			shared->complete = true;
		else if (end == WATCH_END_NOT_OURS)
		{
			shared->complete = false;
			shared->reasons |= WATCH_START;
		}
	}
	LWLockRelease(lock);
}

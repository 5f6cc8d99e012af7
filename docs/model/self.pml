/*
 * self.pml - rotations of one role on target "self" with store "local", by two workers. README.md says what stands for
 * what; scripts/model.sh runs it. An atomic block is a transaction: all of it, or nothing. Without a macro it is as the
 * code is; EMERGENCY is rotate_all(); each BROKEN_ macro plants one mistake, which a property must find.
 */
#ifndef ROTATIONS
#define ROTATIONS 2
#endif
#define MAX_ATTEMPTS 2 /* of one step: policy.max_attempts */
#define MAX_REFUSED  2 /* values that one run gives up after: MAX_REFUSED_VALUES */

/* Passwords are numbers. */
#define NONE   0
#define FORMER 1 /* what logs in when all begins; in an emergency, what has leaked */
#define LAST   3 /* neither this value nor a later one is refused, or there would be no end of values */
#define OTHERS 7 /* what somebody else gave the role */

#define FREE 2 /* nobody's lock */

mtype:Step = { create, set, test, finish, undo };
mtype:Status = { absent, going, success, rolled_back, cancelled, dead, settled };
mtype:Outcome = { unknown, ok, transient, refused, refused_by_hook, superseded, permanent };

/* --- durable: what commits write and crashes leave --- */

typedef Row { /* rotor.rotation, and the former verifier that it keeps */
	mtype:Step step;
	mtype:Status status = absent;
	byte attempt;
	byte version;
	byte saved, saved_current;
}
Row row[2];
byte rows;
byte role, current;	  /* what the role accepts; what the label says */
byte values = FORMER; /* sealed so far: all up to this one */
byte proved;		  /* one bit for each value with which a login has succeeded */

/* --- gone with its process --- */

byte lock = FREE; /* role_lock() */

/* --- what must hold, asserted after each commit, for nothing else changes what is durable --- */

bool I1, I2, I4, END, LEAK, REACHED;
bool left_former; /* the role has had another password than the leaked one */

#define is_proved(v) ((proved >> (v)) & 1)
#define is_active(r) (row[r].status == going)
#define work		 (is_active(0) || is_active(1) || rows < ROTATIONS)

inline check()
{
	/* The version labelled current logs in, unless somebody else changed the role's password. */
	I1 = role == current || role == OTHERS;
	assert(I1);
	/* What was proved is live, or can be given back. In an emergency there is nothing to be given back. */
	I2 = is_proved(role) || is_proved(row[0].saved) || is_proved(row[1].saved);
#ifdef EMERGENCY
	I2 = true;
#endif
	assert(I2);
	I4 = !(is_active(0) && is_active(1)); /* also the unique index rotation_one_active */
	assert(I4);
#ifdef WITNESS /* proves that rotations do end so */
	REACHED = row[0].status != WITNESS && row[1].status != WITNESS;
	assert(REACHED);
#endif
#ifdef EMERGENCY
	left_former = left_former || role != FORMER;
	LEAK = !left_former || role != FORMER;
	assert(LEAK);
#endif
}

/* --- a worker --- */

/* job_advance(): the table of src/fsm.c. */
inline advance(o)
{
	pause = false;
	if
	:: o == transient && attempt + 1 >= MAX_ATTEMPTS -> attempt++; status = dead
	:: o == transient && attempt + 1 < MAX_ATTEMPTS ->
		pause = true;
#ifndef BROKEN_NO_LIMIT
		attempt++
#endif
	:: o == permanent -> attempt++; status = dead
	:: o == superseded -> attempt++; status = dead
	:: else ->
		attempt = 0;
		if
		:: o == ok && step == create -> step = set
		:: o == ok && step == set -> step = test
		:: o == ok && step == test -> step = finish
		:: o == ok && step == finish -> status = success
		:: o == ok && step == undo -> status = rolled_back
		:: o == refused_by_hook -> step = create; version = NONE; refusals++
#if defined(EMERGENCY) && !defined(BROKEN_WAY_BACK)
		/* Never back: forward to another value, or what was set is kept. */
		:: o == refused && refusals + 1 < MAX_REFUSED && values < LAST -> step = create; version = NONE; refusals++
		:: o == refused && (refusals + 1 >= MAX_REFUSED || values >= LAST) -> attempt = 1; status = dead
#else
		:: o == refused -> step = undo
#endif
		fi
	fi
}

/* Nobody asks any more what a row said that is over: fewer states. */
inline blank(i)
{
	row[i].step = create; row[i].attempt = 0; row[i].version = NONE; row[i].saved = NONE; row[i].saved_current = NONE
}

/* The end of a run, and that of a process: what was in memory is gone. */
inline forget()
{
	step = create; status = absent; outcome = unknown; o = unknown;
	r = 0; attempt = 0; version = NONE; refusals = 0;
	exists = false; pause = false; undone = false; failed = false
}

inline unlock()
{
	lock = (lock == me -> FREE : lock)
}

#define runs (status == going && !pause)

/* job_save() */
inline save()
{
	I4 = lock == me; /* only who has the role's lock writes */
	assert(I4);
	if
	:: !exists -> r = rows; rows++; exists = true
	:: else ->
		END = is_active(r); /* what is over stays as it ended */
		assert(END)
	fi;
	row[r].step = step;
	row[r].status = status;
	row[r].attempt = (status == dead -> 0 : attempt); /* requeue() begins anew */
	row[r].version = version;
	if
	:: status == success && row[1 - r].status == dead -> row[1 - r].status = settled; blank(1 - r)
	:: else
	fi;
	if
	:: status == success || status == rolled_back -> blank(r)
	:: else
	fi;
	check();
	o = unknown;
	outcome = unknown;
	if
	:: runs
	:: else -> unlock(); forget() /* the run ends with its rotation, or for a pause */
	fi
}

/* role_alter(), role_restore() */
inline alter_role(value)
{
	/* A password that rotor has not sealed is not overwritten before it is saved. */
	I2 = role != OTHERS || row[r].saved == OTHERS;
	assert(I2);
	role = value
}

/* catalog_promote_version() */
inline promote()
{
	current = version
}

inline step_create()
{
	if
	:: version == NONE -> values++; version = values
	:: else
	fi;
	o = ok
}

inline step_set()
{
	row[r].saved = role;
	row[r].saved_current = current;
	alter_role(version);
#ifdef BROKEN_EARLY_DROP
	row[r].saved = NONE;
#endif
#ifndef BROKEN_LABELS_LATER
	promote();
#endif
	o = ok
}

inline step_finish()
{
	if
	:: role == version ->
#ifdef BROKEN_LABELS_LATER
		promote();
#endif
		proved = proved | (1 << version);
		row[r].saved = NONE;
		o = ok
	:: else -> o = superseded
	fi
}

inline step_undo()
{
	if
#ifdef BROKEN_NO_COMPARE
	:: true ->
#else
	:: role == version ->
#endif
		alter_role(row[r].saved);
		current = row[r].saved_current;
		row[r].saved = NONE;
		o = ok
	:: else -> o = superseded
	fi
}

/* What keeps a step from being done, by checks of its own: preflight(), can_be_proved(), the server's password check. */
inline hindrance()
{
	if
	:: o = ok
	:: o = permanent
	:: step == set && refusals + 1 < MAX_REFUSED && values < LAST -> o = refused_by_hook
	fi
}

/* job_still_wanted(); and the unique index rotation_one_active, where there is no row yet. */
#define may_begin	 (!exists && !is_active(0) && !is_active(1) && rows < ROTATIONS)
#define still_wanted (may_begin || (exists && is_active(r) && row[r].step == step && row[r].attempt == attempt))
#ifdef BROKEN_UNSEEN
#define may_go_on	 (may_begin || (exists && step != create && step != set) || still_wanted)
#else
#define may_go_on	 still_wanted
#endif

/* run_step() */
inline run_step()
{
	if
	:: step == test && outcome != ok -> advance(outcome) /* on record before the way back begins */
	:: else ->
		if
		:: step == test -> advance(ok)
		:: else
		fi;
		hindrance();
		if
		:: o == ok && step == create -> step_create()
		:: o == ok && step == set -> step_set()
		:: o == ok && step == finish -> step_finish()
		:: o == ok && step == undo -> step_undo()
		:: else
		fi;
		advance(o)
	fi;
	save()
}

/* record_failure(): what a login told is not lost with the transaction that was to record it. */
inline record_failure()
{
	if
	:: step == test -> advance(outcome)
	:: else -> outcome = ok
	fi;
	if
	:: step != undo || outcome == ok -> advance(transient)
	:: step != undo || outcome == ok -> advance(permanent)
	:: else
	fi;
	save()
}

#ifdef BROKEN_UNLOCKED
#define unlocked true
#else
#define unlocked false
#endif

/* Each option of the loop is one moment in the life of a run; between two, anybody else may do anything. */
proctype Worker(byte me)
{
	mtype:Step step = create;
	mtype:Status status = absent;
	mtype:Outcome outcome = unknown, o = unknown;
	byte r, attempt, version, refusals;
	bool exists, pause, undone, failed;

end:
	do
	:: status == absent && work ->
		if
		:: !work
		:: atomic { /* prepare(): the lock first, then what the row says, if a rotation was left */
			lock == FREE && work -> lock = me;
			status = going;
			if
			:: is_active(0) || is_active(1) ->
				r = (is_active(0) -> 0 : 1);
				exists = true;
				step = row[r].step;
				attempt = row[r].attempt;
				version = row[r].version
			:: else
			fi
		}
		fi
	:: atomic { /* step_test(), in no transaction but short ones, one of which may be undone */
		status == going && !undone && step == test && outcome == unknown ->
		if
		:: role == version -> outcome = ok
		:: outcome = transient
		:: outcome = refused
		:: outcome = transient; undone = true; lock = FREE
		fi
	}
	:: atomic { /* run_step(): all of it, or nothing */
		status == going && !undone && (step != test || outcome != unknown) ->
		if
		:: may_go_on -> run_step()
		:: !may_go_on -> unlock(); forget()
		:: undone = true; failed = true; lock = FREE
		fi
	}
	:: atomic { /* job_transaction(): an abort took the lock along; it is taken again, unless somebody was quicker */
		undone && (lock == FREE || unlocked) -> undone = false;
		lock = (unlocked -> lock : me);
		if
		:: failed && still_wanted -> failed = false; record_failure()
		:: failed && !still_wanted -> unlock(); forget()
		:: else
		fi
	}
	:: atomic { /* killed; or somebody was quicker; or a failure could not be recorded */
		status != absent ->
#ifndef BROKEN_LOCK_STAYS
		unlock();
#endif
		forget()
	}
#ifdef TERMINATION
		;
progress:
		skip /* none of these goes on for ever */
#endif
	od
}

/* --- what people do, each once or never: rotor.cancel(), ALTER ROLE, rotor.requeue() --- */

proctype People()
{
	bool may_cancel = true, may_alter = true, may_requeue = true;
	byte r;
end:
	do
	:: atomic {
		may_cancel && (is_active(0) || is_active(1)) ->
		may_cancel = false;
		r = (is_active(0) -> 0 : 1);
		if
		:: row[r].step == create || row[r].step == set -> row[r].status = cancelled; blank(r); check()
		:: else /* refused: the password is set */
		fi;
		r = 0
	}
	:: atomic { may_alter -> role = OTHERS; may_alter = false; check() }
	:: atomic {
		may_requeue && !is_active(0) && !is_active(1) && (row[0].status == dead || row[1].status == dead) ->
		r = (row[0].status == dead -> 0 : 1);
		row[r].status = going;
		row[r].attempt = 0;
		may_requeue = false;
		r = 0;
		check()
	}
	od
}

init {
	atomic {
		proved = (1 << FORMER) | (1 << OTHERS);
		if
		:: role = FORMER; current = FORMER
#ifndef EMERGENCY
		:: role = OTHERS /* the first rotation of a role that others managed */
#endif
		fi;
		run Worker(0);
		run Worker(1);
		run People()
	}
}

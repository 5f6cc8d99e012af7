/*
 * outside.pml - rotations of one credential whose target and store are both outside the server, as designed, by two
 * workers that claim it with a lease. README.md says what stands for what; scripts/model.sh runs it. An atomic block is a
 * transaction of the control database, or one thing that happens outside. Each BROKEN_ macro plants one mistake, which a
 * property must find.
 */
#define ROTATIONS    2
#define MAX_ATTEMPTS 2 /* of one step */

/* Passwords are numbers. */
#define NONE   0
#define FORMER 1 /* what logs in when all begins */

#define FREE 2 /* nobody's lease */

mtype:Step = { create, publish, set, test, finish, undo };
mtype:Status = { absent, going, success, rolled_back, dead };
mtype:Act = { nothing, put, alter, move }; /* publish a value, change the password, move the labels */
mtype:Answer = { none, yes, no, lost };

/* --- durable: the control database --- */

mtype:Step step = create;
mtype:Status status = absent;
byte attempt, version, former, rotations;
bool started; /* an act was about to be sent: until somebody looks, nobody knows what became of it */
byte lease = FREE;

/* --- outside --- */

byte target = FORMER; /* what logs in */
byte store_pending, store_current = FORMER, store_previous;
mtype:Act act[2] = nothing; /* on its way, sent by this worker */
byte value[2];
mtype:Answer answer[2] = none;

/* --- what must hold --- */

bool I1, I2, I4, END, REACHED;

/* A dead letter that says: the current version may not log in, this has to be settled first. */
#define unsettled (status == dead && (started || step == undo))
#ifdef BROKEN_FORGOTTEN
#define work (status == going || rotations < ROTATIONS)
#else
#define work (status == going || (rotations < ROTATIONS && !unsettled))
#endif

inline check()
{
	/* When a rotation is over, the version labelled current logs in. */
	I1 = status == going || unsettled || target == store_current;
	assert(I1);
	/* What logs in is always in the store, under one of three labels. */
	I2 = target == store_pending || target == store_current || target == store_previous;
	assert(I2);
#ifdef WITNESS /* proves that rotations do end so */
	REACHED = status != WITNESS;
	assert(REACHED);
#endif
}

/* --- what a worker records; only the database decides what comes next --- */

inline goes_to(next) { step = next; started = false; attempt = 0 }
inline ends(how)     { status = how; started = false; attempt = 0 }

inline fails()
{
	attempt++;
	if
	:: attempt < MAX_ATTEMPTS
#ifndef BROKEN_NO_WAY_BACK
	/* The store's current version is to go on working: back, unless the labels may have moved. */
#ifdef BROKEN_UNREAD
	:: attempt >= MAX_ATTEMPTS && (step == test || step == finish) -> goes_to(undo)
	:: attempt >= MAX_ATTEMPTS && step != test && step != finish -> status = dead; attempt = 0
#else
	:: attempt >= MAX_ATTEMPTS && (step == test || (step == finish && !started)) -> goes_to(undo)
	:: attempt >= MAX_ATTEMPTS && step != test && !(step == finish && !started) -> status = dead; attempt = 0
#endif
#else
	:: attempt >= MAX_ATTEMPTS -> status = dead; attempt = 0
#endif
	fi
}

/* Before the first act, and what follows from an act or from a look. */
inline report()
{
	I4 = lease == me; /* who lost the lease is not listened to */
	assert(I4);
	END = status == going; /* what is over stays as it ended */
	assert(END);
	if
	:: step == create -> version = 1 + rotations; former = store_current; goes_to(publish)
	:: step == publish && heard == yes -> goes_to(set)
	:: step == publish && heard != yes -> started = false; fails()
	:: step == set && heard == yes -> goes_to(test)
	:: step == test && heard == yes -> goes_to(finish)
	:: step == test && heard == no -> goes_to(undo)
	:: step == finish && heard == yes -> ends(success)
	:: step == undo && heard == yes -> ends(rolled_back)
	:: (step == set || step == finish || step == undo) && heard == no -> started = false; if :: acted -> fails() :: else fi
#ifdef BROKEN_GUESS
	:: step == set && heard == lost -> started = false; fails()
#else
	:: step == set && heard == lost -> fails()
#endif
	:: step != create && step != publish && step != set && heard == lost -> fails()
	fi;
	check()
}

/* --- a worker --- */

mtype:Phase = { resting, holding, sending, waiting, reporting };

inline rest()
{
	phase = resting; heard = none; acted = false;
	answer[me] = none
}

#define acts_next  (step == publish || ((step == set || step == finish || step == undo) && !started))
#define looks_next (step == test || ((step == set || step == finish || step == undo) && started))

#ifdef BROKEN_LATE_ANSWER
#define listened_to true
#else
#define listened_to (lease == me)
#endif

/* Each option of the loop is one moment; between two, anybody else may do anything, and the lease may run out. */
proctype Worker(byte me)
{
	mtype:Phase phase = resting;
	mtype:Answer heard = none;
	bool acted;

end:
	do
	:: phase == resting && work ->
		if
		:: !work
		:: atomic { /* claim */
			lease == FREE && work && act[me] == nothing ->
			lease = me;
			phase = holding;
			answer[me] = none;
			if
			:: status == going
			:: else -> rotations++; status = going; goes_to(create)
			fi
		}
		fi
	:: atomic { phase == holding && lease != me -> rest() }
	:: atomic { phase == holding && lease == me && status != going -> lease = FREE; rest() }
	:: atomic { phase == holding && lease == me && status == going && step == create -> report() }
	:: atomic { /* "started" is committed before anything is sent */
		phase == holding && lease == me && status == going && acts_next -> started = true; phase = sending
	}
	:: atomic {
		phase == sending ->
		if
		:: lease != me -> rest()
		:: else ->
			phase = waiting;
			if
			:: step == publish -> act[me] = put; value[me] = version
			:: step == set -> act[me] = alter; value[me] = version
			:: step == finish -> act[me] = move; value[me] = version
			:: step == undo -> act[me] = alter; value[me] = former
			fi
		fi
	}
	:: atomic { phase == waiting && answer[me] != none -> heard = answer[me]; acted = true; phase = reporting }
	:: atomic { /* which value logs in? where do the labels stand? */
		phase == holding && lease == me && status == going && looks_next ->
		phase = reporting;
		acted = false;
		if
		:: heard = lost
		:: (step == set || step == test) && target == version -> heard = yes
		:: step == undo && target == former -> heard = yes
		:: step == finish && store_current == version -> heard = yes
		:: (step == set && target == former) || (step == undo && target == version) ||
		   (step == finish && store_current == former) || step == test -> heard = no
		fi
	}
	:: atomic {
		phase == reporting ->
		if
		:: listened_to -> report(); phase = holding; heard = none; acted = false; answer[me] = none
		:: else -> rest()
		fi
	}
	:: atomic { phase != resting -> rest() }; /* killed; what it sent is on its way, its lease runs */
progress_killed:
		skip
	od
}

/* --- outside: what was sent takes effect or not, and the answer arrives or not --- */

inline takes_effect(w)
{
	I4 = lease == w; /* only what the holder of the lease sent */
	assert(I4);
	if
	:: act[w] == put -> store_pending = value[w]
	:: act[w] == alter -> target = value[w]
	:: act[w] == move && store_pending == value[w] -> /* compare and swap */
		store_previous = store_current;
		store_current = value[w];
		store_pending = NONE
	:: else
	fi
}

inline arrives(w)
{
	if
	:: takes_effect(w); answer[w] = yes
	:: takes_effect(w); answer[w] = lost
	:: answer[w] = no
	:: answer[w] = lost
	fi;
	act[w] = nothing;
	value[w] = NONE;
	check()
}

proctype Outside()
{
end:
	do
	:: atomic { act[0] != nothing -> arrives(0) }
	:: atomic { act[1] != nothing -> arrives(1) }
	od
}

#ifdef BROKEN_SHORT_LEASE
#define may_expire (lease != FREE)
#else
#define may_expire ((lease == 0 && act[0] == nothing) || (lease == 1 && act[1] == nothing))
#endif

/* A lease runs out at any moment, but not before what its holder sent has taken effect or never will. */
proctype Time()
{
end:
	do
	:: atomic {
		may_expire -> lease = FREE
	};
progress_expired:
		skip
	od
}

/* rotor.requeue(), once or never. */
proctype People()
{
	bool may_requeue = true;
end:
	do
	:: atomic { may_requeue && status == dead -> status = going; may_requeue = false }
	od
}

init {
	atomic { run Worker(0); run Worker(1); run Outside(); run Time(); run People() }
}

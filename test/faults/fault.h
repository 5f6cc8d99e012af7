/*
 * fault.h
 *		Makes calls fail, for tests.
 *
 * Nothing in src/ or common/ knows of this.  In a build for tests the linker puts a wrapper
 * in the place of a function (--wrap), in all of our objects and nowhere else, and the wrapper
 * asks fault_now() before it calls the function itself.  A usual build has none of it.
 *
 * A point is a wrapped function's name.  A commit of a rotation has two more, named by the
 * step and its outcome: "set.ok.commit" before, "set.ok.committed" after.
 *
 * What is to happen is a list of rules, separated by commas:
 *
 *	  point:action[:n[+]]
 *
 * point	  a point, or a class of them (the first word of each WRAP), or "any"
 * action	  fail: the function fails in its own way
 *			  crash: the process is killed, as by SIGKILL (once, see wrap_server.c)
 *			  stop: the process stops, until it is sent SIGCONT
 *			  trace: the call is reported, and goes through
 *			  five characters: an error of this SQLSTATE is raised
 * n		  at the n-th call that matches, counted from when the rules were set; 1 if left out;
 *			  n+ means this one and all that follow
 *
 * Unit tests know fail only.
 */
#ifndef ROTOR_TEST_FAULT_H
#define ROTOR_TEST_FAULT_H

#include <stdbool.h>

typedef enum FaultAction
{
	FAULT_FAIL,
	FAULT_CRASH,
	FAULT_STOP,
	FAULT_TRACE,
	FAULT_RAISE
} FaultAction;

/* Sets the rules; "" for none.  False, and nothing changed, if the text is none of rules. */
extern bool fault_arm(const char *text);

/* Is the text one of rules? */
extern bool fault_check(const char *text);

/* The point that was hit last since the rules were set, "" if none was. */
extern const char *fault_fired(void);

/* A call of a wrapped function begins: is it to fail?  Anything but failing is done by fault_act. */
extern bool fault_now(const char *class, const char *point);

/* What a rule says, done by whoever knows how to; NULL where only failing is known. */
extern void (*fault_act)(FaultAction action, const char *class, const char *point, int call,
						 const char *sqlstate);

/*
 * A function that calls are to reach by way of a wrapper.  The linker's names are reserved in C,
 * so they are given as names for the assembler.
 */
#define WRAPPED(type, name, parameters)                          \
	extern type real_##name parameters __asm__("__real_" #name); \
	extern type wrap_##name parameters __asm__("__wrap_" #name);

/*
 * The usual wrapper: class, the function's type, name, parameters and arguments, and the
 * statement by which it fails.  The Makefiles read the names from these lines and from those
 * of WRAPPED.
 */
#define WRAP(class, type, name, parameters, arguments, failure)            \
	WRAPPED(type, name, parameters)                                        \
	type wrap_##name parameters                                            \
	{                                                                      \
		if (fault_now(#class, #name))                                      \
			failure; /* NOLINT(bugprone-macro-parentheses): a statement */ \
		return real_##name arguments;                                      \
	}

#endif /* ROTOR_TEST_FAULT_H */

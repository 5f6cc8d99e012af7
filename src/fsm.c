/*
 * fsm.c - the table of fsm.h.
 */
#include "fsm.h"

#include <string.h>

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* clang-format off */
#define S(name) FSM_STEP_##name
#define O(name) FSM_OUTCOME_##name
#define T(name) FSM_STATUS_##name
#define L(name) FSM_LIVE_##name

static const FsmTransition transitions[] = {
	/* step, outcome,             next step, status,          event,             retry, dead,  live,      meaning */
	{S(CREATE), O(OK),              S(SET),    T(IN_PROGRESS), "value_sealed",    false, false, L(FORMER), "a new value is sealed and durable, labelled pending"},
	{S(CREATE), O(TO_STORE),        S(PUBLISH), T(IN_PROGRESS), "value_sealed",   false, false, L(FORMER), "a new value is sealed and durable, labelled pending; a store outside gets it next"},
	{S(CREATE), O(TRANSIENT),       S(CREATE), T(PENDING),     "attempt_failed",  true,  false, L(FORMER), "nothing was changed; tried again after a pause"},
	{S(CREATE), O(EXHAUSTED),       S(DONE),   T(FAILED),      "gave_up",         false, true,  L(FORMER), "nothing was changed; attempts are exhausted"},
	{S(CREATE), O(CANCELLED),       S(DONE),   T(CANCELLED),   "cancelled",       false, false, L(FORMER), "called off before anything was changed"},
	{S(CREATE), O(PERMANENT),       S(DONE),   T(FAILED),      "failed",          false, true,  L(FORMER), "nothing was changed; it cannot go on by itself"},
	{S(CREATE), O(INTERNAL),        S(DONE),   T(FAILED),      "failed",          false, true,  L(FORMER), "nothing was changed; this is a defect"},
	{S(CREATE), O(LEAKED),          S(CREATE), T(IN_PROGRESS), "joined_emergency", false, false, L(FORMER), "an emergency takes the rotation over; the sealed value, if any, is not used"},
	{S(CREATE), O(REQUEUED), S(CREATE), T(PENDING), "requeued", false, false, L(FORMER), "taken up again: a value is made and sealed"},

	{S(PUBLISH), O(OK),             S(SET),    T(IN_PROGRESS), "value_published", false, false, L(FORMER), "the store has the value, labelled pending"},
	{S(PUBLISH), O(TRANSIENT),      S(PUBLISH), T(IN_PROGRESS), "attempt_failed", true,  false, L(FORMER), "the store may have the value or not; published again after a pause"},
	{S(PUBLISH), O(EXHAUSTED),      S(DONE),   T(FAILED),      "gave_up",         false, true,  L(FORMER), "the store could not be given the value; attempts are exhausted"},
	{S(PUBLISH), O(CANCELLED),      S(DONE),   T(CANCELLED),   "cancelled",       false, false, L(FORMER), "called off before the role was changed"},
	{S(PUBLISH), O(PERMANENT),      S(DONE),   T(FAILED),      "failed",          false, true,  L(FORMER), "the store does not take the value; it cannot go on by itself"},
	{S(PUBLISH), O(SUPERSEDED),     S(DONE),   T(FAILED),      "superseded",      false, true,  L(FORMER), "the store has a version that rotor does not know; the role was not changed"},
	{S(PUBLISH), O(INTERNAL),       S(DONE),   T(FAILED),      "failed",          false, true,  L(FORMER), "the role was not changed; this is a defect"},
	{S(PUBLISH), O(LEAKED),         S(CREATE), T(IN_PROGRESS), "joined_emergency", false, false, L(FORMER), "an emergency takes the rotation over; the published value is not used, another one is made"},
	{S(PUBLISH), O(REQUEUED), S(PUBLISH), T(IN_PROGRESS), "requeued", false, false, L(FORMER), "taken up again: the sealed value is published"},

	{S(SET), O(OK),                 S(TEST),   T(VERIFYING),   "password_set",    false, false, L(NEW),    "the role has the new verifier; the labels moved in the same transaction"},
	{S(SET), O(TRANSIENT),          S(SET),    T(IN_PROGRESS), "attempt_failed",  true,  false, L(FORMER), "the role was not changed; the same value is tried again after a pause"},
	{S(SET), O(EXHAUSTED),          S(DONE),   T(FAILED),      "gave_up",         false, true,  L(FORMER), "the role was not changed; attempts are exhausted"},
	{S(SET), O(UNSETTLED),          S(DONE),   T(FAILED),      "gave_up",         false, true,  L(UNKNOWN), "the target may have the new password or not; whoever rotates next finds out first"},
	{S(SET), O(REFUSED_BY_HOOK),    S(CREATE), T(IN_PROGRESS), "value_refused",   false, false, L(FORMER), "a password check of the server refused the value; another one is made"},
	{S(SET), O(CANCELLED),          S(DONE),   T(CANCELLED),   "cancelled",       false, false, L(FORMER), "called off before the role was changed"},
	{S(SET), O(PERMANENT),          S(DONE),   T(FAILED),      "failed",          false, true,  L(FORMER), "the role was not changed; it cannot go on by itself"},
	{S(SET), O(INTERNAL),           S(DONE),   T(FAILED),      "failed",          false, true,  L(FORMER), "the role was not changed; this is a defect"},
	{S(SET), O(LEAKED),             S(CREATE), T(IN_PROGRESS), "joined_emergency", false, false, L(FORMER), "an emergency takes the rotation over; the sealed value is not used, another one is made"},
	{S(SET), O(REQUEUED), S(SET), T(IN_PROGRESS), "requeued", false, false, L(FORMER), "taken up again: the sealed value is set"},

	{S(TEST), O(OK),                S(FINISH), T(VERIFYING),   "login_proved",    false, false, L(NEW),    "a login with the new password succeeded"},
	{S(TEST), O(PROVED),            S(FINISH), T(VERIFYING),   "login_proved",    false, false, L(NEW),    "the server accepted the password, then barred the login for another reason"},
	{S(TEST), O(TRANSIENT),         S(TEST),   T(VERIFYING),   "attempt_failed",  true,  false, L(NEW),    "the new password is in effect, not proved yet; tested again after a pause"},
	{S(TEST), O(EXHAUSTED),         S(DONE),   T(FAILED),      "gave_up",         false, true,  L(NEW),    "the new password is in effect and current, but could not be proved"},
	{S(TEST), O(GIVEN_UP),          S(UNDO),   T(VERIFYING),   "gave_up",         false, false, L(NEW),    "the new password could not be proved; the store's current version is to go on working, so it is given back"},
	{S(TEST), O(REFUSED),           S(UNDO),   T(VERIFYING),   "login_refused",   false, false, L(NEW),    "the server refused the new password; the former one is given back"},
	{S(TEST), O(LEAKED),            S(CREATE), T(IN_PROGRESS), "rolled_forward", false, false, L(NEW),    "the server refused the new password; the former one has leaked, so another one is made"},
	{S(TEST), O(INCONCLUSIVE),      S(UNDO),   T(VERIFYING),   "login_unproved",  false, false, L(NEW),    "the server asked for no password, or lets nobody use the role; the former one is given back"},
	{S(TEST), O(PERMANENT),         S(UNDO),   T(VERIFYING),   "failed",          false, false, L(NEW),    "the new password cannot be proved; the former one is given back"},
	{S(TEST), O(INTERNAL),          S(DONE),   T(FAILED),      "failed",          false, true,  L(NEW),    "everything is kept as it is; this is a defect"},
	{S(TEST), O(REQUEUED), S(TEST), T(VERIFYING), "requeued", false, false, L(NEW), "taken up again: the new password is tested"},

	{S(FINISH), O(OK),              S(DONE),   T(SUCCESS),     "finished",        false, false, L(NEW),    "the former verifier is forgotten, the next rotation is scheduled"},
	{S(FINISH), O(TRANSIENT),       S(FINISH), T(VERIFYING),   "attempt_failed",  true,  false, L(NEW),    "the new password is in effect and proved; finished after a pause"},
	{S(FINISH), O(EXHAUSTED),       S(DONE),   T(FAILED),      "gave_up",         false, true,  L(NEW),    "the new password is in effect and proved, but that could not be recorded"},
	{S(FINISH), O(GIVEN_UP),        S(UNDO),   T(VERIFYING),   "gave_up",         false, false, L(NEW),    "the store's labels do not move; its current version is to go on working, so it is given back"},
	{S(FINISH), O(UNSETTLED),       S(DONE),   T(FAILED),      "gave_up",         false, true,  L(NEW),    "the new password is proved; the store's labels may have moved or not; whoever rotates next finds out first"},
	{S(FINISH), O(SUPERSEDED),      S(DONE),   T(FAILED),      "superseded",      false, true,  L(OTHERS), "somebody else changed the role's password; it is left alone"},
	{S(FINISH), O(PERMANENT),       S(DONE),   T(FAILED),      "failed",          false, true,  L(NEW),    "the new password was proved, but the rotation cannot be finished"},
	{S(FINISH), O(INTERNAL),        S(DONE),   T(FAILED),      "failed",          false, true,  L(NEW),    "the new password is in effect and proved; this is a defect"},
	{S(FINISH), O(REQUEUED), S(FINISH), T(VERIFYING), "requeued", false, false, L(NEW), "taken up again: the rotation is finished"},

	{S(UNDO), O(OK),                S(DONE),   T(ROLLED_BACK), "rolled_back",     false, false, L(FORMER), "the role has its former verifier and VALID UNTIL, the labels stand as before"},
	{S(UNDO), O(TRANSIENT),         S(UNDO),   T(VERIFYING),   "attempt_failed",  true,  false, L(NEW),    "the former password is given back after a pause"},
	{S(UNDO), O(EXHAUSTED),         S(DONE),   T(FAILED),      "gave_up",         false, true,  L(NEW),    "the former password could not be given back; both values are kept"},
	{S(UNDO), O(UNSETTLED),         S(DONE),   T(FAILED),      "gave_up",         false, true,  L(UNKNOWN), "the target may have its former password back or not; whoever rotates next finds out first"},
	{S(UNDO), O(SUPERSEDED),        S(DONE),   T(FAILED),      "superseded",      false, true,  L(OTHERS), "somebody else changed the role's password; it is left alone"},
	{S(UNDO), O(PERMANENT),         S(DONE),   T(FAILED),      "failed",          false, true,  L(NEW),    "the former password cannot be given back; both values are kept"},
	{S(UNDO), O(INTERNAL),          S(DONE),   T(FAILED),      "failed",          false, true,  L(NEW),    "both values are kept; this is a defect"},
	{S(UNDO), O(REQUEUED), S(UNDO), T(VERIFYING), "requeued", false, false, L(NEW), "taken up again: the former password is given back"},

	{S(RETIRE), O(OK),              S(DONE),   T(SUCCESS),     "former_retired",  false, false, L(FORMER), "what was in use before cannot log in any more"},
	{S(RETIRE), O(TRANSIENT),       S(RETIRE), T(IN_PROGRESS), "attempt_failed",  true,  false, L(FORMER), "what was in use before can still log in; tried again after a pause"},
	{S(RETIRE), O(EXHAUSTED),       S(DONE),   T(FAILED),      "gave_up",         false, true,  L(FORMER), "what was in use before can still log in; attempts are exhausted"},
	{S(RETIRE), O(CANCELLED),       S(DONE),   T(CANCELLED),   "cancelled",       false, false, L(FORMER), "it is rotated instead, or in use"},
	{S(RETIRE), O(PERMANENT),       S(DONE),   T(FAILED),      "failed",          false, true,  L(FORMER), "what was in use before can still log in, and that cannot be changed"},
	{S(RETIRE), O(INTERNAL),        S(DONE),   T(FAILED),      "failed",          false, true,  L(FORMER), "what was in use before may still log in; this is a defect"},
	{S(RETIRE), O(REQUEUED), S(RETIRE), T(IN_PROGRESS), "requeued", false, false, L(FORMER), "taken up again: what was in use before is locked, or discarded"},
};

#undef S
#undef O
#undef T
#undef L
/* clang-format on */

static const char *const step_names[FSM_STEP_COUNT] = {
	"create", "publish", "set", "test", "finish", "undo", "retire", "done",
};

static const char *const outcome_names[FSM_OUTCOME_COUNT] = {
	"ok",		  "proved",		  "transient",		 "exhausted",
	"refused",	  "inconclusive", "refused_by_hook", "leaked",
	"superseded", "to_store",	  "given_up",		 "unsettled",
	"cancelled",  "requeued",	  "permanent",		 "internal",
};

static const char *const status_names[FSM_STATUS_COUNT] = {
	"pending", "in_progress", "verifying", "success", "failed", "rolled_back", "cancelled",
};

static const char *const live_names[FSM_LIVE_COUNT] = {"former", "new", "somebody else's",
													   "unknown"};

const FsmTransition *
fsm_next(FsmStep step, FsmOutcome outcome)
{
	for (size_t i = 0; i < LENGTH(transitions); i++)
	{
		if (transitions[i].step == step && transitions[i].outcome == outcome)
			return &transitions[i];
	}
	return NULL;
}

const FsmTransition *
fsm_row(size_t i)
{
	return i < LENGTH(transitions) ? &transitions[i] : NULL;
}

bool
fsm_is_over(FsmStatus status)
{
	return status == FSM_STATUS_SUCCESS || status == FSM_STATUS_FAILED ||
		   status == FSM_STATUS_ROLLED_BACK || status == FSM_STATUS_CANCELLED;
}

static size_t
find_name(const char *const *names, size_t count, const char *name)
{
	size_t i = 0;

	while (i < count && strcmp(names[i], name) != 0)
		i++;
	return i;
}

const char *
fsm_step_name(FsmStep step)
{
	return step_names[step];
}

const char *
fsm_outcome_name(FsmOutcome outcome)
{
	return outcome_names[outcome];
}

const char *
fsm_status_name(FsmStatus status)
{
	return status_names[status];
}

const char *
fsm_live_name(FsmLive live)
{
	return live_names[live];
}

FsmStep
fsm_step_of(const char *name)
{
	return (FsmStep) find_name(step_names, FSM_STEP_COUNT, name);
}

FsmStatus
fsm_status_of(const char *name)
{
	return (FsmStatus) find_name(status_names, FSM_STATUS_COUNT, name);
}

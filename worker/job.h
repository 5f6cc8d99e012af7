/*
 * job.h - one act that the extension asks for, as rotor.claim() gave it.
 *
 * Parsed by control_db.c from the JSON of a claim, run by steps.c, shown to one store or one target.
 * job_free() wipes all passwords; cJSON trees hang on the job and die with it.
 */
#ifndef ROTOR_WORKER_JOB_H
#define ROTOR_WORKER_JOB_H

#include <stdbool.h>

#include <cjson/cJSON.h>

#include "deadline.h"
#include "secret_buf.h"

#define UUID_SIZE 37

typedef enum JobStep
{
	STEP_PUBLISH, /* put the pending value into the store, labelled pending */
	STEP_SET,	  /* give it to the target */
	STEP_TEST,	  /* log in with it */
	STEP_FINISH,  /* move the store's labels */
	STEP_UNDO,	  /* give the target its former value back */
	STEP_RETIRE,  /* what was in use before, an account or its former password, ends */
	STEP_COUNT
} JobStep;

/* One value of the secret; id empty: there is none. */
typedef struct JobValue
{
	char id[UUID_SIZE];
	const char *username; /* whose password it is; on the job */
	SecretBuf password;
} JobValue;

typedef struct Job
{
	char rotation[UUID_SIZE];
	char lease[UUID_SIZE];
	Deadline lease_end; /* what is sent must be over by then */
	JobStep step;
	int attempt;
	bool look;		/* an earlier attempt was sent and nobody knows what became of it: look first */
	bool emergency; /* the former value has leaked */
	const char *secret;
	const char *trigger;

	JobValue version;  /* what the rotation brings */
	JobValue former;   /* what was current when it began */
	JobValue previous; /* what was previous then */

	const cJSON *account; /* the secret's own options, such as "host" for MySQL; may be NULL */
	const char *username; /* whose password the target has */

	const char *target_name;
	const char *
		target_type; /* postgresql, mysql, command, http; self if the target is not ours to touch */
	const cJSON *target; /* {"host","port","dbname","sslmode","options":{…}} */
	JobValue admin;		 /* the credential that changes it; id empty: the account changes itself */
	const cJSON *
		pair; /* {"name","owner","resting","locked"} of an account that is used in turn; else NULL */

	const char *store_name;
	const char *store_type; /* aws, vault, file; local if the store is not ours to touch */
	const cJSON *store;		/* {"options":{…}} */
	const char *store_key;	/* the secret's name or path at the store; may be NULL */

	const cJSON
		*policy; /* {"verify_query","scram_iterations","terminate_sessions","connect_timeout_ms"} */

	cJSON *tree;
} Job;

/*
 * Parses what claim() or complete() gave; lease_ms counts from asked_at, the moment before the call was
 * sent. NULL, with *err filled, if it is not a job of a form we know. The caller frees it.
 */
extern Job *job_parse(const char *json, int64_t asked_at, RotorError *err);
extern void job_free(Job *job);
/* Wipes all passwords; the rest stays. */
extern void job_forget_passwords(Job *job);

/* Of a JSON object: the string or NULL; the number or otherwise; the flag or otherwise. */
extern const char *job_string(const cJSON *object, const char *name);
/* The string, unless it is missing or empty. */
extern const char *job_text(const cJSON *object, const char *name, const char *otherwise);
extern double job_number(const cJSON *object, const char *name, double otherwise);
/* Without its fraction, and the nearest there is where it fits no int. */
extern int job_integer(const cJSON *object, const char *name, int otherwise);
extern bool job_flag(const cJSON *object, const char *name, bool otherwise);

/* Does the account have its former password beside the new one (strategy dual_write)? */
extern bool job_has_two_passwords(const Job *job);

/*
 * Does an account that rested come into use, if it can be used: another one is in use, and logs in? Where it is
 * not said whether it rests, it does.
 */
extern bool job_takes_turn(const Job *job);

/* The value's own username, or the job's. */
extern const char *job_username(const Job *job, const JobValue *value);

extern const char *job_step_name(JobStep step);

#endif

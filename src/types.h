/*
 * types.h - the rows that modules hand to one another.
 *
 * catalog fills them, rotation joins what they say; role, login and keyring see no more than these.
 * Fixed sizes, no pointers into a memory context, save where a comment says otherwise.
 */
#ifndef ROTOR_TYPES_H
#define ROTOR_TYPES_H

#include "datatype/timestamp.h"
#include "utils/uuid.h"

#include "fsm.h"
#include "password.h"

/* pg_attribute_noreturn() ended with 17; this stands after a declaration in all versions. */
#define ROTOR_NORETURN __attribute__((noreturn))

/* system_identifier of a secret that came out of a dump of this very cluster. */
#define NO_CLUSTER 0

#define SECRET_NAME_SIZE (128 * 4 + 1) /* 128 characters of up to 4 bytes */
#define USERNAME_SIZE	 (128 * 4 + 1) /* of an account outside; a role's is shorter */
#define CLIENT_ADDR_SIZE 64
#define REASON_SIZE		 1025
#define ERROR_SIZE		 512
#define FINGERPRINT_LEN	 32

#define WORKER_CHANNEL \
	"rotor_worker" /* NOTIFY tells workers outside that there is something to do */
#define VERIFICATION_NAME "rotor verification" /* application_name of the verification login */

/* Who asked for something. */
typedef struct Actor
{
	Oid role;							/* GetUserId() when the function was entered */
	int pid;							/* of the caller's backend; 0: the schedule */
	char name[NAMEDATALEN];				/* name of role */
	char session_user[NAMEDATALEN];		/* empty: none */
	char client_addr[CLIENT_ADDR_SIZE]; /* empty: a local socket or the worker */
} Actor;

/* How a secret gets its next value; names: policy_strategy_name(). */
typedef enum Strategy
{
	STRATEGY_STAGED,
	STRATEGY_IMMEDIATE,
	STRATEGY_BLUE_GREEN, /* the secret is one of two whose roles are used in turn */
	STRATEGY_DUAL_WRITE, /* the former password stays valid for a while: MySQL */
	STRATEGY_COUNT
} Strategy;

/* One row of rotor.policy. */
typedef struct Policy
{
	char name[SECRET_NAME_SIZE];
	char type[16];
	PasswordSpec spec; /* spec.exclude points into exclude */
	char exclude[256];
	Strategy strategy;
	bool verifier_suffices;
	char *verify_query;			 /* palloc'd; NULL: none */
	char *verify_database;		 /* palloc'd; NULL: rotor's own */
	int scram_iterations;		 /* 0: the server's default */
	Interval *rotation_interval; /* palloc'd; NULL: none; also the next five */
	char *schedule;				 /* cron */
	char *time_zone;			 /* NULL: UTC */
	char *window_schedule;		 /* NULL, with a duration: the schedule's own times */
	Interval *window_duration;
	Interval *jitter;
	Interval *valid_until_margin; /* palloc'd; NULL: none */
	bool terminate_sessions;
	int max_attempts;
	int64 backoff_ms;
	int64 backoff_max_ms;
	int64 grace_ms;
} Policy;

/* One row of rotor.secret. */
typedef struct Secret
{
	int64 id;
	char name[SECRET_NAME_SIZE];
	Oid role; /* InvalidOid: an account at a target outside */
	char username[USERNAME_SIZE];
	char target[SECRET_NAME_SIZE];
	bool outside_target; /* not this cluster */
	bool outside_store;	 /* not only this database */
	uint64 system_identifier;
	char policy[SECRET_NAME_SIZE];
	bool enabled;
	bool deleted;
	bool due;		  /* when loaded by id: its scheduled rotation may begin */
	bool retiring;	  /* when loaded by id: what was in use before is not to log in any more */
	bool uncommitted; /* written by the transaction that reads it */
} Secret;

/* One row of rotor.pair: two secrets that are used in turn. */
typedef struct Pair
{
	char name[SECRET_NAME_SIZE];
	Secret in_use;
	Secret resting;
	char owner[USERNAME_SIZE]; /* its name when it was last seen */
	Oid owner_oid;			   /* InvalidOid: of a target outside */
} Pair;

/* A role as pg_authid has it. */
typedef struct RoleState
{
	Oid oid;
	char name[NAMEDATALEN];
	bool can_login;
	bool superuser;
	bool replication;
	char *verifier; /* palloc'd; NULL: no password */
	bool has_valid_until;
	TimestampTz valid_until;
} RoleState;

/* One row of rotor.version: a sealed value. */
typedef struct SealedValue
{
	pg_uuid_t key_id;
	bytea *sealed; /* palloc'd */
} SealedValue;

/* One row of rotor.data_key. */
typedef struct DataKeyRow
{
	pg_uuid_t id;
	char master_key_id[64];
	bytea *wrapped;		/* palloc'd */
	bytea *check_value; /* palloc'd */
} DataKeyRow;

/* What went wrong, in a form that fits shared memory and the catalog. Never a password. */
typedef struct Failure
{
	int sqlstate; /* MAKE_SQLSTATE form; 0: nothing */
	char message[ERROR_SIZE];
	char detail[ERROR_SIZE];
	char hint[ERROR_SIZE];
} Failure;

#endif

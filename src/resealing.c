/*
 * resealing.c - see resealing.h.
 */
#include "postgres.h"

#include "catalog.h"
#include "catalog_keys.h"
#include "miscadmin.h"
#include "resealing.h"
#include "sealing.h"
#include "transaction.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define BATCH			200	  /* values in one transaction: some ten milliseconds */
#define PAUSE_MS		60000 /* before a data key that failed is tried again */
#define MAX_DATA_KEYS	64	  /* that one turn looks at */
#define MAX_FAILED_KEYS 16

/* --- in somebody's transaction --- */

typedef struct Move
{
	int64 left;
	Resealing *result;
} Move;

static bool
move_value(const OwnedValue *owned, void *arg)
{
	Move *move = arg;
	SealedValue resealed;

	if (sealing_reseal(owned->secret_id, &owned->owner, &owned->value, &resealed))
	{
		catalog_replace_value(owned, &resealed);
		pfree(resealed.sealed);
		move->result->moved++;
		move->left--;
	}
	else
		move->result->damaged++;
	CHECK_FOR_INTERRUPTS();
	return move->left > 0;
}

void
resealing_move(const pg_uuid_t *key_id, int64 limit, Resealing *result)
{
	Move move = {.left = limit, .result = result};

	if (limit > 0)
		catalog_each_value_of_key(key_id, move_value, &move);
}

/* --- the worker's part --- */

typedef struct OldKeys
{
	int count;
	pg_uuid_t ids[MAX_DATA_KEYS];
} OldKeys;

static void
read_old_keys(void *arg)
{
	OldKeys *old = arg;
	pg_uuid_t *ids;
	int count = catalog_data_keys(&ids, true);

	for (int i = 0; i < count && old->count < MAX_DATA_KEYS; i++)
	{
		if (catalog_data_key_is_used(&ids[i]))
			old->ids[old->count++] = ids[i];
	}
}

typedef struct Batch
{
	pg_uuid_t key_id;
	Resealing result;
} Batch;

static void
move_batch(void *arg)
{
	Batch *batch = arg;
	Actor actor;

	actor_schedule(&actor);
	resealing_move(&batch->key_id, BATCH, &batch->result);
	if (batch->result.moved > 0)
		catalog_audit_event(
			&actor, "values_resealed", NULL,
			psprintf("{\"data_key\":\"%s\",\"moved\":" INT64_FORMAT "}",
					 DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&batch->key_id))),
					 batch->result.moved));
}

/* What is wrong with a data key, so that it is not tried, and told, again and again. */
typedef struct Trouble
{
	pg_uuid_t key_id;
	TimestampTz since;
	int64 damaged;
} Trouble;

static Trouble troubles[MAX_FAILED_KEYS];
static int trouble_count;

/* The trouble with that data key so far; a new one takes the place of the oldest. */
static Trouble *
trouble_of(const pg_uuid_t *key_id)
{
	Trouble *trouble;

	for (int i = 0; i < Min(trouble_count, MAX_FAILED_KEYS); i++)
	{
		if (memcmp(&troubles[i].key_id, key_id, sizeof(*key_id)) == 0)
			return &troubles[i];
	}
	trouble = &troubles[trouble_count++ % MAX_FAILED_KEYS];
	*trouble = (Trouble){.key_id = *key_id};
	return trouble;
}

/* Moves a batch of one data key; true if there may be more. */
static bool
turn_key(const pg_uuid_t *key_id)
{
	Trouble *trouble = trouble_of(key_id);
	Batch batch = {.key_id = *key_id};
	Failure failure;

	if (trouble->since != 0 &&
		!TimestampDifferenceExceeds(trouble->since, GetCurrentTimestamp(), PAUSE_MS))
		return false;
	trouble->since = 0;
	if (!transaction_run(move_batch, &batch, NULL, &failure))
	{
		ereport(LOG,
				(errcode(failure.sqlstate), errmsg("rotor: resealing failed: %s", failure.message),
				 failure.detail[0] ? errdetail_internal("%s", failure.detail) : 0));
		trouble->since = GetCurrentTimestamp();
		return false;
	}
	if (batch.result.damaged > trouble->damaged)
		ereport(
			LOG,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg(
				 "rotor: sealed values that are damaged stay under their data key: " INT64_FORMAT,
				 batch.result.damaged),
			 errhint("Restore the rows from a backup, or rotate to get new values.")));
	trouble->damaged = batch.result.damaged;
	return batch.result.moved == BATCH;
}

bool
resealing_turn(void)
{
	OldKeys old = {0};
	Failure ignored; /* the next query of the worker tells it too */
	bool more = false;

	if (!transaction_run(read_old_keys, &old, NULL, &ignored))
		return false;
	for (int i = 0; i < old.count; i++)
		more |= turn_key(&old.ids[i]);
	return more;
}

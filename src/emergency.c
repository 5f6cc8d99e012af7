/*
 * emergency.c - see emergency.h.
 */
#include "postgres.h"

#include "catalog_emergency.h"
#include "emergency.h"
#include "pgstat.h"
#include "rotation_batch.h"
#include "transaction.h"

#define PAUSE_MS 200 /* when what is left is in other hands */

/* The last secret this process came to: the list is gone through in rounds. */
static int64 position;

static int
claim(RotationOrder *orders, void *arg)
{
	int count = catalog_claim_emergency(orders, BATCH_SIZE, position);

	position = count == BATCH_SIZE ? orders[count - 1].secret_id : 0;
	return count;
}

typedef struct Look
{
	bool open;
	char activity[128];
} Look;

static void
look(void *arg)
{
	Look *found = arg;

	found->open = catalog_open_emergency(found->activity, sizeof(found->activity));
}

static void
end_what_is_over(void *arg)
{
	(void) catalog_end_emergencies();
}

static bool
in_transaction(void (*work)(void *arg), void *arg)
{
	Failure failure;

	if (transaction_run(work, arg, NULL, &failure))
		return true;
	ereport(LOG, (errcode(failure.sqlstate), errmsg("rotor: %s", failure.message)));
	return false;
}

int
emergency_turn(int64 counts[FSM_STATUS_COUNT])
{
	Look found = {0};
	BatchResult batch;
	bool wrapped;

	if (!in_transaction(look, &found))
		return PAUSE_MS;
	if (!found.open)
		return EMERGENCY_NONE;
	pgstat_report_activity(STATE_RUNNING, found.activity);
	wrapped = position == 0;
	rotation_batch(claim, NULL, counts, &batch);
	if (batch.ran == 0 || position == 0)
		(void) in_transaction(end_what_is_over, NULL);
	if (batch.ran > 0 || (batch.ordered > 0 && !wrapped))
		return batch.stuck ? PAUSE_MS : 0;
	return PAUSE_MS;
}

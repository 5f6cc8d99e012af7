/*
 * emergency.c - see emergency.h.
 */
#include "postgres.h"

#include "catalog_emergency.h"
#include "emergency.h"
#include "pgstat.h"
#include "rotation_batch.h"
#include "transaction.h"
#include "utils/timestamp.h"

#define PAUSE_MS 200 /* when what is left is in other hands */
#define COUNT_MS 500 /* at least, between two counts of what is left */

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
} Look;

/* For the eye, so that it takes no more than a twentieth of the time, however long the list is. */
static char activity[128];
static TimestampTz count_again;

static void
look(void *arg)
{
	Look *found = arg;
	TimestampTz now = GetCurrentTimestamp();

	if (now < count_again)
	{
		found->open = catalog_is_emergency_open();
		if (!found->open)
			count_again = 0;
		return;
	}
	found->open = catalog_open_emergency(activity, sizeof(activity));
	if (found->open)
		count_again = now + Max(20 * (GetCurrentTimestamp() - now), COUNT_MS * INT64CONST(1000));
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
	pgstat_report_activity(STATE_RUNNING, activity);
	wrapped = position == 0;
	rotation_batch(claim, NULL, counts, &batch);
	if (batch.ran == 0 || position == 0)
		(void) in_transaction(end_what_is_over, NULL);
	if (batch.ran > 0 || (batch.ordered > 0 && !wrapped))
		return batch.stuck ? PAUSE_MS : 0;
	return PAUSE_MS;
}

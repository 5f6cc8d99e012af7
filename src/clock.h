/*
 * clock.h - the time that schedules go by: the system's, unless a test has set rotor.test_clock.
 *
 * Whatever decides when something is due asks here, in SQL too (CLOCK_SQL). What is measured, what
 * is recorded and what the server itself compares (VALID UNTIL) goes by the system's clock.
 */
#ifndef ROTOR_CLOCK_H
#define ROTOR_CLOCK_H

#include "datatype/timestamp.h"
#include "utils/guc.h"

extern TimestampTz clock_now(void);

/* Has a test set it? */
extern bool clock_is_set(void);

/* What it showed at a moment that was recorded: one that was set stands still. */
extern TimestampTz clock_shown_at(TimestampTz recorded);

/* The same in SQL, as sql/observe.sql has it: now() unless a test has set the clock. */
#define CLOCK_SQL                                                                            \
	"coalesce(nullif(pg_catalog.current_setting('rotor.test_clock', true), '')::pg_catalog." \
	"timestamptz, pg_catalog.now())"

/* The hooks of rotor.test_clock. */
extern bool clock_check_setting(char **value, void **extra, GucSource source);
extern void clock_assign_setting(const char *value, void *extra);

#endif

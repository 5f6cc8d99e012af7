/*
 * clock.c - see clock.h.
 */
#include "postgres.h"

#include "clock.h"
#include "compat.h"
#include "pgtime.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

static TimestampTz test_time; /* 0: none */

TimestampTz
clock_now(void)
{
	return test_time != 0 ? test_time : GetCurrentTimestamp();
}

bool
clock_is_set(void)
{
	return test_time != 0;
}

TimestampTz
clock_shown_at(TimestampTz recorded)
{
	return test_time != 0 ? test_time : recorded;
}

/* Reads as many digits, and what has to stand behind them. */
static bool
read_number(const char **at, int digits, const char *behind, int *number)
{
	*number = 0;
	for (; digits > 0; digits--, (*at)++)
	{
		if (**at < '0' || **at > '9')
			return false;
		*number = *number * 10 + (**at - '0');
	}
	if (strncmp(*at, behind, strlen(behind)) != 0)
		return false;
	*at += strlen(behind);
	return true;
}

/* Reads "2027-03-28 00:59:59+00": no setting of a session may change what it means. */
static bool
read_time(const char *text, TimestampTz *time)
{
	struct pg_tm tm = {0};
	const char *at = text;

	if (!read_number(&at, 4, "-", &tm.tm_year) || !read_number(&at, 2, "-", &tm.tm_mon) ||
		!read_number(&at, 2, " ", &tm.tm_mday) || !read_number(&at, 2, ":", &tm.tm_hour) ||
		!read_number(&at, 2, ":", &tm.tm_min) || !read_number(&at, 2, "+00", &tm.tm_sec) ||
		*at != '\0')
		return false;
	if (tm.tm_year < 1970 || tm.tm_mon < 1 || tm.tm_mon > MONTHS_PER_YEAR || tm.tm_mday < 1 ||
		tm.tm_mday > day_tab[isleap(tm.tm_year)][tm.tm_mon - 1] || tm.tm_hour > 23 ||
		tm.tm_min > 59 || tm.tm_sec > 59)
		return false;
	return tm2timestamp(&tm, 0, NULL, time) == 0;
}

bool
clock_check_setting(char **value, void **extra, GucSource source)
{
	TimestampTz *time;

	if (*value == NULL || (*value)[0] == '\0')
		return true;
	time = GUC_EXTRA_ALLOC(sizeof(*time));
	if (time == NULL)
		return false;
	*extra = time;
	if (read_time(*value, time))
		return true;
	GUC_check_errhint("Write a time as 2027-03-28 00:59:59+00, or nothing.");
	return false;
}

void
clock_assign_setting(const char *value, void *extra)
{
	test_time = extra != NULL ? *(TimestampTz *) extra : 0;
}

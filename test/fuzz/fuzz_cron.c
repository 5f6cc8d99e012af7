/*
 * fuzz_cron.c
 *		Schedule text: the input is a number, from which a time follows, and the text.
 *
 * What a field says is read anew, member by member, by a reader that tries each number.  Days
 * are those of the C library's calendar.  What comes due must match, and nothing before it
 * may.
 */
#include "fuzz.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "cron.h"

typedef struct Fields
{
	char text[5][CRON_MAX_LENGTH + 1];
} Fields;

/* Takes the text apart; false if it is not five fields. */
static bool
split(const char *text, Fields *fields)
{
	static const char *const words[][2] = {
		{"@hourly", "0 * * * *"},	{"@daily", "0 0 * * *"},   {"@midnight", "0 0 * * *"},
		{"@weekly", "0 0 * * 0"},	{"@monthly", "0 0 1 * *"}, {"@yearly", "0 0 1 1 *"},
		{"@annually", "0 0 1 1 *"},
	};
	char copy[CRON_MAX_LENGTH + 1];
	char *rest = copy;
	char *field;
	int count = 0;

	(void) snprintf(copy, sizeof(copy), "%s", text);
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
	{
		char *start = copy + strspn(copy, " \t");

		if (strncasecmp(start, words[i][0], strcspn(start, " \t")) == 0 && *start == '@' &&
			strcspn(start, " \t") == strlen(words[i][0]))
		{
			(void) snprintf(copy, sizeof(copy), "%s", words[i][1]);
			break;
		}
	}
	while ((field = strsep(&rest, " \t")) != NULL)
	{
		if (*field == '\0')
			continue;
		if (count == 5)
			return false;
		(void) snprintf(fields->text[count++], sizeof(fields->text[0]), "%s", field);
	}
	return count == 5;
}

/* A number, or a name of a month or weekday. */
static int
value_of(int field, const char *text)
{
	static const char *const months[] = {"jan", "feb", "mar", "apr", "may", "jun",
										 "jul", "aug", "sep", "oct", "nov", "dec"};
	static const char *const weekdays[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat"};

	for (int i = 0; field == 3 && i < 12; i++)
	{
		if (strcasecmp(text, months[i]) == 0)
			return i + 1;
	}
	for (int i = 0; field == 4 && i < 7; i++)
	{
		if (strcasecmp(text, weekdays[i]) == 0)
			return i;
	}
	MUST(isdigit((unsigned char) *text));
	return (int) strtol(text, NULL, 10);
}

/* Does a member of a list, which is valid, have the number? */
static bool
member_has(int field, char *member, int number)
{
	static const int lowest[] = {0, 0, 1, 1, 0};
	static const int highest[] = {59, 23, 31, 12, 7};
	char *step = strchr(member, '/');
	char *end = strchr(member, '-');
	int from;
	int to;

	if (step != NULL)
		*step++ = '\0';
	if (end != NULL)
		*end++ = '\0';
	from = *member == '*' ? lowest[field] : value_of(field, member);
	to = *member == '*' ? highest[field] : from;
	if (end != NULL)
		to = value_of(field, end);
	if (field == 4 && to == 0 && from > 0)
		to = 7;
	MUST(from >= lowest[field] && from <= to && to <= highest[field]);
	return number >= from && number <= to &&
		   (number - from) % (step ? strtol(step, NULL, 10) : 1) == 0;
}

static bool
field_has(const Fields *fields, int field, int number)
{
	char copy[CRON_MAX_LENGTH + 1];
	char *rest = copy;
	char *member;

	(void) snprintf(copy, sizeof(copy), "%s", fields->text[field]);
	while ((member = strsep(&rest, ",")) != NULL)
	{
		char again[CRON_MAX_LENGTH + 1];

		(void) snprintf(again, sizeof(again), "%s", member);
		if (member_has(field, member, number) ||
			(field == 4 && number == 0 && member_has(field, again, 7)))
			return true;
	}
	return false;
}

/* A set is what its field says. */
static void
check_set(const Fields *fields, int field, uint64_t set, int highest)
{
	for (int i = 0; i < 64; i++)
		MUST((set >> i & 1) == (i <= highest && field_has(fields, field, i)));
}

static void
check_sets(const Fields *fields, const CronSpec *spec)
{
	check_set(fields, 0, spec->minutes, 59);
	check_set(fields, 1, spec->hours, 23);
	check_set(fields, 2, spec->days, 31);
	check_set(fields, 3, spec->months, 12);
	check_set(fields, 4, spec->weekdays, 6);
	MUST(spec->either_day == (fields->text[2][0] != '*' && fields->text[4][0] != '*'));
	MUST(spec->fixed_time == (fields->text[0][0] != '*' && fields->text[1][0] != '*'));
}

static bool
day_matches(const CronSpec *spec, const struct tm *day)
{
	bool by_day = spec->days >> day->tm_mday & 1;
	bool by_weekday = spec->weekdays >> day->tm_wday & 1;

	return (spec->months >> (day->tm_mon + 1) & 1) &&
		   (spec->either_day ? by_day || by_weekday : by_day && by_weekday);
}

/* Minutes since 1970. */
static int64_t
minutes_of(const CronTime *time)
{
	struct tm tm = {.tm_year = time->year - 1900,
					.tm_mon = time->month - 1,
					.tm_mday = time->day,
					.tm_hour = time->hour,
					.tm_min = time->minute};

	return timegm(&tm) / 60;
}

static CronTime
time_of(int64_t minutes)
{
	time_t seconds = minutes * 60;
	struct tm tm;
	CronTime time;

	MUST(gmtime_r(&seconds, &tm) != NULL);
	time.year = tm.tm_year + 1900;
	time.month = tm.tm_mon + 1;
	time.day = tm.tm_mday;
	time.hour = tm.tm_hour;
	time.minute = tm.tm_min;
	return time;
}

/* Does a minute match? */
static bool
matches(const CronSpec *spec, int64_t minutes)
{
	time_t seconds = minutes * 60;
	struct tm tm;

	MUST(gmtime_r(&seconds, &tm) != NULL);
	return day_matches(spec, &tm) && (spec->hours >> tm.tm_hour & 1) &&
		   (spec->minutes >> tm.tm_min & 1);
}

/* Nothing between two minutes matches; days that do not match are passed over whole. */
static void
must_not_match_between(const CronSpec *spec, int64_t after, int64_t before)
{
	for (int64_t minute = after + 1; minute < before; minute++)
	{
		time_t seconds = minute * 60;
		struct tm tm;

		MUST(gmtime_r(&seconds, &tm) != NULL);
		if (day_matches(spec, &tm))
			MUST(!matches(spec, minute));
		else
			minute += 24 * 60 - 1 - (tm.tm_hour * 60 + tm.tm_min);
	}
}

static void
check_next(const CronSpec *spec, int64_t after)
{
	for (int i = 0; i < 3; i++)
	{
		CronTime time = time_of(after);
		CronTime next;
		int64_t due;

		MUST(cron_next(spec, &time, &next));
		due = minutes_of(&next);
		MUST(due > after && matches(spec, due));
		must_not_match_between(spec, after, due);
		after = due;
	}
}

/* The sets, written in full, are read as the same sets. */
static void
check_full_text(const CronSpec *spec)
{
	char text[CRON_MAX_LENGTH + 1];
	size_t used = 0;
	CronSpec again;
	RotorError err;
	const uint64_t sets[] = {spec->minutes, spec->hours, spec->days, spec->months, spec->weekdays};

	for (int field = 0; field < 5; field++)
	{
		const char *before = field > 0 ? " " : "";

		for (int i = 0; i < 64; i++)
		{
			if (sets[field] >> i & 1)
			{
				used += (size_t) snprintf(text + used, sizeof(text) - used, "%s%d", before, i);
				MUST(used < sizeof(text));
				before = ",";
			}
		}
	}
	MUST(cron_parse(text, &again, &err));
	MUST(again.minutes == spec->minutes && again.hours == spec->hours && again.days == spec->days);
	MUST(again.months == spec->months && again.weekdays == spec->weekdays);
}

/* The error names a place that exists. */
static void
check_error(const char *text, const RotorError *err)
{
	const char *place = strstr(err->message, "at position ");
	long position;

	must_be_error(err, ROTOR_ERROR_ARGUMENT, ROTOR_ERROR_ARGUMENT);
	MUST(err->hint[0] != '\0');
	if (place == NULL)
		return;
	position = strtol(place + strlen("at position "), NULL, 10);
	MUST(position >= 1 && (size_t) position <= strlen(text) + 1);
	MUST(err->detail[0] != '\0');
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Input input = {data, size};
	/* From about 1582 to 2400. */
	int64_t after = (int64_t) (take_number(&input) % 430000000) - 204000000;
	char *text = strndup((const char *) input.data, input.len);
	CronSpec spec;
	RotorError err;
	Fields fields;

	MUST(text != NULL);
	if (cron_parse(text, &spec, &err))
	{
		MUST(split(text, &fields));
		check_sets(&fields, &spec);
		check_full_text(&spec);
		check_next(&spec, after);
	}
	else
		check_error(text, &err);
	free(text);
	return 0;
}

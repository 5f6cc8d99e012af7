/*
 * cron.c
 *		Schedules as cron writes them; see cron.h.
 */
#include "cron.h"

#include <string.h>

#define FIELD_COUNT 5

typedef struct Field
{
	const char *name;
	const char *names; /* of three letters each, the first for `first_name`; or NULL */
	int first_name;
	int min;
	int max;
	const char *allowed;
} Field;

/* A weekday of 7 is one of 0, but not before its range is known. */
static const Field fields[FIELD_COUNT] = {
	{"minute", NULL, 0, 0, 59, "Minutes are 0 to 59"},
	{"hour", NULL, 0, 0, 23, "Hours are 0 to 23"},
	{"day of month", NULL, 0, 1, 31, "Days of the month are 1 to 31"},
	{"month", "janfebmaraprmayjunjulaugsepoctnovdec", 1, 1, 12, "Months are 1 to 12 or jan to dec"},
	{"day of week", "sunmontuewedthufrisat", 0, 0, 7, "Weekdays are 0 to 7 or sun to sat"},
};

static const struct
{
	const char *name;
	const char *text;
} words[] = {
	{"@hourly", "0 * * * *"},	{"@daily", "0 0 * * *"},   {"@midnight", "0 0 * * *"},
	{"@weekly", "0 0 * * 0"},	{"@monthly", "0 0 1 * *"}, {"@yearly", "0 0 1 1 *"},
	{"@annually", "0 0 1 1 *"},
};

/* Where reading has got to. */
typedef struct Reader
{
	const char *text;
	const char *at;
	const Field *field;
	RotorError *err;
} Reader;

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Of the C locale, whatever the locale is. */
static int
lower(char c)
{
	return c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c;
}

/* Do the first len characters of text, in lower case, read like that? */
static bool
reads(const char *text, const char *like, size_t len)
{
	for (size_t i = 0; i < len; i++)
	{
		if (lower(text[i]) != like[i])
			return false;
	}
	return true;
}

/* The fact is a sentence about what is at `at`. */
static bool
complain(const Reader *reader, const char *at, const char *fact)
{
	(void) error_set(reader->err, ROTOR_ERROR_ARGUMENT, "invalid %s at position %d of the schedule",
					 reader->field->name, (int) (at - reader->text) + 1);
	(void) error_detail(reader->err, "%s", fact);
	return error_hint(reader->err,
					  "%s; also *, ranges (1-5), steps (*/2, 1-5/2) and lists of these (1,3-5).",
					  reader->field->allowed);
}

static bool
read_digits(Reader *reader, int min, int max, const char *fact, int *number)
{
	const char *start = reader->at;

	*number = 0;
	for (; is_digit(*reader->at); reader->at++)
	{
		if (*number <= max)
			*number = *number * 10 + (*reader->at - '0');
	}
	if (reader->at == start || *number < min || *number > max)
		return complain(reader, start, fact);
	return true;
}

static bool
read_value(Reader *reader, int *value)
{
	const Field *field = reader->field;

	*value = field->first_name;
	for (const char *name = field->names; name != NULL && *name != '\0'; name += 3)
	{
		if (reads(reader->at, name, 3))
		{
			reader->at += 3;
			return true;
		}
		++*value;
	}
	return read_digits(reader, field->min, field->max,
					   is_digit(*reader->at) ? "The number is out of range."
											 : "A number or another allowed value is missing.",
					   value);
}

/* One member of a list: `*` or a value or a range, and a step for the first and the last. */
static bool
read_range(Reader *reader, uint64_t *set)
{
	const Field *field = reader->field;
	const char *start = reader->at;
	int from = field->min;
	int to = field->max;
	int step = 1;
	bool single = false;

	if (*reader->at == '*')
		reader->at++;
	else if (!read_value(reader, &from))
		return false;
	else if (*reader->at == '-')
	{
		reader->at++;
		if (!read_value(reader, &to))
			return false;
		if (to == 0 && from > 0 && field->max == 7)
			to = 7;
		if (from > to)
			return complain(reader, start, "The range ends before it begins.");
	}
	else
	{
		to = from;
		single = true;
	}

	if (*reader->at == '/')
	{
		if (single)
			return complain(reader, reader->at, "A step needs * or a range in front.");
		reader->at++;
		if (!read_digits(reader, 1, field->max, "The step is missing or out of range.", &step))
			return false;
	}
	for (int value = from; value <= to; value += step)
		*set |= UINT64_C(1) << value;
	return true;
}

/* A field and the blanks behind it. */
static bool
read_field(Reader *reader, uint64_t *set)
{
	*set = 0;
	if (!read_range(reader, set))
		return false;
	while (*reader->at == ',')
	{
		reader->at++;
		if (!read_range(reader, set))
			return false;
	}
	if (*reader->at != '\0' && !is_blank(*reader->at))
		return complain(reader, reader->at, "This character has no meaning here.");
	while (is_blank(*reader->at))
		reader->at++;
	return true;
}

static bool
complain_of_form(RotorError *err, const char *message)
{
	(void) error_set(err, ROTOR_ERROR_ARGUMENT, "%s", message);
	return error_hint(err, "Write minute, hour, day of month, month and day of week, such as "
						   "\"30 3 * * mon-fri\", or one of @hourly, @daily, @weekly, @monthly "
						   "and @yearly.");
}

static int
days_in_month(int year, int month)
{
	static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

	return month == 2 && leap ? 29 : days[month - 1];
}

/*
 * Is there a day of the month in one of the months?  Nothing else can be impossible: in 400
 * years each date, 29 February too, falls on each day of the week.
 */
static bool
has_a_date(const CronSpec *spec)
{
	if (spec->either_day)
		return true;
	for (int month = 1; month <= 12; month++)
	{
		uint32_t in_month = (uint32_t) ((UINT64_C(2) << days_in_month(2000, month)) - 2);

		if ((spec->months & 1U << month) && (spec->days & in_month))
			return true;
	}
	return false;
}

/* The five fields that a word such as @daily stands for; the text itself if it is no word. */
static const char *
look_up_word(const char *text)
{
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
	{
		size_t len = strlen(words[i].name);

		if (strnlen(text, len) == len && reads(text, words[i].name, len) &&
			text[len + strspn(text + len, " \t")] == '\0')
			return words[i].text;
	}
	return text;
}

bool
cron_parse(const char *text, CronSpec *spec, RotorError *err)
{
	uint64_t sets[FIELD_COUNT];
	bool star[FIELD_COUNT];
	Reader reader = {.text = text, .err = err};

	if (strnlen(text, CRON_MAX_LENGTH + 1) > CRON_MAX_LENGTH)
		return complain_of_form(err, "schedule is too long");
	reader.at = text + strspn(text, " \t");
	if (*reader.at == '@')
	{
		reader.at = look_up_word(reader.at);
		if (*reader.at == '@')
			return complain_of_form(err, "schedule is an unknown word");
	}
	for (int i = 0; i < FIELD_COUNT; i++)
	{
		if (*reader.at == '\0')
			return complain_of_form(err, "schedule has fewer than five fields");
		reader.field = &fields[i];
		star[i] = *reader.at == '*';
		if (!read_field(&reader, &sets[i]))
			return false;
	}
	if (*reader.at != '\0')
		return complain_of_form(err, "schedule has more than five fields");

	spec->minutes = sets[0];
	spec->hours = (uint32_t) sets[1];
	spec->days = (uint32_t) sets[2];
	spec->months = (uint16_t) sets[3];
	spec->weekdays = (uint8_t) ((sets[4] | sets[4] >> 7) & 0x7f);
	spec->either_day = !star[2] && !star[4];
	spec->fixed_time = !star[0] && !star[1];
	if (!has_a_date(spec))
	{
		(void) error_set(err, ROTOR_ERROR_ARGUMENT, "schedule never comes due");
		(void) error_detail(err, "None of its months has one of its days of the month.");
		return error_hint(err, "Choose another day of month, or another month.");
	}
	return true;
}

/* Sunday is 0. */
static int
weekday(const CronTime *time)
{
	static const uint8_t shift[] = {0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4};
	int year = time->month < 3 ? time->year - 1 : time->year;

	return (year + year / 4 - year / 100 + year / 400 + shift[time->month - 1] + time->day) % 7;
}

static bool
day_matches(const CronSpec *spec, const CronTime *time)
{
	bool by_day = spec->days >> time->day & 1;
	bool by_weekday = spec->weekdays >> weekday(time) & 1;

	if (!(spec->months >> time->month & 1))
		return false;
	return spec->either_day ? by_day || by_weekday : by_day && by_weekday;
}

/* The first member of a set from `from` on; -1 if there is none. */
static int
member_from(uint64_t set, int from)
{
	set &= from < 64 ? ~UINT64_C(0) << from : 0;
	return set != 0 ? __builtin_ctzll(set) : -1;
}

/* The next day, or the first day of the next month. */
static void
next_day(CronTime *time, bool next_month)
{
	if (!next_month && time->day < days_in_month(time->year, time->month))
	{
		time->day++;
		return;
	}
	time->day = 1;
	time->month = time->month % 12 + 1;
	time->year += time->month == 1;
}

/* The first match on the day of *time, from its hour and minute on. */
static bool
find_on_day(const CronSpec *spec, CronTime *time)
{
	int hour = member_from(spec->hours, time->hour);
	int minute = member_from(spec->minutes, hour == time->hour ? time->minute : 0);

	if (hour >= 0 && minute < 0)
	{
		hour = member_from(spec->hours, hour + 1);
		minute = member_from(spec->minutes, 0);
	}
	time->hour = hour;
	time->minute = minute;
	return hour >= 0 && minute >= 0;
}

bool
cron_next(const CronSpec *spec, const CronTime *after, CronTime *next)
{
	int last_year = after->year + 400;

	*next = *after;
	next->minute++; /* 60 is behind the last one of the hour */
	if (day_matches(spec, next) && find_on_day(spec, next))
		return true;
	while (next->year <= last_year)
	{
		next_day(next, !(spec->months >> next->month & 1));
		next->hour = 0;
		next->minute = 0;
		if (day_matches(spec, next))
			return find_on_day(spec, next);
	}
	return false;
}

/*
 * log.c - one line an event; see log.h.
 */
#include "log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *const level_names[] = {"debug", "info", "warning", "error"};

static LogFormat chosen_format = LOG_JSON;
static _Atomic int least_level = LOG_INFO;

/* Texts are cut at these, so that all of them together fit a line even if each byte is escaped. */
#define MESSAGE_MAX 256
#define FIELD_MAX	200

typedef struct Line
{
	char *data;
	size_t used;
	size_t size; /* two bytes less than there are: for the end */
} Line;

static void
put(Line *line, const char *text, size_t len)
{
	if (len > line->size - line->used)
		len = line->size - line->used;
	memcpy(line->data + line->used, text, len);
	line->used += len;
}

static void
put_text(Line *line, const char *text)
{
	put(line, text, strlen(text));
}

/* The length of the UTF-8 character at text, whose end is a NUL; 0 if it is none. */
static size_t
character_length(const unsigned char *text)
{
	size_t length = *text < 0x80   ? 1
					: *text < 0xC2 ? 0
					: *text < 0xE0 ? 2
					: *text < 0xF0 ? 3
					: *text < 0xF5 ? 4
								   : 0;

	for (size_t i = 1; i < length; i++)
	{
		if ((text[i] & 0xC0) != 0x80)
			return 0;
	}
	/* Overlong forms, surrogates, and what lies beyond Unicode. */
	if ((*text == 0xE0 && text[1] < 0xA0) || (*text == 0xED && text[1] > 0x9F) ||
		(*text == 0xF0 && text[1] < 0x90) || (*text == 0xF4 && text[1] > 0x8F))
		return 0;
	return length;
}

/* Foreign words: without control characters or broken UTF-8; quotes and backslashes escaped if json. */
static void
put_words(Line *line, const char *words, size_t most, bool json)
{
	const unsigned char *at = (const unsigned char *) words;
	const unsigned char *end = at + most;

	while (*at != '\0' && at < end)
	{
		size_t length = character_length(at);

		if (length == 0)
		{
			put(line, "?", 1);
			at++;
			continue;
		}
		/* A character is written whole or not at all, and leaves room for a quote behind it. */
		if (line->size - line->used < 6)
			return;
		if (json && (*at == '"' || *at == '\\'))
			put(line, "\\", 1);
		put(line, *at < ' ' || *at == 0x7F ? " " : (const char *) at, length);
		at += length;
	}
}

static void
put_field(Line *line, LogFormat format, const char *name, const char *value, size_t most)
{
	if (value == NULL || value[0] == '\0')
		return;
	if (format == LOG_JSON)
	{
		put_text(line, ",\"");
		put_text(line, name);
		put_text(line, "\":\"");
		put_words(line, value, most, true);
		put_text(line, "\"");
	}
	else
	{
		put_text(line, " ");
		put_text(line, name);
		put_text(line, "=");
		put_words(line, value, most, false);
	}
}

static void
put_number(Line *line, LogFormat format, const char *name, double value)
{
	char text[64];

	(void) snprintf(text, sizeof(text), format == LOG_JSON ? ",\"%s\":%.15g" : " %s=%.15g", name,
					value);
	put_text(line, text);
}

static void
put_event(Line *line, LogFormat format, const LogEvent *event)
{
	put_field(line, format, "rotation", event->rotation, FIELD_MAX);
	put_field(line, format, "secret", event->secret, FIELD_MAX);
	put_field(line, format, "step", event->step, FIELD_MAX);
	if (event->step != NULL && event->attempt >= 0)
		put_number(line, format, "attempt", event->attempt);
	if (event->step != NULL && event->duration_ms >= 0)
		put_number(line, format, "duration_ms", event->duration_ms);
	put_field(line, format, "class", event->class, FIELD_MAX);
	put_field(line, format, "code", event->code, FIELD_MAX);
	put_field(line, format, "target", event->target, FIELD_MAX);
	put_field(line, format, "store", event->store, FIELD_MAX);
	put_field(line, format, "detail", event->detail, (size_t) 2 * MESSAGE_MAX);
}

size_t
log_format_line(char data[LOG_LINE_SIZE], LogFormat format, int64_t time_ms, LogLevel level,
				const LogEvent *event, const char *message)
{
	Line line = {.data = data, .size = LOG_LINE_SIZE - 3};
	time_t seconds = (time_t) (time_ms / 1000);
	struct tm parts;
	char stamp[64];

	(void) gmtime_r(&seconds, &parts);
	(void) snprintf(stamp, sizeof(stamp), "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ",
					parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday, parts.tm_hour,
					parts.tm_min, parts.tm_sec, (int) (time_ms % 1000));
	if (format == LOG_JSON)
	{
		put_text(&line, "{\"time\":\"");
		put_text(&line, stamp);
		put_text(&line, "\"");
		put_field(&line, format, "level", level_names[level], FIELD_MAX);
		put_field(&line, format, "message", message, MESSAGE_MAX);
	}
	else
	{
		put_text(&line, stamp);
		put_text(&line, " ");
		put_text(&line, level_names[level]);
		put_text(&line, ": ");
		put_words(&line, message, MESSAGE_MAX, false);
	}
	if (event != NULL)
		put_event(&line, format, event);
	line.size = LOG_LINE_SIZE - 1;
	put_text(&line, format == LOG_JSON ? "}\n" : "\n");
	data[line.used] = '\0';
	return line.used;
}

void
log_init(LogFormat format, LogLevel least)
{
	chosen_format =
		format != LOG_AUTO ? format : (isatty(STDERR_FILENO) == 1 ? LOG_TEXT : LOG_JSON);
	log_set_level(least);
}

void
log_set_level(LogLevel least)
{
	atomic_store(&least_level, least);
}

void
log_event(LogLevel level, const LogEvent *event, const char *format, ...)
{
	char message[MESSAGE_MAX + 1];
	char line[LOG_LINE_SIZE];
	struct timespec now;
	size_t length;
	va_list args;

	if ((int) level < atomic_load(&least_level))
		return;
	va_start(args, format);
	(void) vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	(void) clock_gettime(CLOCK_REALTIME, &now);
	length =
		log_format_line(line, chosen_format, (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000,
						level, event, message);
	/* There is nobody to tell that the log cannot be written. */
	if (write(STDERR_FILENO, line, length) < 0)
		return;
}

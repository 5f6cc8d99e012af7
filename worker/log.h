/*
 * log.h - one line an event, on standard error: JSON, or text on a terminal.
 *
 * What always holds: a line is written by one write(), so that those of several threads do not mix; only
 * what LogEvent has can be logged, and none of it is a password: messages are ours or an outcome's, which
 * outcome_scrub() has seen. Control characters and bytes that are no UTF-8 never reach the output.
 *
 * Called by the main loop and by what it calls; never by a store or a target, whose outcomes it logs.
 */
#ifndef ROTOR_WORKER_LOG_H
#define ROTOR_WORKER_LOG_H

#include <stddef.h>
#include <stdint.h>

typedef enum LogLevel
{
	LOG_DEBUG,
	LOG_INFO,
	LOG_WARNING,
	LOG_ERROR
} LogLevel;

typedef enum LogFormat
{
	LOG_AUTO,
	LOG_JSON,
	LOG_TEXT
} LogFormat;

/* NULL and negative numbers are left out. */
typedef struct LogEvent
{
	const char *rotation;
	const char *secret;
	const char *step;
	int attempt; /* from 0; shown where there is a step */
	double duration_ms;
	const char *class;
	const char *code;
	const char *target;
	const char *store;
	const char *detail;
} LogEvent;

#define LOG_LINE_SIZE 4096

/* Once, before threads are started: JSON or text, and the least level. */
extern void log_init(LogFormat format, LogLevel least);
/* Any thread may call it. */
extern void log_set_level(LogLevel least);

/* An event; NULL: the message alone. What does not fit LOG_LINE_SIZE is cut, the line stays whole. */
extern void log_event(LogLevel level, const LogEvent *event, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* The line itself, for tests: its length; the time is in ms since 1970, UTC. */
extern size_t log_format_line(char data[LOG_LINE_SIZE], LogFormat format, int64_t time_ms,
							  LogLevel level, const LogEvent *event, const char *message);

#endif

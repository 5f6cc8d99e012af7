/*
 * metrics.h - what the worker counts, and its text for Prometheus (format 0.0.4).
 *
 * One static table in metrics.c has every metric with its labels, so that names, help and /metrics cannot
 * drift apart. What always holds: any thread may call anything here; no label holds a secret, for names of
 * targets and stores, steps and classes are all that is ever given; the number of series is bounded, and what
 * would go beyond is counted under the label value "other".
 *
 * Called by the main loop, steps and the breakers; read by http_server.c.
 */
#ifndef ROTOR_WORKER_METRICS_H
#define ROTOR_WORKER_METRICS_H

#include <stddef.h>

#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

#define METRIC_MAX_LABELS 4
#define METRIC_MAX_SERIES 1024 /* of one metric; those of "other" come on top */
#define METRIC_LABEL_MAX  127  /* bytes of a label's value; what is longer is cut */

/* Which labels each has, in this order, stands behind it. */
typedef enum Metric
{
	METRIC_STEPS,			  /* counter: step, result, target, store */
	METRIC_STEP_SECONDS,	  /* histogram: step, target type */
	METRIC_QUEUE_WAITING,	  /* gauge; none until it is known */
	METRIC_QUEUE_OVERDUE,	  /* gauge, seconds; none until it is known */
	METRIC_LEASES_HELD,		  /* gauge */
	METRIC_RETRIES,			  /* counter */
	METRIC_BREAKER_STATE,	  /* gauge, a MetricBreaker: target, store; one of the two is NULL */
	METRIC_CLAIMS,			  /* counter */
	METRIC_LATE_ANSWERS,	  /* counter */
	METRIC_CONTROL_CONNECTED, /* gauge, 0 or 1 */
	METRIC_BUILD_INFO,		  /* gauge, 1: version; metrics_init() sets it */
	METRIC_COUNT
} Metric;

typedef enum MetricBreaker
{
	METRIC_BREAKER_CLOSED,
	METRIC_BREAKER_HALF_OPEN,
	METRIC_BREAKER_OPEN
} MetricBreaker;

/* Values of a metric's labels, in its order; NULL or "" leaves that label out. */
typedef const char *const MetricLabels[METRIC_MAX_LABELS];
#define METRIC_LABELS(...) ((MetricLabels){__VA_ARGS__})
#define METRIC_NO_LABELS   METRIC_LABELS(NULL)

/* Once, before threads are started: notes the time of the start. Forgets all that was counted. */
extern void metrics_init(const char *version);

/* A counter grows; amount is not negative. */
extern void metrics_add(Metric metric, double amount, MetricLabels labels);

/* A gauge has this value now. */
extern void metrics_set(Metric metric, double value, MetricLabels labels);

/* A histogram gets one more observation. */
extern void metrics_observe(Metric metric, double seconds, MetricLabels labels);

/* Nobody knows a gauge's value any more: all of its series go. */
extern void metrics_forget(Metric metric);

/* All of it, and the process's own figures, as text; NULL if memory is short. The caller frees it. */
extern char *metrics_text(size_t *len);

#endif

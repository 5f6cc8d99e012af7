/*
 * metrics.c - series, their bound, and their text; see metrics.h.
 *
 * One mutex guards everything: an update is a comparison of hashes and an addition, and the text of all series
 * takes less than a scrape is worth waiting for. If memory is short an observation is lost, never a rotation.
 */
#include "metrics.h"

#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <sys/resource.h>

typedef enum MetricKind
{
	KIND_COUNTER,
	KIND_GAUGE,
	KIND_HISTOGRAM
} MetricKind;

typedef struct Label
{
	const char *name;
	bool open; /* its values are names that users give: over the bound they become "other" */
} Label;

/* NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding): a few rows, in the order of reading. */
typedef struct MetricInfo
{
	const char *name;
	MetricKind kind;
	bool zero; /* without labels, and 0 from the start on */
	const char *help;
	Label labels[METRIC_MAX_LABELS];
} MetricInfo;

static const MetricInfo infos[METRIC_COUNT] = {
	[METRIC_STEPS] = {"rotor_steps_total",
					  KIND_COUNTER,
					  false,
					  "Steps of rotations that were done, by class of outcome.",
					  {{"step", false}, {"result", false}, {"target", true}, {"store", true}}},
	[METRIC_STEP_SECONDS] = {"rotor_step_duration_seconds",
							 KIND_HISTOGRAM,
							 false,
							 "Time that a step took, from its claim to its outcome.",
							 {{"step", false}, {"target_type", false}}},
	[METRIC_QUEUE_WAITING] = {"rotor_queue_waiting",
							  KIND_GAUGE,
							  false,
							  "Steps that are due and that nobody holds, of all workers.",
							  {{NULL, false}}},
	[METRIC_QUEUE_OVERDUE] = {"rotor_queue_oldest_overdue_seconds",
							  KIND_GAUGE,
							  false,
							  "Time for which the oldest step in the queue has been due.",
							  {{NULL, false}}},
	[METRIC_LEASES_HELD] =
		{"rotor_leases_held", KIND_GAUGE, true, "Steps that this worker holds.", {{NULL, false}}},
	[METRIC_RETRIES] = {"rotor_retries_total",
						KIND_COUNTER,
						true,
						"Steps that were begun again after an attempt that failed.",
						{{NULL, false}}},
	[METRIC_BREAKER_STATE] =
		{"rotor_breaker_state",
		 KIND_GAUGE,
		 false,
		 "Circuit breaker of a target or store: 0 closed, 1 half-open, 2 open.",
		 {{"target", true}, {"store", true}}},
	[METRIC_CLAIMS] = {"rotor_claims_total",
					   KIND_COUNTER,
					   true,
					   "Steps that this worker claimed.",
					   {{NULL, false}}},
	[METRIC_LATE_ANSWERS] = {"rotor_late_answers_total",
							 KIND_COUNTER,
							 true,
							 "Outcomes that were refused because the lease had ended.",
							 {{NULL, false}}},
	[METRIC_CONTROL_CONNECTED] = {"rotor_control_connected",
								  KIND_GAUGE,
								  true,
								  "Whether there is a connection to the control database.",
								  {{NULL, false}}},
	[METRIC_BUILD_INFO] = {"rotor_build_info",
						   KIND_GAUGE,
						   false,
						   "Always 1; the version is in the label.",
						   {{"version", false}}},
};

/* Upper bounds, seconds: from a login over loopback to a lease. The last, +Inf, is the count. */
static const double bounds[] = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60};
#define BOUND_COUNT (sizeof(bounds) / sizeof(bounds[0]))

/* The labels of a series as they are compared and kept: values, one string behind the other. */
typedef struct Key
{
	char text[METRIC_MAX_LABELS * (METRIC_LABEL_MAX + 1)];
	size_t len;
	uint64_t hash;
} Key;

typedef struct Series
{
	Key key;
	double value; /* of a histogram: the sum */
	uint64_t count;
	uint64_t buckets[BOUND_COUNT]; /* each without those below it */
} Series;

typedef struct Family
{
	Series *series;
	size_t count;
	size_t allocated;
} Family;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Family families[METRIC_COUNT];
static struct timespec started;

/* Bytes of the character at text, 1 to 4; 0 if it is no UTF-8. */
static size_t
utf8_length(const unsigned char *text)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t len = text[0] < 0x80	  ? 1
				 : text[0] < 0xc0 ? 0
				 : text[0] < 0xe0 ? 2
				 : text[0] < 0xf0 ? 3
								  : 4;
	uint32_t code = len == 1 ? text[0] : len == 0 ? 0 : text[0] & (0x7fU >> len);

	if (len == 0 || text[0] >= 0xf8)
		return 0;
	for (size_t i = 1; i < len; i++)
	{
		if ((text[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (text[i] & 0x3f);
	}
	if (code < least[len] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
		return 0;
	return len;
}

/* Adds one value to the key: cut to its largest size, what is no UTF-8 as '?'. */
static void
key_add(Key *key, const char *value)
{
	const unsigned char *from = (const unsigned char *) (value != NULL ? value : "");
	size_t end = key->len + METRIC_LABEL_MAX;

	while (*from != '\0')
	{
		size_t len = utf8_length(from);
		size_t step = len > 0 ? len : 1;

		if (key->len + step > end)
			break;
		if (len > 0)
			memcpy(key->text + key->len, from, len);
		else
			key->text[key->len] = '?';
		key->len += step;
		from += step;
	}
	key->text[key->len++] = '\0';
}

/* The key of these labels; others says whether open labels are called "other". */
static void
key_make(Key *key, Metric metric, MetricLabels labels, bool others)
{
	memset(key, 0, sizeof(*key));
	for (int i = 0; i < METRIC_MAX_LABELS; i++)
	{
		const Label *label = &infos[metric].labels[i];
		bool has = label->name != NULL && labels[i] != NULL && labels[i][0] != '\0';

		if (!has)
			key_add(key, NULL);
		else
			key_add(key, others && label->open ? "other" : labels[i]);
	}
	key->hash = UINT64_C(14695981039346656037);
	for (size_t i = 0; i < key->len; i++)
		key->hash = (key->hash ^ (unsigned char) key->text[i]) * UINT64_C(1099511628211);
}

static Series *
family_find(const Family *family, const Key *key)
{
	for (size_t i = 0; i < family->count; i++)
	{
		Series *series = &family->series[i];

		if (series->key.hash == key->hash && series->key.len == key->len &&
			memcmp(series->key.text, key->text, key->len) == 0)
			return series;
	}
	return NULL;
}

/* A new series; NULL if memory is short. */
static Series *
family_extend(Family *family, const Key *key)
{
	Series *series;

	if (family->count == family->allocated)
	{
		size_t wanted = family->allocated == 0 ? 8 : family->allocated * 2;
		Series *larger = reallocarray(family->series, wanted, sizeof(*larger));

		if (larger == NULL)
			return NULL;
		family->series = larger;
		family->allocated = wanted;
	}
	series = &family->series[family->count++];
	memset(series, 0, sizeof(*series));
	series->key = *key;
	return series;
}

/*
 * The series of these labels, made if need be; NULL if there is none to be had. Under the lock. Labels that are
 * not open have few values, all of them ours, so the series that are called "other" are few; there is a bound
 * to them nevertheless.
 */
static Series *
series_of(Metric metric, MetricLabels labels)
{
	Family *family = &families[metric];
	Series *series;
	Key key;

	key_make(&key, metric, labels, false);
	series = family_find(family, &key);
	if (series == NULL && family->count >= METRIC_MAX_SERIES)
	{
		key_make(&key, metric, labels, true);
		series = family_find(family, &key);
	}
	if (series == NULL && family->count < (size_t) 2 * METRIC_MAX_SERIES)
		series = family_extend(family, &key);
	return series;
}

static void
family_empty(Family *family)
{
	free(family->series);
	memset(family, 0, sizeof(*family));
}

void
metrics_init(const char *version)
{
	(void) pthread_mutex_lock(&lock);
	(void) clock_gettime(CLOCK_REALTIME, &started);
	for (int i = 0; i < METRIC_COUNT; i++)
	{
		family_empty(&families[i]);
		if (infos[i].zero)
			(void) series_of((Metric) i, METRIC_NO_LABELS);
	}
	(void) pthread_mutex_unlock(&lock);
	metrics_set(METRIC_BUILD_INFO, 1, METRIC_LABELS(version));
}

void
metrics_add(Metric metric, double amount, MetricLabels labels)
{
	Series *series;

	(void) pthread_mutex_lock(&lock);
	series = series_of(metric, labels);
	if (series != NULL && amount > 0)
		series->value += amount;
	(void) pthread_mutex_unlock(&lock);
}

void
metrics_set(Metric metric, double value, MetricLabels labels)
{
	Series *series;

	(void) pthread_mutex_lock(&lock);
	series = series_of(metric, labels);
	if (series != NULL)
		series->value = value;
	(void) pthread_mutex_unlock(&lock);
}

void
metrics_observe(Metric metric, double seconds, MetricLabels labels)
{
	Series *series;
	size_t i = 0;

	(void) pthread_mutex_lock(&lock);
	series = series_of(metric, labels);
	if (series != NULL && !isnan(seconds))
	{
		while (i < BOUND_COUNT && seconds > bounds[i])
			i++;
		if (i < BOUND_COUNT)
			series->buckets[i]++;
		series->count++;
		series->value += seconds;
	}
	(void) pthread_mutex_unlock(&lock);
}

void
metrics_forget(Metric metric)
{
	(void) pthread_mutex_lock(&lock);
	family_empty(&families[metric]);
	(void) pthread_mutex_unlock(&lock);
}

/* The shortest text that reads as the same number. */
static void
print_number(FILE *out, double value)
{
	char text[40];

	if (isnan(value))
		(void) fputs("NaN", out);
	else if (isinf(value))
		(void) fputs(value > 0 ? "+Inf" : "-Inf", out);
	else
	{
		for (int digits = 15; digits <= 17; digits++)
		{
			(void) snprintf(text, sizeof(text), "%.*g", digits, value);
			if (strtod(text, NULL) == value)
				break;
		}
		(void) fputs(text, out);
	}
}

static void
print_escaped(FILE *out, const char *value)
{
	for (; *value != '\0'; value++)
	{
		if (*value == '\n')
			(void) fputs("\\n", out);
		else
		{
			if (*value == '\\' || *value == '"')
				(void) putc('\\', out);
			(void) putc(*value, out);
		}
	}
}

/* {name="value",…}, with le at the end if it is given; nothing if there is no label. */
static void
print_labels(FILE *out, const MetricInfo *info, const char *values, const char *le)
{
	const char *before = "{";

	for (int i = 0; i < METRIC_MAX_LABELS; i++, values += strlen(values) + 1)
	{
		if (values[0] == '\0')
			continue;
		(void) fprintf(out, "%s%s=\"", before, info->labels[i].name);
		print_escaped(out, values);
		(void) putc('"', out);
		before = ",";
	}
	if (le != NULL)
	{
		(void) fprintf(out, "%sle=\"%s\"", before, le);
		before = ",";
	}
	if (before[0] == ',')
		(void) putc('}', out);
}

static void
print_histogram(FILE *out, const MetricInfo *info, const Series *series)
{
	uint64_t below = 0;

	for (size_t i = 0; i <= BOUND_COUNT; i++)
	{
		char le[16] = "+Inf";

		if (i < BOUND_COUNT)
		{
			(void) snprintf(le, sizeof(le), "%g", bounds[i]);
			below += series->buckets[i];
		}
		(void) fprintf(out, "%s_bucket", info->name);
		print_labels(out, info, series->key.text, le);
		(void) fprintf(out, " %" PRIu64 "\n", i < BOUND_COUNT ? below : series->count);
	}
	(void) fprintf(out, "%s_sum", info->name);
	print_labels(out, info, series->key.text, NULL);
	(void) putc(' ', out);
	print_number(out, series->value);
	(void) fprintf(out, "\n%s_count", info->name);
	print_labels(out, info, series->key.text, NULL);
	(void) fprintf(out, " %" PRIu64 "\n", series->count);
}

static void
print_head(FILE *out, const char *name, const char *type, const char *help)
{
	(void) fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void
print_family(FILE *out, const MetricInfo *info, const Family *family)
{
	static const char *const kinds[] = {"counter", "gauge", "histogram"};

	if (family->count == 0)
		return;
	print_head(out, info->name, kinds[info->kind], info->help);
	for (size_t i = 0; i < family->count; i++)
	{
		const Series *series = &family->series[i];

		if (info->kind == KIND_HISTOGRAM)
		{
			print_histogram(out, info, series);
			continue;
		}
		(void) fputs(info->name, out);
		print_labels(out, info, series->key.text, NULL);
		(void) putc(' ', out);
		print_number(out, series->value);
		(void) putc('\n', out);
	}
}

static void
print_single(FILE *out, const char *name, const char *type, const char *help, double value)
{
	print_head(out, name, type, help);
	(void) fprintf(out, "%s ", name);
	print_number(out, value);
	(void) putc('\n', out);
}

#define POLL_CHUNK 1024
#define POLL_MOST  65536

/*
 * Counted by poll(), which marks what is not open: a process that is not dumpable may not read its own
 * /proc/self/fd. The system gives the lowest number that is free, so there is nothing to look for far above.
 */
static unsigned
open_files(int end)
{
	struct pollfd files[POLL_CHUNK];
	unsigned open = 0;

	for (int first = 0; first < end; first += POLL_CHUNK)
	{
		int count = end - first < POLL_CHUNK ? end - first : POLL_CHUNK;

		for (int i = 0; i < count; i++)
			files[i] = (struct pollfd){.fd = first + i, .events = 0, .revents = 0};
		if (poll(files, (nfds_t) count, 0) < 0)
			break;
		for (int i = 0; i < count; i++)
			open += (files[i].revents & POLLNVAL) == 0;
	}
	return open;
}

/* Of /proc/self/statm, which stays readable for a process that is not dumpable. */
static void
print_memory(FILE *out)
{
	FILE *statm = fopen("/proc/self/statm", "re");
	char line[128];
	unsigned long long pages[2] = {0, 0};
	char *rest = line;

	if (statm == NULL)
		return;
	if (fgets(line, sizeof(line), statm) != NULL)
	{
		for (int i = 0; i < 2; i++)
			pages[i] = strtoull(rest, &rest, 10);
		print_single(out, "process_virtual_memory_bytes", "gauge", "Size of the address space.",
					 (double) pages[0] * (double) sysconf(_SC_PAGESIZE));
		print_single(out, "process_resident_memory_bytes", "gauge", "Memory that is resident.",
					 (double) pages[1] * (double) sysconf(_SC_PAGESIZE));
	}
	(void) fclose(statm);
}

static void
print_process(FILE *out)
{
	struct rusage usage;
	struct rlimit files;

	if (getrusage(RUSAGE_SELF, &usage) == 0)
		print_single(out, "process_cpu_seconds_total", "counter",
					 "User and system time that the process has used.",
					 (double) (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
						 (double) (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6);
	print_memory(out);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0)
	{
		print_single(out, "process_open_fds", "gauge", "Open file descriptors.",
					 open_files(files.rlim_cur < POLL_MOST ? (int) files.rlim_cur : POLL_MOST));
		print_single(out, "process_max_fds", "gauge", "Largest number of open file descriptors.",
					 (double) files.rlim_cur);
	}
	print_single(out, "process_start_time_seconds", "gauge",
				 "When the process was started, in seconds since 1970.",
				 (double) started.tv_sec + (double) started.tv_nsec / 1e9);
}

char *
metrics_text(size_t *len)
{
	char *text = NULL;
	FILE *out = open_memstream(&text, len);
	/* Numbers have a point, whatever the process's locale. */
	locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t) 0);
	locale_t former = plain != (locale_t) 0 ? uselocale(plain) : (locale_t) 0;
	bool ok = out != NULL && plain != (locale_t) 0;

	if (ok)
	{
		(void) pthread_mutex_lock(&lock);
		for (int i = 0; i < METRIC_COUNT; i++)
			print_family(out, &infos[i], &families[i]);
		(void) pthread_mutex_unlock(&lock);
		print_process(out);
		ok = ferror(out) == 0;
	}
	if (out != NULL && fclose(out) != 0)
		ok = false;
	if (plain != (locale_t) 0)
	{
		(void) uselocale(former);
		freelocale(plain);
	}
	if (!ok)
	{
		free(text);
		return NULL;
	}
	return text;
}

/*
 * test_metrics.c
 *		Tests of worker/metrics.c.
 *
 * The text is compared with what it has to be, byte for byte, and read by a parser of Prometheus' format 0.0.4
 * that accepts nothing else; if promtool is there, it has to agree. What differs each time, the process's own
 * figures, is read by the parser only.
 */
#include "support.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "metrics.h"

static int
start_anew(void **state __attribute__((unused)))
{
	metrics_init("1.0");
	return 0;
}

/* What is before the process's own figures: it ends where the first of them begins.  The caller frees it. */
static char *
own_text(void)
{
	size_t len = 0;
	char *text = metrics_text(&len);
	char *process;

	assert_non_null(text);
	assert_int_equal(strlen(text), len);
	process = strstr(text, "# HELP process_");
	assert_non_null(process);
	*process = '\0';
	return text;
}

/* The value of a series, written just so; NAN if it is not there. */
static double
value_of(const char *series)
{
	size_t unused;
	char *text = metrics_text(&unused);
	size_t len = strlen(series);
	double value = NAN;

	assert_non_null(text);
	for (char *line = text; line != NULL; line = strchr(line, '\n'))
	{
		line += line[0] == '\n';
		if (strncmp(line, series, len) == 0 && line[len] == ' ')
			value = strtod(line + len + 1, NULL);
	}
	free(text);
	return value;
}

/* ---- a strict reader of the format */

typedef struct Reader
{
	const char *at;
	char family[128];
	char type[16];
	char seen[64][128]; /* families so far: each has one block */
	size_t families;
	size_t samples;
} Reader;

static void
must_read(Reader *reader, const char *expected)
{
	size_t len = strlen(expected);

	if (strncmp(reader->at, expected, len) != 0)
		fail_msg("expected '%s' at '%.60s'", expected, reader->at);
	reader->at += len;
}

static void
read_name(Reader *reader, char name[128], const char *more)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_";
	size_t len = 0;

	assert_non_null(strchr(letters, *reader->at));
	while (*reader->at != '\0' && (strchr(letters, *reader->at) || strchr(more, *reader->at)))
	{
		assert_true(len < 127);
		name[len++] = *reader->at++;
	}
	name[len] = '\0';
}

static bool
starts_family(const char *name, const char *family, const char *suffix)
{
	size_t len = strlen(family);

	return strncmp(name, family, len) == 0 && strcmp(name + len, suffix) == 0;
}

/* A quoted value, in which only \\, \" and \n are escapes, and no line ends. */
static void
read_quoted(Reader *reader)
{
	must_read(reader, "\"");
	while (*reader->at != '"')
	{
		assert_true((unsigned char) *reader->at >= ' ' || *reader->at == '\t');
		if (*reader->at == '\\')
		{
			reader->at++;
			assert_non_null(strchr("\\\"n", *reader->at));
		}
		assert_int_not_equal(*reader->at, '\0');
		reader->at++;
	}
	reader->at++;
}

static void
read_value(Reader *reader)
{
	char *end;

	errno = 0;
	if (strncmp(reader->at, "+Inf", 4) != 0 && strncmp(reader->at, "NaN", 3) != 0)
		assert_non_null(strchr("-0123456789", *reader->at));
	(void) strtod(reader->at, &end);
	assert_true(end > reader->at);
	assert_int_equal(*end, '\n');
	reader->at = end + 1;
}

static void
read_sample(Reader *reader)
{
	char name[128];
	char label[128];
	bool histogram = strcmp(reader->type, "histogram") == 0;

	read_name(reader, name, "0123456789:");
	if (histogram)
		assert_true(starts_family(name, reader->family, "_bucket") ||
					starts_family(name, reader->family, "_sum") ||
					starts_family(name, reader->family, "_count"));
	else
		assert_string_equal(name, reader->family);
	if (*reader->at == '{')
	{
		do
		{
			reader->at++;
			read_name(reader, label, "0123456789");
			must_read(reader, "=");
			read_quoted(reader);
		} while (*reader->at == ',');
		must_read(reader, "}");
	}
	must_read(reader, " ");
	read_value(reader);
	reader->samples++;
}

static void
read_block(Reader *reader)
{
	char name[128];

	must_read(reader, "# HELP ");
	read_name(reader, reader->family, "0123456789:");
	for (size_t i = 0; i < reader->families; i++)
		assert_string_not_equal(reader->seen[i], reader->family);
	assert_true(reader->families < COUNT_OF(reader->seen));
	memcpy(reader->seen[reader->families++], reader->family, sizeof(reader->family));
	must_read(reader, " ");
	assert_true(strcspn(reader->at, "\n\\") > 0);
	reader->at += strcspn(reader->at, "\n\\");
	must_read(reader, "\n# TYPE ");
	read_name(reader, name, "0123456789:");
	assert_string_equal(name, reader->family);
	must_read(reader, " ");
	read_name(reader, name, "");
	assert_true(strcmp(name, "counter") == 0 || strcmp(name, "gauge") == 0 ||
				strcmp(name, "histogram") == 0);
	memcpy(reader->type, name, strlen(name) + 1);
	must_read(reader, "\n");
	/* By convention. */
	if (strcmp(reader->type, "counter") == 0)
		assert_string_equal(reader->family + strlen(reader->family) - 6, "_total");
	while (*reader->at != '\0' && *reader->at != '#')
		read_sample(reader);
}

/* Returns how many samples the text has. */
static size_t
must_be_valid(const char *text)
{
	Reader *reader = calloc(1, sizeof(*reader));
	size_t samples;

	assert_non_null(reader);
	reader->at = text;
	while (*reader->at != '\0')
		read_block(reader);
	samples = reader->samples;
	free(reader);
	return samples;
}

static void
count_all_kinds(void)
{
	metrics_add(METRIC_STEPS, 1, METRIC_LABELS("set", "ok", "pg2", "local"));
	metrics_add(METRIC_STEPS, 2, METRIC_LABELS("set", "ok", "pg2", "local"));
	metrics_add(METRIC_STEPS, 1, METRIC_LABELS("test", "refused", "pg2", NULL));
	metrics_observe(METRIC_STEP_SECONDS, 0.005, METRIC_LABELS("set", "postgresql"));
	metrics_observe(METRIC_STEP_SECONDS, 0.25, METRIC_LABELS("set", "postgresql"));
	metrics_observe(METRIC_STEP_SECONDS, 3.5, METRIC_LABELS("set", "postgresql"));
	metrics_observe(METRIC_STEP_SECONDS, 61, METRIC_LABELS("set", "postgresql"));
	metrics_set(METRIC_QUEUE_WAITING, 7, METRIC_NO_LABELS);
	metrics_set(METRIC_QUEUE_OVERDUE, 12.125, METRIC_NO_LABELS);
	metrics_set(METRIC_LEASES_HELD, 3, METRIC_NO_LABELS);
	metrics_set(METRIC_LEASES_HELD, 2, METRIC_NO_LABELS);
	metrics_set(METRIC_BREAKER_STATE, METRIC_BREAKER_OPEN, METRIC_LABELS("pg2", NULL));
	metrics_set(METRIC_BREAKER_STATE, METRIC_BREAKER_CLOSED, METRIC_LABELS(NULL, "vault"));
	metrics_add(METRIC_CLAIMS, 4, METRIC_NO_LABELS);
	metrics_set(METRIC_CONTROL_CONNECTED, 1, METRIC_NO_LABELS);
}

TEST(before_anything_is_counted_there_is_what_is_known_and_no_more)
{
	char *text = own_text();

	assert_string_equal(text,
						"# HELP rotor_leases_held Steps that this worker holds.\n"
						"# TYPE rotor_leases_held gauge\n"
						"rotor_leases_held 0\n"
						"# HELP rotor_retries_total Steps that were begun again after an attempt "
						"that failed.\n"
						"# TYPE rotor_retries_total counter\n"
						"rotor_retries_total 0\n"
						"# HELP rotor_claims_total Steps that this worker claimed.\n"
						"# TYPE rotor_claims_total counter\n"
						"rotor_claims_total 0\n"
						"# HELP rotor_late_answers_total Outcomes that were refused because the "
						"lease had ended.\n"
						"# TYPE rotor_late_answers_total counter\n"
						"rotor_late_answers_total 0\n"
						"# HELP rotor_control_connected Whether there is a connection to the "
						"control database.\n"
						"# TYPE rotor_control_connected gauge\n"
						"rotor_control_connected 0\n"
						"# HELP rotor_build_info Always 1; the version is in the label.\n"
						"# TYPE rotor_build_info gauge\n"
						"rotor_build_info{version=\"1.0\"} 1\n");
	free(text);
}

TEST(what_was_counted_is_in_the_text_word_for_word)
{
	char *text;

	count_all_kinds();
	text = own_text();
	assert_string_equal(
		text, "# HELP rotor_steps_total Steps of rotations that were done, by class of outcome.\n"
			  "# TYPE rotor_steps_total counter\n"
			  "rotor_steps_total{step=\"set\",result=\"ok\",target=\"pg2\",store=\"local\"} 3\n"
			  "rotor_steps_total{step=\"test\",result=\"refused\",target=\"pg2\"} 1\n"
			  "# HELP rotor_step_duration_seconds Time that a step took, from its claim to its "
			  "outcome.\n"
			  "# TYPE rotor_step_duration_seconds histogram\n"
#define BUCKET(le, count)                                                                 \
	"rotor_step_duration_seconds_bucket{step=\"set\",target_type=\"postgresql\",le=\"" le \
	"\"} " count "\n"
		BUCKET("0.005", "1") BUCKET("0.01", "1") BUCKET("0.025", "1") BUCKET("0.05", "1") BUCKET(
			"0.1", "1") BUCKET("0.25", "2") BUCKET("0.5", "2") BUCKET("1", "2") BUCKET("2.5", "2")
			BUCKET("5", "3") BUCKET("10", "3") BUCKET("30", "3") BUCKET("60", "3") BUCKET(
				"+Inf",
				"4") "rotor_step_duration_seconds_sum{step=\"set\",target_type=\"postgresql\"} 64.755\n"
					 "rotor_step_duration_seconds_count{step=\"set\",target_type=\"postgresql\"} 4\n"
					 "# HELP rotor_queue_waiting Steps that are due and that nobody holds, of all workers.\n"
					 "# TYPE rotor_queue_waiting gauge\n"
					 "rotor_queue_waiting 7\n"
					 "# HELP rotor_queue_oldest_overdue_seconds Time for which the oldest step in the queue "
					 "has been due.\n"
					 "# TYPE rotor_queue_oldest_overdue_seconds gauge\n"
					 "rotor_queue_oldest_overdue_seconds 12.125\n"
					 "# HELP rotor_leases_held Steps that this worker holds.\n"
					 "# TYPE rotor_leases_held gauge\n"
					 "rotor_leases_held 2\n"
					 "# HELP rotor_retries_total Steps that were begun again after an attempt that failed.\n"
					 "# TYPE rotor_retries_total counter\n"
					 "rotor_retries_total 0\n"
					 "# HELP rotor_breaker_state Circuit breaker of a target or store: 0 closed, 1 half-open, "
					 "2 open.\n"
					 "# TYPE rotor_breaker_state gauge\n"
					 "rotor_breaker_state{target=\"pg2\"} 2\n"
					 "rotor_breaker_state{store=\"vault\"} 0\n"
					 "# HELP rotor_claims_total Steps that this worker claimed.\n"
					 "# TYPE rotor_claims_total counter\n"
					 "rotor_claims_total 4\n"
					 "# HELP rotor_late_answers_total Outcomes that were refused because the lease had "
					 "ended.\n"
					 "# TYPE rotor_late_answers_total counter\n"
					 "rotor_late_answers_total 0\n"
					 "# HELP rotor_control_connected Whether there is a connection to the control database.\n"
					 "# TYPE rotor_control_connected gauge\n"
					 "rotor_control_connected 1\n"
					 "# HELP rotor_build_info Always 1; the version is in the label.\n"
					 "# TYPE rotor_build_info gauge\n"
					 "rotor_build_info{version=\"1.0\"} 1\n");
#undef BUCKET
	free(text);
}

TEST(the_whole_text_is_of_the_format)
{
	char *text;
	size_t len;

	count_all_kinds();
	metrics_add(METRIC_STEPS, 1, METRIC_LABELS("set", "ok", "a\\b\"c\nd", "é"));
	text = metrics_text(&len);
	assert_non_null(text);
	/* 1 + 3 counters of steps, a histogram of 16 lines, 10 more of rotor's, 6 of the process. */
	assert_int_equal(must_be_valid(text), 3 + 16 + 10 + 6);
	free(text);
}

/* PROMTOOL names one that is not in the PATH. */
TEST(promtool_has_nothing_to_say)
{
	const char *promtool = getenv("PROMTOOL") != NULL ? getenv("PROMTOOL") : "promtool";
	char command[512];
	char *text;
	size_t len;
	FILE *pipe;

	(void) snprintf(command, sizeof(command), "command -v '%s' >/dev/null 2>&1", promtool);
	/* NOLINTNEXTLINE(cert-env33-c): a test */
	if (system(command) != 0)
	{
		print_message("# there is no promtool: the test's own reader has to do\n");
		skip();
	}
	count_all_kinds();
	metrics_add(METRIC_STEPS, 1, METRIC_LABELS("set", "ok", "a\\b\"c\nd", "é"));
	text = metrics_text(&len);
	assert_non_null(text);
	(void) snprintf(command, sizeof(command), "'%s' check metrics", promtool);
	pipe = popen(command, "w"); /* NOLINT(cert-env33-c): a test */
	assert_non_null(pipe);
	assert_int_equal(fwrite(text, 1, len, pipe), len);
	assert_int_equal(pclose(pipe), 0);
	free(text);
}

TEST(a_label_value_is_escaped_and_what_is_no_utf8_is_replaced)
{
	char longer[METRIC_LABEL_MAX + 40];

	metrics_add(METRIC_STEPS, 1, METRIC_LABELS("set", "ok", "a\\b\"c\nd", "é€\xf0\x9f\x94\x91"));
	assert_true(value_of("rotor_steps_total{step=\"set\",result=\"ok\",target=\"a\\\\b\\\"c\\nd\","
						 "store=\"é€\xf0\x9f\x94\x91\"}") == 1);
	/* A lone byte, a cut character, one that is longer than needed, a surrogate, one beyond the last. */
	metrics_add(METRIC_STEPS, 1,
				METRIC_LABELS("set", "ok",
							  "\xff"
							  "a\xc3",
							  "\xc0\xaf.\xed\xa0\x80.\xf4\x90\x80\x80"));
	assert_true(value_of("rotor_steps_total{step=\"set\",result=\"ok\",target=\"?a?\","
						 "store=\"?\?.?\?\?.?\?\?\?\"}") == 1);
	/* Cut between characters: 127 bytes are 63 of é and no half one. */
	for (size_t i = 0; i + 1 < sizeof(longer); i += 2)
		memcpy(longer + i, "é", 2);
	longer[sizeof(longer) - 1] = '\0';
	metrics_set(METRIC_BREAKER_STATE, 1, METRIC_LABELS(longer, NULL));
	longer[METRIC_LABEL_MAX - 1] = '\0';
	{
		char series[256];

		(void) snprintf(series, sizeof(series), "rotor_breaker_state{target=\"%s\"}", longer);
		assert_true(value_of(series) == 1);
	}
}

TEST(labels_that_only_join_to_the_same_text_are_two_series)
{
	metrics_add(METRIC_STEPS, 1, METRIC_LABELS("set", "ok", "ab", "c"));
	metrics_add(METRIC_STEPS, 5, METRIC_LABELS("set", "ok", "a", "bc"));
	assert_true(
		value_of("rotor_steps_total{step=\"set\",result=\"ok\",target=\"ab\",store=\"c\"}") == 1);
	assert_true(
		value_of("rotor_steps_total{step=\"set\",result=\"ok\",target=\"a\",store=\"bc\"}") == 5);
}

TEST(beyond_the_bound_targets_and_stores_are_counted_as_other_and_nothing_is_lost)
{
	char name[32];
	char *text;
	size_t lines = 0;
	double sum = 0;

	for (int i = 0; i < METRIC_MAX_SERIES + 500; i++)
	{
		(void) snprintf(name, sizeof(name), "target%d", i);
		metrics_add(METRIC_STEPS, 1, METRIC_LABELS("set", "ok", name, "local"));
	}
	metrics_add(METRIC_STEPS, 1, METRIC_LABELS("test", "ok", "target1600", NULL));
	/* Those that were there before go on under their name. */
	metrics_add(METRIC_STEPS, 1, METRIC_LABELS("set", "ok", "target7", "local"));

	assert_true(
		value_of(
			"rotor_steps_total{step=\"set\",result=\"ok\",target=\"other\",store=\"other\"}") ==
		500);
	assert_true(value_of("rotor_steps_total{step=\"test\",result=\"ok\",target=\"other\"}") == 1);
	assert_true(
		value_of(
			"rotor_steps_total{step=\"set\",result=\"ok\",target=\"target7\",store=\"local\"}") ==
		2);
	text = own_text();
	for (char *line = strstr(text, "\nrotor_steps_total{"); line != NULL;
		 line = strstr(line + 1, "\nrotor_steps_total{"))
	{
		lines++;
		sum += strtod(strstr(line, "} ") + 2, NULL);
	}
	free(text);
	assert_int_equal(lines, METRIC_MAX_SERIES + 2);
	assert_true(sum == METRIC_MAX_SERIES + 500 + 2);
}

TEST(even_labels_that_should_be_few_are_bounded)
{
	char name[32];
	char *text;
	size_t lines = 0;

	for (int i = 0; i < 3 * METRIC_MAX_SERIES; i++)
	{
		(void) snprintf(name, sizeof(name), "step%d", i);
		metrics_add(METRIC_STEPS, 1, METRIC_LABELS(name, "ok", "t", "s"));
	}
	text = own_text();
	for (char *line = strstr(text, "\nrotor_steps_total{"); line != NULL;
		 line = strstr(line + 1, "\nrotor_steps_total{"))
		lines++;
	free(text);
	assert_int_equal(lines, 2 * METRIC_MAX_SERIES);
}

TEST(a_gauge_that_nobody_knows_any_more_is_gone_until_it_is_known_again)
{
	metrics_set(METRIC_QUEUE_WAITING, 7, METRIC_NO_LABELS);
	metrics_forget(METRIC_QUEUE_WAITING);
	assert_true(isnan(value_of("rotor_queue_waiting")));
	metrics_set(METRIC_QUEUE_WAITING, 8, METRIC_NO_LABELS);
	assert_true(value_of("rotor_queue_waiting") == 8);
}

TEST(a_counter_never_falls)
{
	metrics_add(METRIC_CLAIMS, 2, METRIC_NO_LABELS);
	metrics_add(METRIC_CLAIMS, -1, METRIC_NO_LABELS);
	metrics_add(METRIC_CLAIMS, NAN, METRIC_NO_LABELS);
	assert_true(value_of("rotor_claims_total") == 2);
}

/* Makes the locale of a language that writes a comma, in a folder; false if the machine cannot. */
static bool
make_comma_locale(const char *folder)
{
	char command[256];

	(void) snprintf(command, sizeof(command),
					"localedef -i de_DE -f UTF-8 '%s/de_DE.UTF-8' >/dev/null 2>&1", folder);
	return system(command) == 0; /* NOLINT(cert-env33-c): a test */
}

static void
remove_folder(const char *folder)
{
	char command[256];

	(void) snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): a test */
}

TEST(numbers_have_a_point_in_a_locale_with_a_comma)
{
	char folder[] = "/tmp/rotor-locale.XXXXXX";
	char text[16];
	char *metrics;

	assert_non_null(mkdtemp(folder));
	if (!make_comma_locale(folder) || setenv("LOCPATH", folder, 1) != 0 ||
		setlocale(LC_ALL, "de_DE.UTF-8") == NULL)
	{
		remove_folder(folder);
		print_message("# there is no localedef\n");
		skip();
	}
	(void) snprintf(text, sizeof(text), "%.1f", 0.5);
	metrics_set(METRIC_QUEUE_OVERDUE, 12.125, METRIC_NO_LABELS);
	metrics_observe(METRIC_STEP_SECONDS, 0.25, METRIC_LABELS("set", "mysql"));
	metrics = own_text();
	(void) setlocale(LC_ALL, "C");
	(void) unsetenv("LOCPATH");
	remove_folder(folder);
	assert_string_equal(text, "0,5");
	assert_non_null(strstr(metrics, "rotor_queue_oldest_overdue_seconds 12.125\n"));
	assert_non_null(strstr(metrics, "le=\"0.005\"} 0\n"));
	free(metrics);
}

TEST(numbers_read_as_what_they_are)
{
	static const double values[] = {
		0.1, 1.0 / 3, 1e-9, 123456789.25, 1e22, -4.5, 0, 9007199254740993.0, 1e-300, INFINITY};

	for (size_t i = 0; i < COUNT_OF(values); i++)
	{
		metrics_set(METRIC_QUEUE_OVERDUE, values[i], METRIC_NO_LABELS);
		assert_true(value_of("rotor_queue_oldest_overdue_seconds") == values[i]);
	}
	metrics_set(METRIC_QUEUE_OVERDUE, NAN, METRIC_NO_LABELS);
	{
		char *text = own_text();

		assert_non_null(strstr(text, "rotor_queue_oldest_overdue_seconds NaN\n"));
		free(text);
	}
}

TEST(the_process_is_seen_as_it_is)
{
	double before = value_of("process_open_fds");
	double resident = value_of("process_resident_memory_bytes");
	int fd;

	assert_true(before >= 3);
	fd = dup(0);
	assert_true(fd >= 0);
	assert_true(value_of("process_open_fds") == before + 1);
	(void) close(fd);
	assert_true(value_of("process_open_fds") == before);
	assert_true(resident > 1e5 && resident < value_of("process_virtual_memory_bytes"));
	assert_true(value_of("process_cpu_seconds_total") > 0);
	assert_true(fabs(value_of("process_start_time_seconds") - (double) time(NULL)) < 3600);
}

/* The worker is: nobody may read its memory. */
TEST(a_process_that_is_not_dumpable_and_not_root_still_sees_itself)
{
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (child == 0)
	{
		bool ok = (getuid() != 0 || setuid(65534) == 0) && prctl(PR_SET_DUMPABLE, 0) == 0;

		ok = ok && value_of("process_open_fds") >= 3 &&
			 value_of("process_resident_memory_bytes") > 1e5;
		_exit(ok ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

enum
{
	THREADS = 8,
	ROUNDS = 2000
};

static void *
count_often(void *arg)
{
	const char *target = arg;

	for (int i = 0; i < ROUNDS; i++)
	{
		metrics_add(METRIC_STEPS, 1, METRIC_LABELS("set", "ok", target, "local"));
		metrics_add(METRIC_STEPS, 1, METRIC_LABELS("set", "ok", "all", "local"));
		metrics_observe(METRIC_STEP_SECONDS, 0.5, METRIC_LABELS("set", "mysql"));
		metrics_set(METRIC_LEASES_HELD, i, METRIC_NO_LABELS);
		if (i % 500 == 0)
		{
			size_t len;

			free(metrics_text(&len));
			metrics_forget(METRIC_QUEUE_WAITING);
		}
	}
	return NULL;
}

TEST(many_threads_count_at_once_and_nothing_is_lost)
{
	static char names[THREADS][16];
	pthread_t threads[THREADS];
	char series[128];

	for (int i = 0; i < THREADS; i++)
	{
		(void) snprintf(names[i], sizeof(names[i]), "t%d", i);
		assert_int_equal(pthread_create(&threads[i], NULL, count_often, names[i]), 0);
	}
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	for (int i = 0; i < THREADS; i++)
	{
		(void) snprintf(
			series, sizeof(series),
			"rotor_steps_total{step=\"set\",result=\"ok\",target=\"t%d\",store=\"local\"}", i);
		assert_true(value_of(series) == ROUNDS);
	}
	assert_true(
		value_of("rotor_steps_total{step=\"set\",result=\"ok\",target=\"all\",store=\"local\"}") ==
		THREADS * ROUNDS);
	assert_true(value_of("rotor_step_duration_seconds_count{step=\"set\",target_type=\"mysql\"}") ==
				THREADS * ROUNDS);
	assert_true(value_of("rotor_step_duration_seconds_sum{step=\"set\",target_type=\"mysql\"}") ==
				THREADS * ROUNDS * 0.5);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(before_anything_is_counted_there_is_what_is_known_and_no_more,
							   start_anew),
		cmocka_unit_test_setup(what_was_counted_is_in_the_text_word_for_word, start_anew),
		cmocka_unit_test_setup(the_whole_text_is_of_the_format, start_anew),
		cmocka_unit_test_setup(promtool_has_nothing_to_say, start_anew),
		cmocka_unit_test_setup(a_label_value_is_escaped_and_what_is_no_utf8_is_replaced,
							   start_anew),
		cmocka_unit_test_setup(labels_that_only_join_to_the_same_text_are_two_series, start_anew),
		cmocka_unit_test_setup(
			beyond_the_bound_targets_and_stores_are_counted_as_other_and_nothing_is_lost,
			start_anew),
		cmocka_unit_test_setup(even_labels_that_should_be_few_are_bounded, start_anew),
		cmocka_unit_test_setup(a_gauge_that_nobody_knows_any_more_is_gone_until_it_is_known_again,
							   start_anew),
		cmocka_unit_test_setup(a_counter_never_falls, start_anew),
		cmocka_unit_test_setup(numbers_have_a_point_in_a_locale_with_a_comma, start_anew),
		cmocka_unit_test_setup(numbers_read_as_what_they_are, start_anew),
		cmocka_unit_test_setup(the_process_is_seen_as_it_is, start_anew),
		cmocka_unit_test_setup(a_process_that_is_not_dumpable_and_not_root_still_sees_itself,
							   start_anew),
		cmocka_unit_test_setup(many_threads_count_at_once_and_nothing_is_lost, start_anew),
	};

	return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}

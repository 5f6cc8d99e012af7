/*
 * test_options.c - tests of worker/options*.c: precedence, each error's words, the page made of the table.
 */
#include "support.h"

#include <stdlib.h>
#include <unistd.h>

#include "options.h"

#define ARGS_MAX 8

static char file_path[] = "/tmp/rotor-test-options-XXXXXX";

static int
make_file(void **state)
{
	int fd = mkstemp(file_path);

	(void) state;
	return fd < 0 || close(fd) != 0;
}

static int
remove_file(void **state)
{
	(void) state;
	options_reset();
	return unlink(file_path);
}

static void
write_file(const char *text)
{
	FILE *file = fopen(file_path, "w");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

/* Reads the settings; flags and variables end with NULL. The file is the one above, with that text. */
static bool
init(const char *const *flags, const char *const *variables, const char *text, RotorError *err)
{
	/* A reload reads them again. */
	static char named[64];
	static char *argv[ARGS_MAX + 3];
	int argc = 2;
	int rest;

	write_file(text);
	(void) snprintf(named, sizeof(named), "--config=%s", file_path);
	argv[0] = (char *) "worker";
	argv[1] = named;
	for (; flags != NULL && *flags != NULL; flags++)
		argv[argc++] = (char *) *flags;
	argv[argc] = NULL;
	*err = fresh_error();
	return options_init(argc, argv, (char **) variables, &rest, err);
}

#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})

/* In message @ stands for the file. */
static void
assert_refused(const char *const *flags, const char *const *variables, const char *text,
			   const char *message, const char *hint)
{
	RotorError err;
	char expected[ERROR_TEXT_SIZE];
	const char *place = strchr(message, '@');

	assert_false(init(flags, variables, text, &err));
	if (place != NULL)
		(void) snprintf(expected, sizeof(expected), "%.*s%s%s", (int) (place - message), message,
						file_path, place + 1);
	else
		(void) snprintf(expected, sizeof(expected), "%s", message);
	assert_string_equal(err.message, expected);
	assert_string_equal(err.hint, hint);
}

TEST(without_anything_each_setting_has_its_default_of_prod)
{
	RotorError err;

	assert_true(init(NULL, NULL, "", &err));
	assert_int_equal(option_number(OPT_CONCURRENCY), 8);
	assert_int_equal(option_number(OPT_POLL_INTERVAL), 5000);
	assert_string_equal(option_text(OPT_PASSWORD_FILE), "");
	assert_false(option_flag(OPT_ALLOW_HTTP));
	assert_string_equal(option_source(OPT_CONCURRENCY), "default of profile prod");
}

TEST(settings_have_defaults_before_they_are_read)
{
	options_reset();
	assert_int_equal(option_number(OPT_CONCURRENCY), 8);
	assert_int_equal(option_number(OPT_ACT_TIMEOUT), 20000);
}

TEST(a_profile_has_defaults_of_its_own)
{
	RotorError err;

	assert_true(init(NULL, LIST("ROTOR_PROFILE=dev"), "", &err));
	assert_int_equal(option_number(OPT_POLL_INTERVAL), 1000);
	assert_string_equal(option_text(OPT_LOG_FORMAT), "auto");
	assert_string_equal(option_source(OPT_POLL_INTERVAL), "default of profile dev");
	assert_true(init(NULL, NULL, "profile = staging\n", &err));
	assert_string_equal(option_source(OPT_POLL_INTERVAL), "default of profile staging");
}

TEST(a_flag_goes_before_the_environment_and_that_before_the_file)
{
	RotorError err;
	char source[64];

	assert_true(init(NULL, NULL, "# note\n\nconcurrency = 11\n", &err));
	assert_int_equal(option_number(OPT_CONCURRENCY), 11);
	(void) snprintf(source, sizeof(source), "%s:3", file_path);
	assert_string_equal(option_source(OPT_CONCURRENCY), source);
	assert_true(init(NULL, LIST("ROTOR_CONCURRENCY=12"), "concurrency = 11\n", &err));
	assert_int_equal(option_number(OPT_CONCURRENCY), 12);
	assert_string_equal(option_source(OPT_CONCURRENCY), "environment variable ROTOR_CONCURRENCY");
	assert_true(init(LIST("--concurrency", "13"), LIST("ROTOR_CONCURRENCY=12"),
					 "concurrency = 11\n", &err));
	assert_int_equal(option_number(OPT_CONCURRENCY), 13);
	assert_string_equal(option_source(OPT_CONCURRENCY), "--concurrency");
}

TEST(what_is_overruled_is_checked_too)
{
	assert_refused(
		LIST("--concurrency=13"), LIST("ROTOR_CONCURRENCY=x"), "",
		"environment variable ROTOR_CONCURRENCY: the setting \"concurrency\" cannot be \"x\"",
		"Allowed: a whole number from 1 to 256, in jobs.");
}

TEST(sections_are_the_first_word_of_a_name)
{
	RotorError err;

	assert_true(init(NULL, NULL,
					 "[rotor]\nconcurrency = 3\n[control]\nhost = a,b ; two of them\nport = 5433\n",
					 &err));
	assert_int_equal(option_number(OPT_CONCURRENCY), 3);
	assert_string_equal(option_text(OPT_CONTROL_HOST), "a,b");
	assert_string_equal(option_text(OPT_CONTROL_PORT), "5433");
}

TEST(long_lines_are_read_whole)
{
	char text[1024];
	RotorError err;

	(void) snprintf(text, sizeof(text), "worker_name = ");
	memset(text + 14, 'n', 900);
	memcpy(text + 914, "\n", sizeof("\n"));
	assert_true(init(NULL, NULL, text, &err));
	assert_int_equal(strlen(option_text(OPT_WORKER_NAME)), 900);
}

TEST(durations_have_units)
{
	static const struct
	{
		const char *text;
		int64_t ms;
	} cases[] = {{"500ms", 500}, {"2s", 2000}, {"2 s", 2000}, {"3min", 180000}, {"1h", 3600000}};
	RotorError err;

	for (size_t i = 0; i < COUNT_OF(cases); i++)
	{
		assert_true(options_set(OPT_POLL_INTERVAL, cases[i].text, &err));
		assert_int_equal(option_number(OPT_POLL_INTERVAL), cases[i].ms);
	}
	assert_true(options_set(OPT_SHUTDOWN_GRACE, "0", &err));
	assert_int_equal(option_number(OPT_SHUTDOWN_GRACE), 0);
}

TEST(what_is_no_duration_is_refused)
{
	static const char *const texts[] = {"5",
										"",
										"s",
										"-1s",
										"99ms",
										"2h",
										"1d",
										"5s5",
										"9223372036854775807h",
										"99999999999999999999s"};

	for (size_t i = 0; i < COUNT_OF(texts); i++)
	{
		char message[128];

		(void) snprintf(message, sizeof(message),
						"@:1: the setting \"poll_interval\" cannot be \"%s\"", texts[i]);
		char text[64];

		(void) snprintf(text, sizeof(text), "poll_interval = %s\n", texts[i]);
		assert_refused(
			NULL, NULL, text, message,
			"Allowed: a whole number with its unit, ms, s, min or h, from 100 ms to 3600000 ms.");
	}
}

TEST(what_is_no_number_is_refused)
{
	static const char *const texts[] = {"0", "257", "8x", "x", "1.5", "99999999999999999999", "-3"};

	for (size_t i = 0; i < COUNT_OF(texts); i++)
	{
		char flag[64];
		char message[128];

		(void) snprintf(flag, sizeof(flag), "--concurrency=%s", texts[i]);
		(void) snprintf(message, sizeof(message),
						"--concurrency: the setting \"concurrency\" cannot be \"%s\"", texts[i]);
		assert_refused(LIST(flag), NULL, "", message,
					   "Allowed: a whole number from 1 to 256, in jobs.");
	}
}

/* Else one control host that cannot be reached would look like a worker that hangs. */
TEST(connecting_ends_long_before_the_worker_counts_as_stalled)
{
	RotorError err;

	assert_true(options_set(OPT_CONNECT_TIMEOUT, "1min", &err));
	assert_false(options_set(OPT_CONNECT_TIMEOUT, "60001ms", &err));
}

TEST(booleans_are_told_in_many_ways)
{
	static const char *const on[] = {"on", "TRUE", "yes", "1"};
	static const char *const off[] = {"off", "false", "No", "0"};
	RotorError err;

	for (size_t i = 0; i < COUNT_OF(on); i++)
	{
		assert_true(options_set(OPT_ALLOW_HTTP, on[i], &err));
		assert_true(option_flag(OPT_ALLOW_HTTP));
		assert_true(options_set(OPT_ALLOW_HTTP, off[i], &err));
		assert_false(option_flag(OPT_ALLOW_HTTP));
	}
	assert_true(init(LIST("--allow-http"), NULL, "", &err));
	assert_true(option_flag(OPT_ALLOW_HTTP));
	assert_refused(NULL, NULL, "allow_http = perhaps\n",
				   "@:1: the setting \"allow_http\" cannot be \"perhaps\"", "Allowed: on or off.");
}

TEST(a_choice_is_one_of_those)
{
	RotorError err;

	assert_true(init(LIST("--log-level=error"), NULL, "", &err));
	assert_int_equal(option_number(OPT_LOG_LEVEL), 3);
	assert_refused(LIST("--log-level=err"), NULL, "",
				   "--log-level: the setting \"log_level\" cannot be \"err\"",
				   "Allowed: debug, info, warning, error.");
	assert_refused(
		NULL, LIST("ROTOR_PROFILE=production"), "",
		"environment variable ROTOR_PROFILE: the setting \"profile\" cannot be \"production\"",
		"Allowed: dev, staging, prod.");
}

TEST(a_text_that_is_bad_is_not_shown)
{
	assert_refused(NULL, NULL, "password_file = geheim\n",
				   "@:1: the setting \"password_file\" has a bad value",
				   "Allowed: an absolute path.");
	assert_refused(LIST("--control-port=5432,"), NULL, "",
				   "--control-port: the setting \"control_port\" has a bad value",
				   "Allowed: ports from 1 to 65535, joined by commas.");
	assert_refused(LIST("--control-sslmode=prefer"), NULL, "",
				   "--control-sslmode: the setting \"control_sslmode\" has a bad value",
				   "Allowed: disable, require, verify-ca, verify-full.");
	assert_refused(LIST("--metrics-listen=here"), NULL, "",
				   "--metrics-listen: the setting \"metrics_listen\" has a bad value",
				   "Allowed: an address and a port, as in 127.0.0.1:9469 or [::1]:9469, or off.");
}

TEST(ports_are_one_or_several)
{
	RotorError err;

	assert_true(options_set(OPT_CONTROL_PORT, "5432", &err));
	assert_true(options_set(OPT_CONTROL_PORT, "5432,5433,65535", &err));
	assert_false(options_set(OPT_CONTROL_PORT, "0", &err));
	assert_false(options_set(OPT_CONTROL_PORT, "65536", &err));
	assert_false(options_set(OPT_CONTROL_PORT, "5432;5433", &err));
	assert_false(options_set(OPT_CONTROL_PORT, ",5433", &err));
}

TEST(what_is_unknown_is_refused_with_the_nearest_name)
{
	assert_refused(LIST("--concurency=3"), NULL, "", "there is no flag \"--concurency\"",
				   "The nearest is --concurrency.");
	assert_refused(LIST("--per-target-limt", "3"), NULL, "",
				   "there is no flag \"--per-target-limt\"", "The nearest is --per-target-limit.");
	assert_refused(NULL, LIST("PATH=/bin", "ROTOR_LOGLEVEL=info"), "",
				   "the environment variable \"ROTOR_LOGLEVEL\" is no setting",
				   "The nearest is ROTOR_LOG_LEVEL.");
	assert_refused(NULL, NULL, "\npol_interval = 1s\n", "@:2: \"pol_interval\" is no setting",
				   "The nearest is poll_interval.");
	assert_refused(NULL, NULL, "[control]\nhots = x\n", "@:2: \"control_hots\" is no setting",
				   "The nearest is control_host.");
	assert_refused(NULL, NULL, "something_else_altogether = 1\n",
				   "@:1: \"something_else_altogether\" is no setting",
				   "All settings are listed by rotor worker --help.");
}

TEST(variables_of_kubernetes_are_left_alone)
{
	/* Of the services rotor, rotor-worker with a port of a name, and rotor-control, whose port has a setting's name. */
	static const char *const variables[] = {"ROTOR_SERVICE_HOST=10.0.0.1",
											"ROTOR_SERVICE_PORT=80",
											"ROTOR_PORT=tcp://10.0.0.1:80",
											"ROTOR_PORT_80_TCP=tcp://10.0.0.1:80",
											"ROTOR_WORKER_SERVICE_HOST=fd00::1",
											"ROTOR_WORKER_SERVICE_PORT=9469",
											"ROTOR_WORKER_SERVICE_PORT_METRICS_2=9469",
											"ROTOR_WORKER_PORT=udp://[fd00::1]:9469",
											"ROTOR_WORKER_PORT_9469_TCP=tcp://[fd00::1]:9469",
											"ROTOR_WORKER_PORT_9469_UDP_PROTO=udp",
											"ROTOR_WORKER_PORT_9469_SCTP_PORT=9469",
											"ROTOR_WORKER_PORT_9469_TCP_ADDR=fd00::1",
											"ROTOR_CONTROL_PORT=tcp://10.0.0.1:5432",
											"ROTORS=1",
											NULL};
	RotorError err;

	assert_true(init(NULL, variables, "", &err));
	assert_string_equal(option_text(OPT_CONTROL_PORT), "5432");
	assert_string_equal(option_source(OPT_CONTROL_PORT), "default of profile prod");
}

TEST(what_only_looks_like_kubernetes_is_refused)
{
	static const char *const names[] = {
		"ROTOR_PORT",
		"ROTOR_CONTROLL_PORT",
		"ROTOR_WORKER_SERVICE_HOSTS",
		"ROTOR_WORKER_SERVICE_PORT_",
		"ROTOR_worker_SERVICE_PORT",
		"ROTOR_WORKERSERVICE_HOST",
		"ROTOR_WORKER_PORT_TCP",
		"ROTOR_WORKER_PORT_9469_HTTP",
		"ROTOR_WORKER_PORT_9469_TCP_NAME",
	};

	for (size_t i = 0; i < COUNT_OF(names); i++)
	{
		RotorError err;
		char variable[64];

		(void) snprintf(variable, sizeof(variable), "%s=5432", names[i]);
		assert_false(init(NULL, LIST(variable), "", &err));
		assert_non_null(strstr(err.message, names[i]));
		assert_non_null(strstr(err.message, "is no setting"));
	}
	assert_refused(
		NULL, LIST("ROTOR_CONTROL_PORT=tcp"), "",
		"environment variable ROTOR_CONTROL_PORT: the setting \"control_port\" has a bad "
		"value",
		"Allowed: ports from 1 to 65535, joined by commas.");
}

TEST(a_flag_needs_its_value_and_comes_once)
{
	assert_refused(LIST("--concurrency"), NULL, "", "the flag \"--concurrency\" needs a value", "");
	assert_refused(LIST("--concurrency=1", "--concurrency=2"), NULL, "",
				   "the flag \"--concurrency\" is given twice", "");
}

TEST(a_file_that_is_none_is_refused_by_its_line)
{
	assert_refused(NULL, NULL, "concurrency = 1\nwhat is this\n",
				   "@:2: this is neither a setting, as in key = value, nor a [section]", "");
	assert_refused(NULL, NULL, "concurrency = 1\n\nconcurrency = 2\n",
				   "@:3: the setting \"concurrency\" is set already, in line 1", "");
	assert_refused(NULL, NULL, "concurrency = 1\n[rotor]\nconcurrency = 2\n",
				   "@:3: the setting \"concurrency\" is set already, in line 1", "");
	assert_refused(NULL, NULL, "config = /etc/other\n",
				   "@:1: \"config\" cannot be set in the file itself", "");
}

TEST(a_line_that_is_too_long_is_refused)
{
	char text[10001];

	memset(text, 'x', 10000);
	text[10000] = '\0';
	memcpy(text, "a=", 2);
	assert_refused(NULL, NULL, text, "@:1: the line is too long", "");
}

TEST(a_file_that_is_named_must_be_there)
{
	char *argv[] = {(char *) "worker", (char *) "--config=/nonexistent/rotor.conf", NULL};
	RotorError err = fresh_error();
	int rest;

	assert_false(options_init(2, argv, NULL, &rest, &err));
	assert_string_equal(err.message,
						"could not open /nonexistent/rotor.conf: No such file or directory");
}

TEST(arguments_that_are_no_flags_are_left_to_the_command)
{
	char *argv[] = {(char *) "set", (char *) "--concurrency=2", (char *) "name", NULL};
	RotorError err;
	int rest = 0;

	assert_true(options_init(3, argv, NULL, &rest, &err));
	assert_int_equal(rest, 2);
	assert_string_equal(argv[rest], "name");
}

TEST(an_error_leaves_the_settings_as_they_were)
{
	RotorError err;

	assert_true(init(NULL, NULL, "concurrency = 5\n", &err));
	assert_false(init(NULL, NULL, "concurrency = 6\nx = 1\n", &err));
	assert_int_equal(option_number(OPT_CONCURRENCY), 5);
}

TEST(a_reload_changes_what_follows_it_and_tells_the_rest)
{
	RotorError err;
	char ignored[256];
	const char *name;

	assert_true(
		init(LIST("--claim-batch=3"), NULL, "concurrency = 5\nper_target_limit = 2\n", &err));
	name = option_text(OPT_WORKER_NAME);
	write_file("concurrency = 6\nper_target_limit = 3\nworker_name = x\nclaim_batch = 9\n");
	assert_true(options_reload(ignored, sizeof(ignored), &err));
	assert_int_equal(option_number(OPT_PER_TARGET_LIMIT), 3);
	assert_int_equal(option_number(OPT_CLAIM_BATCH), 3);
	assert_int_equal(option_number(OPT_CONCURRENCY), 5);
	assert_ptr_equal(option_text(OPT_WORKER_NAME), name);
	assert_string_equal(ignored, "worker_name, concurrency");
	write_file("per_target_limit = many\n");
	assert_false(options_reload(ignored, sizeof(ignored), &err));
	assert_int_equal(option_number(OPT_PER_TARGET_LIMIT), 3);
}

TEST(each_setting_of_the_table_is_whole)
{
	for (int i = 0; i < OPT_COUNT; i++)
	{
		const OptionSpec *spec = &option_table[i];
		bool is_text = spec->kind == OPTION_TEXT || spec->kind == OPTION_FILE;
		RotorError err;

		assert_int_equal(strspn(spec->name, "abcdefghijklmnopqrstuvwxyz_0123456789"),
						 strlen(spec->name));
		assert_non_null(spec->about);
		assert_int_equal(spec->about[strlen(spec->about) - 1], '.');
		/* Texts never change while the program runs. */
		assert_false(spec->reload && is_text);
		assert_true(is_text || spec->defaults[PROFILE_PROD] != NULL);
		for (int j = 0; j < PROFILE_COUNT; j++)
		{
			if (spec->defaults[j] != NULL && !options_set((OptionId) i, spec->defaults[j], &err))
				fail_msg("%s: %s", spec->name, err.message);
		}
	}
}

TEST(the_page_of_settings_is_current)
{
	char *made = NULL;
	size_t made_len;
	size_t read_len;
	FILE *out = open_memstream(&made, &made_len);
	FILE *page = fopen("../../docs/worker-settings.md", "r");
	static char text[65536];

	assert_non_null(out);
	assert_non_null(page);
	options_print_markdown(out);
	assert_int_equal(fclose(out), 0);
	read_len = fread(text, 1, sizeof(text) - 1, page);
	text[read_len] = '\0';
	(void) fclose(page);
	/* If not: rotor worker --help=markdown >docs/worker-settings.md */
	assert_string_equal(text, made);
	free(made);
}

TEST(help_names_each_setting)
{
	char *made = NULL;
	size_t made_len;
	FILE *out = open_memstream(&made, &made_len);

	options_print_help(out);
	assert_int_equal(fclose(out), 0);
	assert_non_null(strstr(made, "--per-target-limit=1 to 256 jobs  default 4\n"));
	assert_non_null(strstr(made, "--allow-http[=on, off]  default off\n"));
	assert_non_null(
		strstr(made, "--poll-interval=100ms to 1h  default 5s (dev: 1s, staging: 5s)\n"));
	free(made);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_anything_each_setting_has_its_default_of_prod),
		cmocka_unit_test(settings_have_defaults_before_they_are_read),
		cmocka_unit_test(a_profile_has_defaults_of_its_own),
		cmocka_unit_test(a_flag_goes_before_the_environment_and_that_before_the_file),
		cmocka_unit_test(what_is_overruled_is_checked_too),
		cmocka_unit_test(sections_are_the_first_word_of_a_name),
		cmocka_unit_test(long_lines_are_read_whole),
		cmocka_unit_test(durations_have_units),
		cmocka_unit_test(what_is_no_duration_is_refused),
		cmocka_unit_test(what_is_no_number_is_refused),
		cmocka_unit_test(connecting_ends_long_before_the_worker_counts_as_stalled),
		cmocka_unit_test(booleans_are_told_in_many_ways),
		cmocka_unit_test(a_choice_is_one_of_those),
		cmocka_unit_test(a_text_that_is_bad_is_not_shown),
		cmocka_unit_test(ports_are_one_or_several),
		cmocka_unit_test(what_is_unknown_is_refused_with_the_nearest_name),
		cmocka_unit_test(variables_of_kubernetes_are_left_alone),
		cmocka_unit_test(what_only_looks_like_kubernetes_is_refused),
		cmocka_unit_test(a_flag_needs_its_value_and_comes_once),
		cmocka_unit_test(a_file_that_is_none_is_refused_by_its_line),
		cmocka_unit_test(a_line_that_is_too_long_is_refused),
		cmocka_unit_test(a_file_that_is_named_must_be_there),
		cmocka_unit_test(arguments_that_are_no_flags_are_left_to_the_command),
		cmocka_unit_test(an_error_leaves_the_settings_as_they_were),
		cmocka_unit_test(a_reload_changes_what_follows_it_and_tells_the_rest),
		cmocka_unit_test(each_setting_of_the_table_is_whole),
		cmocka_unit_test(the_page_of_settings_is_current),
		cmocka_unit_test(help_names_each_setting),
	};

	return cmocka_run_group_tests(tests, make_file, remove_file);
}

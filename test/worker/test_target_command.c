/*
 * test_target_command.c - tests of worker/target_command.c and child.c, with programs of their own.
 */
#include "support.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"
#include "job_of.h"
#include "target.h"

#define PASSWORD "s3cret \"\\ \xc3\xa9"

static char folder[] = "/tmp/rotor-target-command.XXXXXX";

static const char *
path_of(const char *name)
{
	static char paths[4][256];
	static int turn;
	char *path = paths[turn++ % 4];

	(void) snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
	return path;
}

/* A shell script; in it $d is the test's folder. */
static const char *
script(const char *name, const char *body)
{
	const char *path = path_of(name);
	FILE *file = fopen(path, "we");

	assert_non_null(file);
	assert_true(fprintf(file, "#!/bin/sh\nd=%s\n%s\n", folder, body) > 0);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(path, 0700), 0);
	return path;
}

/* What a script left in a file; "" if there is none. In static memory. */
static const char *
left_in(const char *name)
{
	static char text[16384];
	FILE *file = fopen(path_of(name), "re");
	size_t len = file != NULL ? fread(text, 1, sizeof(text) - 1, file) : 0;

	text[len] = '\0';
	if (file != NULL)
		(void) fclose(file);
	return text;
}

static Job *
job_with(const char *command, const char *more)
{
	char target[2048];
	TestJob test = {.version = {uuid('2'), "app", PASSWORD},
					.admin = {uuid('a'), "admin", "adm1n"},
					.target = target,
					.target_type = "command",
					.step = "set"};

	assert_true(snprintf(target, sizeof(target), "{\"options\":{\"command\":%s%s}}", command,
						 more) < (int) sizeof(target));
	return job_of(&test);
}

/* Runs the command (a JSON list) with more options. */
static Outcome
run_with(const char *command, const char *more, bool sets, int64_t ms)
{
	Job *job = job_with(command, more);
	Outcome outcome = sets ? target_command.set(job, &job->version, &job->admin, deadline_in(ms))
						   : target_command.login(job, &job->version, true, deadline_in(ms));

	job_free(job);
	return outcome;
}

static Outcome
run_script(const char *body, bool sets)
{
	char command[512];

	(void) snprintf(command, sizeof(command), "[\"%s\",\"-x\",\"a b\"]", script("program", body));
	return run_with(command, "", sets, 60000);
}

static void
assert_outcome(const Outcome *outcome, OutcomeClass class)
{
	if (outcome->class != class)
		print_error("outcome: %s %s %s\n", outcome_name(outcome->class), outcome->code,
					outcome->message);
	assert_int_equal(outcome->class, class);
}

/* ------------------------------------------------------------------------------------------------ */

TEST(a_program_reads_what_is_to_be_done)
{
	Outcome outcome = run_script("cat >$d/input; printf '%s|' \"$@\" >$d/arguments", true);
	cJSON *tree = cJSON_Parse(left_in("input"));
	const cJSON *by = cJSON_GetObjectItem(tree, "by");

	assert_outcome(&outcome, OUTCOME_OK);
	assert_string_equal(job_string(tree, "action"), "set");
	assert_string_equal(job_string(tree, "secret"), "app");
	assert_string_equal(job_string(tree, "version"), uuid('2'));
	assert_string_equal(job_string(tree, "username"), "app");
	assert_string_equal(job_string(tree, "password"), PASSWORD);
	assert_string_equal(job_string(by, "username"), "admin");
	assert_string_equal(job_string(by, "password"), "adm1n");
	assert_true(cJSON_IsObject(cJSON_GetObjectItem(tree, "options")));
	cJSON_Delete(tree);
	assert_string_equal(left_in("arguments"), "-x|a b|");

	outcome = run_script("cat >$d/input", false);
	assert_outcome(&outcome, OUTCOME_OK);
	tree = cJSON_Parse(left_in("input"));
	assert_string_equal(job_string(tree, "action"), "login");
	assert_true(cJSON_IsNull(cJSON_GetObjectItem(tree, "by")));
	cJSON_Delete(tree);
}

TEST(exit_statuses_have_their_classes)
{
	static const struct
	{
		const char *body;
		OutcomeClass set, login;
		const char *code;
	} cases[] = {
		{"exit 0", OUTCOME_OK, OUTCOME_OK, ""},
		{"exit 1", OUTCOME_PERMANENT, OUTCOME_PERMANENT, "exit 1"},
		{"exit 2", OUTCOME_PERMANENT, OUTCOME_REFUSED, "exit 2"},
		{"exit 75", OUTCOME_TRANSIENT, OUTCOME_TRANSIENT, "exit 75"},
		{"exit 3", OUTCOME_UNKNOWN, OUTCOME_TRANSIENT, "exit 3"},
		{"exit 126", OUTCOME_UNKNOWN, OUTCOME_TRANSIENT, "exit 126"},
		{"exit 127", OUTCOME_UNKNOWN, OUTCOME_TRANSIENT, "exit 127"},
		{"exit 255", OUTCOME_UNKNOWN, OUTCOME_TRANSIENT, "exit 255"},
		{"kill -KILL $$", OUTCOME_UNKNOWN, OUTCOME_TRANSIENT, "SIGKILL"},
		{"kill -SEGV $$", OUTCOME_UNKNOWN, OUTCOME_TRANSIENT, "SIGSEGV"},
		/* Input that nobody reads is no failure. */
		{"exec <&-; exit 0", OUTCOME_OK, OUTCOME_OK, ""},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++)
	{
		Outcome outcome = run_script(cases[i].body, true);

		assert_outcome(&outcome, cases[i].set);
		assert_string_equal(outcome.code, cases[i].code);
		outcome = run_script(cases[i].body, false);
		assert_outcome(&outcome, cases[i].login);
	}
}

TEST(a_program_may_say_why)
{
	Outcome outcome =
		run_script("echo '{\"message\":\"no such key\",\"code\":\"E42\",\"x\":[1]}'; exit 1", true);

	assert_outcome(&outcome, OUTCOME_PERMANENT);
	assert_string_equal(outcome.message, "no such key");
	assert_string_equal(outcome.code, "E42");
}

TEST(hostile_output_says_nothing)
{
	static const char *const bodies[] = {
		"echo no json; exit 1",
		"echo '{\"message\":5,\"code\":{}}'; exit 1",
		"echo '[\"message\"]'; exit 1",
		"printf '\\000\\001\\377'; exit 1",
		"head -c 3000000 /dev/zero | tr '\\000' 'x'; exit 1",
		"head -c 3000000 /dev/zero | tr '\\000' '[' >&2; exit 1",
		"i=0; while [ $i -lt 3000 ]; do printf '{\"message\":'; i=$((i+1)); done; exit 1",
	};

	for (size_t i = 0; i < COUNT_OF(bodies); i++)
	{
		Outcome outcome = run_script(bodies[i], true);

		assert_outcome(&outcome, OUTCOME_PERMANENT);
		assert_string_equal(outcome.code, "exit 1");
		assert_string_equal(outcome.message, "the program ended with status 1");
	}
}

TEST(long_words_are_cut)
{
	Outcome outcome = run_script(
		"printf '{\"message\":\"'; head -c 9000 /dev/zero | tr '\\000' x; printf '\"}'; exit 1",
		true);

	assert_outcome(&outcome, OUTCOME_PERMANENT);
	assert_int_equal(strlen(outcome.message), OUTCOME_MESSAGE_SIZE - 1);
}

TEST(a_program_gets_nothing_of_ours)
{
	Outcome outcome;

	assert_int_equal(setenv("ROTOR_TEST_SECRET", "x", 1), 0);
	outcome = run_script("tr '\\000' ' ' </proc/$$/environ >$d/environment\n"
						 "pwd >$d/pwd; umask >$d/umask\n"
						 "ulimit -c >$d/core\n"
						 "cut -d' ' -f1,5,6 /proc/$$/stat >$d/group; echo $$ >$d/pid",
						 true);
	assert_outcome(&outcome, OUTCOME_OK);
	assert_string_equal(left_in("environment"), "PATH=/usr/bin:/bin LANG=C ");
	assert_string_equal(left_in("pwd"), "/\n");
	assert_string_equal(left_in("umask"), "0077\n");
	assert_string_equal(left_in("core"), "0\n");
	{
		int pid = (int) strtol(left_in("pid"), NULL, 10);
		char expected[64];

		(void) snprintf(expected, sizeof(expected), "%d %d %d\n", pid, pid, pid);
		assert_string_equal(left_in("group"), expected);
	}
}

/* Runs a program that ends with 0, and returns its output, in static memory. */
static const char *
output_of(const char *const *argv)
{
	static char output[4096];
	Child child = {.argv = argv,
				   .input = "",
				   .output = output,
				   .output_size = sizeof(output),
				   .deadline = far_away()};

	assert_int_equal(child_run(&child), CHILD_EXITED);
	assert_int_equal(child.number, 0);
	return output;
}

TEST(a_program_gets_three_descriptors)
{
	const char *const argv[] = {"/bin/ls", "/proc/self/fd", NULL};
	int leaks[8];
	const char *output;

	/* Without O_CLOEXEC. */
	for (size_t i = 0; i < COUNT_OF(leaks); i++)
		leaks[i] = open("/dev/null", O_RDONLY); /* NOLINT(android-cloexec-open): that is the test */
	output = output_of(argv);
	for (size_t i = 0; i < COUNT_OF(leaks); i++)
		close(leaks[i]);
	/* The fourth is the folder that ls reads. */
	assert_string_equal(output, "0\n1\n2\n3\n");
}

TEST(a_program_gets_default_signals_and_no_privileges)
{
	const char *const argv[] = {"/bin/cat", "/proc/self/status", NULL};
	unsigned long long blocked = 1;
	unsigned long long ignored = 1;
	sigset_t usr1;
	const char *status;

	(void) sigemptyset(&usr1);
	(void) sigaddset(&usr1, SIGUSR1);
	(void) pthread_sigmask(SIG_BLOCK, &usr1, NULL);
	(void) signal(SIGINT, SIG_IGN);
	status = output_of(argv);
	(void) signal(SIGINT, SIG_DFL);
	(void) pthread_sigmask(SIG_UNBLOCK, &usr1, NULL);
	assert_non_null(strstr(status, "NoNewPrivs:\t1\n"));
	assert_int_equal(sscanf(strstr(status, "SigBlk:"), "SigBlk: %llx", &blocked), 1);
	assert_int_equal(sscanf(strstr(status, "SigIgn:"), "SigIgn: %llx", &ignored), 1);
	assert_true(blocked == 0);
	/* 32 and 33 are the C library's own, and whoever started us may have ignored them. */
	assert_true((ignored & 0x7fffffff) == 0);
}

/* Is a process of that number there, and no zombie? */
static bool
lives(int pid)
{
	char path[64];
	char state = '\0';
	FILE *file;

	(void) snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = fopen(path, "re");
	if (file == NULL)
		return false;
	if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
		state = '\0';
	(void) fclose(file);
	return state != '\0' && state != 'Z' && state != 'X';
}

/* A killed process takes a moment; what lives on never passes. */
static void
assert_dies(int pid)
{
	assert_true(pid > 1);
	while (lives(pid))
		(void) poll(NULL, 0, 1);
}

TEST(a_program_that_does_not_end_is_ended_with_its_children)
{
	char command[512];
	int program;
	int child;
	int64_t begun;
	Outcome outcome;

	(void) snprintf(command, sizeof(command), "[\"%s\"]",
					script("program",
						   "trap '' TERM\n(trap '' TERM; while :; do sleep 1000; done) &\n"
						   "echo $$ $! >$d/pids\nwhile :; do sleep 1000; done"));
	/* A time-out within which a busy machine gets to the first loop. */
	for (int64_t ms = 400;; ms *= 4)
	{
		begun = clock_ms();
		outcome = run_with(command, "", true, ms);
		assert_outcome(&outcome, OUTCOME_UNKNOWN);
		assert_string_equal(outcome.code, "ETIMEDOUT");
		assert_true(clock_ms() - begun >= ms * 3 / 4);
		if (sscanf(left_in("pids"), "%d %d", &program, &child) == 2)
			break;
		assert_true(ms < 20000);
	}
	assert_dies(program);
	assert_dies(child);
	/* By its own option, and of a login. */
	outcome = run_with(command, ",\"timeout_s\":0.3", false, 60000);
	assert_outcome(&outcome, OUTCOME_TRANSIENT);
}

TEST(a_program_may_tidy_up_before_it_is_killed)
{
	char command[512];
	Outcome outcome;

	(void) snprintf(command, sizeof(command), "[\"%s\"]",
					script("program", "trap 'echo tidy >$d/tidy; exit 0' TERM\n"
									  "while :; do sleep 0.01; done"));
	/* A time-out within which a busy machine gets to its loop, and out of it. */
	for (int64_t ms = 2000;; ms *= 4)
	{
		outcome = run_with(command, "", true, ms);
		/* What it says then does not count. */
		assert_outcome(&outcome, OUTCOME_UNKNOWN);
		if (left_in("tidy")[0] != '\0' || ms > 20000)
			break;
	}
	assert_string_equal(left_in("tidy"), "tidy\n");
}

TEST(what_a_program_leaves_running_ends_with_it)
{
	Outcome outcome = run_script("sleep 1000 & echo $! >$d/child; exit 0", true);

	/* It held our pipes open, and was not waited for. */
	assert_outcome(&outcome, OUTCOME_OK);
	assert_dies((int) strtol(left_in("child"), NULL, 10));
}

TEST(no_zombie_is_left)
{
	Outcome outcome = run_script("exit 0", true);

	assert_outcome(&outcome, OUTCOME_OK);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
}

TEST(no_descriptor_is_left)
{
	int count[2];

	for (int i = 0; i < 2; i++)
	{
		DIR *fds = opendir("/proc/self/fd");

		if (fds == NULL)
			abort();
		/* cppcheck-suppress readdirCalled ; the stream is this function's own */
		for (count[i] = 0; readdir(fds) != NULL; count[i]++)
			;
		closedir(fds);
		(void) run_script("exit 0", true);
		(void) run_with("[\"/no/such\"]", "", true, 1000);
	}
	assert_int_equal(count[0], count[1]);
}

TEST(a_program_that_cannot_be_run_is_permanent)
{
	static const char *const commands[] = {"[\"/no/such/program\"]", "[\"/tmp\"]",
										   "[\"/etc/passwd\"]"};
	char command[512];
	Outcome outcome;

	for (size_t i = 0; i < COUNT_OF(commands); i++)
	{
		outcome = run_with(commands[i], "", true, 60000);
		assert_outcome(&outcome, OUTCOME_PERMANENT);
	}
	/* No format that can be executed: only exec finds out. */
	(void) snprintf(command, sizeof(command), "[\"%s\"]", script("program", ""));
	{
		FILE *file = fopen(path_of("program"), "we");

		if (file == NULL)
			abort();
		assert_true(fputs("\177garbage", file) >= 0);
		assert_int_equal(fclose(file), 0);
	}
	outcome = run_with(command, "", true, 60000);
	assert_outcome(&outcome, OUTCOME_PERMANENT);
	assert_string_equal(outcome.code, "ENOEXEC");
}

TEST(a_program_that_others_can_change_is_not_run)
{
	char command[512];
	Outcome outcome;

	(void) snprintf(command, sizeof(command), "[\"%s\"]", script("program", "echo ran >$d/ran"));
	assert_int_equal(chmod(path_of("program"), 0757), 0);
	outcome = run_with(command, "", true, 60000);
	assert_outcome(&outcome, OUTCOME_PERMANENT);
	assert_non_null(strstr(outcome.message, "chmod go-w"));
	assert_string_equal(left_in("ran"), "");
	assert_int_equal(chmod(path_of("program"), 0755), 0);
	outcome = run_with(command, "", true, 60000);
	assert_outcome(&outcome, OUTCOME_OK);
	assert_string_equal(left_in("ran"), "ran\n");
}

/* As `rotor check` calls it where the target has no admin. */
static Outcome
check(const char *command)
{
	Job *job = job_with(command, "");
	Outcome outcome = target_command.check(job, NULL, far_away());

	job_free(job);
	return outcome;
}

TEST(check_looks_at_the_program_and_does_not_run_it)
{
	char command[512];
	Outcome outcome;

	(void) snprintf(command, sizeof(command), "[\"%s\"]", script("program", "echo ran >$d/ran3"));
	outcome = check(command);
	assert_outcome(&outcome, OUTCOME_OK);
	assert_int_equal(chmod(path_of("program"), 0757), 0);
	outcome = check(command);
	assert_outcome(&outcome, OUTCOME_PERMANENT);
	assert_string_equal(outcome.code, "EPERM");
	outcome = check("[\"/no/such\"]");
	assert_outcome(&outcome, OUTCOME_PERMANENT);
	assert_string_equal(outcome.code, "ENOENT");
	assert_string_equal(left_in("ran3"), "");
}

TEST(bad_options_are_permanent_and_named)
{
	static const char *const options[][3] = {
		{"5", "", "\"command\""},
		{"[]", "", "\"command\""},
		{"[\"sh\"]", "", "\"command\""},
		{"[5]", "", "\"command\""},
		{"[\"/bin/sh\",{}]", "", "\"command\""},
		{"[\"/bin/true\"]", ",\"timeout_s\":0", "\"timeout_s\""},
		{"[\"/bin/true\"]", ",\"timeout_s\":-1", "\"timeout_s\""},
		{"[\"/bin/true\"]", ",\"timeout_s\":1e9", "\"timeout_s\""},
	};

	for (size_t i = 0; i < COUNT_OF(options); i++)
	{
		Outcome outcome = run_with(options[i][0], options[i][1], true, 60000);

		assert_outcome(&outcome, OUTCOME_PERMANENT);
		assert_non_null(strstr(outcome.message, options[i][2]));
	}
}

TEST(a_deadline_that_has_passed_starts_nothing)
{
	char command[512];
	Outcome outcome;

	(void) snprintf(command, sizeof(command), "[\"%s\"]", script("program", "echo ran >$d/ran2"));
	outcome = run_with(command, "", true, 0);
	assert_outcome(&outcome, OUTCOME_TRANSIENT);
	assert_string_equal(left_in("ran2"), "");
}

/* More than a pipe holds, both ways at once. */
TEST(much_input_and_output_do_not_block_each_other)
{
	static char input[1 << 20];
	char output[1024];
	const char *const argv[] = {"/bin/cat", NULL};
	Child child = {.argv = argv,
				   .input = input,
				   .input_len = sizeof(input),
				   .output = output,
				   .output_size = sizeof(output),
				   .deadline = far_away()};

	memset(input, 'x', sizeof(input));
	assert_int_equal(child_run(&child), CHILD_EXITED);
	assert_int_equal(child.number, 0);
	assert_int_equal(child.output_len, sizeof(output) - 1);
	assert_int_equal(output[sizeof(output) - 1], '\0');
}

static void *
run_many(void *argument)
{
	intptr_t failures = 0;

	for (int i = 0; i < 25; i++)
	{
		const char *const argv[] = {"/bin/cat", NULL};
		char input[64];
		char output[64];
		Child child = {.argv = argv,
					   .input = input,
					   .output = output,
					   .output_size = sizeof(output),
					   .deadline = far_away()};

		(void) snprintf(input, sizeof(input), "%p %d", argument, i);
		child.input_len = strlen(input);
		if (child_run(&child) != CHILD_EXITED || strcmp(input, output) != 0)
			failures++;
	}
	return failures == 0 ? NULL : argument;
}

TEST(threads_run_programs_at_once)
{
	static char names[8];
	pthread_t threads[COUNT_OF(names)] = {0};

	for (size_t i = 0; i < COUNT_OF(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, run_many, &names[i]), 0);
	for (size_t i = 0; i < COUNT_OF(threads); i++)
	{
		void *failures;

		assert_int_equal(pthread_join(threads[i], &failures), 0);
		assert_null(failures);
	}
}

static int
make_folder(void **state __attribute__((unused)))
{
	(void) signal(SIGPIPE, SIG_IGN);
	return mkdtemp(folder) == NULL;
}

static int
remove_folder(void **state __attribute__((unused)))
{
	char command[128];

	(void) snprintf(command, sizeof(command), "rm -rf %s", folder);
	return system(command);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_program_reads_what_is_to_be_done),
		cmocka_unit_test(exit_statuses_have_their_classes),
		cmocka_unit_test(a_program_may_say_why),
		cmocka_unit_test(hostile_output_says_nothing),
		cmocka_unit_test(long_words_are_cut),
		cmocka_unit_test(a_program_gets_nothing_of_ours),
		cmocka_unit_test(a_program_gets_three_descriptors),
		cmocka_unit_test(a_program_gets_default_signals_and_no_privileges),
		cmocka_unit_test(a_program_that_does_not_end_is_ended_with_its_children),
		cmocka_unit_test(a_program_may_tidy_up_before_it_is_killed),
		cmocka_unit_test(what_a_program_leaves_running_ends_with_it),
		cmocka_unit_test(no_zombie_is_left),
		cmocka_unit_test(no_descriptor_is_left),
		cmocka_unit_test(a_program_that_cannot_be_run_is_permanent),
		cmocka_unit_test(a_program_that_others_can_change_is_not_run),
		cmocka_unit_test(check_looks_at_the_program_and_does_not_run_it),
		cmocka_unit_test(bad_options_are_permanent_and_named),
		cmocka_unit_test(a_deadline_that_has_passed_starts_nothing),
		cmocka_unit_test(much_input_and_output_do_not_block_each_other),
		cmocka_unit_test(threads_run_programs_at_once),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}

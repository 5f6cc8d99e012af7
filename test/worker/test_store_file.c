/*
 * test_store_file.c - tests of worker/store_file.c, and of what it stands on: atomic_file.c, pgpass.c, secret_json.c.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <libpq-fe.h>
#include <nss.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "atomic_file.h"
#include "job_of.h"
#include "pgpass.h"
#include "secret_json.h"
#include "short_memory.h"
#include "store.h"

#define OLD "old:secret\\1"
#define NEW "new\"secret\\:2"

static char folder[] = "/tmp/rotor-store-file.XXXXXX";
static FileCalls real_calls;

/* ------------------------------------------------------------------------------------------------
 * Helpers
 */

static const char *
path_of(const char *name)
{
	static char paths[4][256];
	static int turn;
	char *path = paths[turn++ % 4];

	(void) snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
	return path;
}

static const char *
options_json(const char *name, const char *format, const char *more)
{
	static char text[512];

	(void) snprintf(text, sizeof(text), "{\"path\":\"%s\",\"format\":\"%s\"%s}", path_of(name),
					format, more);
	return text;
}

static void
write_file(const char *name, const char *text, mode_t mode)
{
	int fd = open(path_of(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

/* In static memory; NULL: there is none. */
static const char *
read_file(const char *name)
{
	static char text[65536];
	int fd = open(path_of(name), O_RDONLY | O_CLOEXEC);
	ssize_t len;

	if (fd < 0)
		return NULL;
	len = read(fd, text, sizeof(text) - 1);
	assert_true(len >= 0);
	text[len] = '\0';
	close(fd);
	return text;
}

/* Of the secret db/app: the text at label and name; "" if there is none. */
static const char *
text_at(const char *file, const char *label, const char *name)
{
	static char found[256];
	cJSON *tree = cJSON_Parse(read_file(file));
	const cJSON *secret = cJSON_GetObjectItemCaseSensitive(tree, "db/app");
	const char *text = job_string(cJSON_GetObjectItemCaseSensitive(secret, label), name);

	assert_non_null(tree);
	(void) snprintf(found, sizeof(found), "%s", text != NULL ? text : "");
	cJSON_Delete(tree);
	return found;
}

static mode_t
mode_of(const char *name)
{
	struct stat st;

	assert_int_equal(stat(path_of(name), &st), 0);
	return st.st_mode & 07777;
}

static void
assert_outcome(const Outcome *outcome, OutcomeClass class)
{
	if (outcome->class != class)
		print_error("outcome: %s %s %s\n", outcome_name(outcome->class), outcome->code,
					outcome->message);
	assert_int_equal(outcome->class, class);
	assert_null(strstr(outcome->message, OLD));
	assert_null(strstr(outcome->message, NEW));
}

/* Runs publish or promote of a job. */
static Outcome
run(const TestJob *test, bool promote)
{
	TestJob with_step = *test;
	Job *job;
	Outcome outcome;

	with_step.step = promote ? "finish" : "publish";
	job = job_of(&with_step);
	outcome = promote ? store_file.promote(job, far_away()) : store_file.publish(job, far_away());
	job_free(job);
	return outcome;
}

static void
assert_labels(const TestJob *test, const char *pending, const char *current, const char *previous)
{
	TestJob looking = *test;
	Job *job = job_of((looking.step = "finish", &looking));
	StoreLabels labels;
	Outcome outcome = store_file.look(job, &labels, far_away());

	assert_outcome(&outcome, OUTCOME_OK);
	assert_string_equal(labels.pending, pending);
	assert_string_equal(labels.current, current);
	assert_string_equal(labels.previous, previous);
	assert_int_equal(labels.exists,
					 pending[0] != '\0' || current[0] != '\0' || previous[0] != '\0');
	job_free(job);
}

static void
assert_reads(const TestJob *test, const char *password)
{
	TestJob reading = *test;
	Job *job = job_of((reading.step = "finish", &reading));
	SecretBuf username = {0};
	SecretBuf found = {0};
	Outcome outcome = store_file.read(job, &username, &found, far_away());

	assert_outcome(&outcome, OUTCOME_OK);
	assert_string_equal(found.data, password);
	assert_string_equal(username.data, test->version.username);
	secret_buf_wipe(&found);
	job_free(job);
}

static const TestValue first = {NULL, "app", OLD};

/* The rotation from version 1 (OLD) to version 2 (NEW). */
static TestJob
rotation(const char *options)
{
	return (TestJob){.version = {uuid('2'), "app", NEW},
					 .former = {uuid('1'), "app", OLD},
					 .store_options = options};
}

/* Version 1 is current. */
static void
enrol(const char *options)
{
	TestJob test = {.version = first, .store_options = options};
	Outcome outcome;

	test.version.id = uuid('1');
	outcome = run(&test, false);
	assert_outcome(&outcome, OUTCOME_OK);
	outcome = run(&test, true);
	assert_outcome(&outcome, OUTCOME_OK);
}

static int
setup(void **state __attribute__((unused)))
{
	char template[] = "/tmp/rotor-store-file.XXXXXX";

	file_calls = real_calls;
	memcpy(folder, template, sizeof(folder));
	return mkdtemp(folder) == NULL;
}

static int
teardown(void **state __attribute__((unused)))
{
	char command[300];

	file_calls = real_calls;
	(void) snprintf(command, sizeof(command), "chmod -R u+rwx %s; rm -rf %s", folder, folder);
	return system(command);
}

/* ------------------------------------------------------------------------------------------------
 * JSON
 */

TEST(a_new_secret_has_only_a_pending_version)
{
	TestJob test = rotation(options_json("db.json", "json", ""));
	Outcome outcome = run(&test, false);

	assert_outcome(&outcome, OUTCOME_OK);
	assert_labels(&test, uuid('2'), "", "");
	assert_int_equal(mode_of("db.json"), 0600);
	assert_string_equal(text_at("db.json", "pending", "password"), NEW);
	assert_string_equal(text_at("db.json", "pending", "engine"), "postgres");
	assert_string_equal(text_at("db.json", "pending", "host"), "db.example");
	assert_string_equal(text_at("db.json", "current", "password"), "");
}

TEST(publishing_leaves_what_applications_read)
{
	TestJob test = rotation(options_json("db.json", "json", ""));
	Outcome outcome;

	enrol(test.store_options);
	outcome = run(&test, false);
	assert_outcome(&outcome, OUTCOME_OK);
	assert_reads(&test, OLD);
	assert_labels(&test, uuid('2'), uuid('1'), "");
}

TEST(promoting_moves_the_labels)
{
	TestJob test = rotation(options_json("db.json", "json", ""));
	Outcome outcome;

	enrol(test.store_options);
	(void) run(&test, false);
	outcome = run(&test, true);
	assert_outcome(&outcome, OUTCOME_OK);
	assert_reads(&test, NEW);
	assert_labels(&test, "", uuid('2'), uuid('1'));
	assert_string_equal(text_at("db.json", "previous", "password"), OLD);
}

TEST(each_step_may_be_repeated)
{
	TestJob test = rotation(options_json("db.json", "json", ""));

	enrol(test.store_options);
	for (int i = 0; i < 4; i++)
	{
		Outcome outcome;

		test.look = i % 2 == 1;
		outcome = run(&test, i >= 2);
		assert_outcome(&outcome, OUTCOME_OK);
	}
	assert_labels(&test, "", uuid('2'), uuid('1'));
	/* And publishing what is current does not make it pending. */
	{
		Outcome outcome = run(&test, false);

		assert_outcome(&outcome, OUTCOME_OK);
	}
	assert_labels(&test, "", uuid('2'), uuid('1'));
}

TEST(what_others_wrote_is_kept)
{
	static const char text[] =
		"{\"other\": {\"a\": [1, 2.5, null, 12345678901234567890, -0.12345678901234567890e10]},\n"
		" \"db/app\": {\"note\": \"mine\", \"current\": {\"username\": \"app\", \"password\": "
		"\"old:secret\\\\1\", \"host\": \"pooler\", \"port\": 6432, \"id\": "
		"9007199254740993, \"tags\": {\"x\": \"\\u00e9\\u0001\"}}}}";
	TestJob test = rotation(options_json("db.json", "json", ""));
	const char *written;
	Outcome outcome;

	write_file("db.json", text, 0600);
	(void) run(&test, false);
	outcome = run(&test, true);
	assert_outcome(&outcome, OUTCOME_OK);
	written = read_file("db.json");
	if (written == NULL)
		abort();
	assert_non_null(strstr(written, "12345678901234567890,"));
	assert_non_null(strstr(written, "-0.12345678901234567890e10"));
	assert_non_null(strstr(written, "\"note\":\t\"mine\""));
	assert_non_null(strstr(written, "\"id\":\t9007199254740993"));
	assert_non_null(strstr(written, "\u00e9\\u0001"));
	assert_string_equal(text_at("db.json", "current", "host"), "pooler");
	assert_string_equal(text_at("db.json", "current", "password"), NEW);
	assert_string_equal(text_at("db.json", "current", "version_id"), uuid('2'));
	assert_string_equal(text_at("db.json", "previous", "version_id"), "");
}

TEST(several_secrets_share_a_file)
{
	TestJob one = rotation(options_json("db.json", "json", ""));
	TestJob two = one;

	two.key = "db/other";
	two.former = (TestValue){0};
	enrol(one.store_options);
	(void) run(&two, false);
	(void) run(&two, true);
	assert_labels(&one, "", uuid('1'), "");
	assert_labels(&two, "", uuid('2'), "");
}

TEST(compare_and_swap_refuses_another_current)
{
	TestJob test = rotation(options_json("db.json", "json", ""));
	TestJob next = test;
	Outcome outcome;

	next.version.id = uuid('4');
	enrol(test.store_options);
	(void) run(&test, false);
	test.former = (TestValue){uuid('9'), "app", "another"};
	outcome = run(&test, true);
	assert_outcome(&outcome, OUTCOME_SUPERSEDED);
	assert_reads(&test, OLD);
	/* Nor is the target changed in vain. */
	next.former = test.former;
	outcome = run(&next, false);
	assert_outcome(&outcome, OUTCOME_SUPERSEDED);
	/* Without a former version, whatever is current gives way. */
	test.former = (TestValue){0};
	outcome = run(&test, true);
	assert_outcome(&outcome, OUTCOME_OK);
	assert_reads(&test, NEW);
}

TEST(a_value_of_somebody_else_is_former_only_if_it_is_the_same)
{
	TestJob test = rotation(options_json("db.json", "json", ""));
	Outcome outcome;

	write_file("db.json",
			   "{\"db/app\":{\"current\":{\"username\":\"app\",\"password\":\"theirs\"}}}", 0600);
	outcome = run(&test, false);
	assert_outcome(&outcome, OUTCOME_SUPERSEDED);
	outcome = run(&test, true);
	assert_outcome(&outcome, OUTCOME_SUPERSEDED);
	test.former.password = "theirs";
	outcome = run(&test, false);
	assert_outcome(&outcome, OUTCOME_OK);
	outcome = run(&test, true);
	assert_outcome(&outcome, OUTCOME_OK);
}

TEST(a_late_worker_does_not_overtake_a_newer_rotation)
{
	TestJob late = rotation(options_json("db.json", "json", ""));
	TestJob newer = late;
	Outcome outcome;

	newer.version = (TestValue){uuid('3'), "app", "newer"};
	enrol(late.store_options);
	(void) run(&late, false);
	(void) run(&newer, false);
	outcome = run(&late, true);
	assert_outcome(&outcome, OUTCOME_SUPERSEDED);
	outcome = run(&newer, true);
	assert_outcome(&outcome, OUTCOME_OK);
	outcome = run(&late, true);
	assert_outcome(&outcome, OUTCOME_SUPERSEDED);
	assert_reads(&newer, "newer");
}

TEST(the_same_version_with_another_value_is_refused)
{
	TestJob test = rotation(options_json("db.json", "json", ""));
	Outcome outcome;

	(void) run(&test, false);
	test.version.password = "another";
	outcome = run(&test, false);
	assert_outcome(&outcome, OUTCOME_SUPERSEDED);
	assert_string_equal(text_at("db.json", "pending", "password"), NEW);
}

TEST(a_job_without_the_value_promotes_the_pending_one)
{
	TestJob test = rotation(options_json("db.json", "json", ""));
	Outcome outcome;

	enrol(test.store_options);
	(void) run(&test, false);
	test.version.password = "";
	outcome = run(&test, true);
	assert_outcome(&outcome, OUTCOME_OK);
	assert_reads(&test, NEW);
	/* Without both there is nothing to promote. */
	test.former.id = uuid('2');
	test.version.id = uuid('3');
	outcome = run(&test, true);
	assert_outcome(&outcome, OUTCOME_SUPERSEDED);
}

TEST(a_file_that_is_no_object_is_left_alone)
{
	static const char *const texts[] = {
		"{",
		"[]",
		"{} x",
		("\"" OLD),
		"{\"db/app\":1}",
		"{\"a\":\"\\u0000\"}",
		"{\"a\":1234567890123456-}",
		"{\"a\":\"\\u0001rotor-number:1\"}",
	};

	for (size_t i = 0; i < COUNT_OF(texts); i++)
	{
		TestJob test = rotation(options_json("db.json", "json", ""));
		Outcome outcome;

		write_file("db.json", texts[i], 0600);
		outcome = run(&test, false);
		assert_outcome(&outcome, OUTCOME_PERMANENT);
		assert_string_equal(read_file("db.json"), texts[i]);
	}
}

TEST(an_empty_file_is_filled)
{
	TestJob test = rotation(options_json("db.json", "json", ""));
	Outcome outcome;

	write_file("db.json", "", 0600);
	outcome = run(&test, false);
	assert_outcome(&outcome, OUTCOME_OK);
}

TEST(bad_options_are_permanent_and_named)
{
	static const char *const options[][2] = {
		{"{}", "\"path\""},
		{"{\"path\":5}", "\"path\""},
		{"{\"path\":\"relative\"}", "absolute"},
		{"{\"path\":\"/tmp/\"}", "absolute"},
		{"{\"path\":\"/tmp/..\"}", "absolute"},
		{"{\"path\":\"/tmp/x\",\"format\":\"xml\"}", "\"format\""},
		{"{\"path\":\"/tmp/x\",\"mode\":\"0644\"}", "\"mode\""},
		{"{\"path\":\"/tmp/x\",\"mode\":600}", "\"mode\""},
		{"{\"path\":\"/tmp/x\",\"mode\":\"0640\"}", "\"group\""},
		{"{\"path\":\"/tmp/x\",\"mode\":\"0640\",\"group\":\"no such group\"}", "no such group"},
		{"{\"path\":\"/tmp/x\",\"format\":\"pgpass\",\"mode\":\"0640\"}", "\"mode\""},
	};

	for (size_t i = 0; i < COUNT_OF(options); i++)
	{
		TestJob test = rotation(options[i][0]);
		Outcome outcome = run(&test, false);

		assert_outcome(&outcome, OUTCOME_PERMANENT);
		assert_non_null(strstr(outcome.message, options[i][1]));
	}
}

/* ------------------------------------------------------------------------------------------------
 * Files and folders
 */

TEST(a_group_may_be_let_in)
{
	TestJob test =
		rotation(options_json("db.json", "json", ",\"mode\":\"0640\",\"group\":\"root\""));
	Outcome outcome;

	if (geteuid() != 0)
		skip();
	outcome = run(&test, false);
	assert_outcome(&outcome, OUTCOME_OK);
	assert_int_equal(mode_of("db.json"), 0640);
}

TEST(a_file_with_wider_permissions_is_refused_with_the_remedy)
{
	TestJob test = rotation(options_json("db.json", "json", ""));
	Outcome outcome;

	write_file("db.json", "{}", 0644);
	outcome = run(&test, false);
	assert_outcome(&outcome, OUTCOME_PERMANENT);
	assert_non_null(strstr(outcome.message, "0644"));
	assert_non_null(strstr(outcome.message, "chmod 0600"));
	assert_string_equal(read_file("db.json"), "{}");
}

TEST(neither_symlinks_nor_fifos_nor_folders_are_followed)
{
	TestJob test = rotation(options_json("link", "json", ""));
	Outcome outcome;

	write_file("victim", "{}", 0600);
	assert_int_equal(symlink(path_of("victim"), path_of("link")), 0);
	outcome = run(&test, false);
	assert_outcome(&outcome, OUTCOME_PERMANENT);
	assert_string_equal(outcome.code, "ELOOP");
	assert_string_equal(read_file("victim"), "{}");

	test.store_options = options_json("fifo", "json", "");
	assert_int_equal(mkfifo(path_of("fifo"), 0600), 0);
	outcome = run(&test, false);
	assert_outcome(&outcome, OUTCOME_PERMANENT);

	test.store_options = options_json("sub", "json", "");
	assert_int_equal(mkdir(path_of("sub"), 0700), 0);
	outcome = run(&test, false);
	assert_outcome(&outcome, OUTCOME_PERMANENT);
}

TEST(a_planted_lock_or_temporary_is_not_followed)
{
	TestJob test = rotation(options_json("db.json", "json", ""));
	Outcome outcome;

	write_file("victim", "precious", 0600);
	assert_int_equal(symlink(path_of("victim"), path_of(".db.json.rotor-new")), 0);
	outcome = run(&test, false);
	assert_outcome(&outcome, OUTCOME_OK);
	assert_string_equal(read_file("victim"), "precious");

	assert_int_equal(unlink(path_of(".db.json.rotor-lock")), 0);
	assert_int_equal(symlink(path_of("victim"), path_of(".db.json.rotor-lock")), 0);
	outcome = run(&test, false);
	assert_outcome(&outcome, OUTCOME_PERMANENT);
}

TEST(a_folder_that_others_can_write_is_refused)
{
	TestJob test = rotation(options_json("open/in/db.json", "json", ""));
	Outcome outcome;

	assert_int_equal(mkdir(path_of("open"), 0700), 0);
	assert_int_equal(mkdir(path_of("open/in"), 0700), 0);
	assert_int_equal(chmod(path_of("open"), 0777), 0);
	outcome = run(&test, false);
	assert_outcome(&outcome, OUTCOME_PERMANENT);
	assert_non_null(strstr(outcome.message, "chmod"));
	assert_int_equal(chmod(path_of("open"), 01777), 0);
	outcome = run(&test, false);
	assert_outcome(&outcome, OUTCOME_OK);
	if (geteuid() == 0)
	{
		assert_int_equal(chown(path_of("open"), 65534, 0), 0);
		outcome = run(&test, false);
		assert_outcome(&outcome, OUTCOME_PERMANENT);
	}
}

TEST(a_symlink_to_the_folder_is_resolved)
{
	TestJob test = rotation(options_json("way/db.json", "json", ""));
	Outcome outcome;

	assert_int_equal(mkdir(path_of("real"), 0700), 0);
	assert_int_equal(symlink("real", path_of("way")), 0);
	outcome = run(&test, false);
	assert_outcome(&outcome, OUTCOME_OK);
	assert_non_null(read_file("real/db.json"));
}

TEST(a_missing_folder_may_come)
{
	TestJob test = rotation(options_json("no/db.json", "json", ""));
	Outcome outcome = run(&test, false);

	assert_outcome(&outcome, OUTCOME_TRANSIENT);
	assert_string_equal(outcome.code, "ENOENT");
}

TEST(a_held_lock_is_waited_for_until_the_deadline)
{
	TestJob test = rotation(options_json("db.json", "json", ""));
	Job *job = job_of(&test);
	int fd = open(path_of(".db.json.rotor-lock"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	Outcome outcome;

	assert_int_equal(flock(fd, LOCK_EX), 0);
	outcome = store_file.publish(job, deadline_in(30));
	assert_outcome(&outcome, OUTCOME_TRANSIENT);
	assert_string_equal(outcome.code, "ETIMEDOUT");
	assert_null(read_file("db.json"));
	close(fd);
	outcome = store_file.publish(job, far_away());
	assert_outcome(&outcome, OUTCOME_OK);
	job_free(job);
}

TEST(check_changes_nothing_and_finds_what_would_fail)
{
	TestJob test = rotation(options_json("db.json", "json", ""));
	Job *job = job_of(&test);
	Outcome outcome = store_file.check(job, far_away());

	assert_outcome(&outcome, OUTCOME_OK);
	assert_null(read_file("db.json"));
	assert_null(read_file(".db.json.rotor-lock"));
	write_file("db.json", "no json", 0600);
	outcome = store_file.check(job, far_away());
	assert_outcome(&outcome, OUTCOME_PERMANENT);
	job_free(job);
}

/* ------------------------------------------------------------------------------------------------
 * Calls that fail, and crashes between them
 */

static int calls_left; /* until one fails or the process ends */
static int failure;	   /* the errno of the one that fails; 0: SIGKILL */

/* Is this the call? */
static bool
strikes(void)
{
	if (calls_left-- != 0)
		return false;
	if (failure == 0)
		(void) raise(SIGKILL);
	errno = failure;
	return true;
}

static int
struck_openat(int fd, const char *name, int flags, mode_t mode)
{
	return strikes() ? -1 : real_calls.openat(fd, name, flags, mode);
}

static ssize_t
struck_write(int fd, const void *data, size_t len)
{
	/* Half of it is written before the end. */
	if (calls_left == 0 && len > 1)
		(void) real_calls.write(fd, data, len / 2);
	return strikes() ? -1 : real_calls.write(fd, data, len);
}

static int
struck_fchmod(int fd, mode_t mode)
{
	return strikes() ? -1 : real_calls.fchmod(fd, mode);
}

static int
struck_fchown(int fd, uid_t owner, gid_t group)
{
	return strikes() ? -1 : real_calls.fchown(fd, owner, group);
}

static int
struck_fsync(int fd)
{
	return strikes() ? -1 : real_calls.fsync(fd);
}

static int
struck_renameat(int from_fd, const char *from, int to_fd, const char *to)
{
	return strikes() ? -1 : real_calls.renameat(from_fd, from, to_fd, to);
}

static int
struck_unlinkat(int fd, const char *name, int flags)
{
	return strikes() ? -1 : real_calls.unlinkat(fd, name, flags);
}

static void
strike(int calls, int number)
{
	calls_left = calls;
	failure = number;
	file_calls = (FileCalls){struck_openat, struck_write,	 struck_fchmod,	 struck_fchown,
							 struck_fsync,	struck_renameat, struck_unlinkat};
}

/* Kills a child at the call'th call of promote; false: it ended before. */
static bool
promote_and_die(const TestJob *test, int call)
{
	pid_t child = fork();
	int status;

	if (child == 0)
	{
		Outcome outcome;

		strike(call, 0);
		outcome = run(test, true);
		_exit(outcome.class == OUTCOME_OK ? 0 : 1);
	}
	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	if (WIFEXITED(status))
		assert_int_equal(WEXITSTATUS(status), 0);
	return WIFSIGNALED(status);
}

/* At each call: what is read is the old or the new value, and the next attempt completes it. */
static void
crash_everywhere(const char *format)
{
	int call = 0;
	int old = 0;
	int new = 0;
	bool died = true;

	for (; died; call++)
	{
		char name[32];
		TestJob test;
		SecretBuf username = {0};
		SecretBuf password = {0};
		Job *job;
		Outcome outcome;

		(void) snprintf(name, sizeof(name), "db%d", call);
		test = rotation(options_json(name, format, ""));
		enrol(test.store_options);
		(void) run(&test, false);
		died = promote_and_die(&test, call);

		job = job_of(&test);
		outcome = store_file.read(job, &username, &password, far_away());
		assert_outcome(&outcome, OUTCOME_OK);
		if (strcmp(password.data, OLD) == 0)
			old++;
		else
		{
			assert_string_equal(password.data, NEW);
			new ++;
		}
		job_free(job);
		test.look = true;
		outcome = run(&test, true);
		assert_outcome(&outcome, OUTCOME_OK);
		assert_reads(&test, NEW);
		assert_labels(&test, "", uuid('2'), uuid('1'));
		(void) snprintf(name, sizeof(name), ".db%d.rotor-new", call);
		assert_null(read_file(name));
	}
	/* Both happened, or the calls were not where they should be. */
	assert_true(call > 6 && old > 3 && new > 1);
}

TEST(a_crash_at_any_call_leaves_the_old_json_or_the_new)
{
	crash_everywhere("json");
}

TEST(a_crash_at_any_call_leaves_the_old_line_or_the_new)
{
	crash_everywhere("pgpass");
}

/* An errno at each call: nothing changed if the outcome says so. */
static void
fail_everywhere(const char *format, int number, OutcomeClass expected)
{
	int unknown = 0;
	int certain = 0;

	for (int call = 0;; call++)
	{
		char name[32];
		TestJob test;
		Outcome outcome;

		(void) snprintf(name, sizeof(name), "db%d-%d", number, call);
		test = rotation(options_json(name, format, ""));
		enrol(test.store_options);
		(void) run(&test, false);
		strike(call, number);
		outcome = run(&test, true);
		file_calls = real_calls;
		if (outcome.class == OUTCOME_OK)
			break;
		assert_string_equal(outcome.code, strerrorname_np(number));
		assert_non_null(strstr(outcome.message, strerror(number)));
		if (outcome.class == OUTCOME_UNKNOWN)
			unknown++;
		else
		{
			assert_outcome(&outcome, expected);
			assert_reads(&test, OLD);
			assert_labels(&test, uuid('2'), uuid('1'), "");
			certain++;
		}
		test.look = true;
		outcome = run(&test, true);
		assert_outcome(&outcome, OUTCOME_OK);
		assert_labels(&test, "", uuid('2'), uuid('1'));
	}
	assert_true(certain >= 6);
	assert_true(strcmp(format, "json") == 0 ? unknown == 1 : unknown > 1);
}

TEST(a_full_disk_changes_nothing_and_may_go_by_itself)
{
	fail_everywhere("json", ENOSPC, OUTCOME_TRANSIENT);
	fail_everywhere("pgpass", ENOSPC, OUTCOME_TRANSIENT);
}

TEST(a_read_only_disk_changes_nothing_and_may_go_by_itself)
{
	fail_everywhere("json", EROFS, OUTCOME_TRANSIENT);
	fail_everywhere("json", EIO, OUTCOME_TRANSIENT);
}

TEST(what_may_not_be_written_is_permanent)
{
	fail_everywhere("json", EACCES, OUTCOME_PERMANENT);
}

/* Runs a step of which one allocation fails; true if it came to that. */
static bool
run_short(const TestJob *test, bool promote, int allocation)
{
	TestJob with_step = *test;
	Outcome outcome;
	bool failed;
	Job *job;

	with_step.step = promote ? "finish" : "publish";
	job = job_of(&with_step);
	short_memory_at(allocation);
	outcome = promote ? store_file.promote(job, far_away()) : store_file.publish(job, far_away());
	failed = short_memory_end();
	job_free(job);
	/* Of two files the first may have been written. */
	if (outcome.class != OUTCOME_OK && outcome.class != OUTCOME_UNKNOWN)
		assert_outcome(&outcome, OUTCOME_TRANSIENT);
	return failed;
}

/*
 * Whatever allocation fails, the step may be tried again, nothing is taken for somebody else's, and no other value
 * is published.
 */
TEST(memory_that_runs_out_is_transient_and_publishes_nothing_else)
{
	static const char *const formats[] = {"json", "pgpass"};

	for (size_t i = 0; i < COUNT_OF(formats); i++)
	{
		bool failed = true;

		for (int n = 1; failed; n++)
		{
			char name[32];
			TestJob test;

			(void) snprintf(name, sizeof(name), "%s%d", formats[i], n);
			enrol(options_json(name, formats[i], ""));
			test = rotation(options_json(name, formats[i], ""));
			failed = run_short(&test, false, n);
			assert_reads(&test, OLD);
			assert_int_equal(run(&test, false).class, OUTCOME_OK);
			failed = run_short(&test, true, n) || failed;
			assert_int_equal(run(&test, true).class, OUTCOME_OK);
			assert_reads(&test, NEW);
			assert_labels(&test, "", uuid('2'), uuid('1'));
		}
	}
}

/* ------------------------------------------------------------------------------------------------
 * pgpass
 */

TEST(the_line_has_the_current_value_only)
{
	TestJob test = rotation(options_json("pgpass", "pgpass", ""));
	Outcome outcome;

	enrol(test.store_options);
	assert_string_equal(read_file("pgpass"), "db.example:5432:app:app:old\\:secret\\\\1\n");
	(void) run(&test, false);
	assert_string_equal(read_file("pgpass"), "db.example:5432:app:app:old\\:secret\\\\1\n");
	outcome = run(&test, true);
	assert_outcome(&outcome, OUTCOME_OK);
	assert_string_equal(read_file("pgpass"), "db.example:5432:app:app:new\"secret\\\\\\:2\n");
	assert_int_equal(mode_of("pgpass"), 0600);
	assert_int_equal(mode_of("pgpass.rotor"), 0600);
	assert_labels(&test, "", uuid('2'), uuid('1'));
}

TEST(fields_of_the_line_can_be_given)
{
	TestJob test = rotation(
		options_json("pgpass", "pgpass", ",\"host\":\"::1\",\"port\":\"*\",\"dbname\":\"*\""));

	enrol(test.store_options);
	assert_string_equal(read_file("pgpass"), "\\:\\:1:*:*:app:old\\:secret\\\\1\n");
}

TEST(hosts_that_libpq_would_never_look_for_are_refused_before_anything_is_set)
{
	static const struct
	{
		const char *target, *options;
		OutcomeClass class;
	} cases[] = {
		{"{\"host\":\"db1,db2\",\"port\":5432}", "", OUTCOME_PERMANENT},
		{"{\"host\":\"db1\",\"port\":\"5432,5433\"}", "", OUTCOME_PERMANENT},
		{"{\"host\":\"db1,db2\",\"port\":\"5432,5433\"}", ",\"host\":\"db1\"", OUTCOME_PERMANENT},
		{"{\"host\":\"db1\"}", ",\"host\":\"db1,db2\"", OUTCOME_PERMANENT},
		{"{\"host\":\"/var/run/postgresql\"}", "", OUTCOME_PERMANENT},
		{"{\"host\":\"@abstract\"}", "", OUTCOME_PERMANENT},
		{"{\"host\":\"/var/run/postgresql\"}", ",\"host\":\"localhost\"", OUTCOME_OK},
		{"{\"host\":\"/tmp/own\"}", ",\"host\":\"/tmp/own\"", OUTCOME_OK},
		{"{\"host\":\"db1,db2\",\"port\":\"5432,5433\"}", ",\"host\":\"*\",\"port\":\"*\"",
		 OUTCOME_OK},
		{"{\"host\":\"db1,db2\",\"port\":5432}", ",\"host\":\"db2\"", OUTCOME_OK},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++)
	{
		TestJob test = rotation(options_json("pgpass", "pgpass", cases[i].options));
		Outcome outcome;
		Job *job;

		test.target = cases[i].target;
		job = job_of(&test);
		outcome = store_file.check(job, far_away());
		assert_outcome(&outcome, cases[i].class);
		outcome = store_file.publish(job, far_away());
		assert_outcome(&outcome, cases[i].class);
		if (outcome.class != OUTCOME_OK)
		{
			assert_non_null(strstr(outcome.message, "\"host\""));
			assert_null(read_file("pgpass.rotor"));
		}
		job_free(job);
		(void) unlink(path_of("pgpass.rotor"));
		/* An object has them as they are. */
		test.store_options = options_json("json", "json", "");
		job = job_of(&test);
		outcome = store_file.publish(job, far_away());
		assert_outcome(&outcome, OUTCOME_OK);
		job_free(job);
		(void) unlink(path_of("json"));
	}
}

TEST(lines_of_others_are_kept)
{
	TestJob test = rotation(options_json("pgpass", "pgpass", ""));
	Outcome outcome;

	write_file("pgpass",
			   "# mine\nother:*:*:app:x\ndb.example:5432:app:app:old\\:secret\\\\1\nlast:*:*:*:z",
			   0600);
	assert_reads(&test, OLD);
	(void) run(&test, false);
	outcome = run(&test, true);
	assert_outcome(&outcome, OUTCOME_OK);
	assert_string_equal(
		read_file("pgpass"),
		"# mine\nother:*:*:app:x\ndb.example:5432:app:app:new\"secret\\\\\\:2\nlast:*:*:*:z");
}

TEST(a_line_that_somebody_changed_is_not_ours)
{
	TestJob test = rotation(options_json("pgpass", "pgpass", ""));
	Outcome outcome;

	enrol(test.store_options);
	(void) run(&test, false);
	write_file("pgpass", "db.example:5432:app:app:theirs\n", 0600);
	outcome = run(&test, true);
	assert_outcome(&outcome, OUTCOME_SUPERSEDED);
	assert_reads(&test, "theirs");
	assert_labels(&test, uuid('2'), "", "");
}

TEST(a_value_that_a_line_cannot_hold_is_refused_before_anything_is_set)
{
	TestJob test = rotation(options_json("pgpass", "pgpass", ""));
	Outcome outcome;

	test.version.password = "two\nlines";
	outcome = run(&test, false);
	assert_outcome(&outcome, OUTCOME_PERMANENT);
	assert_null(strstr(outcome.message, "two"));
	assert_null(read_file("pgpass.rotor"));
}

/* What libpq takes from the file for these parameters. */
static void
assert_libpq_uses(const char *host, const char *port, const char *dbname, const char *user,
				  const char *password)
{
	const char *const names[] = {"host", "port", "dbname", "user", "passfile", "hostaddr", NULL};
	const char *const values[] = {host, port, dbname, user, path_of("pgpass"), "127.0.0.1", NULL};
	PGconn *conn = PQconnectStartParams(names, values, 0);

	assert_string_equal(PQpass(conn), password);
	PQfinish(conn);
}

TEST(libpq_reads_what_is_written)
{
	static const char *const users[] = {"app", "a:b", "a\\b", "*", "#x", "\xc3\xa9 \"q'", "\\:"};
	static const char *const passwords[] = {"p", ":", "\\", "\\:\\", "*", "#", " lead", "t\\r"};

	for (size_t u = 0; u < COUNT_OF(users); u++)
	{
		for (size_t p = 0; p < COUNT_OF(passwords); p++)
		{
			static const char before[] = "# c\n*:*:*:*:all\nh:1:d:u:other\n";
			PgpassKey key = {"h", "1", "d", users[u]};
			SecretBuf password = {0};
			SecretBuf found = {0};
			RotorError err;
			size_t len;
			char *text;
			char *again;

			assert_true(secret_buf_set(&password, passwords[p], strlen(passwords[p]), &err));
			text = pgpass_put(before, strlen(before), &key, &password, &len, &err);
			assert_non_null(text);
			/* A second time it stands there already. */
			again = pgpass_put(text, len, &key, &password, &len, &err);
			assert_non_null(again);
			assert_memory_equal(again, text, len);
			again[len - 1] = '\0';
			write_file("pgpass", again, 0600);
			assert_libpq_uses("h", "1", "d", users[u], passwords[p]);
			assert_libpq_uses("h", "1", "d", "nobody", "all");
			assert_true(pgpass_find(text, len, &key, &found));
			assert_string_equal(found.data, passwords[p]);
			free(text);
			free(again);
		}
	}
}

TEST(hostile_lines_are_no_lines)
{
	static const char *const lines[] = {
		"",		":",		  "h",			"h:1:d:u",	"h:1:d:u\\:", "\\",		"h:1:d:\\",
		"::::", "#h:1:d:u:x", "h:1:d:uu:x", "h:1:d::x", "*",		  "*:*:*:*"};
	PgpassKey key = {"h", "1", "d", "u"};

	for (size_t i = 0; i < COUNT_OF(lines); i++)
	{
		SecretBuf found = {0};
		/* Of exactly this length, so that the sanitizer sees a read beyond. */
		size_t len = strlen(lines[i]);
		char *copy = malloc(len > 0 ? len : 1);

		assert_non_null(copy);
		memcpy(copy, lines[i], len);
		assert_false(pgpass_find(copy, len, &key, &found));
		free(copy);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		T(a_new_secret_has_only_a_pending_version),
		T(publishing_leaves_what_applications_read),
		T(promoting_moves_the_labels),
		T(each_step_may_be_repeated),
		T(what_others_wrote_is_kept),
		T(several_secrets_share_a_file),
		T(compare_and_swap_refuses_another_current),
		T(a_value_of_somebody_else_is_former_only_if_it_is_the_same),
		T(a_late_worker_does_not_overtake_a_newer_rotation),
		T(the_same_version_with_another_value_is_refused),
		T(a_job_without_the_value_promotes_the_pending_one),
		T(a_file_that_is_no_object_is_left_alone),
		T(an_empty_file_is_filled),
		T(bad_options_are_permanent_and_named),
		T(a_group_may_be_let_in),
		T(a_file_with_wider_permissions_is_refused_with_the_remedy),
		T(neither_symlinks_nor_fifos_nor_folders_are_followed),
		T(a_planted_lock_or_temporary_is_not_followed),
		T(a_folder_that_others_can_write_is_refused),
		T(a_symlink_to_the_folder_is_resolved),
		T(a_missing_folder_may_come),
		T(a_held_lock_is_waited_for_until_the_deadline),
		T(check_changes_nothing_and_finds_what_would_fail),
		T(a_crash_at_any_call_leaves_the_old_json_or_the_new),
		T(a_crash_at_any_call_leaves_the_old_line_or_the_new),
		T(a_full_disk_changes_nothing_and_may_go_by_itself),
		T(a_read_only_disk_changes_nothing_and_may_go_by_itself),
		T(what_may_not_be_written_is_permanent),
		T(memory_that_runs_out_is_transient_and_publishes_nothing_else),
		T(the_line_has_the_current_value_only),
		T(fields_of_the_line_can_be_given),
		T(hosts_that_libpq_would_never_look_for_are_refused_before_anything_is_set),
		T(lines_of_others_are_kept),
		T(a_line_that_somebody_changed_is_not_ours),
		T(a_value_that_a_line_cannot_hold_is_refused_before_anything_is_set),
		T(libpq_reads_what_is_written),
		T(hostile_lines_are_no_lines),
#undef T
	};

	real_calls = file_calls;
	/* Other sources of groups are modules, and how the C library loads them looks like a leak to memcheck. */
	if (__nss_configure_lookup("group", "files") != 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}

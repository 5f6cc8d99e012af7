/*
 * guc.c - rotor's settings. docs/settings.md is checked against this table by a test.
 */
#include "postgres.h"

#include "clock.h"
#include "compat.h"
#include "guc.h"
#include "postmaster/postmaster.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#define DEFAULT_DATABASE "postgres"

char *rotor_database;
int rotor_workers;
char *rotor_key_command;
char *rotor_key_file;
char *rotor_verify_host;
int rotor_verify_port;
int rotor_verify_sslmode;
int rotor_connect_timeout;
int rotor_lock_timeout;
int rotor_poll_interval;
int rotor_audit_reads;
int rotor_audit_retention;
int rotor_maintenance_interval;
int rotor_max_concurrent_logins;
int rotor_lease_duration;
int rotor_recovery_window;
int rotor_max_watched_roles;
bool rotor_allow_outside_change;
bool rotor_dump_values;
int rotor_catch_up_rate;
int rotor_log_format;
static char *test_clock; /* clock.c has what it says */

static const struct config_enum_entry audit_reads_options[] = {
	{"log", AUDIT_READS_LOG, false},
	{"off", AUDIT_READS_OFF, false},
	{NULL, 0, false},
};

static const struct config_enum_entry log_format_options[] = {
	{"text", LOG_FORMAT_TEXT, false},
	{"json", LOG_FORMAT_JSON, false},
	{NULL, 0, false},
};

/* allow and prefer are missing on purpose: libpq would probe a refused password twice. */
static const struct config_enum_entry sslmode_options[] = {
	{"auto", VERIFY_SSLMODE_AUTO, false},
	{"disable", VERIFY_SSLMODE_DISABLE, false},
	{"require", VERIFY_SSLMODE_REQUIRE, false},
	{"verify-ca", VERIFY_SSLMODE_VERIFY_CA, false},
	{"verify-full", VERIFY_SSLMODE_VERIFY_FULL, false},
	{NULL, 0, false},
};

void
guc_define(void)
{
	/* Workers are registered at server start only; without preloading the setting has no effect. */
	GucContext at_start =
		process_shared_preload_libraries_in_progress ? PGC_POSTMASTER : PGC_SIGHUP;

	DefineCustomBoolVariable("rotor.allow_outside_change",
							 "Let ALTER ROLE ... PASSWORD pass where a policy refuses it.",
							 "on: warn instead, in this session. It is audited all the same.",
							 &rotor_allow_outside_change, false, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable("rotor.audit_reads", "Server log lines for reads of a secret.",
							 "log: each read is one line in the server log only; off: none.",
							 &rotor_audit_reads, AUDIT_READS_LOG, audit_reads_options, PGC_SUSET, 0,
							 NULL, NULL, NULL);
	DefineCustomIntVariable("rotor.audit_retention", "How long the audit is kept.",
							"Months that lie wholly before that are purged. 0: for ever.",
							&rotor_audit_retention, 400 * SECS_PER_DAY, 0, INT_MAX, PGC_SIGHUP,
							GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("rotor.catch_up_rate", "Missed rotations begun in a minute.",
							"What was due while rotor was down is spread over time, over all "
							"workers together. 0: no limit.",
							&rotor_catch_up_rate, 600, 0, 600000, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("rotor.connect_timeout", "Longest time for a verification login.",
							"From the first packet to the answer of the verification query.",
							&rotor_connect_timeout, 5000, 100, 600000, PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomStringVariable("rotor.database", "The database that rotor lives in.",
							   "One database of a cluster holds the extension and its state.",
							   &rotor_database, DEFAULT_DATABASE, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("rotor.dump_values", "Let pg_dump take sealed values with it.",
							 "on: also sealed values, wrapped data keys and history, not only "
							 "configuration. To be set in the session of pg_dump.",
							 &rotor_dump_values, false, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("rotor.key_command", "Shell command that prints a master key.",
							   "%k is replaced by the wanted key's id, or by \"newest\"; it prints "
							   "one or more lines id:key. Empty: rotor.key_file is read.",
							   &rotor_key_command, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL,
							   NULL);
	DefineCustomStringVariable("rotor.key_file", "File of the master keys.",
							   "Lines id:key, the last one is the newest. Relative paths start at "
							   "the data directory.",
							   &rotor_key_file, "rotor.key", PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL,
							   NULL, NULL);
	DefineCustomIntVariable(
		"rotor.lease_duration", "How long a worker outside has a step.",
		"Another worker takes over what is neither reported nor renewed by then.",
		&rotor_lease_duration, 60, 5, SECS_PER_HOUR, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("rotor.lock_timeout", "Longest wait of the worker for a lock.",
							"A role or row locked for longer makes the attempt fail.",
							&rotor_lock_timeout, 5000, 10, 600000, PGC_SIGHUP, GUC_UNIT_MS, NULL,
							NULL, NULL);
	DefineCustomEnumVariable("rotor.log_format", "Form of rotor's own server log lines.", NULL,
							 &rotor_log_format, LOG_FORMAT_TEXT, log_format_options, PGC_SIGHUP, 0,
							 NULL, NULL, NULL);
	DefineCustomIntVariable("rotor.maintenance_interval", "Time between rounds of maintenance.",
							"A round makes partitions of the audit ahead and purges what its "
							"retention has passed. 0: none.",
							&rotor_maintenance_interval, SECS_PER_HOUR, 0, SECS_PER_DAY * 30,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable(
		"rotor.max_concurrent_logins", "Verification logins at a time, of all workers together.",
		"Each is a connection for some milliseconds; a batch begins as many "
		"as there are, side by side.",
		&rotor_max_concurrent_logins, 8, 1, 1000, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable(
		"rotor.max_watched_roles", "Managed roles whose changes by others are known at once.",
		"Each takes 20 to 40 bytes of shared memory. Changes of roles "
		"beyond it are found by workers, but not refused or warned of.",
		&rotor_max_watched_roles, 100000, 1, 10000000, at_start, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("rotor.poll_interval", "Longest sleep of a worker.",
							"It wakes sooner when asked or when a rotation is due.",
							&rotor_poll_interval, 10000, 100, 3600000, PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomIntVariable("rotor.recovery_window", "How long restore() can bring a secret back.",
							"Counted from unmanage(); afterwards the secret and its versions are "
							"purged.",
							&rotor_recovery_window, 7 * SECS_PER_DAY, 0, INT_MAX, PGC_SIGHUP,
							GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomStringVariable("rotor.test_clock", "The time that schedules go by, for tests.",
							   "It stands still until it is set anew. Empty: the system's clock.",
							   &test_clock, "", PGC_SIGHUP, GUC_NOT_IN_SAMPLE, clock_check_setting,
							   clock_assign_setting, NULL);
	DefineCustomStringVariable("rotor.verify_host", "Where the verification login goes.",
							   "A host, an address or a socket folder of this server. Empty: "
							   "loopback, else the socket, as pg_hba.conf asks for a password.",
							   &rotor_verify_host, "", PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("rotor.verify_port", "Port of the verification login.",
							"0: this server's port.", &rotor_verify_port, 0, 0, 65535, PGC_SIGHUP,
							0, NULL, NULL, NULL);
	DefineCustomEnumVariable("rotor.verify_sslmode", "TLS of the verification login.",
							 "auto: as pg_hba.conf asks for it. allow and prefer are not offered: "
							 "they would try a refused password twice.",
							 &rotor_verify_sslmode, VERIFY_SSLMODE_AUTO, sslmode_options,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("rotor.workers", "Background workers that rotate.",
							"Started with the server when rotor is in shared_preload_libraries.",
							&rotor_workers, 2, 0, 64, at_start, 0, NULL, NULL, NULL);
	MarkGUCPrefixReserved("rotor");
}

const char *
verify_sslmode_name(int sslmode)
{
	return sslmode_options[sslmode].name;
}

bool
guc_database_was_chosen(void)
{
	return strcmp(rotor_database, DEFAULT_DATABASE) != 0;
}

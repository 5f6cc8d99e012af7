/*
 * guc.h - rotor's settings, all in one place (guc.c): names, defaults, ranges, help.
 */
#ifndef ROTOR_GUC_H
#define ROTOR_GUC_H

extern char *rotor_database;
extern int rotor_workers;
extern char *rotor_key_command;
extern char *rotor_key_file;
extern char *rotor_verify_host;
extern int rotor_verify_port;
extern int rotor_verify_sslmode;	   /* index of verify_sslmode_name() */
extern int rotor_connect_timeout;	   /* ms */
extern int rotor_lock_timeout;		   /* ms */
extern int rotor_poll_interval;		   /* ms */
extern int rotor_audit_reads;		   /* AUDIT_READS_* */
extern int rotor_audit_retention;	   /* s; 0: for ever */
extern int rotor_maintenance_interval; /* s; 0: never */
extern int rotor_max_concurrent_logins;
extern int rotor_lease_duration;  /* s */
extern int rotor_recovery_window; /* s */
extern int rotor_catch_up_rate;	  /* a minute; 0: no limit */
extern int rotor_max_watched_roles;
extern bool rotor_allow_outside_change;
extern bool rotor_dump_values; /* read by pg_dump's conditions only */
extern int rotor_log_format;   /* LOG_FORMAT_* */

enum
{
	AUDIT_READS_OFF,
	AUDIT_READS_LOG
};
enum
{
	LOG_FORMAT_TEXT,
	LOG_FORMAT_JSON
};
enum
{
	VERIFY_SSLMODE_AUTO,
	VERIFY_SSLMODE_DISABLE,
	VERIFY_SSLMODE_REQUIRE,
	VERIFY_SSLMODE_VERIFY_CA,
	VERIFY_SSLMODE_VERIFY_FULL
};

/* Defines all settings; from _PG_init only. */
extern void guc_define(void);

/* libpq's word for the present rotor.verify_sslmode; not for auto. */
extern const char *verify_sslmode_name(int sslmode);

/* True if the administrator chose rotor.database, false if it is the default. */
extern bool guc_database_was_chosen(void);

#endif

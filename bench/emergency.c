/*
 * emergency.c
 *		Measures rotate_all() beside its floor: plain libpq clients, as many as there are workers, that
 *		give each role of theirs a password, log in with it and commit, side by side.
 *
 * scripts/bench-emergency.sh (`make bench`) starts the server, makes roles and secrets, and runs this.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <libpq-fe.h>

#define ENV_SERVER "ROTOR_BENCH_SERVER"

#define PASSWORD_BYTES 16
#define PASSWORD_SIZE  (2 * PASSWORD_BYTES + 1)
#define MAX_CLIENTS	   64

static void die(const char *what, const char *why) __attribute__((noreturn));

static void
die(const char *what, const char *why)
{
	(void) fprintf(stderr, "emergency: %s: %s\n", what, why);
	_exit(EXIT_FAILURE);
}

static void
ignore_notice(void *arg __attribute__((unused)), const char *message __attribute__((unused)))
{
}

static PGconn *
connect_or_die(void)
{
	const char *conninfo = getenv(ENV_SERVER); /* NOLINT(concurrency-mt-unsafe): one thread */
	PGconn *conn = PQconnectdb(conninfo != NULL ? conninfo : "");

	if (PQstatus(conn) != CONNECTION_OK)
		die("no connection", PQerrorMessage(conn));
	PQsetNoticeProcessor(conn, ignore_notice, NULL);
	return conn;
}

static PGresult *
run(PGconn *conn, const char *sql)
{
	PGresult *result = PQexec(conn, sql);

	if (PQresultStatus(result) != PGRES_COMMAND_OK && PQresultStatus(result) != PGRES_TUPLES_OK)
		die("a statement failed", PQerrorMessage(conn));
	return result;
}

static double
now(void)
{
	struct timespec t;

	(void) clock_gettime(CLOCK_MONOTONIC, &t);
	return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}

/* One login by TCP, which the server must have asked the password for. */
static void
log_in(PGconn *control, const char *role, const char *password)
{
	const char *const keywords[] = {"host",		"port",	   "dbname",	 "user",
									"password", "sslmode", "gssencmode", NULL};
	const char *const values[] = {"127.0.0.1", PQport(control), PQdb(control), role,
								  password,	   "disable",		"disable",	   NULL};
	PGconn *conn = PQconnectdbParams(keywords, values, 0);

	if (PQstatus(conn) != CONNECTION_OK || !PQconnectionUsedPassword(conn))
		die("a login failed", PQerrorMessage(conn));
	PQfinish(conn);
}

/* What one client of the floor does: the roles number, number + clients, ... */
static void
change_roles(int number, int clients, int roles)
{
	PGconn *conn = connect_or_die();

	for (int i = number; i <= roles; i += clients)
	{
		unsigned char bytes[PASSWORD_BYTES];
		char password[PASSWORD_SIZE];
		char role[32];
		char sql[128];

		if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t) sizeof(bytes))
			die("no random bytes", "getrandom()");
		for (size_t k = 0; k < sizeof(bytes); k++)
			(void) snprintf(password + 2 * k, 3, "%02x", bytes[k]);
		(void) snprintf(role, sizeof(role), "floor_%d", i);
		(void) snprintf(sql, sizeof(sql), "ALTER ROLE %s PASSWORD '%s'", role, password);
		PQclear(run(conn, sql));
		log_in(conn, role, password);
	}
	PQfinish(conn);
}

static double
measure_floor(int clients, int roles)
{
	double start = now();
	bool failed = false;

	for (int i = 1; i <= clients; i++)
	{
		pid_t pid = fork();

		if (pid < 0)
			die("no process", "fork()");
		if (pid == 0)
		{
			change_roles(i, clients, roles);
			_exit(EXIT_SUCCESS);
		}
	}
	for (int i = 0; i < clients; i++)
	{
		int status = 0;

		failed |= wait(&status) < 0 || status != 0;
	}
	if (failed)
		die("the floor", "a client failed");
	return now() - start;
}

static double
measure_rotor(PGconn *conn, int roles, const char *policy)
{
	double start = now();
	const char *values[] = {policy};
	PGresult *result =
		PQexecParams(conn, "SELECT status, rotations FROM rotor.rotate_all(policy => $1)", 1, NULL,
					 values, NULL, NULL, 0);
	double end = now();

	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		die("rotate_all()", PQerrorMessage(conn));
	if (PQntuples(result) != 1 || strcmp(PQgetvalue(result, 0, 0), "success") != 0 ||
		strtol(PQgetvalue(result, 0, 1), NULL, 10) != roles)
		die("rotate_all()", "not every rotation succeeded");
	PQclear(result);
	return end - start;
}

int
main(int argc, char **argv)
{
	int roles = argc > 1 ? (int) strtol(argv[1], NULL, 10) : 0;
	int clients = argc > 2 ? (int) strtol(argv[2], NULL, 10) : 0;
	PGconn *conn;
	double floor_s;
	double full_s;
	double fewer_s;

	if (argc != 3 || roles < 1 || clients < 1 || clients > MAX_CLIENTS)
	{
		(void) fprintf(
			stderr, "usage: emergency ROLES CLIENTS\n"
					"Roles floor_1 ... and as many secrets of the policies full and fewer are on "
					"the server of " ENV_SERVER ".\n");
		return 2;
	}
	floor_s = measure_floor(clients, roles);
	conn = connect_or_die();
	full_s = measure_rotor(conn, roles, "full");
	fewer_s = measure_rotor(conn, roles, "fewer");
	PQfinish(conn);
	(void) printf("| what | floor | rotor | rotor / floor | to reach |\n|---|---|---|---|---|\n");
	(void) printf("| `rotate_all()`, %d roles, 4096 rounds | %.1f s | %.1f s | %.2f | <= 1.1 |\n",
				  roles, floor_s, full_s, full_s / floor_s);
	(void) printf("| the same with 256 rounds by policy | | %.1f s | | <= %.1f s |\n", fewer_s,
				  25.0 * roles / 10000);
	return 0;
}

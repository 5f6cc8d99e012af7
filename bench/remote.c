/*
 * remote.c
 *		Measures one rotation at another server, by rotate() and a program rotor that runs, beside its
 *		floor: a plain libpq client that does the same steps.
 *
 * The floor: a password and its SCRAM verifier are made before the clock starts. Then a commit on record
 * that the rotation begins, a login as the administrator, ALTER ROLE with the verifier, a commit, a login
 * with the new password, a commit, and one more. What it has not: leases, sealing, an audit, a verifier to
 * compute, anybody to hand work to. A second floor keeps the administrator's connection, as the program
 * must not: it has that credential for one step.
 *
 * What always holds: both floors and rotor take turns; every answer is checked; no password is printed.
 * Prints the three durations of each turn, in milliseconds, a line each. With a number of clients it is the
 * floor alone, by so many of them side by side, each with its share of the accounts many_1, many_2, ...;
 * prints the seconds that all of them took.
 *
 * scripts/bench-worker.sh (`make bench`) starts servers and program, and runs this.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <libpq-fe.h>

#define ENV_CONTROL "ROTOR_BENCH_CONTROL"
#define ENV_REMOTE	"ROTOR_BENCH_REMOTE_PORT"

#define ADMIN  "bench_admin"
#define FLOOR  "bench_floor"
#define SECRET "bench_rotor"

#define MAX_SAMPLES	   100000
#define MAX_CLIENTS	   64
#define WARM_UP_TURNS  10
#define PASSWORD_BYTES 16
#define PASSWORD_SIZE  (2 * PASSWORD_BYTES + 1)

/* What is made before the clock starts. */
typedef struct Change
{
	char role[32];
	char password[PASSWORD_SIZE];
	char sql[512];
} Change;

typedef struct Bench
{
	PGconn *control; /* superuser, by the socket */
	PGconn *admin;	 /* the connection of the second floor */
	const char *port;
	char *admin_password;
} Bench;

static void die(const char *what, const char *why) __attribute__((noreturn));

static void
die(const char *what, const char *why)
{
	(void) fprintf(stderr, "remote: %s: %s\n", what, why);
	exit(EXIT_FAILURE); /* NOLINT(concurrency-mt-unsafe): the process has one thread. */
}

static double
now_ms(void)
{
	struct timespec t;

	(void) clock_gettime(CLOCK_MONOTONIC, &t);
	return (double) t.tv_sec * 1e3 + (double) t.tv_nsec / 1e6;
}

static const char *
variable(const char *name)
{
	const char *value = getenv(name); /* NOLINT(concurrency-mt-unsafe): one thread */

	if (value == NULL || value[0] == '\0')
		die(name, "is not set");
	return value;
}

/* --- talking to the servers --- */

static void
ignore_notice(void *arg __attribute__((unused)), const char *message __attribute__((unused)))
{
}

static PGresult *
run(PGconn *conn, const char *sql)
{
	PGresult *result = PQexec(conn, sql);

	/* Of a statement that may have a password in it, nothing but the code is told. */
	if (PQresultStatus(result) != PGRES_COMMAND_OK && PQresultStatus(result) != PGRES_TUPLES_OK)
		die("a statement failed",
			PQresultErrorField(result, PG_DIAG_SQLSTATE) ?: PQerrorMessage(conn));
	return result;
}

static void
command(PGconn *conn, const char *sql)
{
	PQclear(run(conn, sql));
}

/* The one value that sql returns; the caller frees it. */
static char *
value_of(PGconn *conn, const char *sql)
{
	PGresult *result = run(conn, sql);
	char *value = PQntuples(result) == 1 ? strdup(PQgetvalue(result, 0, 0)) : NULL;

	PQclear(result);
	if (value == NULL)
		die(sql, "there is no value");
	return value;
}

static PGconn *
connect_control(void)
{
	PGconn *conn = PQconnectdb(variable(ENV_CONTROL));

	if (PQstatus(conn) != CONNECTION_OK)
		die("no connection", PQerrorMessage(conn));
	(void) PQsetNoticeProcessor(conn, ignore_notice, NULL);
	return conn;
}

/* A login at the other server, by TCP, which must have asked the password for. */
static PGconn *
log_in(const Bench *bench, const char *user, const char *password)
{
	const char *const keywords[] = {"host",		"port",	   "dbname",	 "user",
									"password", "sslmode", "gssencmode", NULL};
	const char *const values[] = {"127.0.0.1", bench->port, "postgres", user,
								  password,	   "disable",	"disable",	NULL};
	PGconn *conn = PQconnectdbParams(keywords, values, 0);

	if (PQstatus(conn) != CONNECTION_OK || !PQconnectionUsedPassword(conn))
		die("a login failed", PQerrorMessage(conn));
	return conn;
}

/* --- what is measured --- */

static void
make_password(char out[PASSWORD_SIZE])
{
	unsigned char bytes[PASSWORD_BYTES];

	if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t) sizeof(bytes))
		die("no random bytes", "getrandom()");
	for (size_t i = 0; i < sizeof(bytes); i++)
		(void) snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

static void
prepare(const Bench *bench, Change *change)
{
	char *verifier;

	make_password(change->password);
	verifier = PQencryptPasswordConn(bench->admin, change->password, change->role, "scram-sha-256");
	if (verifier == NULL)
		die("no verifier", PQerrorMessage(bench->admin));
	(void) snprintf(change->sql, sizeof(change->sql), "ALTER ROLE %s PASSWORD '%s'", change->role,
					verifier);
	PQfreemem(verifier);
}

/* One rotation of the floor, by the administrator's connection that is given, or by one of its own. */
static void
make_change(const Bench *bench, const Change *change, PGconn *kept)
{
	PGconn *admin;

	command(bench->control, "INSERT INTO bench.step (step) VALUES ('create')");
	admin = kept != NULL ? kept : log_in(bench, ADMIN, bench->admin_password);
	command(admin, change->sql);
	if (kept == NULL)
		PQfinish(admin);
	command(bench->control, "UPDATE bench.step SET step = 'set' WHERE id = lastval()");
	PQfinish(log_in(bench, change->role, change->password));
	command(bench->control, "UPDATE bench.step SET step = 'test' WHERE id = lastval()");
	command(bench->control, "UPDATE bench.step SET step = 'finish' WHERE id = lastval()");
}

static double
rotate_by_hand(const Bench *bench, PGconn *kept)
{
	Change change = {.role = FLOOR};
	double start;

	prepare(bench, &change);
	start = now_ms();
	make_change(bench, &change, kept);
	return now_ms() - start;
}

static double
rotate(const Bench *bench)
{
	double start = now_ms();
	char *status = value_of(bench->control, "SELECT status FROM rotor.rotate('" SECRET "')");
	double end = now_ms();

	if (strcmp(status, "success") != 0)
		die("a rotation did not succeed", status);
	free(status);
	return end - start;
}

static void
take_turns(const Bench *bench, int samples)
{
	for (int i = -WARM_UP_TURNS; i < samples; i++)
	{
		double floor = rotate_by_hand(bench, NULL);
		double kept = rotate_by_hand(bench, bench->admin);
		double rotor = rotate(bench);

		if (i >= 0)
			(void) printf("%.3f %.3f %.3f\n", floor, kept, rotor);
	}
}

/* The rotations were real: the last password logs in at the other server. */
static void
prove(const Bench *bench)
{
	char *password =
		value_of(bench->control, "SELECT rotor.get_secret('" SECRET "') ->> 'password'");

	PQfinish(log_in(bench, SECRET, password));
	explicit_bzero(password, strlen(password));
	free(password);
}

static void
bench_open(Bench *bench)
{
	bench->control = connect_control();
	bench->port = variable(ENV_REMOTE);
	bench->admin_password =
		value_of(bench->control, "SELECT rotor.get_secret('" ADMIN "') ->> 'password'");
	bench->admin = log_in(bench, ADMIN, bench->admin_password);
}

static void
bench_close(Bench *bench)
{
	explicit_bzero(bench->admin_password, strlen(bench->admin_password));
	free(bench->admin_password);
	PQfinish(bench->admin);
	PQfinish(bench->control);
}

/* --- side by side --- */

/*
 * What client number does, of so many: the accounts number, number + clients, ... It says that it is ready
 * by a byte, and begins when the other pipe ends.
 */
static void
run_client(int number, int clients, int count, int ready, int go)
{
	Bench bench = {0};
	Change *changes = calloc((size_t) count, sizeof(*changes));
	int own = 0;
	char byte = 0;

	if (changes == NULL)
		die("no memory", "calloc()");
	bench_open(&bench);
	for (int i = number; i <= count; i += clients)
	{
		(void) snprintf(changes[own].role, sizeof(changes[own].role), "many_%d", i);
		prepare(&bench, &changes[own++]);
	}
	if (write(ready, &byte, 1) != 1 || close(ready) != 0 || read(go, &byte, 1) != 0)
		die("the clients", "they did not begin");
	for (int i = 0; i < own; i++)
		make_change(&bench, &changes[i], NULL);
	free(changes);
	bench_close(&bench);
}

/* Starts them all, and waits until each is ready; returns the pipe that lets them begin when it is closed. */
static int
start_clients(int clients, int count)
{
	int ready[2];
	int go[2];
	char byte;

	if (pipe2(ready, O_CLOEXEC) != 0 || pipe2(go, O_CLOEXEC) != 0)
		die("no pipe", "pipe2()");
	for (int i = 1; i <= clients; i++)
	{
		pid_t pid = fork();

		if (pid < 0)
			die("no process", "fork()");
		if (pid > 0)
			continue;
		(void) close(go[1]);
		run_client(i, clients, count, ready[1], go[0]);
		_exit(EXIT_SUCCESS);
	}
	(void) close(ready[1]);
	(void) close(go[0]);
	for (int i = 0; i < clients; i++)
	{
		if (read(ready[0], &byte, 1) != 1)
			die("the clients", "not all of them are ready");
	}
	(void) close(ready[0]);
	return go[1];
}

static void
measure_clients(int clients, int count)
{
	int go = start_clients(clients, count);
	double start = now_ms();
	bool failed = close(go) != 0;

	for (int i = 0; i < clients; i++)
	{
		int status = 0;

		failed |= wait(&status) < 0 || status != 0;
	}
	if (failed)
		die("the clients", "one failed");
	(void) printf("%.3f\n", (now_ms() - start) / 1e3);
}

static void
measure_turns(int samples)
{
	Bench bench = {0};

	bench_open(&bench);
	take_turns(&bench, samples);
	prove(&bench);
	bench_close(&bench);
}

int
main(int argc, char **argv)
{
	long count = argc > 1 ? strtol(argv[1], NULL, 10) : 0;
	long clients = argc > 2 ? strtol(argv[2], NULL, 10) : 1;

	if (argc > 3 || count < 1 || count > MAX_SAMPLES || clients < 1 || clients > MAX_CLIENTS)
	{
		(void) fputs(
			"usage: remote SAMPLES, or remote ACCOUNTS CLIENTS\n"
			"The server of " ENV_CONTROL " has rotor and the secret " SECRET ", of an account\n"
			"at the one of " ENV_REMOTE ", a secret " ADMIN ", of its administrator, and a\n"
			"table bench.step (id serial, step text).\n",
			stderr);
		return 2;
	}
	if (argc == 3)
		measure_clients((int) clients, (int) count);
	else
		measure_turns((int) count);
	return EXIT_SUCCESS;
}

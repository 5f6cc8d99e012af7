/*
 * bench.c
 *		Measures rotor on two running servers, each figure beside its floor: what plain libpq
 *		calls need for the same on the same server.
 *
 * What always holds: floor and rotor take turns within one run, so that what slows the machine
 * down slows both; every answer is checked, so that nothing is fast by failing; and no password
 * is printed.  The exit status tells whether it could be measured, not what came out.
 *
 * scripts/bench.sh (`make bench`) starts the servers and runs this.
 */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include <libpq-fe.h>

#define ENV_PRELOADED "ROTOR_BENCH_PRELOADED"
#define ENV_PLAIN	  "ROTOR_BENCH_PLAIN"

#define DEFAULT_SAMPLES 200
#define MAX_SAMPLES		100000

/* Unrecorded turns at the start of a figure: caches fill, plans become generic. */
#define WARM_UP_TURNS 10

/* Calls in a row of what takes microseconds, so that each is measured with its own caches warm. */
#define READ_BURST 50
#define READ_TURNS 200

#define ITEMS 10000 /* rows of the table that a read is compared with */

#define VALUES		   50000 /* generated in one statement; so many fit into work_mem */
#define GENERATE_TURNS 40
#define GENERATE_RATE  600000.0 /* a second, to reach */

/* The text of a macro's value. */
#define TEXT(macro)		 TEXT_OF(macro)
#define TEXT_OF(literal) #literal

#define PASSWORD_BYTES 16
#define PASSWORD_SIZE  (2 * PASSWORD_BYTES + 1)

/* Durations of one kind of work, in seconds, in the order of measuring until they are summed up. */
typedef struct Series
{
	double *seconds;
	int count;
	int size;
} Series;

typedef struct Server
{
	PGconn *conn;	/* superuser, by the socket */
	PGconn *reader; /* a role that was granted the right to read, by the socket */
	char *port;
	char *dbname;
	int turn; /* varies what is looked up */
	Series alter;
	Series login;
	Series commits;
} Server;

typedef void (*Work)(Server *server);

/* One line of the table. */
typedef struct Figure
{
	const char *what;
	Work floor;
	Work rotor;
	int turns;	  /* of floor and rotor; 0: as many as --samples says */
	int burst;	  /* calls in a turn */
	int values;	  /* that a call makes; 0: the duration of a call is what counts */
	double limit; /* of rotor / floor, or values a second; 0: no target */
} Figure;

/* --- ending --- */

static void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

static void
fail(const char *format, ...)
{
	va_list args;

	(void) fputs("bench: ", stderr);
	va_start(args, format);
	(void) vfprintf(stderr, format, args);
	va_end(args);
	(void) fputc('\n', stderr);
	exit(EXIT_FAILURE); /* NOLINT(concurrency-mt-unsafe): the process has one thread. */
}

static void
usage(FILE *out)
{
	(void) fprintf(
		out,
		"Measures rotor beside a floor made of plain libpq calls, and prints a Markdown table.\n"
		"\n"
		"Usage: bench [--samples N]\n"
		"\n"
		"  --samples N  rotations of each kind, and as many floors (default %d)\n"
		"  --help       this text\n"
		"\n"
		"The servers are named by conninfo strings in the environment. Both have rotor in the\n"
		"database, are reached as superuser by a socket, and ask for a password on 127.0.0.1\n"
		"and the same port:\n"
		"  " ENV_PRELOADED "  one that preloads rotor\n"
		"  " ENV_PLAIN "      one that does not\n"
		"`make bench` starts such servers. What is made on them is not removed.\n"
		"\n"
		"Exit status: 0 measured, whether or not the targets were reached; 1 it could not be\n"
		"measured; 2 wrong usage.\n",
		DEFAULT_SAMPLES);
}

/* --- talking to a server --- */

static void
ignore_notice(void *arg __attribute__((unused)), const char *message __attribute__((unused)))
{
}

static void
settle(PGconn *conn)
{
	if (PQstatus(conn) != CONNECTION_OK)
		fail("could not connect: %s", PQerrorMessage(conn));
	/* Terse messages quote no statement, which may hold a password. */
	PQsetErrorVerbosity(conn, PQERRORS_TERSE);
	PQsetNoticeProcessor(conn, ignore_notice, NULL);
}

/* Takes the result if it is what was expected, and fails otherwise. rows: -1 for a command. */
static PGresult *
check(PGconn *conn, PGresult *result, int rows)
{
	if (PQresultStatus(result) != (rows < 0 ? PGRES_COMMAND_OK : PGRES_TUPLES_OK))
		fail("a statement failed: %s", PQerrorMessage(conn));
	if (rows >= 0 && PQntuples(result) != rows)
		fail("a statement returned %d rows instead of %d", PQntuples(result), rows);
	return result;
}

static void
command(PGconn *conn, const char *sql)
{
	PQclear(check(conn, PQexec(conn, sql), -1));
}

/* The one value that sql returns; the caller frees it. */
static char *
value_of(PGconn *conn, const char *sql)
{
	PGresult *result = check(conn, PQexec(conn, sql), 1);
	char *value = strdup(PQgetvalue(result, 0, 0));

	PQclear(result);
	if (value == NULL)
		fail("out of memory");
	return value;
}

static void
select_one_row(PGconn *conn, const char *sql)
{
	PQclear(check(conn, PQexec(conn, sql), 1));
}

static void
execute(PGconn *conn, const char *statement, const char *argument)
{
	PQclear(check(conn, PQexecPrepared(conn, statement, 1, &argument, NULL, NULL, 0), 1));
}

/* One login by TCP, which the server must have asked the password for. */
static void
log_in(const Server *server, const char *user, const char *password)
{
	const char *const keywords[] = {"host",		"port",	   "dbname",	 "user",
									"password", "sslmode", "gssencmode", NULL};
	const char *const values[] = {"127.0.0.1", server->port, server->dbname, user,
								  password,	   "disable",	 "disable",		 NULL};
	PGconn *conn = PQconnectdbParams(keywords, values, 0);

	if (PQstatus(conn) != CONNECTION_OK)
		fail("a login as %s was refused: %s", user, PQerrorMessage(conn));
	if (!PQconnectionUsedPassword(conn))
		fail("the server let %s in without a password", user);
	PQfinish(conn);
}

/* --- series --- */

static double
now(void)
{
	struct timespec t;

	(void) clock_gettime(CLOCK_MONOTONIC, &t);
	return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}

static void
add(Series *series, double seconds)
{
	if (series->count == series->size)
	{
		int size = series->size > 0 ? 2 * series->size : 256;
		double *grown = realloc(series->seconds, (size_t) size * sizeof(double));

		if (grown == NULL)
			fail("out of memory");
		series->seconds = grown;
		series->size = size;
	}
	series->seconds[series->count++] = seconds;
}

static int
compare_seconds(const void *a, const void *b)
{
	double left = *(const double *) a;
	double right = *(const double *) b;

	return (left > right) - (left < right);
}

/* The duration that this share of the samples does not exceed; sorts the series. */
static double
percentile(Series *series, double share)
{
	int rank = (int) ceil(share * series->count);

	if (series->count == 0)
		fail("nothing was measured");
	qsort(series->seconds, (size_t) series->count, sizeof(double), compare_seconds);
	return series->seconds[rank > 0 ? rank - 1 : 0];
}

static void
forget(Series *series)
{
	free(series->seconds);
	memset(series, 0, sizeof(*series));
}

/* --- what is measured --- */

static void
make_password(char out[PASSWORD_SIZE])
{
	unsigned char bytes[PASSWORD_BYTES];

	if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t) sizeof(bytes))
		fail("could not draw random bytes: %m");
	for (size_t i = 0; i < sizeof(bytes); i++)
		(void) snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

/* The floor of a rotation: ALTER ROLE with a plaintext password, a login, three commits. */
static void
rotate_by_hand(Server *server)
{
	char password[PASSWORD_SIZE];
	char sql[PASSWORD_SIZE + 64];
	double start = now();
	double altered;
	double logged_in;

	make_password(password);
	(void) snprintf(sql, sizeof(sql), "ALTER ROLE bench_floor PASSWORD '%s'", password);
	command(server->conn, sql);
	altered = now();
	log_in(server, "bench_floor", password);
	logged_in = now();
	command(server->conn, "INSERT INTO bench.step (step) VALUES ('create')");
	command(server->conn, "UPDATE bench.step SET step = 'set' WHERE id = lastval()");
	command(server->conn, "UPDATE bench.step SET step = 'finish' WHERE id = lastval()");
	add(&server->alter, altered - start);
	add(&server->login, logged_in - altered);
	add(&server->commits, now() - logged_in);
}

static void
rotate(Server *server)
{
	select_one_row(server->conn, "SELECT rotor.rotate('bench_rotor')");
}

static void
rotate_256(Server *server)
{
	select_one_row(server->conn, "SELECT rotor.rotate('bench_rotor_256')");
}

static void
read_item_as(Server *server, PGconn *conn)
{
	char id[16];

	(void) snprintf(id, sizeof(id), "%d", 1 + server->turn++ * 7919 % ITEMS);
	execute(conn, "read_item", id);
}

static void
read_item(Server *server)
{
	read_item_as(server, server->conn);
}

static void
read_item_as_reader(Server *server)
{
	read_item_as(server, server->reader);
}

static void
read_secret(Server *server)
{
	execute(server->conn, "read_secret", "bench_rotor");
}

static void
read_secret_as_reader(Server *server)
{
	execute(server->reader, "read_secret", "bench_rotor");
}

static void
generate_md5(Server *server)
{
	select_one_row(server->conn,
				   "SELECT count(md5(i::text)) FROM generate_series(1, " TEXT(VALUES) ") i");
}

static void
generate_passwords(Server *server)
{
	select_one_row(server->conn, "SELECT count(rotor.generate_password(32)) "
								 "FROM generate_series(1, " TEXT(VALUES) ")");
}

/* --- a figure --- */

static void
take_turn(Server *server, Work work, int burst, Series *series)
{
	for (int i = 0; i < burst; i++)
	{
		double start = now();

		work(server);
		if (series != NULL)
			add(series, now() - start);
	}
}

/* A duration, or with values the rate it means, as text for a cell. */
static const char *
cell(double seconds, int values, char *out, size_t size)
{
	if (values > 0)
		(void) snprintf(out, size, "%.0f/s", values / seconds);
	else if (seconds >= 1e-3)
		(void) snprintf(out, size, "%.2f ms", seconds * 1e3);
	else
		(void) snprintf(out, size, "%.1f µs", seconds * 1e6);
	return out;
}

static void
print_head(void)
{
	puts("| what | samples | floor p50 | floor p95 | rotor p50 | rotor p95 | ratio of p50 "
		 "| to reach | reached |\n"
		 "|---|--:|--:|--:|--:|--:|--:|--:|---|");
}

static void
print_figure(const Figure *figure, Series *floor, Series *rotor)
{
	double floor_p50 = percentile(floor, 0.50);
	double rotor_p50 = percentile(rotor, 0.50);
	double ratio = rotor_p50 / floor_p50;
	bool reached =
		figure->values > 0 ? figure->values / rotor_p50 >= figure->limit : ratio <= figure->limit;
	char cells[4][32];
	char limit[32] = "-";

	if (figure->limit > 0)
		(void) snprintf(limit, sizeof(limit), figure->values > 0 ? "≥ %.0f/s" : "≤ %.1f",
						figure->limit);
	printf("| %s | %d | %s | %s | %s | %s | %.2f | %s | %s |\n", figure->what, rotor->count,
		   cell(floor_p50, figure->values, cells[0], sizeof(cells[0])),
		   cell(percentile(floor, 0.95), figure->values, cells[1], sizeof(cells[1])),
		   cell(rotor_p50, figure->values, cells[2], sizeof(cells[2])),
		   cell(percentile(rotor, 0.95), figure->values, cells[3], sizeof(cells[3])), ratio, limit,
		   figure->limit <= 0 ? "-"
		   : reached		  ? "yes"
							  : "**missed**");
	(void) fflush(stdout);
}

/* Lets floor and rotor take turns, and prints the line. */
static void
measure(Server *server, const Figure *figure, int samples)
{
	int turns = figure->turns > 0 ? figure->turns : samples;
	Series floor = {0};
	Series rotor = {0};

	for (int i = 0; i < WARM_UP_TURNS; i++)
	{
		take_turn(server, figure->floor, 1, NULL);
		take_turn(server, figure->rotor, 1, NULL);
	}
	for (int i = 0; i < turns; i++)
	{
		take_turn(server, figure->floor, figure->burst, &floor);
		take_turn(server, figure->rotor, figure->burst, &rotor);
	}
	print_figure(figure, &floor, &rotor);
	forget(&floor);
	forget(&rotor);
}

/* --- the servers --- */

static PGconn *
connect_as(const char *conninfo, const char *user)
{
	/* What comes later in the list wins over what the first one expands to. */
	const char *const keywords[] = {"dbname", user ? "user" : NULL, NULL};
	const char *const values[] = {conninfo, user, NULL};
	PGconn *conn = PQconnectdbParams(keywords, values, 1);

	settle(conn);
	return conn;
}

/* Everything but the roles' passwords; the first rotation takes bench_rotor under management. */
static const char *const preparations[] = {
	"CREATE ROLE bench_floor LOGIN",
	"CREATE ROLE bench_rotor LOGIN",
	"CREATE ROLE bench_rotor_256 LOGIN",
	"CREATE ROLE bench_reader LOGIN",
	"CREATE SCHEMA bench",
	"CREATE TABLE bench.step (id serial PRIMARY KEY, step text)",
	"CREATE TABLE bench.item (id int PRIMARY KEY, value text)",
	("INSERT INTO bench.item SELECT i, md5(i::text) FROM generate_series(1, " TEXT(ITEMS) ") i"),
	"VACUUM ANALYZE bench.item",
	"GRANT USAGE ON SCHEMA bench TO bench_reader",
	"GRANT SELECT ON bench.item TO bench_reader",
	"INSERT INTO rotor.policy (name, scram_iterations) VALUES ('bench_256', 256)",
};

static void
prepare_reads(PGconn *conn)
{
	static const char *const statements[][2] = {
		{"read_item", "SELECT value FROM bench.item WHERE id = $1"},
		{"read_secret", "SELECT rotor.get_secret($1)"},
	};

	for (size_t i = 0; i < sizeof(statements) / sizeof(statements[0]); i++)
		PQclear(check(conn, PQprepare(conn, statements[i][0], statements[i][1], 1, NULL), -1));
}

static void
server_open(Server *server, const char *variable)
{
	/* NOLINTNEXTLINE(concurrency-mt-unsafe): the process has one thread. */
	const char *conninfo = getenv(variable);

	if (conninfo == NULL || conninfo[0] == '\0')
		fail("%s is not set; try --help", variable);
	memset(server, 0, sizeof(*server));
	server->conn = connect_as(conninfo, NULL);
	server->port = PQport(server->conn);
	server->dbname = PQdb(server->conn);
	for (size_t i = 0; i < sizeof(preparations) / sizeof(preparations[0]); i++)
		command(server->conn, preparations[i]);
	select_one_row(server->conn, "SELECT rotor.manage('bench_rotor_256', policy => 'bench_256')");
	rotate(server);
	select_one_row(server->conn,
				   "SELECT rotor.grant_access('bench_rotor', 'bench_reader', 'read')");
	server->reader = connect_as(conninfo, "bench_reader");
	prepare_reads(server->conn);
	prepare_reads(server->reader);
}

/* The rotations were real: all of them succeeded, and the last password logs in. */
static void
server_prove(const Server *server)
{
	char *others = value_of(server->conn, "SELECT count(*) FROM rotor.rotations "
										  "WHERE status <> 'success' OR note IS NOT NULL");
	char *password =
		value_of(server->conn, "SELECT rotor.get_secret('bench_rotor') ->> 'password'");

	if (strcmp(others, "0") != 0)
		fail("%s rotations did not succeed, or without a login", others);
	log_in(server, "bench_rotor", password);
	explicit_bzero(password, strlen(password));
	free(password);
	free(others);
}

static void
server_close(Server *server)
{
	PQfinish(server->reader);
	PQfinish(server->conn);
	forget(&server->alter);
	forget(&server->login);
	forget(&server->commits);
}

/* --- what stands below the table --- */

/* Where the time of a rotation goes, by hand and in rotor. */
static void
print_parts(Server *server, const char *name)
{
	char cells[3][32];
	char *steps = value_of(
		server->conn, "SELECT format('create %s, set %s, test %s, finish %s ms', "
					  "round(percentile_cont(0.5) WITHIN GROUP (ORDER BY create_ms)::numeric, 2), "
					  "round(percentile_cont(0.5) WITHIN GROUP (ORDER BY set_ms)::numeric, 2), "
					  "round(percentile_cont(0.5) WITHIN GROUP (ORDER BY test_ms)::numeric, 2), "
					  "round(percentile_cont(0.5) WITHIN GROUP (ORDER BY finish_ms)::numeric, 2)) "
					  "FROM rotor.rotations WHERE secret = 'bench_rotor'");

	printf("%s, p50 of the parts: floor ALTER ROLE %s, login %s, three commits %s; "
		   "rotor %s (without commits).\n",
		   name, cell(percentile(&server->alter, 0.5), 0, cells[0], sizeof(cells[0])),
		   cell(percentile(&server->login, 0.5), 0, cells[1], sizeof(cells[1])),
		   cell(percentile(&server->commits, 0.5), 0, cells[2], sizeof(cells[2])), steps);
	free(steps);
}

static void
print_facts(const Server *server)
{
	char *settings = value_of(
		server->conn,
		"SELECT string_agg(name || ' ' || setting, ', ' ORDER BY name) FROM pg_settings WHERE name "
		"IN ('fsync', 'synchronous_commit', 'rotor.audit_reads', 'ssl', 'wal_sync_method')");
	double load = 0;

	(void) getloadavg(&load, 1);
	printf("Machine: %ld cores, load %.1f at the end; PostgreSQL %s, %s.\n",
		   sysconf(_SC_NPROCESSORS_ONLN), load, PQparameterStatus(server->conn, "server_version"),
		   settings);
	free(settings);
}

/* --- the run --- */

static const Figure rotate_preloaded = {.what = "`rotate()`, preloaded",
										.floor = rotate_by_hand,
										.rotor = rotate,
										.burst = 1,
										.limit = 1.2};
static const Figure rotate_plain = {.what = "`rotate()`, not preloaded",
									.floor = rotate_by_hand,
									.rotor = rotate,
									.burst = 1,
									.limit = 2.0};
static const Figure rotate_fewer_rounds = {.what = "`rotate()`, preloaded, policy with 256 rounds",
										   .floor = rotate_by_hand,
										   .rotor = rotate_256,
										   .burst = 1};
static const Figure read_logged = {.what = "`get_secret()`, reads logged (the default)",
								   .floor = read_item,
								   .rotor = read_secret,
								   .turns = READ_TURNS,
								   .burst = READ_BURST,
								   .limit = 1.6};
static const Figure read_granted = {.what = "`get_secret()`, reads logged, by a role with a grant",
									.floor = read_item_as_reader,
									.rotor = read_secret_as_reader,
									.turns = READ_TURNS,
									.burst = READ_BURST};
static const Figure read_unlogged = {.what = "`get_secret()`, `rotor.audit_reads = off`",
									 .floor = read_item,
									 .rotor = read_secret,
									 .turns = READ_TURNS,
									 .burst = READ_BURST};
static const Figure generate = {.what = "`generate_password(32)`, floor `md5(i::text)`",
								.floor = generate_md5,
								.rotor = generate_passwords,
								.turns = GENERATE_TURNS,
								.burst = 1,
								.values = VALUES,
								.limit = GENERATE_RATE};

static void
run(int samples)
{
	Server preloaded;
	Server plain;

	server_open(&preloaded, ENV_PRELOADED);
	server_open(&plain, ENV_PLAIN);
	print_head();
	measure(&preloaded, &rotate_preloaded, samples);
	measure(&plain, &rotate_plain, samples);
	measure(&preloaded, &read_logged, samples);
	measure(&preloaded, &generate, samples);
	measure(&preloaded, &rotate_fewer_rounds, samples);
	measure(&preloaded, &read_granted, samples);
	command(preloaded.conn, "SET rotor.audit_reads = off");
	measure(&preloaded, &read_unlogged, samples);
	command(preloaded.conn, "RESET rotor.audit_reads");
	server_prove(&preloaded);
	server_prove(&plain);
	puts("");
	print_parts(&preloaded, "Preloaded");
	print_parts(&plain, "Not preloaded");
	print_facts(&preloaded);
	server_close(&plain);
	server_close(&preloaded);
}

static int
read_samples(const char *text)
{
	char *end;
	long samples;

	errno = 0;
	samples = strtol(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || samples < 1 || samples > MAX_SAMPLES)
		return -1;
	return (int) samples;
}

int
main(int argc, char **argv)
{
	int samples = DEFAULT_SAMPLES;

	if (argc == 2 && strcmp(argv[1], "--help") == 0)
	{
		usage(stdout);
		return EXIT_SUCCESS;
	}
	if (argc == 3 && strcmp(argv[1], "--samples") == 0)
		samples = read_samples(argv[2]);
	if ((argc != 1 && argc != 3) || (argc == 3 && strcmp(argv[1], "--samples") != 0) || samples < 0)
	{
		usage(stderr);
		return 2;
	}
	run(samples);
	return EXIT_SUCCESS;
}

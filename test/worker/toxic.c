/*
 * toxic.c
 *		Talks to proxy.c; see toxic.h.
 */
#include "support.h"

#include "toxic.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <sys/wait.h>

struct Toxic
{
	pid_t pid;
	FILE *in;  /* what it is told */
	FILE *out; /* what it answers */
	unsigned port;
};

/* The proxy's program: in the folder of this one. */
static void
find_program(char *path, size_t size)
{
	ssize_t len = readlink("/proc/self/exe", path, size - sizeof("proxy"));
	char *slash;

	assert_true(len > 0);
	path[len] = '\0';
	slash = strrchr(path, '/');
	if (slash == NULL)
		abort();
	memcpy(slash + 1, "proxy", sizeof("proxy"));
}

static void
hear_line(Toxic *toxic, char *line, size_t size)
{
	assert_non_null(fgets(line, (int) size, toxic->out));
	assert_non_null(strchr(line, '\n'));
	line[strcspn(line, "\n")] = '\0';
}

Toxic *
toxic_start(unsigned port)
{
	Toxic *toxic = calloc(1, sizeof(*toxic));
	char program[4096];
	char target[32];
	char line[64];
	int in[2];
	int out[2];

	assert_non_null(toxic);
	find_program(program, sizeof(program));
	(void) snprintf(target, sizeof(target), "127.0.0.1:%u", port);
	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	toxic->pid = fork();
	assert_true(toxic->pid >= 0);
	if (toxic->pid == 0)
	{
		if (dup2(in[0], STDIN_FILENO) >= 0 && dup2(out[1], STDOUT_FILENO) >= 0)
			(void) execl(program, "proxy", target, (char *) NULL);
		_exit(127);
	}
	(void) close(in[0]);
	(void) close(out[1]);
	toxic->in = fdopen(in[1], "w");
	toxic->out = fdopen(out[0], "r");
	assert_non_null(toxic->in);
	assert_non_null(toxic->out);
	hear_line(toxic, line, sizeof(line));
	toxic->port = (unsigned) strtoul(line, NULL, 10);
	assert_true(toxic->port > 0);
	return toxic;
}

unsigned
toxic_port(const Toxic *toxic)
{
	return toxic->port;
}

void
toxic_say(Toxic *toxic, const char *format, ...)
{
	char line[256];
	va_list args;

	va_start(args, format);
	assert_true(vfprintf(toxic->in, format, args) > 0);
	va_end(args);
	assert_true(fputc('\n', toxic->in) != EOF && fflush(toxic->in) == 0);
	hear_line(toxic, line, sizeof(line));
	assert_string_equal(line, "ok");
}

ToxicStats
toxic_stats(Toxic *toxic)
{
	ToxicStats stats;
	char line[256];
	int count;

	assert_true(fputs("stats\n", toxic->in) != EOF && fflush(toxic->in) == 0);
	hear_line(toxic, line, sizeof(line));
	count =
		sscanf(line, "ok %lu %lu %lu %lu", &stats.open, &stats.accepted, &stats.up, &stats.down);
	assert_int_equal(count, 4);
	return stats;
}

void
toxic_stop(Toxic *toxic)
{
	int status;

	(void) fclose(toxic->in);
	assert_int_equal(waitpid(toxic->pid, &status, 0), toxic->pid);
	assert_int_equal(status, 0);
	(void) fclose(toxic->out);
	free(toxic);
}

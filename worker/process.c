/*
 * process.c - what this process is to the operating system; see process.h.
 */
#include "process.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* Heaps of which each thread would otherwise have its own, and keep what it once needed. */
#define HEAPS_MAX 4

void
process_protect(void)
{
	const struct rlimit none = {0, 0};

	/* Either fails only where it is forbidden to give up a right, and then there is nothing to do. */
	(void) prctl(PR_SET_DUMPABLE, 0);
	(void) setrlimit(RLIMIT_CORE, &none);
	(void) signal(SIGPIPE, SIG_IGN);
	/* NOLINTNEXTLINE(concurrency-mt-unsafe): before any thread. */
	(void) mallopt(M_ARENA_MAX, HEAPS_MAX);
}

bool
process_lock_memory(RotorError *err)
{
	if (mlockall(MCL_CURRENT | MCL_FUTURE) == 0)
		return true;
	(void) error_set(err, ROTOR_ERROR_ARGUMENT, "could not lock the memory: %m");
	return error_hint(err, "Raise the limit of locked memory, LimitMEMLOCK= in a systemd unit.");
}

int
process_signals(RotorError *err)
{
	sigset_t signals;
	int fd;

	(void) sigemptyset(&signals);
	(void) sigaddset(&signals, SIGTERM);
	(void) sigaddset(&signals, SIGINT);
	(void) sigaddset(&signals, SIGHUP);
	(void) pthread_sigmask(SIG_BLOCK, &signals, NULL);
	fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		(void) error_set(err, ROTOR_ERROR_SPACE, "could not listen to signals: %m");
	return fd;
}

int
process_next_signal(int fd)
{
	struct signalfd_siginfo info;

	return read(fd, &info, sizeof(info)) == (ssize_t) sizeof(info) ? (int) info.ssi_signo : 0;
}

/*
 * child.c - runs a program that is not trusted with more than its input; see child.h.
 */
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "secret_buf.h"

#define TERM_BEFORE_MS 1000 /* SIGTERM comes so long before SIGKILL, or a quarter of the time */
#define REAP_MS		   1000 /* a killed process is gone by then, unless the kernel itself hangs */
#define LOOK_MS \
	10 /* how often is asked whether it ended, where the kernel cannot tell by a pidfd */
#define DRAIN_MAX ((size_t) 1024 * 1024) /* bytes read after the end */

/* The two ends of a pipe; -1: closed. */
typedef struct Pipe
{
	int read;
	int write;
} Pipe;

typedef struct Pipes
{
	Pipe in, out, err;
	Pipe status; /* closed by exec; else an errno comes */
} Pipes;

static void
close_end(int *fd)
{
	if (*fd >= 0)
		(void) close(*fd);
	*fd = -1;
}

static void
close_pipes(Pipes *pipes)
{
	Pipe *all[] = {&pipes->in, &pipes->out, &pipes->err, &pipes->status};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
	{
		close_end(&all[i]->read);
		close_end(&all[i]->write);
	}
}

/* A descriptor that is none of the three of standard input and output. */
static bool
above_standard(int *fd)
{
	int moved;

	if (*fd > STDERR_FILENO)
		return true;
	moved = fcntl(*fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	(void) close(*fd);
	*fd = moved;
	return moved >= 0;
}

static bool
make_pipe(Pipe *made, int ours)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) != 0)
		return false;
	made->read = fds[0];
	made->write = fds[1];
	return above_standard(&made->read) && above_standard(&made->write) &&
		   fcntl(ours == 0 ? made->read : made->write, F_SETFL, O_NONBLOCK) == 0;
}

static bool
make_pipes(Pipes *pipes)
{
	static const Pipe closed = {-1, -1};

	*pipes = (Pipes){closed, closed, closed, closed};
	return make_pipe(&pipes->in, 1) && make_pipe(&pipes->out, 0) && make_pipe(&pipes->err, 0) &&
		   make_pipe(&pipes->status, 0);
}

/* ------------------------------------------------------------------------------------------------
 * In the child: async-signal-safe calls only, because other threads held locks when it was made
 */

static void
close_on_exec(void)
{
	struct rlimit limit;

	/* Marked, not closed: the errno of a failed exec goes through one of them. */
	if (syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC) == 0)
		return;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		limit.rlim_cur = 65536;
	for (rlim_t fd = STDERR_FILENO + 1; fd < limit.rlim_cur; fd++)
		(void) fcntl((int) fd, F_SETFD, FD_CLOEXEC);
}

static void
default_signals(void)
{
	struct sigaction action = {.sa_handler = SIG_DFL};
	sigset_t none;

	for (int number = 1; number < NSIG; number++)
		(void) sigaction(number, &action, NULL);
	(void) sigemptyset(&none);
	(void) pthread_sigmask(SIG_SETMASK, &none, NULL);
}

static bool
confine(pid_t parent)
{
	const struct rlimit none = {0, 0};

	(void) umask(077);
	if (setsid() < 0 || chdir("/") != 0 || setrlimit(RLIMIT_CORE, &none) != 0 ||
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
		return false;
	/* It may have died before the last call. */
	if (getppid() != parent)
	{
		errno = ESRCH;
		return false;
	}
	return true;
}

static _Noreturn void
become(const Child *child, const Pipes *pipes, pid_t parent)
{
	static const char *const environment[] = {"PATH=/usr/bin:/bin", "LANG=C", NULL};
	int number;

	if (confine(parent) && dup2(pipes->in.read, STDIN_FILENO) >= 0 &&
		dup2(pipes->out.write, STDOUT_FILENO) >= 0 && dup2(pipes->err.write, STDERR_FILENO) >= 0)
	{
		close_on_exec();
		default_signals();
		(void) execve(child->argv[0], (char *const *) child->argv, (char *const *) environment);
	}
	number = errno;
	(void) !write(pipes->status.write, &number, sizeof(number));
	_exit(127);
}

/* ------------------------------------------------------------------------------------------------
 * Here
 */

static pid_t
start(const Child *child, Pipes *pipes)
{
	pid_t parent = getpid();
	sigset_t all;
	sigset_t former;
	pid_t pid;

	/* No handler of ours runs in the child. */
	(void) sigfillset(&all);
	(void) pthread_sigmask(SIG_SETMASK, &all, &former);
	pid = _Fork();
	if (pid == 0)
		become(child, pipes, parent);
	{
		int number = errno;

		(void) pthread_sigmask(SIG_SETMASK, &former, NULL);
		errno = number;
	}
	return pid;
}

static void
give_input(const Child *child, Pipes *pipes, size_t *given)
{
	ssize_t written = write(pipes->in.write, child->input + *given, child->input_len - *given);

	if (written < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (written > 0)
		*given += (size_t) written;
	/* It has all, or wants no more. */
	if (written < 0 || *given == child->input_len)
		close_end(&pipes->in.write);
}

/* Reads once; returns the bytes, 0 if there is nothing now or ever. */
static size_t
take_output(Child *child, int *fd, bool keep)
{
	char data[4096];
	ssize_t got = *fd >= 0 ? read(*fd, data, sizeof(data)) : 0;
	size_t room = child->output_size - 1 - child->output_len;

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (got <= 0)
	{
		close_end(fd);
		return 0;
	}
	if (keep)
	{
		if (room > (size_t) got)
			room = (size_t) got;
		memcpy(child->output + child->output_len, data, room);
		child->output_len += room;
		child->output[child->output_len] = '\0';
	}
	secret_wipe(data, (size_t) got);
	return (size_t) got;
}

/* Did exec fail? */
static bool
take_status(Child *child, int *fd)
{
	int number;
	ssize_t got = read(*fd, &number, sizeof(number));

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	close_end(fd);
	if (got != sizeof(number))
		return false;
	child->number = number;
	return true;
}

/* The process that is watched. */
typedef struct Watched
{
	pid_t pid;
	int pidfd; /* -1: the kernel, or a sandbox, does not give one */
	size_t given;
	bool not_started;
} Watched;

/* A descriptor that can be read once the process has ended; -1: there are none. */
static int
open_pidfd(pid_t pid)
{
	static _Atomic bool missing;
	int fd = missing ? -1 : (int) syscall(SYS_pidfd_open, pid, 0);

	if (fd < 0 && errno == ENOSYS)
		missing = true;
	return fd;
}

static int
patience(const Watched *watched, int64_t left)
{
	int64_t most = watched->pidfd >= 0 ? 60000 : LOOK_MS;

	return (int) (left < most ? left : most);
}

/* Has it ended? It stays a zombie, so that its number is not given to another. */
static bool
has_ended(const Watched *watched)
{
	siginfo_t info = {0};

	return waitid(P_PID, (id_t) watched->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
		   info.si_pid == watched->pid;
}

/* Serves the pipes until the program ends (true) or the time is over. */
static bool
serve(Child *child, Pipes *pipes, Watched *watched, Deadline until)
{
	for (;;)
	{
		struct pollfd fds[] = {
			{.fd = watched->pidfd, .events = POLLIN},
			{.fd = pipes->status.read, .events = POLLIN},
			/* Nothing is given before it runs. */
			{.fd = pipes->status.read < 0 ? pipes->in.write : -1, .events = POLLOUT},
			{.fd = pipes->out.read, .events = POLLIN},
			{.fd = pipes->err.read, .events = POLLIN},
		};
		int64_t left = deadline_left(until);

		if (left == 0)
			return false;
		if (poll(fds, sizeof(fds) / sizeof(fds[0]), patience(watched, left)) < 0 && errno != EINTR)
			return false;
		if (fds[1].revents != 0 && take_status(child, &pipes->status.read))
			watched->not_started = true;
		if (fds[2].revents != 0)
			give_input(child, pipes, &watched->given);
		if (fds[3].revents != 0)
			(void) take_output(child, &pipes->out.read, true);
		if (fds[4].revents != 0)
			(void) take_output(child, &pipes->err.read, false);
		if ((watched->pidfd < 0 || fds[0].revents != 0) && has_ended(watched))
			return true;
	}
}

/* Ends what is left of the group while its leader is not waited for, so that the number is still ours. */
static void
finish(Child *child, Pipes *pipes, const Watched *watched, siginfo_t *info)
{
	Deadline until = deadline_in(REAP_MS);
	size_t drained = 0;
	size_t got;

	(void) kill(-watched->pid, SIGKILL);
	/* Its own group may not be there yet. */
	(void) kill(watched->pid, SIGKILL);
	while (drained < DRAIN_MAX && (got = take_output(child, &pipes->out.read, true)) > 0)
		drained += got;
	while (!has_ended(watched) && deadline_left(until) > 0)
	{
		struct pollfd ended = {.fd = watched->pidfd, .events = POLLIN};

		(void) poll(&ended, 1, patience(watched, deadline_left(until)));
	}
	memset(info, 0, sizeof(*info));
	(void) waitid(P_PID, (id_t) watched->pid, info, WEXITED | WNOHANG);
}

static ChildEnd
watch(Child *child, Pipes *pipes, pid_t pid)
{
	int64_t left = deadline_left(child->deadline);
	int64_t grace = left / 4 < TERM_BEFORE_MS ? left / 4 : TERM_BEFORE_MS;
	Watched watched = {.pid = pid, .pidfd = open_pidfd(pid)};
	siginfo_t info;
	bool in_time;

	close_end(&pipes->in.read);
	close_end(&pipes->out.write);
	close_end(&pipes->err.write);
	close_end(&pipes->status.write);
	in_time = serve(child, pipes, &watched, child->deadline - grace);
	if (!in_time)
	{
		(void) kill(-pid, SIGTERM);
		(void) serve(child, pipes, &watched, child->deadline);
	}
	/* The errno may lie there still. */
	if (pipes->status.read >= 0 && take_status(child, &pipes->status.read))
		watched.not_started = true;
	finish(child, pipes, &watched, &info);
	close_end(&watched.pidfd);
	if (watched.not_started)
		return CHILD_NOT_STARTED;
	if (!in_time)
		return CHILD_TIMED_OUT;
	child->number = info.si_status;
	return info.si_code == CLD_EXITED ? CHILD_EXITED : CHILD_SIGNALED;
}

ChildEnd
child_run(Child *child)
{
	Pipes pipes;
	ChildEnd end = CHILD_NOT_STARTED;
	pid_t pid = -1;

	child->output_len = 0;
	child->output[0] = '\0';
	if (deadline_left(child->deadline) == 0)
	{
		child->number = ETIMEDOUT;
		return CHILD_NOT_STARTED;
	}
	if (make_pipes(&pipes))
		pid = start(child, &pipes);
	if (pid < 0)
		child->number = errno;
	else
		end = watch(child, &pipes, pid);
	close_pipes(&pipes);
	return end;
}

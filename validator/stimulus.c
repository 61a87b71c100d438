/* The process that makes an attached program run: its steps and its command, apart from us and bounded.
 *
 * It may fork, hide, never end, fill what it can write to, or write anything anywhere. None of that may cost the answer:
 * it has its own mounts, in which the ports of the host, the kernel's log and the rest of the guest cannot be written,
 * and a group of its own with a limit on memory and processes, where the kernel has such groups.
 */
#include "stimulus.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "env.h"
#include "steps.h"
#include "target.h"

#define CGROUPS "/sys/fs/cgroup"
#define OUTER CGROUPS "/bpfcompat" /* what cgroup programs are attached to */
#define GROUP OUTER "/behave"
#define PROCESSES_MAX "256"
#define SCRATCH "size=16m,mode=1777"
#define LEFT_MS 5000

/* Where a stray write would be taken for the validator's or the kernel's. */
static const char *const hidden[] = {
	"/dev/console", "/dev/kmsg", "/dev/mem", "/dev/port", "/dev/ttyS0", "/dev/ttyS1", "/proc/sysrq-trigger",
};

static const char *const fixed[] = { "/", "/dev", "/files" }; /* each is a mount, or is not there */

static bool put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return done;
}

/* Half of what is free, so that the kernel never has to look further for something to kill. A kernel without these
 * controllers has the other bounds.
 */
static void bound_group(void)
{
	static const char *const parents[] = { CGROUPS "/cgroup.subtree_control", OUTER "/cgroup.subtree_control" };
	struct sysinfo info;
	char bytes[32];

	mkdir(OUTER, 0755);
	mkdir(GROUP, 0755);
	for (size_t i = 0; i < sizeof(parents) / sizeof(*parents); i++) {
		put(parents[i], "+memory");
		put(parents[i], "+pids");
	}
	put(GROUP "/pids.max", PROCESSES_MAX);
	if (!sysinfo(&info)) {
		snprintf(bytes, sizeof(bytes), "%llu", (unsigned long long)info.freeram * info.mem_unit / 2);
		put(GROUP "/memory.max", bytes);
	}
}

/* The program that probes of user space are attached to lies where the stimulus has a folder of its own. */
static int show_target(int target)
{
	char open_as[32];

	snprintf(open_as, sizeof(open_as), "/proc/self/fd/%d", target);
	close(open(TARGET_PATH, O_WRONLY | O_CREAT | O_CLOEXEC, 0755));
	if (mount(open_as, TARGET_PATH, NULL, MS_BIND, NULL) ||
	    mount(NULL, TARGET_PATH, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL))
		return errno;
	close(target);
	return 0;
}

static int own_mounts(void)
{
	int target;

	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return errno;
	for (size_t i = 0; i < sizeof(hidden) / sizeof(*hidden); i++)
		if (!access(hidden[i], F_OK) && mount("/dev/null", hidden[i], NULL, MS_BIND, NULL))
			return errno;
	for (size_t i = 0; i < sizeof(fixed) / sizeof(*fixed); i++)
		mount(NULL, fixed[i], NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL);
	target = open(TARGET_PATH, O_PATH | O_CLOEXEC); /* in mounts that are ours, so that it can be mounted again */
	if (mount("tmpfs", "/tmp", "tmpfs", 0, SCRATCH))
		return errno;
	return target < 0 ? 0 : show_target(target);
}

static void use_stream(int fd, int as)
{
	if (fd >= 0)
		dup2(fd, as);
}

static int confine(int out, int err)
{
	const struct rlimit no_core = { 0, 0 };
	sigset_t none;
	int error = own_mounts();

	if (error)
		return error;
	put(GROUP "/cgroup.procs", "0");
	put("/proc/self/oom_score_adj", "1000");
	setrlimit(RLIMIT_CORE, &no_core);
	env_withhold();
	setpriority(PRIO_PROCESS, 0, 0);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	use_stream(open("/dev/null", O_RDONLY | O_CLOEXEC), 0);
	use_stream(out, 1);
	use_stream(err, 2);
	return 0;
}

static void tell(int to, int result)
{
	if (write(to, &result, sizeof(result)) != sizeof(result))
		_exit(1);
}

static void act(const struct test *test, int to, int out, int err) __attribute__((noreturn));

static void act(const struct test *test, int to, int out, int err)
{
	char *const environment[] = { "PATH=/files:/", "HOME=/tmp", "TMPDIR=/tmp", NULL };
	int error;

	setsid();
	error = confine(out, err);
	tell(to, error);
	if (error)
		_exit(0);
	for (unsigned int i = 0; i < test->steps.count; i++)
		tell(to, step_do(test->steps.of[i]));
	if (!test->argv.count)
		_exit(0);
	if (chdir("/files") && chdir("/tmp"))
		tell(to, errno);
	else
		execve(test->argv.of[0], test->argv.of, environment);
	tell(to, errno);
	_exit(127);
}

static int end_of(int pipe[2], int which, bool keep)
{
	close(pipe[!which]);
	if (!keep)
		close(pipe[which]);
	return pipe[which];
}

int stimulus_start(struct stimulus *stimulus, const struct test *test)
{
	int results[2], out[2], err[2];

	memset(stimulus, 0, sizeof(*stimulus));
	if (pipe2(results, O_CLOEXEC) || pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC))
		return -errno;
	bound_group();
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	stimulus->pid = fork();
	if (stimulus->pid < 0)
		return -errno;
	if (!stimulus->pid)
		act(test, results[1], out[1], err[1]);
	stimulus->results = end_of(results, 0, true);
	stimulus->out.fd = end_of(out, 0, true);
	stimulus->err.fd = end_of(err, 0, true);
	fcntl(stimulus->results, F_SETFL, O_NONBLOCK);
	fcntl(stimulus->out.fd, F_SETFL, O_NONBLOCK);
	fcntl(stimulus->err.fd, F_SETFL, O_NONBLOCK);
	return 0;
}

/* One block: a command that writes without end must not hold us here. False at the end of the stream. */
static bool take_output(struct output *output)
{
	char block[4096];
	ssize_t len = read(output->fd, block, sizeof(block));
	size_t room = sizeof(output->data) - output->len;

	if (len <= 0)
		return len < 0 && errno == EAGAIN;
	output->cut = output->cut || (size_t)len > room;
	room = (size_t)len < room ? (size_t)len : room;
	memcpy(output->data + output->len, block, room);
	output->len += room;
	return true;
}

static void take_results(struct stimulus *stimulus)
{
	int result;

	while (stimulus->count < sizeof(stimulus->told) / sizeof(*stimulus->told) &&
	       read(stimulus->results, &result, sizeof(result)) == sizeof(result))
		stimulus->told[stimulus->count++] = result;
}

static void drop(int *fd)
{
	close(*fd);
	*fd = -1; /* poll() passes over it */
}

bool stimulus_step(struct stimulus *stimulus, int milliseconds)
{
	struct pollfd wait[] = {
		{ stimulus->results, POLLIN, 0 },
		{ stimulus->out.fd, POLLIN, 0 },
		{ stimulus->err.fd, POLLIN, 0 },
	};

	poll(wait, 3, milliseconds);
	take_results(stimulus);
	if (wait[0].revents & POLLHUP)
		drop(&stimulus->results);
	if (wait[1].revents && !take_output(&stimulus->out))
		drop(&stimulus->out.fd);
	if (wait[2].revents && !take_output(&stimulus->err))
		drop(&stimulus->err.fd);
	if (!stimulus->over && waitpid(stimulus->pid, &stimulus->status, WNOHANG) == stimulus->pid)
		stimulus->over = true;
	return stimulus->over;
}

/* Everything in the guest but init and this process came from the stimulus, in whatever session it may hide. */
static void kill_all(struct stimulus *stimulus)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	int status;

	for (int left = LEFT_MS; left; left--) {
		pid_t pid;

		kill(-1, SIGKILL);
		while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
			if (pid == stimulus->pid && !stimulus->over) {
				stimulus->over = true;
				stimulus->status = status;
			}
		}
		if (pid < 0)
			break;
		nanosleep(&pause, NULL);
	}
}

void stimulus_end(struct stimulus *stimulus)
{
	kill_all(stimulus);
	for (int i = 0; i < 64 && (stimulus->out.fd >= 0 || stimulus->err.fd >= 0); i++)
		stimulus_step(stimulus, 0);
	rmdir(GROUP);
}

/* Command mode: not our loader but the project's, in its own root file system; its exit is the answer.
 *
 * It runs as root, with what a loader needs and without what would reach the validator or QEMU. Its whole process tree
 * ends with it: the validator is init, so nothing can hide from its signal.
 */
#include "command.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "conditions.h"
#include "devices.h"
#include "env.h"
#include "files.h"

#define ROOT FILES_ROOT "/root"
#define OBJECT_NAME "object.bpf.o"
#define KEPT (64u << 10) /* bytes of each output, its end */
#define PULSE_MS 100
#define READS 16 /* of one output, before the other is looked at */
#define TIMEOUT_MOST 86400
#define FREE_INODES 20000
#define NOT_STARTED 255

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

/* --- the spec */

static const char *add_word(char **words, const char *word)
{
	size_t count = 0;

	while (words[count])
		count++;
	if (count == COMMAND_WORDS)
		return "too many words";
	words[count] = strdup(word);
	return words[count] ? NULL : "out of memory";
}

static const char *take_arg(struct command *command, const char *value)
{
	return add_word(command->argv, value);
}

static const char *take_env(struct command *command, const char *value)
{
	return strchr(value, '=') ? add_word(command->env, value) : "env: expected NAME=VALUE";
}

static const char *take_cwd(struct command *command, const char *value)
{
	command->cwd = strdup(value);
	return *value == '/' && command->cwd ? NULL : "cwd: expected an absolute path";
}

static const char *take_timeout(struct command *command, const char *value)
{
	char *end;
	unsigned long seconds = strtoul(value, &end, 10);

	if (*end || !seconds || seconds > TIMEOUT_MOST)
		return "timeout: expected seconds";
	command->timeout_s = seconds;
	return NULL;
}

static const struct {
	const char *name;
	const char *(*take)(struct command *command, const char *value);
} settings[] = {
	{ "arg", take_arg },
	{ "env", take_env },
	{ "cwd", take_cwd },
	{ "timeout", take_timeout },
};

const char *command_setting(struct command *command, const char *value)
{
	for (size_t i = 0; i < COUNT(settings); i++) {
		size_t len = strlen(settings[i].name);

		if (!strncmp(settings[i].name, value, len) && value[len] == ' ')
			return settings[i].take(command, value + len + 1);
	}
	return "expected arg, env, cwd or timeout";
}

/* --- the root file system: the host has made every folder that something is mounted on */

static const struct {
	const char *source;
	const char *target;
	const char *type;
	unsigned long flags;
	const char *options;
} mounts[] = {
	{ ROOT, ROOT, NULL, MS_BIND, NULL }, /* so that the command's / is a mount, as it is elsewhere */
	{ "proc", ROOT "/proc", "proc", 0, NULL },
	{ "/sys", ROOT "/sys", NULL, MS_BIND | MS_REC, NULL }, /* with bpffs, tracefs, debugfs, securityfs, cgroup2 */
	{ "/boot", ROOT "/boot", NULL, MS_BIND, NULL }, /* the kernel's configuration, for Kconfig externs */
	{ "dev", ROOT "/dev", "tmpfs", MS_NOSUID, "size=16m,nr_inodes=1000,mode=0755" },
};

static const struct {
	const char *name;
	unsigned int major, minor;
} devices[] = {
	{ "null", 1, 3 }, { "zero", 1, 5 }, { "full", 1, 7 }, { "random", 1, 8 }, { "urandom", 1, 9 }, { "tty", 5, 0 },
};

static const struct {
	const char *name, *target;
} links[] = {
	{ "fd", "/proc/self/fd" },
	{ "stdin", "/proc/self/fd/0" },
	{ "stdout", "/proc/self/fd/1" },
	{ "stderr", "/proc/self/fd/2" },
};

static void make_devices(void)
{
	int dev = open(ROOT "/dev", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	umask(0);
	for (size_t i = 0; i < COUNT(devices); i++)
		mknodat(dev, devices[i].name, S_IFCHR | 0666, makedev(devices[i].major, devices[i].minor));
	umask(022);
	for (size_t i = 0; i < COUNT(links); i++)
		symlinkat(links[i].target, dev, links[i].name);
	mkdirat(dev, "shm", 0777);
	close(dev);
}

static const char *put_object(const char *object, size_t size)
{
	int folder = open(ROOT FILES_ROOT, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int fd = folder < 0 ? -1 : openat(folder, OBJECT_NAME, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	bool whole = fd >= 0 && write(fd, object, size) == (ssize_t)size;

	close(fd);
	close(folder);
	return whole ? NULL : "the object does not fit beside the loader";
}

/* The command may fill its disk: that must not be all of the guest's memory. */
static const char *bound_disk(void)
{
	struct statvfs found;
	char options[96];

	if (statvfs(FILES_ROOT, &found))
		return "no root file system came with the command";
	snprintf(options, sizeof(options), "size=%lluk,nr_inodes=%llu",
		 (unsigned long long)(found.f_blocks - found.f_bfree) * found.f_frsize / 1024 + files_available_kb() / 2,
		 (unsigned long long)(found.f_files - found.f_ffree) + FREE_INODES);
	return mount(NULL, FILES_ROOT, NULL, MS_REMOUNT | MS_NOSUID | MS_NODEV, options) ? strerror(errno) : NULL;
}

static const char *prepare_root(const char *object, size_t size)
{
	const char *why = put_object(object, size) ?: bound_disk();

	for (size_t i = 0; !why && i < COUNT(mounts); i++)
		if (mount(mounts[i].source, mounts[i].target, mounts[i].type, mounts[i].flags, mounts[i].options))
			why = strerror(errno);
	if (!why)
		make_devices();
	devices_prepare();
	return why;
}

/* --- the process */

/* Why it could not be started; it goes through a pipe that a successful exec closes. */
struct failure {
	int err;
	bool cwd; /* its folder, not the program */
	bool found; /* there is such a file, and yet it does not run */
};

/* Not execvp(): that hands what is no program to a shell. */
static void exec_in_path(char **argv, struct failure *failure)
{
	const char *path = getenv("PATH") ?: "";
	char full[4096];

	if (strchr(argv[0], '/')) {
		failure->found = !access(argv[0], F_OK);
		execve(argv[0], argv, environ);
		failure->err = errno;
		return;
	}
	failure->err = ENOENT;
	while (*path && !failure->found) {
		size_t len = strcspn(path, ":");

		snprintf(full, sizeof(full), "%.*s/%s", (int)len, path, argv[0]);
		path += len + (path[len] == ':');
		if (!access(full, F_OK)) {
			failure->found = true;
			execve(full, argv, environ);
			failure->err = errno;
		}
	}
}

static void set_limits(void)
{
	const struct rlimit none = { 0, 0 };
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	/* Where memory ends, the command ends, not the kernel. */
	if (write(fd, "1000", 4) < 0)
		perror("validator: oom_score_adj");
	close(fd);
	setrlimit(RLIMIT_CORE, &none);
	env_withhold();
}

static void become(struct command *command, int out, int err, int told) __attribute__((noreturn));

static void become(struct command *command, int out, int err, int told)
{
	struct failure failure = { 0 };
	sigset_t none;

	setsid();
	set_limits();
	failure.cwd = true;
	if (!chroot(ROOT) && !chdir(command->cwd) && !(errno = -conditions_drop())) {
		failure.cwd = false;
		dup2(open("/dev/null", O_RDONLY), 0);
		dup2(out, 1);
		dup2(err, 2);
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		environ = command->env;
		exec_in_path(command->argv, &failure);
	} else {
		failure.err = errno;
	}
	if (write(told, &failure, sizeof(failure)) < 0)
		_exit(NOT_STARTED - 1);
	_exit(NOT_STARTED);
}

/* --- what it says */

struct output {
	struct pollfd *at;
	char data[2 * KEPT];
	size_t len;
	bool cut;
};

static void keep(struct output *output, const char *data, size_t len)
{
	if (output->len + len > sizeof(output->data)) {
		size_t rest = KEPT - len;

		memmove(output->data, output->data + output->len - rest, rest);
		output->len = rest;
		output->cut = true;
	}
	memcpy(output->data + output->len, data, len);
	output->len += len;
}

static void hear(struct output *output)
{
	static char piece[KEPT / 2];

	for (int i = 0; output->at->fd >= 0 && i < READS; i++) {
		ssize_t len = read(output->at->fd, piece, sizeof(piece));

		if (len < 0 && errno == EAGAIN)
			return;
		if (len <= 0) {
			close(output->at->fd);
			output->at->fd = -1;
			return;
		}
		keep(output, piece, len);
	}
}

static struct text kept(const struct output *output)
{
	struct text text = text_tail((struct text){ output->data, output->len, false }, KEPT);

	text.cut |= output->cut;
	return text;
}

/* --- its life */

struct life {
	pid_t pid;
	int status;
	bool ended;
	bool timed_out;
	unsigned int left; /* processes that it left behind, ended with it */
	bool out_of_memory;
	struct failure failure;
};

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

/* Every process is init's child in the end. False when there is none any more. */
static bool reap(struct life *life)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == life->pid) {
			life->status = status;
			life->ended = true;
		} else if (life->ended && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
			life->left++;
		}
	}
	return pid == 0;
}

static void watch(struct life *life, struct pollfd fds[3], struct output outputs[2], double until)
{
	struct signalfd_siginfo news;
	bool killed = false, others = true;

	while (others || fds[0].fd >= 0 || fds[1].fd >= 0) {
		env_pulse();
		poll(fds, 3, PULSE_MS);
		while (read(fds[2].fd, &news, sizeof(news)) > 0)
			;
		hear(&outputs[0]);
		hear(&outputs[1]);
		others = reap(life);
		if (!life->ended && now() >= until)
			life->timed_out = true;
		if ((life->ended || life->timed_out) && !killed)
			kill(-1, SIGKILL); /* none can fork past it: a fork that meets a signal is begun again */
		killed |= life->ended || life->timed_out;
	}
}

static long oom_kills(void)
{
	char line[128];
	long count = 0;
	FILE *stat = fopen("/proc/vmstat", "re");

	while (stat && fgets(line, sizeof(line), stat))
		if (sscanf(line, "oom_kill %ld", &count) == 1)
			break;
	if (stat)
		fclose(stat);
	return count;
}

static int tell(struct report *report, const struct life *life, const struct output outputs[2])
{
	bool started = !life->failure.err, exited = started && WIFEXITED(life->status);
	struct json json = { 0 };

	report_begin(&json, "command");
	json_number(&json, "start_errno", life->failure.err);
	json_string(&json, "start", started ? "" : life->failure.cwd ? "cwd" : life->failure.found ? "exec" : "path");
	if (exited)
		json_number(&json, "exit", WEXITSTATUS(life->status));
	else
		json_null(&json, "exit");
	json_number(&json, "signal", started && WIFSIGNALED(life->status) ? WTERMSIG(life->status) : 0);
	json_bool(&json, "timed_out", life->timed_out);
	json_bool(&json, "out_of_memory", life->out_of_memory);
	json_number(&json, "left", life->left);
	json_text(&json, "stdout", kept(&outputs[0]));
	json_text(&json, "stderr", kept(&outputs[1]));
	return report_frame(report, &json);
}

static const char *start(struct command *command, struct life *life, int ends[2])
{
	int out[2], err[2], told[2];

	if (pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC) || pipe2(told, O_CLOEXEC))
		return strerror(errno);
	life->pid = fork();
	if (life->pid < 0)
		return strerror(errno);
	if (!life->pid)
		become(command, out[1], err[1], told[1]);
	setpriority(PRIO_PROCESS, 0, -20); /* a flood of processes must not silence the pulse */
	close(out[1]);
	close(err[1]);
	close(told[1]);
	if (read(told[0], &life->failure, sizeof(life->failure)) != sizeof(life->failure))
		memset(&life->failure, 0, sizeof(life->failure));
	close(told[0]);
	fcntl(out[0], F_SETFL, O_NONBLOCK);
	fcntl(err[0], F_SETFL, O_NONBLOCK);
	ends[0] = out[0];
	ends[1] = err[0];
	return NULL;
}

const char *command_run(struct command *command, struct report *report, const char *object, size_t size)
{
	static struct output outputs[2];
	struct pollfd fds[3];
	struct life life = { 0 };
	const char *why = prepare_root(object, size);
	long before = oom_kills();
	int err, ends[2] = { -1, -1 };
	sigset_t child;

	why = why ?: start(command, &life, ends);
	if (why)
		return why;
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD); /* blocked since the validator began */
	for (int i = 0; i < 2; i++) {
		fds[i] = (struct pollfd){ ends[i], POLLIN, 0 };
		outputs[i].at = &fds[i];
	}
	fds[2] = (struct pollfd){ signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK), POLLIN, 0 };
	watch(&life, fds, outputs, now() + command->timeout_s);
	life.out_of_memory = oom_kills() > before;
	err = tell(report, &life, outputs);
	return err ? strerror(-err) : NULL;
}

/* The validator: init of a guest that lives for one object. It says what the kernel answered, and powers off.
 *
 * It refuses to judge: what an errno means is decided on the host. See wire.md for what it reads and writes.
 */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "attach.h"
#include "behave.h"
#include "command.h"
#include "conditions.h"
#include "declare.h"
#include "env.h"
#include "files.h"
#include "fwcfg.h"
#include "leftovers.h"
#include "load.h"
#include "maps.h"
#include "modules.h"
#include "relocated.h"
#include "said.h"
#include "warm.h"

#define SPEC_FILE "opt/bpfcompat/spec"
#define OBJECT_FILE "opt/bpfcompat/object"
#define FREEZE_FILE "opt/bpfcompat/freeze"
#define MODULES_FILE "opt/bpfcompat/modules"
#define MODULES_MAX (96u << 20)
#define FREEZE_MAX 16
#define SPEC_MAX (1u << 20)
#define OBJECT_MAX (64u << 20)
#define LOG_TOTAL (64u << 20)
#define PULSE_NS 200000000
#define SHARDS_MAX 64

static bool begin(const char *phase, unsigned int index);

static struct work work = { .begin = begin, .report.fd = REPORT_PORT_FD, .shards = 1 };
static struct command command; /* the project's own loader, if it is to be asked instead of ours */

/* One line instead of a report, and on the console. */
static void give_up(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

static void give_up(const char *format, ...)
{
	char reason[256];
	va_list args;

	va_start(args, format);
	vsnprintf(reason, sizeof(reason), format, args);
	va_end(args);
	for (char *c = reason; *c; c++)
		*c = *c >= ' ' && *c <= '~' ? *c : '?';
	fprintf(stderr, "validator: %s\n", reason);
	report_say(&work.report, "BPFC0 ", 6);
	report_say(&work.report, reason, strlen(reason));
	report_say(&work.report, "\n", 1);
	env_power_off();
}

static void take_nonce(const char *value)
{
	if (strlen(value) != NONCE_HEX || strspn(value, "0123456789abcdef") != NONCE_HEX)
		give_up("spec: nonce: expected %d lower-case hex digits", NONCE_HEX);
	memcpy(work.report.nonce, value, NONCE_HEX);
}

static void take_attach(const char *value)
{
	if (strcmp(value, "attach") && strcmp(value, "load"))
		give_up("spec: attach: expected load or attach, got '%.40s'", value);
	work.attach = !strcmp(value, "attach");
}

static void take_shard(const char *value)
{
	char rest;

	if (sscanf(value, "%2u/%2u%c", &work.shard, &work.shards, &rest) != 2 || work.shards > SHARDS_MAX ||
	    work.shard >= work.shards)
		give_up("spec: shard: expected N/COUNT, N from 0, at most %d of them, got '%.40s'", SHARDS_MAX, value);
}

static void take_clock(const char *value)
{
	char *end;
	unsigned long long ns = strtoull(value, &end, 10);

	if (*end || !*value || env_set_clock(ns))
		give_up("spec: clock: expected nanoseconds since 1970, got '%.40s'", value);
}

static void take_seed(const char *value)
{
	if (strlen(value) != SEED_HEX || strspn(value, "0123456789abcdef") != SEED_HEX)
		give_up("spec: seed: expected %d lower-case hex digits", SEED_HEX);
	if (env_seed(value))
		give_up("spec: seed: %s", strerror(errno));
}

static void take_command(const char *value)
{
	const char *why = command_setting(&command, value);

	if (why)
		give_up("spec: command: %s", why);
}

static void take_tell(const char *value)
{
	if (env_also_tell(value))
		give_up("spec: tell: expected a sysctl's name, and not too many, got '%.40s'", value);
}

static void take_declare(const char *value)
{
	int err = declare_take(value);

	if (err)
		give_up("spec: declare: %s: '%.80s'", strerror(-err), value);
}

static const struct {
	const char *name;
	void (*take)(const char *value);
} settings[] = {
	{ "nonce", take_nonce },
	{ "clock", take_clock },
	{ "seed", take_seed },
	{ "shard", take_shard },
	{ "attach", take_attach },
	{ "command", take_command },
	{ "declare", take_declare },
	{ "tell", take_tell },
};

static void take_setting(char *line)
{
	char *value = strchr(line, '=');

	if (value)
		*value++ = '\0';
	for (size_t i = 0; value && i < sizeof(settings) / sizeof(*settings); i++) {
		if (!strcmp(settings[i].name, line)) {
			settings[i].take(value);
			return;
		}
	}
	if (value && behave_take(line, value))
		return;
	give_up("spec: unknown line '%.40s'", line);
}

static void read_spec(void)
{
	char *text, *at, *line;
	long len = fwcfg_read(SPEC_FILE, SPEC_MAX, &text);

	if (len < 0)
		give_up("fw_cfg: %s: %s", SPEC_FILE, strerror(-len));
	at = text;
	while ((line = strsep(&at, "\n")))
		if (*line)
			take_setting(line);
	if (!*work.report.nonce)
		give_up("spec: no nonce");
	free(text);
}

/* Modules that the object declares are no part of the template: they are loaded now. */
static void load_modules(void)
{
	char *data;
	long len = fwcfg_read(MODULES_FILE, MODULES_MAX, &data);

	if (len == -ENOENT)
		return;
	if (len < 0 || modules_load_given(data, len))
		give_up("fw_cfg: %s: %s", MODULES_FILE, strerror(len < 0 ? -len : EINVAL));
	free(data);
	attach_prepare(); /* they may bring devices */
}

/* All that differs from one probe to the next comes in here, and only here: a template is frozen just before. */
static void read_inputs(void)
{
	const char *why;
	char *object;
	long len;

	read_spec();
	len = fwcfg_read(OBJECT_FILE, OBJECT_MAX, &object);
	if (len < 0)
		give_up("fw_cfg: %s: %s", OBJECT_FILE, strerror(-len));
	work.object = object;
	work.size = len;
	why = files_unpack(FILES_ROOT);
	if (why)
		give_up("files: %s", why);
	load_modules();
}

/* The child is lost, and with it the answer: that is never a verdict. @status is of wait(). */
static void tell_death(const char *phase, unsigned int index, int status)
{
	struct json json = { 0 };

	report_begin(&json, "died");
	json_string(&json, "phase", phase);
	json_number(&json, "index", index);
	json_number(&json, "signal", WIFSIGNALED(status) ? WTERMSIG(status) : WIFSTOPPED(status) ? WSTOPSIG(status) : 0);
	json_number(&json, "errno", WIFEXITED(status) ? WEXITSTATUS(status) : 0);
	report_frame(&work.report, &json);
}

/* While a probe takes its time, init says that user space still runs: what stops the pulse is the kernel. */
static int wait_for(pid_t pid)
{
	const struct timespec pulse = { .tv_nsec = PULSE_NS };
	sigset_t child;
	int status;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	while (waitpid(pid, &status, WNOHANG | WUNTRACED) != pid) {
		env_pulse();
		sigtimedwait(&child, NULL, &pulse);
	}
	if (WIFSTOPPED(status)) { /* by the object itself: nobody would ever go on with it */
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	return status;
}

/* What every process that asks does first; its children have it behind them. 0 or -errno. */
static int become(void)
{
	static bool done;
	int err = done ? 0 : conditions_drop();

	done = true;
	return err ?: prctl(PR_SET_PDEATHSIG, SIGKILL) ? -errno : said_start();
}

/* Nothing a probe opens, maps or breaks outlives it. Only one process writes at any time: the parent waits. */
static bool begin(const char *phase, unsigned int index)
{
	int err, status;
	pid_t pid = fork();

	if (pid < 0)
		give_up("fork: %s", strerror(errno));
	if (!pid) {
		err = -become();
		if (err)
			_exit(err < 255 ? err : 255);
		return true;
	}
	status = wait_for(pid);
	env_unpin();
	if (work.shared->program_asked && !strcmp(phase, "load"))
		phase = "program"; /* it had come that far */
	if (status)
		tell_death(phase, index, status);
	if (!leftovers_unlinked())
		give_up("%s %u: a link outlives its probe", phase, index);
	return false;
}

static void in_child(const char *phase, unsigned int index, probe_fn probe)
{
	int err;

	if (!begin(phase, index))
		return;
	err = -probe(&work, index);
	_exit(err < 255 ? err : 255);
}

/* The object does not load, or nobody knows yet: what is left of its maps. */
static void probe_maps(void)
{
	if (!work.shared->maps_told)
		in_child("maps", 0, maps_together);
	for (unsigned int i = 0; i < work.maps && i < MAPS_MOST; i++)
		if (!work.shared->created[i])
			in_child("map", i, maps_alone);
}

/* Opens the object and asks all of it. A process of its own does that, as no object may end init; each question after
 * the first has one more, with a copy of the object as it was opened or relocated.
 */
static int probe_object(struct work *work, unsigned int unused)
{
	int err = load_open(work);

	(void)unused;
	if (err || !work->opened)
		return err;
	work->shared->opened = true;
	warm_libbpf();
	if (declare_any())
		in_child("declared", 0, load_declared);
	else if (relocated_is_worth_it(work))
		relocated_probe(work, probe_maps);
	in_child("load", 0, load_whole);
	if (work_is_first(work))
		probe_maps();
	for (unsigned int i = 0; i < work->programs && !work->shared->program_asked; i++)
		if (work_has(work, i))
			in_child("program", i, load_program);
	return 0;
}

static void tell_end(void)
{
	struct json json = { 0 };

	report_begin(&json, "end");
	json_number(&json, "frames", work.shared->seq);
	report_frame(&work.report, &json);
}

static void ask_command(void)
{
	const char *why = command_run(&command, &work.report, work.object, work.size);

	if (why)
		give_up("command: %s", why);
	tell_end();
}

static void probe_all(void)
{
	int err = env_hello(&work.report);

	if (err)
		give_up("report: %s", strerror(-err));
	if (*command.argv) {
		ask_command();
		return;
	}
	in_child("open", 0, probe_object);
	if (behave_count())
		setpriority(PRIO_PROCESS, 0, -20); /* a flood of processes must not silence the pulse, or hide a limit */
	for (unsigned int i = 0; work.shared->opened && i < behave_count(); i++)
		in_child("test", i, behave_test);
	if (!leftovers_unloaded())
		give_up("a program outlives its probe");
	tell_end();
}

static void prepare(void)
{
	sigset_t child;
	int err;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL); /* wait_for() takes it */
	env_setup();
	err = report_port(true);
	if (err) { /* and then nothing can be said */
		fprintf(stderr, "validator: report port: %s\n", strerror(-err));
		env_power_off();
	}
	work.shared = mmap(NULL, sizeof(*work.shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (work.shared == MAP_FAILED)
		give_up("mmap: %s", strerror(errno));
	work.shared->log_left = LOG_TOTAL;
	work.report.seq = &work.shared->seq;
	err = fwcfg_open();
	if (err)
		give_up("fw_cfg: %s", strerror(-err));
	conditions_apply();
	modules_load_own();
	attach_prepare();
	leftovers_mark();
}

/* Where a guest is to be frozen: everything that every probe needs is warm, and nothing is known of any object. The
 * host writes one byte when the guest has its inputs; in a template that is after it was thawed.
 */
static void wait_frozen(void)
{
	char *unused, byte;
	int port;

	if (fwcfg_read(FREEZE_FILE, FREEZE_MAX, &unused) < 0)
		return;
	port = env_serial_port();
	if (port < 0)
		give_up("serial port: %s", strerror(-port));
	warm_up();
	env_mark_console();
	report_say(&work.report, "BPFCR\n", 6);
	while (read(port, &byte, 1) != 1)
		;
	close(port);
}

int main(int argc, char **argv)
{
	if (getpid() != 1 && argc == 2 && !strcmp(argv[1], "--table")) {
		attach_print(stdout);
		return 0;
	}
	if (getpid() != 1)
		return 0; /* the "exec" of a behaviour test */
	prepare();
	wait_frozen();
	read_inputs();
	probe_all();
	env_mark_console();
	env_power_off();
}

/* The guest around the probe: what is mounted, how it is configured, how it ends. */
#include "env.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/capability.h>
#include <linux/random.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "conditions.h"
#include "hex.h"
#include "modules.h"

#define PULSE_PORT 0x402 /* iobase of QEMU's isa-debugcon; fwcfg_open() has asked for port I/O */
#define SERIAL_PORT "/dev/ttyS1"
#define PINS "/sys/fs/bpf"
#define LSM_LIST "/sys/kernel/security/lsm"

/* Parents come before what is mounted inside them. */
static const struct {
	const char *type;
	const char *target;
} mounts[] = {
	{ "proc", "/proc" },
	{ "sysfs", "/sys" },
	{ "devtmpfs", "/dev" },
	{ "bpf", PINS },
	{ "tracefs", "/sys/kernel/tracing" },
	{ "debugfs", "/sys/kernel/debug" },
	{ "securityfs", "/sys/kernel/security" },
	{ "cgroup2", "/sys/fs/cgroup" },
};

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

static bool missing[COUNT(mounts)];

/* What decides whether and how BPF programs load, or how much of the kernel they may name. */
static const char *const sysctls[] = {
	"kernel.unprivileged_bpf_disabled", "kernel.kptr_restrict",	"kernel.perf_event_paranoid",
	"net.core.bpf_jit_enable",	    "net.core.bpf_jit_harden",
};

#define SYSCTLS_MAX 48
#define SYSCTL_LEN 128

/* Those that the spec wants told beside them. */
static char also[SYSCTLS_MAX][SYSCTL_LEN];
static unsigned int also_count;

static void use_console(void)
{
	int fd = open("/dev/console", O_RDWR | O_NOCTTY);

	for (int to = 0; fd >= 0 && to <= 2; to++)
		dup2(fd, to);
	if (fd > 2)
		close(fd);
}

/* Detaching waits for the kernel's grace periods: make them short. Nothing but time hangs on it. */
static void hurry(void)
{
	int fd = open("/sys/kernel/rcu_expedited", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, "1", 1) < 0)
		perror("validator: rcu_expedited");
	close(fd);
}

void env_setup(void)
{
	const struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };

	for (size_t i = 0; i < COUNT(mounts); i++) {
		mkdir(mounts[i].target, 0755);
		missing[i] = mount(mounts[i].type, mounts[i].target, mounts[i].type, 0, NULL) != 0;
	}
	use_console();
	hurry();
	/* Until Linux 5.11 maps and programs counted against this limit; loaders raise it. */
	setrlimit(RLIMIT_MEMLOCK, &unlimited);
}

int env_serial_port(void)
{
	struct termios mode;
	int err, fd = open(SERIAL_PORT, O_RDWR | O_NOCTTY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (tcgetattr(fd, &mode))
		goto fail;
	cfmakeraw(&mode);
	mode.c_cflag |= CLOCAL;
	cfsetspeed(&mode, B115200);
	if (tcsetattr(fd, TCSANOW, &mode))
		goto fail;
	return fd;
fail:
	err = -errno;
	close(fd);
	return err;
}

/* First line of a small file, without its newline. */
static bool read_line(const char *path, char *line, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t len;

	if (fd < 0)
		return false;
	len = read(fd, line, size - 1);
	close(fd);
	if (len < 0)
		return false;
	line[len] = '\0';
	line[strcspn(line, "\n")] = '\0';
	return true;
}

static void tell_sysctl(struct json *json, const char *name)
{
	char path[SYSCTL_LEN + 16], line[64];

	snprintf(path, sizeof(path), "/proc/sys/%s", name);
	for (char *dot = strchr(path, '.'); dot; dot = strchr(dot, '.'))
		*dot = '/';
	if (read_line(path, line, sizeof(line)))
		json_number(json, name, strtol(line, NULL, 10));
	else
		json_null(json, name);
}

static bool is_told(const char *name)
{
	for (size_t i = 0; i < COUNT(sysctls); i++)
		if (!strcmp(sysctls[i], name))
			return true;
	return false;
}

int env_also_tell(const char *name)
{
	if (is_told(name))
		return 0;
	if (also_count == SYSCTLS_MAX || !*name || strlen(name) >= SYSCTL_LEN)
		return -EINVAL;
	strcpy(also[also_count++], name);
	return 0;
}

static void tell_lsms(struct json *json)
{
	char line[1024], *at = line, *name;

	if (!read_line(LSM_LIST, line, sizeof(line))) {
		json_null(json, "lsm");
		return;
	}
	json_open(json, "lsm", '[');
	while ((name = strsep(&at, ",")))
		json_string(json, NULL, name);
	json_close(json, ']');
}

/* The kernel marks the mode in force with brackets: "[none] integrity confidentiality". */
static void tell_lockdown(struct json *json)
{
	char line[128], *from;

	if (!read_line("/sys/kernel/security/lockdown", line, sizeof(line)) || !(from = strchr(line, '['))) {
		json_null(json, "lockdown");
		return;
	}
	json_bytes(json, "lockdown", from + 1, strcspn(from + 1, "]"));
}

static void tell_kernel(struct json *json)
{
	char config[sizeof("/boot/config-") + sizeof(((struct utsname *)0)->release)];
	struct utsname name;

	uname(&name);
	snprintf(config, sizeof(config), "/boot/config-%s", name.release);
	json_string(json, "release", name.release);
	json_string(json, "version", name.version);
	json_string(json, "machine", name.machine);
	json_bool(json, "btf", !access("/sys/kernel/btf/vmlinux", R_OK));
	json_bool(json, "config", !access(config, R_OK));
}

int env_hello(struct report *report)
{
	struct json json = { 0 };

	report_begin(&json, "hello");
	tell_kernel(&json);
	json_string(&json, "libbpf", LIBBPF_RELEASE);
	tell_lsms(&json);
	tell_lockdown(&json);
	json_open(&json, "sysctls", '{');
	for (size_t i = 0; i < COUNT(sysctls); i++)
		tell_sysctl(&json, sysctls[i]);
	for (unsigned int i = 0; i < also_count; i++)
		tell_sysctl(&json, also[i]);
	json_close(&json, '}');
	json_open(&json, "unmounted", '[');
	for (size_t i = 0; i < COUNT(mounts); i++)
		if (missing[i])
			json_string(&json, NULL, mounts[i].type);
	json_close(&json, ']');
	if (modules_count() || conditions_count()) {
		modules_tell(&json);
		conditions_tell(&json);
	}
	return report_frame(report, &json);
}

bool env_bpf_lsm_inactive(void)
{
	char line[1024], *at = line, *name;

	if (!read_line(LSM_LIST, line, sizeof(line)))
		return false;
	while ((name = strsep(&at, ",")))
		if (!strcmp(name, "bpf"))
			return false;
	return true;
}

void env_pulse(void)
{
	outb('.', PULSE_PORT);
}

static int drop(const char *path, const struct stat *found, int kind, struct FTW *at)
{
	(void)found;
	(void)kind;
	return at->level ? remove(path) : 0;
}

/* Most probes pin nothing: a look costs a tenth of the walk. */
static bool nothing_pinned(void)
{
	static DIR *pins;
	struct dirent *entry;

	pins = pins ?: opendir(PINS);
	if (!pins)
		return false;
	rewinddir(pins);
	while ((entry = readdir(pins)))
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			return false;
	return true;
}

void env_unpin(void)
{
	if (nothing_pinned())
		return;
	nftw(PINS, drop, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

void env_mark_console(void)
{
	static const char mark[] = "<3>bpfcompat: end\n";
	int fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, mark, sizeof(mark) - 1) < 0)
		perror("validator: /dev/kmsg");
	close(fd);
}

int env_set_clock(unsigned long long ns)
{
	const struct timespec now = { ns / 1000000000, ns % 1000000000 };

	return clock_settime(CLOCK_REALTIME, &now);
}

int env_seed(const char *hex)
{
	struct {
		struct rand_pool_info info;
		unsigned char seed[SEED_HEX / 2];
	} pool = { .info = { .entropy_count = SEED_HEX * 4, .buf_size = SEED_HEX / 2 } };
	int err, fd = open("/dev/urandom", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return -1;
	from_hex(hex, pool.seed, sizeof(pool.seed));
	err = ioctl(fd, RNDADDENTROPY, &pool) ?: ioctl(fd, RNDRESEEDCRNG);
	close(fd);
	return err;
}

void env_power_off(void)
{
	sync();
	reboot(RB_POWER_OFF);
	for (;;)
		pause(); /* init must not end: the kernel would panic and hide the report's last words */
}

/* What reaches QEMU or the validator; no command needs any of them. */
static const int withheld[] = { CAP_SYS_RAWIO, CAP_MKNOD, CAP_SYS_BOOT, CAP_SYS_PTRACE };

void env_withhold(void)
{
	iopl(0);
	report_port(false);
	for (size_t i = 0; i < COUNT(withheld); i++)
		prctl(PR_CAPBSET_DROP, withheld[i], 0, 0, 0);
}

/* Conditions: sysctls, hidden types, lockdown, an unprivileged user. What cannot be brought about is told, and the host
 * takes no answer from such a guest.
 */
#include "conditions.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CONDITIONS_FILE "/conditions"
#define LINES_MAX 80
#define FILE_MAX 16384
#define NOBODY 65534

struct unmet {
	char words[128];
};

static char text[FILE_MAX];
static char *lines[LINES_MAX];
static unsigned int count;
static struct unmet unmet[LINES_MAX];
static unsigned int unmet_count;
static bool unprivileged;

static void not_met(const char *what, int err)
{
	if (unmet_count < LINES_MAX)
		snprintf(unmet[unmet_count++].words, sizeof(unmet->words), "%.80s: %s", what, strerror(err));
}

/* One write, as the kernel's own files want it. 0 or an errno. */
static int write_file(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int err = 0;

	if (fd < 0)
		return errno;
	if (write(fd, value, strlen(value)) < 0)
		err = errno;
	close(fd);
	return err;
}

/* @value is NAME=NUMBER. */
static int set_sysctl(char *value)
{
	char path[256], *number = strchr(value, '=');
	size_t len = number ? number - value : 0;

	if (!number || len > sizeof(path) - sizeof("/proc/sys/"))
		return EINVAL;
	snprintf(path, sizeof(path), "/proc/sys/%.*s", (int)len, value);
	for (char *dot = strchr(path, '.'); dot; dot = strchr(dot, '.'))
		*dot = '/';
	return write_file(path, number + 1);
}

/* The loader finds no types where it looks for them. The kernel itself still has its own. */
static int hide_btf(char *value)
{
	(void)value;
	if (access("/sys/kernel/btf", F_OK))
		return 0;
	return mount("none", "/sys/kernel/btf", "tmpfs", MS_RDONLY, "size=4k") ? errno : 0;
}

/* Raised as an administrator would at run time; there is no way back, for us neither. */
static int raise_lockdown(char *value)
{
	return write_file("/sys/kernel/security/lockdown", value);
}

static int be_user(char *value)
{
	unprivileged = !strcmp(value, "unprivileged");
	return unprivileged ? 0 : EINVAL;
}

static const struct {
	const char *name;
	int (*apply)(char *value);
} conditions[] = {
	{ "sysctl", set_sysctl },
	{ "btf", hide_btf },
	{ "lockdown", raise_lockdown },
	{ "user", be_user },
};

static void apply(char *line)
{
	char copy[512], *value;
	int err = EINVAL;

	snprintf(copy, sizeof(copy), "%s", line);
	value = strchr(copy, '=');
	if (value)
		*value++ = '\0';
	for (size_t i = 0; value && i < sizeof(conditions) / sizeof(*conditions); i++)
		if (!strcmp(conditions[i].name, copy))
			err = conditions[i].apply(value);
	if (err)
		not_met(line, err);
}

void conditions_apply(void)
{
	int fd = open(CONDITIONS_FILE, O_RDONLY | O_CLOEXEC);
	char *at = text, *line;
	ssize_t len;

	if (fd < 0)
		return;
	len = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (len < 0)
		not_met(CONDITIONS_FILE, errno);
	text[len < 0 ? 0 : len] = '\0';
	while ((line = strsep(&at, "\n"))) {
		if (!*line)
			continue;
		if (count == LINES_MAX) {
			not_met(CONDITIONS_FILE, E2BIG);
			return;
		}
		lines[count++] = line;
		apply(line);
	}
}

static int no_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { 0 };

	return syscall(SYS_capset, &header, none) ? -errno : 0;
}

bool conditions_unprivileged(void)
{
	return unprivileged;
}

int conditions_drop(void)
{
	if (!unprivileged)
		return 0;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || setgroups(0, NULL) || setresgid(NOBODY, NOBODY, NOBODY) ||
	    setresuid(NOBODY, NOBODY, NOBODY))
		return -errno;
	return no_capabilities();
}

unsigned int conditions_count(void)
{
	return count;
}

void conditions_tell(struct json *json)
{
	json_open(json, "conditions", '[');
	for (unsigned int i = 0; i < count; i++)
		json_string(json, NULL, lines[i]);
	json_close(json, ']');
	json_open(json, "unmet", '[');
	for (unsigned int i = 0; i < unmet_count; i++)
		json_string(json, NULL, unmet[i].words);
	json_close(json, ']');
}

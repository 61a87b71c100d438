/* Kernel modules: loaded as modprobe would, dependencies first; the host has put them in order. A failure is told, and is
 * no end: what needs the module will say so itself.
 */
#include "modules.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#define ORDER "bpfcompat.order"
#define MODULES_MAX 256
#define NAME_MAX_LEN 64

static struct {
	char name[NAME_MAX_LEN];
	int err;
} results[MODULES_MAX];
static unsigned int count;

static void keep(const char *name, int err)
{
	if (count == MODULES_MAX)
		return;
	snprintf(results[count].name, sizeof(results->name), "%.*s", NAME_MAX_LEN - 1, name);
	results[count++].err = err == EEXIST ? 0 : err; /* it is there, and that is what was wanted */
}

static int load_file(const char *path)
{
	int err = 0, fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return errno;
	if (syscall(SYS_finit_module, fd, "", 0))
		err = errno;
	close(fd);
	unlink(path); /* the initramfs lies in memory, and a template is the smaller without */
	return err;
}

/* @line is NAME PATH, the path below @top. */
static void load_line(const char *top, char *line)
{
	char path[512], *file = strchr(line, ' ');

	if (!file)
		return;
	*file++ = '\0';
	snprintf(path, sizeof(path), "%s/%s", top, file);
	keep(line, load_file(path));
}

void modules_load_own(void)
{
	char top[96], path[128], line[512];
	struct utsname kernel;
	FILE *order;

	uname(&kernel);
	snprintf(top, sizeof(top), "/lib/modules/%s", kernel.release);
	snprintf(path, sizeof(path), "%s/%s", top, ORDER);
	order = fopen(path, "re");
	while (order && fgets(line, sizeof(line), order)) {
		line[strcspn(line, "\n")] = '\0';
		load_line(top, line);
	}
	if (order)
		fclose(order);
}

int modules_load_given(char *data, size_t size)
{
	char *at = data, *end = data + size;

	while (at < end) {
		char *newline = memchr(at, '\n', end - at), *word, *rest;
		size_t len;

		if (!newline)
			return -EINVAL;
		*newline = '\0';
		word = strchr(at, ' ');
		if (!word)
			return -EINVAL;
		*word++ = '\0';
		len = strtoul(word, &rest, 10);
		if (!strcmp(word, "-")) {
			keep(at, ENOENT);
			at = newline + 1;
			continue;
		}
		if (*rest || len > (size_t)(end - newline - 1))
			return -EINVAL;
		keep(at, syscall(SYS_init_module, newline + 1, len, "") ? errno : 0);
		at = newline + 1 + len;
	}
	return 0;
}

int modules_result(const char *name)
{
	for (unsigned int i = 0; i < count; i++)
		if (!strcmp(results[i].name, name))
			return results[i].err;
	return -1;
}

unsigned int modules_count(void)
{
	return count;
}

void modules_tell(struct json *json)
{
	json_open(json, "modules", '[');
	for (unsigned int i = 0; i < count; i++) {
		json_open(json, NULL, '{');
		json_string(json, "name", results[i].name);
		json_number(json, "errno", results[i].err);
		json_close(json, '}');
	}
	json_close(json, ']');
}

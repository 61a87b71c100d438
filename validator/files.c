/* Files that come with a probe: a newc cpio archive from fw_cfg, unpacked before any question is asked.
 *
 * Only what bpfcompat/initramfs.py writes is read (format: buffer-format.rst of the kernel's documentation); every other
 * byte is refused: folders before what is in them, nothing twice, no device, no set-uid, no name or link that leaves.
 */
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dma.h"
#include "env.h"
#include "fwcfg.h"

#define FILES_FILE "opt/bpfcompat/files"
#define MAX_BYTES (1u << 30)
#define MAX_ENTRIES 100000
#define MAX_NAME 1024
#define MAX_TARGET 1024
#define BLOCK 512
#define MAGIC "070701"
#define FIELDS 13
#define DIGITS 8
#define HEADER (sizeof(MAGIC) - 1 + FIELDS * DIGITS)
#define TRAILER "TRAILER!!!"
#define RESERVE_KB (32u << 10) /* of the guest's memory, that files must not take: it would die of it */

/* In the archive's order; the rest must be as our packer writes it. */
enum { INODE, MODE, UID, GID, LINKS, MTIME, SIZE, MAJOR, MINOR, NODE_MAJOR, NODE_MINOR, NAME_LEN, CHECK };

struct member {
	uint32_t field[FIELDS];
	char name[MAX_NAME + 1];
};

static struct {
	size_t left; /* in the device */
	const char *at; /* taken from it, not yet read */
	size_t held;
	size_t done;
	bool fast;
	char room[DMA_ROOM];
} archive;

static char reason[192];

static const char *refuse(const char *format, ...) __attribute__((format(printf, 1, 2)));

static const char *refuse(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(reason, sizeof(reason), format, args);
	va_end(args);
	return reason;
}

unsigned long long files_available_kb(void)
{
	unsigned long long kb = 0;
	char line[128];
	FILE *info = fopen("/proc/meminfo", "re");

	while (info && fgets(line, sizeof(line), info))
		if (sscanf(line, "MemAvailable: %llu", &kb) == 1)
			break;
	if (info)
		fclose(info);
	return kb;
}

/* --- the archive's bytes */

static const char *refill(void)
{
	size_t len = archive.left < DMA_ROOM ? archive.left : DMA_ROOM;

	if (!len)
		return refuse("ends after %zu bytes, in the middle of something", archive.done);
	if (archive.fast) {
		archive.at = dma_take(len);
	} else {
		fwcfg_take(archive.room, len);
		archive.at = archive.room;
	}
	if (!archive.at)
		return refuse("the device refused after %zu bytes", archive.done);
	archive.left -= len;
	archive.held = len;
	env_pulse();
	return NULL;
}

/* Some of the next bytes, at least one and at most @len, as they lie. */
static const char *next(const char **data, size_t *len)
{
	const char *why = archive.held ? NULL : refill();

	if (why)
		return why;
	if (*len > archive.held)
		*len = archive.held;
	*data = archive.at;
	archive.at += *len;
	archive.held -= *len;
	archive.done += *len;
	return NULL;
}

static const char *copy(char *into, size_t len)
{
	const char *data, *why = NULL;

	for (size_t part; len && !why; into += part, len -= part) {
		part = len;
		why = next(&data, &part);
		if (why)
			break;
		memcpy(into, data, part);
	}
	return why;
}

/* What follows a name or a file, so that the next begins at a multiple of @to: zeros. */
static const char *skip_padding(size_t to)
{
	char zeros[BLOCK] = { 0 };
	size_t len = -archive.done % to;
	const char *why = copy(zeros, len);

	for (size_t i = 0; !why && i < len; i++)
		if (zeros[i])
			return refuse("byte %zu: expected zeros", archive.done);
	return why;
}

/* --- one member's header and name */

static const char *read_field(const char *digits, uint32_t *value)
{
	*value = 0;
	for (int i = 0; i < DIGITS; i++) {
		const char *digit = digits[i] ? strchr("0123456789ABCDEF", digits[i]) : NULL;

		if (!digit)
			return refuse("byte %zu: expected upper-case hex digits", archive.done);
		*value = *value << 4 | (digit - "0123456789ABCDEF");
	}
	return NULL;
}

static bool stays_inside(const char *path, int depth)
{
	while (*path) {
		size_t len = strcspn(path, "/");

		if (len == 2 && !strncmp(path, "..", 2))
			depth--;
		else if (len && !(len == 1 && *path == '.'))
			depth++;
		if (depth < 0)
			return false;
		path += len + (path[len] == '/');
	}
	return true;
}

/* Relative, and no part of it empty, `.` or `..`. */
static bool is_plain(const char *path)
{
	do {
		size_t len = strcspn(path, "/");

		if (!len || len > NAME_MAX || (len == 1 && *path == '.') || (len == 2 && !strncmp(path, "..", 2)))
			return false;
		path += len;
	} while (*path++ == '/');
	return true;
}

static const char *check_fields(const struct member *m)
{
	const uint32_t *f = m->field;

	if (f[UID] || f[GID] || f[MTIME] || f[MAJOR] || f[MINOR] || f[CHECK] || f[NODE_MAJOR] || f[NODE_MINOR])
		return refuse("'%.80s': expected no owner, time or device", m->name);
	if (f[LINKS] != (S_ISDIR(f[MODE]) ? 2 : 1))
		return refuse("'%.80s': expected no hard links", m->name);
	if (f[MODE] & (S_ISUID | S_ISGID) || (f[MODE] & S_ISVTX && !S_ISDIR(f[MODE])))
		return refuse("'%.80s': mode %o: expected neither set-uid nor set-gid", m->name, f[MODE] & 07777);
	if (f[SIZE] > archive.left + archive.held)
		return refuse("'%.80s': longer than its archive", m->name);
	return NULL;
}

static const char *read_header(struct member *m)
{
	char raw[HEADER];
	const char *why = copy(raw, sizeof(raw));

	if (why)
		return why;
	if (memcmp(raw, MAGIC, sizeof(MAGIC) - 1))
		return refuse("byte %zu: expected a newc header", archive.done - sizeof(raw));
	for (int i = 0; i < FIELDS; i++) {
		why = read_field(raw + sizeof(MAGIC) - 1 + i * DIGITS, &m->field[i]);
		if (why)
			return why;
	}
	if (m->field[NAME_LEN] < 2 || m->field[NAME_LEN] > sizeof(m->name))
		return refuse("byte %zu: a name of %u bytes, at most %d expected", archive.done, m->field[NAME_LEN], MAX_NAME);
	why = copy(m->name, m->field[NAME_LEN]);
	if (!why && (m->name[m->field[NAME_LEN] - 1] || strlen(m->name) != m->field[NAME_LEN] - 1))
		why = refuse("byte %zu: a name of another length than its header says", archive.done);
	return why ?: skip_padding(4);
}

/* --- writing */

/* The folder in which a member lies, open; and its own name. No link is followed on the way. The last one is kept: members
 * are sorted.
 */
static int open_parent(int root, const char *path, const char **name)
{
	static char known[MAX_NAME + 1];
	static int kept = -1;
	const char *slash = strrchr(path, '/');
	size_t len = slash ? slash - path : 0;
	char folder[MAX_NAME + 1], *at = folder, *part;

	*name = slash ? slash + 1 : path;
	memcpy(folder, path, len);
	folder[len] = '\0';
	if (kept >= 0 && !strcmp(folder, known))
		return kept;
	if (kept >= 0)
		close(kept);
	strcpy(known, folder);
	kept = fcntl(root, F_DUPFD_CLOEXEC, 3);
	while (len && kept >= 0 && (part = strsep(&at, "/"))) {
		int next = openat(kept, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

		close(kept);
		kept = next;
	}
	return kept;
}

static const char *write_data(int fd, size_t left)
{
	const char *data, *why = NULL;

	for (size_t len; left && !why; left -= len) {
		len = left;
		why = next(&data, &len);
		for (size_t done = 0; !why && done < len;) {
			ssize_t wrote = write(fd, data + done, len - done);

			if (wrote < 0)
				return refuse("%s after %zu bytes, %llu kB free", strerror(errno), archive.done, files_available_kb());
			done += wrote;
		}
	}
	return why;
}

static const char *make_file(int folder, const char *name, const struct member *m)
{
	int fd = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	const char *why;

	if (fd < 0)
		return refuse("'%.80s': %s", m->name, strerror(errno));
	why = write_data(fd, m->field[SIZE]);
	if (!why && fchmod(fd, m->field[MODE] & 0777))
		why = refuse("'%.80s': %s", m->name, strerror(errno));
	close(fd);
	return why;
}

static const char *make_folder(int folder, const char *name, const struct member *m)
{
	if (m->field[SIZE])
		return refuse("'%.80s': a folder with content", m->name);
	if (mkdirat(folder, name, 0700) || fchmodat(folder, name, m->field[MODE] & 01777, 0))
		return refuse("'%.80s': %s", m->name, strerror(errno));
	return NULL;
}

static int depth_of(const char *path)
{
	int depth = 0;

	for (; *path; path++)
		depth += *path == '/';
	return depth;
}

static const char *make_link(int folder, const char *name, const struct member *m)
{
	char target[MAX_TARGET + 1] = { 0 };
	const char *why;

	if (!m->field[SIZE] || m->field[SIZE] > MAX_TARGET)
		return refuse("'%.80s': a link of %u bytes, at most %d expected", m->name, m->field[SIZE], MAX_TARGET);
	why = copy(target, m->field[SIZE]);
	if (why)
		return why;
	if (strlen(target) != m->field[SIZE] || *target == '/' || !stays_inside(target, depth_of(m->name)))
		return refuse("'%.80s': a link that leaves the files", m->name);
	if (symlinkat(target, folder, name))
		return refuse("'%.80s': %s", m->name, strerror(errno));
	return NULL;
}

static const struct {
	mode_t type;
	const char *(*make)(int folder, const char *name, const struct member *m);
} makers[] = {
	{ S_IFREG, make_file },
	{ S_IFDIR, make_folder },
	{ S_IFLNK, make_link },
};

static const char *make_member(int root, const struct member *m)
{
	const char *name, *why = check_fields(m);
	int folder;

	if (why)
		return why;
	if (!is_plain(m->name))
		return refuse("'%.80s': expected a relative path without . and ..", m->name);
	folder = open_parent(root, m->name, &name);
	if (folder < 0)
		return refuse("'%.80s': its folder: %s", m->name, strerror(errno));
	for (size_t i = 0; i < sizeof(makers) / sizeof(*makers); i++)
		if (makers[i].type == (m->field[MODE] & S_IFMT))
			return makers[i].make(folder, name, m) ?: skip_padding(4);
	return refuse("'%.80s': mode %o: expected a file, a folder or a link", m->name, m->field[MODE]);
}

static const char *unpack(int root)
{
	struct member m;

	for (unsigned int count = 0; count <= MAX_ENTRIES; count++) {
		const char *why = read_header(&m);

		if (why)
			return why;
		if (!strcmp(m.name, TRAILER)) {
			why = skip_padding(BLOCK);
			return why || !(archive.left + archive.held) ? why : refuse("goes on after its end");
		}
		why = make_member(root, &m);
		if (why)
			return why;
	}
	return refuse("more than %d members", MAX_ENTRIES);
}

static const char *mount_root(const char *root)
{
	unsigned long long kb = files_available_kb();
	char options[96];

	snprintf(options, sizeof(options), "size=%lluk,nr_inodes=%u,mode=0755",
		 kb > 2 * RESERVE_KB ? kb - RESERVE_KB : RESERVE_KB, 2 * MAX_ENTRIES);
	mkdir(root, 0755);
	return mount("files", root, "tmpfs", MS_NOSUID | MS_NODEV, options) ? refuse("%s: %s", root, strerror(errno)) : NULL;
}

const char *files_unpack(const char *root)
{
	long size = fwcfg_start(FILES_FILE, MAX_BYTES);
	const char *why;
	int fd;

	if (size == -ENOENT)
		return NULL;
	if (size < 0)
		return refuse("%s: more than %u bytes", FILES_FILE, MAX_BYTES);
	archive.fast = dma_open() == 0;
	archive.left = fwcfg_start(FILES_FILE, MAX_BYTES); /* dma_open() turned to another */
	why = mount_root(root);
	if (why)
		return why;
	fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	why = fd < 0 ? refuse("%s: %s", root, strerror(errno)) : unpack(fd);
	close(fd);
	dma_close();
	return why;
}

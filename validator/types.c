/* The kernel's types, parsed before a guest is frozen. Stands between libbpf's loader and its parser (ld --wrap): what a
 * probe would parse is parsed already, and is not freed.
 */
#include "types.h"

#include <bpf/btf.h>
#include <linux/btf.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define FEWEST_SLOTS 1024

static struct btf *kernel;

/* Ids of functions and of typedefs, which tracepoints have, by the hash of their name; 0 is an empty slot. The lowest id
 * of a name comes first, as in a search from the start.
 */
static struct {
	__u32 *ids;
	size_t slots; /* a power of two */
} names;

struct btf *__real_btf__load_vmlinux_btf(void);
struct btf *__wrap_btf__load_vmlinux_btf(void);
void __real_btf__free(struct btf *btf);
void __wrap_btf__free(struct btf *btf);
__s32 __real_btf__find_by_name_kind(const struct btf *btf, const char *name, __u32 kind);
__s32 __wrap_btf__find_by_name_kind(const struct btf *btf, const char *name, __u32 kind);

struct btf *__wrap_btf__load_vmlinux_btf(void)
{
	return kernel ?: __real_btf__load_vmlinux_btf();
}

void __wrap_btf__free(struct btf *btf)
{
	if (!kernel || btf != kernel)
		__real_btf__free(btf);
}

static bool is_kept(__u32 kind)
{
	return kind == BTF_KIND_FUNC || kind == BTF_KIND_TYPEDEF;
}

/* FNV-1a */
static size_t first_slot(const char *name)
{
	uint32_t hash = 2166136261u;

	for (; *name; name++)
		hash = (hash ^ (unsigned char)*name) * 16777619u;
	return hash & (names.slots - 1);
}

static const char *name_of(const struct btf_type *type)
{
	return btf__name_by_offset(kernel, type->name_off) ?: "";
}

static void keep_names(void)
{
	__u32 count = btf__type_cnt(kernel);

	for (names.slots = FEWEST_SLOTS; names.slots < count;)
		names.slots *= 2;
	names.ids = calloc(names.slots, sizeof(*names.ids));
	for (__u32 id = 1; names.ids && id < count; id++) {
		const struct btf_type *type = btf__type_by_id(kernel, id);
		size_t slot;

		if (!is_kept(btf_kind(type)))
			continue;
		slot = first_slot(name_of(type));
		while (names.ids[slot])
			slot = (slot + 1) & (names.slots - 1);
		names.ids[slot] = id;
	}
}

__s32 __wrap_btf__find_by_name_kind(const struct btf *btf, const char *name, __u32 kind)
{
	if (kernel && btf == kernel && names.ids && is_kept(kind)) {
		for (size_t slot = first_slot(name); names.ids[slot]; slot = (slot + 1) & (names.slots - 1)) {
			const struct btf_type *type = btf__type_by_id(kernel, names.ids[slot]);

			if (btf_kind(type) == kind && !strcmp(name_of(type), name))
				return names.ids[slot];
		}
	}
	return __real_btf__find_by_name_kind(btf, name, kind);
}

/* Put the inner pages of what is only read behind a file: fork() copies no page table of such a mapping, where it would
 * copy that of our own pages for every question. Who writes to one gets a copy, as before.
 */
static void lean(const void *data, size_t size)
{
	uintptr_t page = sysconf(_SC_PAGESIZE), start = ((uintptr_t)data + page - 1) & -page;
	size_t len = size < 2 * page ? 0 : ((uintptr_t)data + size - start) & -page;
	int fd = len ? memfd_create("types", MFD_CLOEXEC) : -1;

	if (fd < 0)
		return;
	if (write(fd, (void *)start, len) == (ssize_t)len)
		mmap((void *)start, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd, 0);
	close(fd);
}

void types_keep(void)
{
	const void *data;
	__u32 size;

	kernel = __real_btf__load_vmlinux_btf();
	if (!kernel)
		return;
	keep_names();
	data = btf__raw_data(kernel, &size);
	if (data)
		lean(data, size);
	if (names.ids)
		lean(names.ids, names.slots * sizeof(*names.ids));
}

/* QEMU's fw_cfg device by port I/O: it needs no driver, and Debian's is a module (facts of QEMU's docs/specs/fw_cfg). */
#include "fwcfg.h"

#include <endian.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>

#define PORT_SELECT 0x510
#define PORT_DATA 0x511
#define SELECT_SIGNATURE 0x00
#define SELECT_DIRECTORY 0x19
#define MAX_FILES 4096

struct entry {
	uint32_t size;
	uint16_t select;
	uint16_t reserved;
	char name[56];
};

/* One exit to QEMU for many bytes. Not glibc's insb(): it does not tell the compiler that it writes to memory. */
static void take(void *into, size_t len)
{
	__asm__ volatile("cld; rep insb" : "+D"(into), "+c"(len) : "d"(PORT_DATA) : "memory");
}

int fwcfg_open(void)
{
	char signature[4];

	if (iopl(3))
		return -errno;
	outw(SELECT_SIGNATURE, PORT_SELECT);
	take(signature, sizeof(signature));
	return memcmp(signature, "QEMU", 4) ? -ENODEV : 0;
}

void fwcfg_take(void *into, size_t len)
{
	take(into, len);
}

void fwcfg_select(unsigned int what)
{
	outw(what, PORT_SELECT);
}

static int find(const char *name, struct entry *found)
{
	uint32_t count;

	outw(SELECT_DIRECTORY, PORT_SELECT);
	take(&count, sizeof(count));
	count = be32toh(count);
	for (uint32_t i = 0; i < count && i < MAX_FILES; i++) {
		take(found, sizeof(*found));
		if (!strncmp(found->name, name, sizeof(found->name)))
			return 0;
	}
	return -ENOENT;
}

long fwcfg_read(const char *name, size_t max, char **data)
{
	struct entry entry;
	size_t size;

	if (find(name, &entry))
		return -ENOENT;
	size = be32toh(entry.size);
	if (size > max)
		return -EFBIG;
	*data = malloc(size + 1);
	if (!*data)
		return -ENOMEM;
	outw(be16toh(entry.select), PORT_SELECT);
	take(*data, size);
	(*data)[size] = '\0';
	return (long)size;
}

long fwcfg_start(const char *name, size_t max)
{
	struct entry entry;

	if (find(name, &entry))
		return -ENOENT;
	if (be32toh(entry.size) > max)
		return -EFBIG;
	outw(be16toh(entry.select), PORT_SELECT);
	return be32toh(entry.size);
}

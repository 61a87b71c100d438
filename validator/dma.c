/* fw_cfg by DMA: QEMU writes into pages whose physical addresses it is told (facts of QEMU's docs/specs/fw_cfg).
 *
 * The pages are those of a BPF array that is mapped: the kernel never moves them, as it may move a process's own.
 */
#include "dma.h"

#include <bpf/bpf.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/io.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fwcfg.h"

#define PORT_DMA 0x514
#define SELECT_ID 0x01
#define ID_DMA 0x02
#define CONTROL_READ 0x02
#define PAGE 4096u
#define PAGES (1 + DMA_ROOM / PAGE) /* the first holds the request */
#define MAPPED(entry) ((entry) >> 63)
#define FRAME(entry) ((entry) & ((1ull << 55) - 1))

struct request {
	uint32_t control;
	uint32_t len;
	uint64_t address;
};

static int map = -1;
static char *area;
static uint64_t at[PAGES];

/* Physical addresses of the pages, by /proc/self/pagemap (Documentation/admin-guide/mm/pagemap.rst). */
static int find_pages(void)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	ssize_t len = fd < 0 ? -1 : pread(fd, at, sizeof(at), (uintptr_t)area / PAGE * sizeof(*at));

	if (fd >= 0)
		close(fd);
	if (len != sizeof(at))
		return -ENODATA;
	for (unsigned int i = 0; i < PAGES; i++) {
		if (!MAPPED(at[i]) || !FRAME(at[i]))
			return -ENODATA;
		at[i] = FRAME(at[i]) * PAGE;
	}
	return 0;
}

static int map_pages(void)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_MMAPABLE);

	map = bpf_map_create(BPF_MAP_TYPE_ARRAY, NULL, sizeof(int), PAGES * PAGE, 1, &opts);
	if (map < 0)
		return -errno;
	area = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, map, 0);
	if (area == MAP_FAILED) {
		area = NULL;
		return -errno;
	}
	return find_pages();
}

int dma_open(void)
{
	uint32_t id;
	int err;

	fwcfg_select(SELECT_ID);
	fwcfg_take(&id, sizeof(id));
	if (!(le32toh(id) & ID_DMA))
		return -EOPNOTSUPP;
	err = map_pages();
	if (err)
		dma_close();
	return err;
}

/* How many bytes from page @first on lie in one piece of memory. */
static size_t in_one_piece(unsigned int first, size_t len)
{
	unsigned int pages = 1;

	while (pages * PAGE < len && at[first + pages] == at[first] + pages * PAGE)
		pages++;
	return pages * PAGE < len ? pages * PAGE : len;
}

/* QEMU has done it when the second write to the port returns. */
static int transfer(uint64_t address, size_t len)
{
	volatile struct request *request = (void *)area;

	request->len = htobe32(len);
	request->address = htobe64(address);
	request->control = htobe32(CONTROL_READ);
	__asm__ volatile("" ::: "memory");
	outl(htobe32(at[0] >> 32), PORT_DMA);
	outl(htobe32((uint32_t)at[0]), PORT_DMA + 4);
	__asm__ volatile("" ::: "memory");
	return request->control ? -EIO : 0;
}

const char *dma_take(size_t len)
{
	for (size_t done = 0; done < len;) {
		unsigned int page = 1 + done / PAGE;
		size_t piece = in_one_piece(page, len - done);

		if (transfer(at[page], piece))
			return NULL;
		done += piece;
	}
	return area + PAGE;
}

void dma_close(void)
{
	if (area)
		munmap(area, PAGES * PAGE);
	if (map >= 0)
		close(map);
	area = NULL;
	map = -1;
}

/* Nothing leaks from one probe into the next: what a probe's process held ended with it, so what is left is a fault of ours
 * or pinned by the object.
 */
#include "leftovers.h"

#include <bpf/bpf.h>
#include <dirent.h>
#include <string.h>
#include <sys/mount.h>
#include <time.h>

#define BPFFS "/sys/fs/bpf"
#define PAUSE_NS 2000000
#define LINK_PAUSES 500     /* a second: the last reference is dropped when the process ends, a few by a worker */
#define PROGRAM_PAUSES 2500 /* five: the kernel frees registered structs after a grace period of tasks */

typedef int (*next_fn)(__u32 from, __u32 *next);

static __u32 last_link, last_program; /* ids only grow, so all later ones are the probes' */

static __u32 last_of(next_fn next)
{
	__u32 id = 0;

	while (!next(id, &id))
		;
	return id;
}

void leftovers_mark(void)
{
	last_link = last_of(bpf_link_get_next_id);
	last_program = last_of(bpf_prog_get_next_id);
}

static bool gone(next_fn next, __u32 mark, int pauses)
{
	const struct timespec pause = { .tv_nsec = PAUSE_NS };
	__u32 id;

	for (int i = 0; !next(mark, &id); i++) {
		if (i == pauses)
			return false;
		nanosleep(&pause, NULL);
	}
	return true;
}

static bool pinned(void)
{
	struct dirent *entry;
	bool found = false;
	DIR *dir = opendir(BPFFS);

	while (dir && !found && (entry = readdir(dir)))
		found = strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..");
	if (dir)
		closedir(dir);
	return found;
}

bool leftovers_clear(void)
{
	bool again = pinned(), clear;

	if (again)
		umount2(BPFFS, MNT_DETACH);
	clear = gone(bpf_link_get_next_id, last_link, LINK_PAUSES);
	if (again && !mount("bpf", BPFFS, "bpf", 0, NULL))
		last_program = last_of(bpf_prog_get_next_id); /* a kernel with preloaded iterators loads them at each mount */
	return clear;
}

bool leftovers_unloaded(void)
{
	return gone(bpf_prog_get_next_id, last_program, PROGRAM_PAUSES);
}

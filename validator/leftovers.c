/* Nothing leaks from one probe into the next: what a probe's process held ended with it, and env_unpin() took what it pinned. */
#include "leftovers.h"

#include <bpf/bpf.h>
#include <time.h>

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

bool leftovers_unlinked(void)
{
	return gone(bpf_link_get_next_id, last_link, LINK_PAUSES);
}

bool leftovers_unloaded(void)
{
	return gone(bpf_prog_get_next_id, last_program, PROGRAM_PAUSES);
}

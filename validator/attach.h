#ifndef BPFCOMPAT_ATTACH_H
#define BPFCOMPAT_ATTACH_H

#include <bpf/libbpf.h>
#include <stdbool.h>

#include "report.h"

#define ATTACHED "attached"
#define ATTACH_FAILED "failed"
#define ATTACH_NOT_ATTEMPTED "not-attempted"

/* How attaching ended: one of the words above, 0 or a positive errno, and why, in words ("" when there is nothing to add). */
struct attached {
	const char *outcome;
	int err;
	const char *reason;
};

struct attached attach_skipped(const char *reason);

/* Attach a loaded program the way libbpf does by itself, and detach it again. */
struct attached attach_program(struct bpf_object *obj, struct bpf_program *prog);

/* What holds a program attached. */
struct attachment {
	struct bpf_link *link;
};

/* The same, and stay attached until attach_release(). */
struct attached attach_hold(struct attachment *at, struct bpf_object *obj, struct bpf_program *prog);
int attach_release(struct attachment *at);

/* True when a struct_ops map calls this program. */
bool attach_map_holds(struct bpf_map *map, const struct bpf_program *prog);

#endif

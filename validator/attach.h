#ifndef BPFCOMPAT_ATTACH_H
#define BPFCOMPAT_ATTACH_H

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdbool.h>
#include <stdio.h>

#define ATTACHED "attached"
#define ATTACH_FAILED "failed"
#define ATTACH_NOT_ATTEMPTED "not-attempted"

#define ATTACH_FDS 4

/* How attaching ended: one of the words above, 0 or a positive errno, why ("" when there is nothing to add), and what was
 * done ("" when nothing was).  The texts are of the attachment.
 */
struct attached {
	const char *outcome;
	int err;
	const char *reason;
	const char *how;
	bool left_behind; /* it could not be detached: nothing that is asked after it could be believed */
};

/* One program and all that holds it attached. */
struct attachment {
	struct bpf_object *obj;
	struct bpf_program *prog;
	const struct attach_row *row;
	__u32 prog_id;
	char how[160];
	char reason[240];
	bool by_perf_event; /* and by no link */
	/* what attach_release() ends: links, then @undo, then descriptors */
	struct bpf_link **links;
	int link_count;
	int fds[ATTACH_FDS];
	int fd_count;
	int (*undo)(struct attachment *at); /* 0 or -errno */
	int where; /* for @undo: a device's index or a descriptor */
};

/* How a family of programs is attached in a bare guest.  The words are for docs/validator.md, which is made from them. */
struct attach_family {
	const char *how;
	const char *needs;   /* what must exist first */
	const char *proof;   /* what shows that the kernel took it */
	const char *modules; /* kernel modules, blank-separated; "" where the default kernels have all built in */
	struct attached (*hold)(struct attachment *at);
};

/* One section name as libbpf knows it; behind "+" may be nothing, or a slash and a target. */
struct attach_row {
	const char *section;
	enum bpf_prog_type type;
	int attach_type; /* enum bpf_attach_type, or ATTACH_ANY */
	const struct attach_family *family;
};
#define ATTACH_ANY (-1)

extern const struct attach_row attach_rows[];
extern const size_t attach_row_count;

struct attached attach_skipped(const char *reason);

/* Attach a loaded program: the way libbpf does by itself, or where it leaves that to a loader, the way loaders do.
 *
 * When this says ATTACHED the kernel has named the program as attached, and it is so until attach_release().
 */
struct attached attach_hold(struct attachment *at, struct bpf_object *obj, struct bpf_program *prog);

/* Detach.  0, or -errno when the kernel still names the program: what is asked next would not be asked alone. */
int attach_release(struct attachment *at);

/* Both, one after the other. */
struct attached attach_program(struct bpf_object *obj, struct bpf_program *prog);

/* Make the guest what programs can be attached to, once and before any object is known: devices, a cgroup, a program. */
void attach_prepare(void);

/* True when a struct_ops map calls this program. */
bool attach_map_holds(struct bpf_map *map, const struct bpf_program *prog);

/* The row of a program: by its section, or where that says nothing, by its type.  NULL if there is none. */
const struct attach_row *attach_row_of(const struct bpf_program *prog);

/* The modules that attaching this program may need; "" for none. */
const char *attach_modules(const struct bpf_program *prog);

/* The table as tab-separated lines with a head. */
void attach_print(FILE *to);

#endif

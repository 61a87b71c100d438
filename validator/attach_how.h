#ifndef BPFCOMPAT_ATTACH_HOW_H
#define BPFCOMPAT_ATTACH_HOW_H

/* What the families of attach_*.c share. */
#include "attach.h"

#define STAND_IN_FUNCTION "vfs_unlink" /* exported by all kernels, and nothing in a guest removes files */
#define GUEST_CGROUP "/sys/fs/cgroup/bpfcompat"
#define NEEDS_MODULES "not in this kernel, nor in a module that the guest has: "

/* Whether the libbpf that this is built on is 1.@minor or newer. */
#define LIBBPF_SINCE(minor) (LIBBPF_MAJOR_VERSION > 1 || LIBBPF_MINOR_VERSION >= (minor))

/* Say what is done. */
void attach_say(struct attachment *at, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Say something beside the outcome. */
void attach_note(struct attachment *at, const char *format, ...) __attribute__((format(printf, 2, 3)));

struct attached attach_failed(struct attachment *at, int err);
/* Nothing was asked of the kernel, or nothing that tells of the program; the reason is printed. */
struct attached attach_not(struct attachment *at, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The kernel has answered, and named the program. */
struct attached attach_done(struct attachment *at);
/* The kernel took it, and does not name it: that is no answer. */
struct attached attach_unproved(struct attachment *at);

/* Keep what attach_release() must end. A link that cannot be kept (-ENOMEM) is ended at once. */
int attach_keep_link(struct attachment *at, struct bpf_link *link);
int attach_keep_fd(struct attachment *at, int fd);

/* What is behind the section's first slash, or NULL. */
const char *attach_target(const struct attachment *at);

/* A link of libbpf's, NULL and errno if there is none: keep it, prove it, and add to what was said how the kernel holds it.
 * A link that tells its attach type must have @type, unless that is ATTACH_ANY.
 */
struct attached attach_by_link(struct attachment *at, struct bpf_link *link, int type);
/* Likewise for a link's bare descriptor, -1 and errno if there is none. */
struct attached attach_by_link_fd(struct attachment *at, int fd, int type);

/* True when the kernel still names the program as attached. */
bool proof_is_left(const struct attachment *at);

/* The families, by what they are attached to. */
extern const struct attach_family family_trace, family_tp, family_raw_tp, family_kprobe, family_kprobe_multi,
	family_ksyscall, family_lsm, family_lsm_cgroup, family_iter, family_perf_event, family_freplace;
extern const struct attach_family family_uprobe, family_uprobe_multi, family_usdt;
extern const struct attach_family family_xdp, family_devmap, family_cpumap, family_tc, family_tcx, family_netkit,
	family_action, family_netfilter, family_lwt, family_seg6local, family_netns;
extern const struct attach_family family_socket, family_reuseport, family_sockmap, family_cgroup;
extern const struct attach_family family_struct_ops, family_syscall, family_lirc;

#endif

/* Fields, types and enumerators that are in no kernel, or not in every one; none is guarded. */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

struct task_struct___never {
	int field_of_no_kernel;
} __attribute__((preserve_access_index));

struct task_struct___before_5_14 {
	volatile long state;
} __attribute__((preserve_access_index));

struct inode___before_6_11 {
	struct {
		long tv_sec;
	} i_atime;
} __attribute__((preserve_access_index));

struct file___before {
	struct {
		struct dentry *dentry_of_old;
	} f_path;
} __attribute__((preserve_access_index));

struct request___before_5_17 {
	struct gendisk *rq_disk;
} __attribute__((preserve_access_index));

struct never_a_type {
	int inside;
} __attribute__((preserve_access_index));

enum bpf_func_id___never {
	BPF_FUNC_of_no_kernel = 4711,
};

enum never_an_enum {
	NEVER_ONE = 1,
};

#define READS(NAME, TYPE, FIELD) \
	SEC("raw_tracepoint/sched_switch") int NAME(struct bpf_raw_tracepoint_args *ctx) \
	{ \
		struct TYPE *it = (void *)ctx->args[1]; \
		return BPF_CORE_READ(it, FIELD) != 0; \
	}

READS(field_never, task_struct___never, field_of_no_kernel)
READS(field_state, task_struct___before_5_14, state)
READS(field_atime, inode___before_6_11, i_atime.tv_sec)
READS(field_path, file___before, f_path.dentry_of_old)
READS(field_disk, request___before_5_17, rq_disk)
READS(type_never, never_a_type, inside)

SEC("raw_tracepoint/sched_switch")
int size_never(void *ctx)
{
	return bpf_core_type_size(struct never_a_type) + bpf_core_field_size(((struct task_struct___never *)0)->field_of_no_kernel);
}

SEC("raw_tracepoint/sched_switch")
int value_never(void *ctx)
{
	return bpf_core_enum_value(enum bpf_func_id___never, BPF_FUNC_of_no_kernel) & 1;
}

SEC("raw_tracepoint/sched_switch")
int enum_never(void *ctx)
{
	return bpf_core_enum_value(enum never_an_enum, NEVER_ONE) & 1;
}

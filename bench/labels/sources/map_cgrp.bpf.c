/* Storage of a cgroup, since Linux 6.2. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_CGRP_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64);
} it SEC(".maps");

SEC("tracepoint/sched/sched_switch")
int uses(void *ctx)
{
	__u32 key = 0;

	return !bpf_map_lookup_elem(&it, &key);
}

/* A type of map that no kernel has. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, 999);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} it SEC(".maps");

SEC("tracepoint/sched/sched_switch")
int uses(void *ctx)
{
	__u32 key = 0;

	return !bpf_map_lookup_elem(&it, &key);
}

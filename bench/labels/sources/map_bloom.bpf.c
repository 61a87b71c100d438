/* A bloom filter, since Linux 5.16. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_BLOOM_FILTER);
	__uint(max_entries, 4);
	__uint(value_size, 8);
} it SEC(".maps");

SEC("tracepoint/sched/sched_switch")
int uses(void *ctx)
{
	__u32 key = 0;

	return !bpf_map_lookup_elem(&it, &key);
}

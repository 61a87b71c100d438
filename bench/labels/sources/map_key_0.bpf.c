/* A hash map without a key. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4);
	__uint(key_size, 0);
	__uint(value_size, 8);
} it SEC(".maps");

SEC("tracepoint/sched/sched_switch")
int uses(void *ctx)
{
	__u32 key = 0;

	return !bpf_map_lookup_elem(&it, &key);
}

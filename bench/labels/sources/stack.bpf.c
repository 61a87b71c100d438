/* Stack that was never written; since Linux 6.3 a privileged program may read it. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4);
	__type(key, __u64);
	__type(value, __u64);
} values SEC(".maps");

SEC("xdp")
int key(struct xdp_md *ctx)
{
	__u64 key;

	asm volatile("" : "=m"(key));
	return !bpf_map_lookup_elem(&values, &key);
}

/* Two programs of different types in one array for tail calls. Each loads; filling the array is what the kernel
 * refuses, with EINVAL and without a word, and no row of the table is about it.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("socket")
int first(struct __sk_buff *skb)
{
	return 0;
}

SEC("xdp")
int second(struct xdp_md *ctx)
{
	return XDP_PASS;
}

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__uint(key_size, sizeof(__u32));
	__array(values, int());
} calls SEC(".maps") = {
	.values = { (void *)&first, (void *)&second },
};

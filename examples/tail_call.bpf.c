/* A table of programs, filled by libbpf while loading. Asked alone, a program whose table names a neighbour cannot
 * load; the object as a whole does, and the whole decides.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

int second(struct xdp_md *ctx);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__array(values, int(struct xdp_md *));
} steps SEC(".maps") = {
	.values = { [0] = (void *)&second },
};

SEC("xdp")
int second(struct xdp_md *ctx)
{
	return XDP_DROP;
}

SEC("xdp")
int first(struct xdp_md *ctx)
{
	bpf_tail_call(ctx, &steps, 0);
	return XDP_PASS;
}

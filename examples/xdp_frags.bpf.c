/* XDP over more than one page: since Linux 5.18; older kernels refuse the flag. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("xdp.frags")
int pass_all(struct xdp_md *ctx)
{
	return XDP_PASS;
}

SEC("xdp.frags/devmap")
int behind_a_device(struct xdp_md *ctx)
{
	return XDP_PASS;
}

SEC("xdp.frags/cpumap")
int behind_a_processor(struct xdp_md *ctx)
{
	return XDP_PASS;
}

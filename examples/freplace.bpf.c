/* A program that takes the place of another program's function: which one, only its loader knows. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("freplace/function_of_another")
int instead(struct xdp_md *ctx)
{
	return XDP_PASS;
}

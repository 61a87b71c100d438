/* An XDP program needs an interface, which only its user can name: here it is lo, generic, and a veth, native, where the
 * guest has the module. What runs behind a redirect is attached to a map's entry.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("xdp")
int pass_all(struct xdp_md *ctx)
{
	return XDP_PASS;
}

SEC("xdp/devmap")
int behind_a_device(struct xdp_md *ctx)
{
	return XDP_PASS;
}

SEC("xdp/cpumap")
int behind_a_processor(struct xdp_md *ctx)
{
	return XDP_PASS;
}

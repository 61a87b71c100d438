/* Compiled for the other byte order (-target bpfeb): no kernel here can load it, and none is to blame (wrong-byte-
 * order).
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("xdp")
int pass_all(struct xdp_md *ctx)
{
	return XDP_PASS;
}

/* The packet is read without asking whether it is that long. The verifier refuses on every kernel, in words that
 * differ from release to release (verifier-bounds).
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("xdp")
int read_blindly(struct xdp_md *ctx)
{
	unsigned char *packet = (void *)(long)ctx->data;

	return packet[13] ? XDP_PASS : XDP_DROP;
}

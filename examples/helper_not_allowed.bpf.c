/* The helper exists on every kernel, but not for this type of program: an XDP program has no socket buffer to
 * store into (helper-not-allowed). Old verifiers word this exactly like an unknown helper.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("xdp")
int store(struct xdp_md *ctx)
{
	__u32 value = 0;

	bpf_skb_store_bytes((void *)ctx, 0, &value, sizeof(value), 0);
	return XDP_PASS;
}

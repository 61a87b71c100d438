/* What runs at a program's entry and exit instead of a function's of the kernel: which program, only a loader can say. Here
 * it is one of another object of this project, and one of this object.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

__u64 bytes, passed;

SEC("fentry")
int BPF_PROG(at_entry, struct xdp_buff *packet)
{
	bytes += packet->data_end - packet->data;
	return 0;
}

SEC("fexit")
int BPF_PROG(at_exit, struct xdp_buff *packet, int action)
{
	passed += action == XDP_PASS;
	return 0;
}

SEC("socket")
int watched(struct __sk_buff *skb)
{
	return skb->len;
}

SEC("fexit")
int BPF_PROG(at_own_exit, struct sk_buff *skb, int kept)
{
	passed += kept > 0;
	return 0;
}

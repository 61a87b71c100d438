/* The two ends of a netkit device: since Linux 6.7. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("netkit/primary")
int primary(struct __sk_buff *skb)
{
	return -1; /* NETKIT_NEXT */
}

SEC("netkit/peer")
int peer(struct __sk_buff *skb)
{
	return -1;
}

/* A filter, looked at in two ways: BPF_PROG_RUN gives it a packet, and the verdict and the packet behind it are compared;
 * and datagrams are sent over the device that it is attached to. DNS questions are dropped and counted, everything else
 * passes with its TTL lowered.
 */
#include "vmlinux.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

int dropped;

SEC("xdp")
int drop_dns(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + sizeof(*eth);
	struct udphdr *udp = (void *)(ip + 1);
	__u32 sum;

	if ((void *)(udp + 1) > end || eth->h_proto != bpf_htons(0x0800))
		return XDP_PASS;
	if (ip->protocol == IPPROTO_UDP && udp->dest == bpf_htons(53)) {
		__sync_fetch_and_add(&dropped, 1);
		return XDP_DROP;
	}
	ip->ttl--;
	/* the checksum's complement falls with the TTL, so it rises: RFC 1624 */
	sum = ip->check + bpf_htons(0x0100);
	ip->check = sum + (sum >> 16);
	return XDP_PASS;
}

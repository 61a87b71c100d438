/* A type whose name has a "$", which no kernel takes in BTF. Most objects are loaded without their BTF then; one that
 * implements a structure of the kernel's cannot be. Without vmlinux.h, so that the kernel's log of it stays short.
 */
typedef unsigned char __u8;
typedef unsigned short __u16;
typedef short __s16;
typedef unsigned int __u32;
typedef int __s32;
typedef unsigned long long __u64;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;

enum bpf_map_type { BPF_MAP_TYPE_UNSPEC };

#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

struct sock;

struct tcp_congestion_ops {
	__u32 (*ssthresh)(struct sock *sk);
	__u32 (*undo_cwnd)(struct sock *sk);
	void (*cong_avoid)(struct sock *sk, __u32 ack, __u32 acked);
	char name[16];
};

struct state$of$control {
	__u32 calls;
};

struct state$of$control state;

SEC("struct_ops/ssthresh")
__u32 ssthresh(__u64 *args)
{
	state.calls++;
	return 2;
}

SEC("struct_ops/undo_cwnd")
__u32 undo_cwnd(__u64 *args)
{
	return 2;
}

SEC("struct_ops/cong_avoid")
void cong_avoid(__u64 *args)
{
}

SEC(".struct_ops")
struct tcp_congestion_ops control = {
	.ssthresh = (void *)ssthresh,
	.undo_cwnd = (void *)undo_cwnd,
	.cong_avoid = (void *)cong_avoid,
	.name = "bpfcompat",
};

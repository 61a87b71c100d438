/* Programs that every verifier refuses, each for the reason that labels.toml gives. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

struct value {
	long long first, second[3];
	struct bpf_spin_lock lock;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct value);
} values SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} numbers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

SEC("tracepoint/sched/sched_process_exec")
int null_value(void *ctx)
{
	__u32 key = 1;
	__u64 *found = bpf_map_lookup_elem(&numbers, &key);

	return *found;
}

SEC("tc")
int null_socket(struct __sk_buff *skb)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *found = bpf_sk_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), -1, 0);
	int mark = found->mark;

	bpf_sk_release(found);
	return mark;
}

SEC("raw_tracepoint/sched_switch")
int null_record(void *ctx)
{
	long *record = bpf_ringbuf_reserve(&events, 8, 0);

	*record = 1;
	bpf_ringbuf_submit(record, 0);
	return 0;
}

SEC("xdp")
int bounds_packet(struct xdp_md *ctx)
{
	unsigned char *packet = (void *)(long)ctx->data;

	return packet[13] ? XDP_PASS : XDP_DROP;
}

SEC("tc")
int bounds_skb_packet(struct __sk_buff *skb)
{
	unsigned char *packet = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	if (packet + 12 > end)
		return 0;
	return packet[12];
}

SEC("xdp")
int bounds_value(struct xdp_md *ctx)
{
	__u32 key = 1;
	struct value *found = bpf_map_lookup_elem(&values, &key);

	return found ? found->second[ctx->ingress_ifindex] : 0;
}

SEC("xdp")
int bounds_stack(struct xdp_md *ctx)
{
	asm volatile("*(u64 *)(r10 - 520) = r1" ::: "memory");
	return XDP_PASS;
}

SEC("tc")
int bounds_helper(struct __sk_buff *skb)
{
	char name[8] = {};

	bpf_skb_load_bytes(skb, 0, name, 24);
	return name[0];
}

SEC("raw_tracepoint/sched_switch")
int bounds_length(struct bpf_raw_tracepoint_args *ctx)
{
	char name[8] = {};

	bpf_get_current_comm(name, 16);
	return name[3];
}

SEC("xdp")
int uninit_register(struct xdp_md *ctx)
{
	int found;

	asm volatile("%0 = r5" : "=r"(found));
	return found;
}

SEC("tracepoint/sched/sched_switch")
int uninit_after_call(void *ctx)
{
	int found;

	asm volatile("call 5; %0 = r3" : "=r"(found) :: "r0", "r1", "r2", "r3", "r4", "r5");
	return found;
}

SEC("socket")
__attribute__((naked)) int uninit_return(void)
{
	asm volatile("exit");
}

SEC("xdp")
int uninit_stack(struct xdp_md *ctx)
{
	int found;

	asm volatile("%0 = *(u64 *)(r10 - 64)" : "=r"(found));
	return found;
}

SEC("socket")
int context_far(struct __sk_buff *skb)
{
	int found;

	asm volatile("%0 = *(u32 *)(r1 + 4096)" : "=r"(found) : "r"(skb));
	return found;
}

SEC("xdp")
int context_write(struct xdp_md *ctx)
{
	asm volatile("*(u32 *)(r1 + 0) = r1" ::: "memory");
	return XDP_PASS;
}

SEC("socket")
int context_forbidden(struct __sk_buff *skb)
{
	return skb->tc_classid;
}

SEC("tracepoint/sched/sched_process_exit")
int context_beyond(void *ctx)
{
	long found;

	asm volatile("%0 = *(u64 *)(%1 + 8192)" : "=r"(found) : "r"(ctx));
	return found;
}

SEC("tc")
int reference_socket(struct __sk_buff *skb)
{
	struct bpf_sock_tuple tuple = {};

	return !bpf_sk_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), -1, 0);
}

SEC("raw_tracepoint/sched_switch")
int reference_record(void *ctx)
{
	return !bpf_ringbuf_reserve(&events, 8, 0);
}

SEC("tc")
int reference_early(struct __sk_buff *skb)
{
	long *record = bpf_ringbuf_reserve(&events, 8, 0);

	if (!record)
		return 0;
	if (skb->mark)
		return 1;
	bpf_ringbuf_discard(record, 0);
	return 0;
}

SEC("tc")
int reference_lock(struct __sk_buff *skb)
{
	__u32 key = 1;
	struct value *found = bpf_map_lookup_elem(&values, &key);

	if (found)
		bpf_spin_lock(&found->lock);
	return 0;
}

SEC("tc")
int reference_foreign(struct __sk_buff *skb)
{
	struct bpf_sock *own = skb->sk;

	if (own)
		bpf_sk_release(own);
	return 0;
}

SEC("cgroup_skb/ingress")
int return_ingress(struct __sk_buff *skb)
{
	return 7;
}

SEC("cgroup/sock_create")
int return_socket(struct bpf_sock *ctx)
{
	return 2;
}

SEC("sk_lookup")
int return_lookup(struct bpf_sk_lookup *ctx)
{
	return 5;
}

SEC("cgroup/dev")
int return_device(struct bpf_cgroup_dev_ctx *ctx)
{
	return ctx->major;
}

SEC("cgroup/bind4")
int return_bind(struct bpf_sock_addr *ctx)
{
	return 9;
}

SEC("fentry/vfs_read")
int return_fentry(void *ctx)
{
	return 3;
}

SEC("raw_tracepoint/sched_switch")
int type_scalar(void *ctx)
{
	return *(volatile int *)0x1234;
}

SEC("tracepoint/sched/sched_process_exec")
int type_key(void *ctx)
{
	return !bpf_map_lookup_elem(&numbers, (void *)16);
}

SEC("xdp")
int type_map(struct xdp_md *ctx)
{
	__u32 key = 0;

	return !bpf_map_lookup_elem((void *)&key, &key);
}

SEC("raw_tracepoint/sched_switch")
int type_argument(struct bpf_raw_tracepoint_args *ctx)
{
	return *(volatile int *)ctx->args[1];
}

SEC("xdp")
int type_arithmetic(struct xdp_md *ctx)
{
	asm volatile("r1 *= 2; r0 = r1" ::: "r0", "r1");
	return XDP_PASS;
}

SEC("xdp")
int type_store(struct xdp_md *ctx)
{
	*(volatile long *)0xffff0000 = 1;
	return XDP_PASS;
}

SEC("xdp")
int loop_forever(struct xdp_md *ctx)
{
	asm volatile("r0 = 1; 1: if r0 == 1 goto 1b" ::: "r0");
	return XDP_PASS;
}

SEC("tc")
int loop_again(struct __sk_buff *skb)
{
	asm volatile("r0 = 1; 1: if r0 != 0 goto 1b" ::: "r0");
	return 0;
}

static __noinline int deep(void *ctx)
{
	char room[300] = {};

	bpf_probe_read_kernel(room, sizeof(room), ctx);
	return room[7];
}

SEC("raw_tracepoint/sched_switch")
int complex_stack(void *ctx)
{
	char room[400] = {};

	bpf_probe_read_kernel(room, sizeof(room), ctx);
	return room[7] + deep(ctx);
}

SEC("xdp")
int complex_loop(struct xdp_md *ctx)
{
	unsigned int sum = ctx->ingress_ifindex;

	for (int n = 0; n < 3000000; n++)
		asm volatile("%0 += 3" : "+r"(sum));
	return sum & 1;
}

SEC("xdp")
int rejected_unreachable(struct xdp_md *ctx)
{
	asm volatile("r0 = 0; exit; r0 = 1; exit" ::: "r0");
	return XDP_PASS;
}

SEC("xdp")
int rejected_register(struct xdp_md *ctx)
{
	asm volatile("r0 = 0; r10 = r0" ::: "r0");
	return XDP_PASS;
}

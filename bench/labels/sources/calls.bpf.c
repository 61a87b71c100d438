/* Helpers that are not for this type of program, and numbers that no kernel knows, or only a newer one. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

#define CALLS(NAME, NUMBER) \
	SEC("raw_tracepoint/sched_switch") int NAME(void *ctx) \
	{ \
		asm volatile("call " #NUMBER ::: "r0", "r1", "r2", "r3", "r4", "r5"); \
		return 0; \
	}

CALLS(never_9999, 9999)
CALLS(never_700, 700)
CALLS(never_1000, 1000)
CALLS(task_storage_get, 156)
CALLS(bprm_opts_set, 159)
CALLS(ima_inode_hash, 161)
CALLS(check_mtu, 163)
CALLS(for_each_map_elem, 164)
CALLS(snprintf, 165)
CALLS(sys_bpf, 166)
CALLS(timer_init, 169)
CALLS(get_func_ip, 173)
CALLS(get_attach_cookie, 174)
CALLS(task_pt_regs, 175)
CALLS(get_branch_snapshot, 176)
CALLS(kallsyms_lookup_name, 179)
CALLS(find_vma, 180)
CALLS(loop, 181)
CALLS(strncmp, 182)
CALLS(get_func_arg, 183)
CALLS(copy_from_user_task, 191)
CALLS(map_lookup_percpu_elem, 195)
CALLS(dynptr_from_mem, 197)
CALLS(ktime_get_tai_ns, 208)
CALLS(user_ringbuf_drain, 209)
CALLS(cgrp_storage_get, 210)
CALLS(cgrp_storage_delete, 211)

SEC("xdp")
int xdp_store_bytes(struct xdp_md *ctx)
{
	return bpf_skb_store_bytes((void *)ctx, 0, ctx, 1, 0);
}

SEC("kprobe/vfs_read")
int kprobe_redirect(void *ctx)
{
	return bpf_redirect(1, 0);
}

SEC("tracepoint/sched/sched_switch")
int tracepoint_load_bytes(void *ctx)
{
	char byte = 0;

	bpf_skb_load_bytes(ctx, 0, &byte, 1);
	return byte;
}

SEC("socket")
int socket_adjust_head(struct __sk_buff *ctx)
{
	return bpf_xdp_adjust_head((void *)ctx, 0);
}

SEC("socket")
int socket_override(struct __sk_buff *ctx)
{
	return bpf_override_return((void *)ctx, 0);
}

SEC("cgroup_skb/egress")
int cgroup_change_head(struct __sk_buff *ctx)
{
	return bpf_skb_change_head(ctx, 0, 0);
}

SEC("raw_tracepoint/sched_switch")
int tracing_setsockopt(void *ctx)
{
	int value = 0;

	return bpf_setsockopt(ctx, 0, 0, &value, 4);
}

SEC("sk_lookup")
int lookup_csum(struct bpf_sk_lookup *ctx)
{
	return bpf_l3_csum_replace((void *)ctx, 0, 0, 0, 0);
}

SEC("tc")
int tc_sock_hash(struct __sk_buff *skb)
{
	return bpf_sock_hash_update((void *)skb, skb, skb, 0);
}

SEC("perf_event")
int perf_clone(void *ctx)
{
	return bpf_clone_redirect(ctx, 0, 0);
}

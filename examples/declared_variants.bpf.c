/* Variants of which an application chooses one for each kernel: by a helper, a kfunc, a type of program, a type of map, a
 * function of the kernel, or by loading it on trial. bpfcompat.toml declares the groups; the report says which one is on
 * and why.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

/* --- by helper: bpf_loop() since Linux 5.17 */

static int add(__u32 index, void *sum)
{
	*(__u32 *)sum += index;
	return 0;
}

SEC("raw_tp/sched_switch")
int loop_new(void *ctx)
{
	__u32 sum = 0;

	bpf_loop(64, add, &sum, 0);
	return sum & 1;
}

SEC("raw_tp/sched_switch")
int loop_old(void *ctx)
{
	__u32 sum = 0;

	for (__u32 i = 0; i < 64; i++)
		sum += i;
	return sum & 1;
}

/* --- by kfunc: bpf_task_from_pid() since Linux 6.2 */

extern struct task_struct *bpf_task_from_pid(s32 pid) __ksym __weak;
extern void bpf_task_release(struct task_struct *task) __ksym __weak;

SEC("tp_btf/task_newtask")
int BPF_PROG(task_new, struct task_struct *task, u64 flags)
{
	struct task_struct *init = bpf_task_from_pid(1);

	if (init)
		bpf_task_release(init);
	return 0;
}

SEC("tp_btf/task_newtask")
int BPF_PROG(task_old, struct task_struct *task, u64 flags)
{
	return task->pid == 1;
}

/* --- by type of program: netfilter since Linux 6.4 */

SEC("netfilter")
int packet_new(struct bpf_nf_ctx *ctx)
{
	return 1;
}

SEC("cgroup_skb/ingress")
int packet_old(struct __sk_buff *skb)
{
	return 1;
}

/* --- by type of map: storage of a task since Linux 5.11 */

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64);
} in_task SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u64);
} in_hash SEC(".maps");

SEC("fentry/bpf_fentry_test1")
int BPF_PROG(storage_new)
{
	bpf_task_storage_get(&in_task, bpf_get_current_task_btf(), 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	return 0;
}

SEC("tracepoint/sched/sched_process_exit")
int storage_old(void *ctx)
{
	__u32 pid = bpf_get_current_pid_tgid() >> 32;
	__u64 now = 1;

	bpf_map_update_elem(&in_hash, &pid, &now, BPF_ANY);
	return 0;
}

/* --- by a function of the kernel: do_unlinkat() is gone in 7.3 */

SEC("fentry/do_unlinkat")
int BPF_PROG(unlink_old)
{
	return 0;
}

SEC("fentry/vfs_unlink")
int BPF_PROG(unlink_new)
{
	return 0;
}

/* --- by loading on trial, with a companion that the table of tail calls needs */

int step(struct xdp_md *ctx);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__array(values, int(struct xdp_md *));
} steps SEC(".maps") = {
	.values = { [0] = (void *)&step },
};

SEC("xdp")
int step(struct xdp_md *ctx)
{
	return XDP_DROP;
}

SEC("xdp")
int try_first(struct xdp_md *ctx)
{
	bpf_tail_call(ctx, &steps, 0);
	return XDP_PASS;
}

/* refused everywhere: reads what it has not checked */
SEC("xdp")
int try_last(struct xdp_md *ctx)
{
	return *(__u8 *)(long)ctx->data;
}

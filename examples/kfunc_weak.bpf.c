/* The cure for kfunc.bpf.c: a weak extern may stay unresolved, and bpf_ksym_exists() asks before the call. Where
 * the kfunc is absent, the verifier sees a constant false and drops the branch.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

struct task_struct *bpf_task_from_pid(s32 pid) __ksym __weak;
void bpf_task_release(struct task_struct *task) __ksym __weak;

SEC("tp_btf/task_newtask")
int BPF_PROG(on_new_task, struct task_struct *task, u64 clone_flags)
{
	struct task_struct *found;

	if (!bpf_ksym_exists(bpf_task_from_pid))
		return 0;
	found = bpf_task_from_pid(task->pid);
	if (found)
		bpf_task_release(found);
	return 0;
}

/* A kfunc is a kernel function found by name, not a helper with a number. bpf_task_from_pid() came with Linux 6.2;
 * on a kernel without it libbpf cannot resolve the extern (kfunc-missing).
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

struct task_struct *bpf_task_from_pid(s32 pid) __ksym;
void bpf_task_release(struct task_struct *task) __ksym;

SEC("tp_btf/task_newtask")
int BPF_PROG(on_new_task, struct task_struct *task, u64 clone_flags)
{
	struct task_struct *found = bpf_task_from_pid(task->pid);

	if (found)
		bpf_task_release(found);
	return 0;
}

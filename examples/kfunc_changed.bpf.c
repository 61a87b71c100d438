/* kfuncs are found by name and then compared by signature. This object declares an argument that
 * bpf_task_from_pid() never had: where the kfunc exists, it is kfunc-changed, and kfunc-missing where it does not.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

struct task_struct *bpf_task_from_pid(struct task_struct *task) __ksym;
void bpf_task_release(struct task_struct *task) __ksym;

SEC("tp_btf/task_newtask")
int BPF_PROG(on_new_task, struct task_struct *task, u64 clone_flags)
{
	struct task_struct *found = bpf_task_from_pid(task);

	if (found)
		bpf_task_release(found);
	return 0;
}

/* Oopses the kernel: a helper is given a pointer that the verifier takes for a task, and that is NULL.
 *
 * Measured on 5.10 and 6.1: "BUG: unable to handle page fault for address: 00000000000013.." (6.1: 14..) in
 * bpf_get_task_stack(), and the child is killed.
 * On 6.1 the guest goes on, and the report says that the child died of signal 9.  On 5.10 its death closes files, hits
 * the hook again ("Fixing recursive fault but reboot is needed!"), and its parent waits for ever.  On 6.12 and 7.3 the
 * object attaches and passes: the hook was not hit.
 *
 * Arguments of fentry programs, and what is reached from them, are never NULL to the verifier: reads of them are
 * guarded by an exception table, but helpers are not.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

__u64 stack[8];

SEC("fentry/task_work_add")
int BPF_PROG(on_work, struct task_struct *task)
{
	bpf_get_task_stack(task->oom_reaper_list, stack, sizeof(stack), 0);
	return 0;
}

/* CO-RE as it should be: the fields are found by name in the BTF of the running kernel, so one object serves all
 * kernels although struct task_struct differs in each.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

pid_t last_parent;

SEC("raw_tracepoint/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task)
{
	last_parent = BPF_CORE_READ(task, real_parent, tgid);
	return 0;
}

/* The cure for core_renamed.bpf.c: ask with bpf_core_field_exists() which name this kernel has. The branch that is
 * not taken holds a poisoned read, and the verifier never walks it.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

struct task_struct___old {
	volatile long state;
} __attribute__((preserve_access_index));

long state;

SEC("raw_tracepoint/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task)
{
	struct task_struct___old *old = (void *)task;

	if (bpf_core_field_exists(old->state))
		state = BPF_CORE_READ(old, state);
	else
		state = BPF_CORE_READ(task, __state);
	return 0;
}

/* Linux 5.14 renamed task_struct.state to __state. Reading the old name without asking works on 5.10 and on
 * nothing newer; core_guarded.bpf.c is the same program done right.
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
int BPF_PROG(on_exec, struct task_struct___old *task)
{
	state = BPF_CORE_READ(task, state);
	return 0;
}

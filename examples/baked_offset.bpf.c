/* The offset of a field as one kernel has it, read without CO-RE: BTF-typed pointers let the verifier see that the
 * offset is another field's elsewhere. Such an object belongs to one build, not to a series; core_read.bpf.c is the
 * same done right.
 */
#define BPF_NO_PRESERVE_ACCESS_INDEX
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

int parent;

SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task)
{
	parent = task->real_parent->tgid;
	return 0;
}

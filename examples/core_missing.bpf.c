/* A field that no kernel has. The relocation cannot be resolved, libbpf poisons the instruction, and the verifier
 * then meets it: core-relocation-unresolved everywhere, and not "invalid func unknown#195896080".
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

struct task_struct___wish {
	int field_of_our_dreams;
} __attribute__((preserve_access_index));

int seen;

SEC("raw_tracepoint/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct___wish *task)
{
	seen = BPF_CORE_READ(task, field_of_our_dreams);
	return 0;
}

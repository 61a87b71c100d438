/* A section that begins with "?" is not loaded unless the application asks for it. The optional program cannot
 * load anywhere; the object does, and a note tells of the rest.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("tracepoint/sched/sched_process_exec")
int on_exec(void *ctx)
{
	return 0;
}

SEC("?fentry/bpfcompat_no_such_function")
int only_on_some_kernels(void *ctx)
{
	return 0;
}

/* A tracepoint that no kernel has: found out while attaching, like kprobe_absent.bpf.c. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("tracepoint/sched/bpfcompat_no_such_event")
int never(void *ctx)
{
	return 0;
}

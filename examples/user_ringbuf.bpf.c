/* A ring buffer from user space to the kernel, since Linux 6.1. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_USER_RINGBUF);
	__uint(max_entries, 64 * 1024);
} orders SEC(".maps");

static long on_order(struct bpf_dynptr *order, void *context)
{
	return 0;
}

SEC("tracepoint/sched/sched_process_exec")
int on_exec(void *ctx)
{
	bpf_user_ringbuf_drain(&orders, on_order, NULL, 0);
	return 0;
}

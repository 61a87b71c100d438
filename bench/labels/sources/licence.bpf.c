/* What is for GPL-compatible programs only, called by an object that says another licence. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "MIT";

struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 8);
	__uint(key_size, 4);
	__uint(value_size, 8 * 16);
} stacks SEC(".maps");

SEC("raw_tracepoint/sched_switch")
int print(void *ctx)
{
	bpf_printk("x");
	return 0;
}

SEC("kprobe/vfs_read")
int stack(void *ctx)
{
	return bpf_get_stackid(ctx, &stacks, 0);
}

SEC("raw_tracepoint/sched_process_exec")
int read_memory(void *ctx)
{
	long word = 0;

	bpf_probe_read_kernel(&word, 8, ctx);
	return word;
}

SEC("perf_event")
int read_text(void *ctx)
{
	char text[8] = {};

	bpf_probe_read_user_str(text, 8, (void *)8);
	return text[0];
}

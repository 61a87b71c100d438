/* What is seen of a program from outside: it counts in a map and in a variable, sends an event, and prints. Its behaviour
 * tests look at all four.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

struct seen {
	__u64 execs;
	__u32 pid;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, struct seen);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

int execs;

SEC("tracepoint/sched/sched_process_exec")
int on_exec(void *ctx)
{
	struct seen first = { .execs = 1, .pid = bpf_get_current_pid_tgid() >> 32 }, *seen;
	char comm[16];
	__u32 key = 7;

	bpf_get_current_comm(comm, sizeof(comm));
	bpf_ringbuf_output(&events, comm, sizeof(comm), 0);
	bpf_printk("exec of %s", comm);
	__sync_fetch_and_add(&execs, 1);
	seen = bpf_map_lookup_elem(&counts, &key);
	if (seen)
		__sync_fetch_and_add(&seen->execs, 1);
	else
		bpf_map_update_elem(&counts, &key, &first, BPF_ANY);
	return 0;
}

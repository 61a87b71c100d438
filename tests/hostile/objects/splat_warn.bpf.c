/* Makes a kernel splat although all is well: a tracing program with a hash map that is not preallocated.
 *
 * Measured on 5.10: loads, attaches, and "WARNING: CPU: 0 PID: ... at kernel/bpf/verifier.c" with the line "trace type
 * BPF program uses run-time allocation" is on the console.  6.1, 6.12 and 7.3 load it in silence.
 *
 * The warning is of Linux commit 94dacdbd5d2d ("bpf: Tighten the requirements for preallocated hash maps") (in v5.7)
 * and went with the allocator of v6.1.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

SEC("raw_tracepoint/sys_enter")
int on_syscall(void *ctx)
{
	__u32 key = 0;

	bpf_map_lookup_elem(&counts, &key);
	return 0;
}

/* Many projects size a map when they start and ship max_entries = 0. A loader that does not know the number can
 * only fail; that is no fact about the kernel, so the answer is inconclusive (needs-declaration).
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, __u32);
	__type(value, __u64);
} sized_at_start SEC(".maps");

SEC("tracepoint/sched/sched_process_exec")
int on_exec(void *ctx)
{
	__u32 pid = bpf_get_current_pid_tgid() >> 32;
	__u64 now = bpf_ktime_get_ns();

	bpf_map_update_elem(&sized_at_start, &pid, &now, BPF_ANY);
	return 0;
}

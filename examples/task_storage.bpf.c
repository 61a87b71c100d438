/* Storage that hangs on a task and goes with it, since Linux 5.11. The map type is unknown to 5.10, so its
 * creation fails before any program is looked at (map-type-missing).
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64);
} births SEC(".maps");

SEC("tp_btf/task_newtask")
int BPF_PROG(on_new_task, struct task_struct *task, u64 clone_flags)
{
	__u64 *born = bpf_task_storage_get(&births, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (born)
		*born = bpf_ktime_get_ns();
	return 0;
}

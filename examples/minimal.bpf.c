/* The least there is: one tracepoint, no map, no BTF relocation. It loads and attaches on every kernel here; if it
 * does not, look at the guest, not at the object.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("tracepoint/sched/sched_process_exec")
int on_exec(void *ctx)
{
	return 0;
}

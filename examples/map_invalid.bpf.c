/* An array's key is always 4 bytes. The kernel refuses this one, on every release and with the same EINVAL as a
 * map type that it does not know; here the map is to blame (map-create-failed).
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, __u64);
} counts SEC(".maps");

SEC("tracepoint/sched/sched_process_exec")
int on_exec(void *ctx)
{
	__u64 zero = 0;

	return bpf_map_lookup_elem(&counts, &zero) != NULL;
}

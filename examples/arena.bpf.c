/* Memory shared by a program and its application, pointers included: since Linux 6.9. libbpf maps it while
 * loading.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARENA);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 4); /* pages */
} shared SEC(".maps");

const void *used;

SEC("syscall")
int touch(void *ctx)
{
	used = &shared;
	return 0;
}

/* bpf_strncmp() is helper number 182 and came with Linux 5.17. An older verifier knows no such number and prints
 * "unknown#182"; the verdict says which helper that is (helper-missing).
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

static const char wanted[] = "init";

SEC("tracepoint/sched/sched_process_exec")
int on_exec(void *ctx)
{
	char comm[16];

	bpf_get_current_comm(comm, sizeof(comm));
	return bpf_strncmp(comm, sizeof(comm), wanted) == 0;
}

/* bpf_strcmp() is a kfunc of Linux 6.17: of the kernels here only the newest has it. kfuncs are not a stable
 * interface; what is new today may be renamed tomorrow, so declare what you need and test it.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

int bpf_strcmp(const char *a, const char *b) __ksym;

char wanted[16] = "init";
int same;

SEC("raw_tracepoint/sched_process_exec")
int on_exec(void *ctx)
{
	char comm[16];

	bpf_get_current_comm(comm, sizeof(comm));
	same = bpf_strcmp(wanted, comm) == 0;
	return 0;
}

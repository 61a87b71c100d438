/* One program for the entry and the return of a function of user space: since Linux 6.13, with libbpf 1.7 (1.6 upstream). */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

__u64 calls;

SEC("uprobe.session//tmp/target:target_function")
int both(struct pt_regs *ctx)
{
	calls++;
	return 0;
}

SEC("uprobe.session.s")
int both_of_choice(struct pt_regs *ctx)
{
	calls++;
	return 0;
}

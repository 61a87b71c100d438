/* One program for a function's entry and its return: since Linux 6.10, on top of FPROBE. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("kprobe.session/vfs_read")
int both(struct pt_regs *ctx)
{
	return 0;
}

SEC("kprobe.session")
int both_of_choice(struct pt_regs *ctx)
{
	return 0;
}

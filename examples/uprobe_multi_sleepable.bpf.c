/* Sleepable probes of many functions of user space: since Linux 6.6. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("uprobe.multi.s")
int entry(struct pt_regs *ctx)
{
	return 0;
}

SEC("uretprobe.multi.s")
int ret(struct pt_regs *ctx)
{
	return 0;
}

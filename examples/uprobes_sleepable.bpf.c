/* Sleepable probes of user space: since Linux 6.0. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <linux/errno.h>
#include <bpf/usdt.bpf.h>

char LICENSE[] SEC("license") = "GPL";

SEC("uprobe.s")
int entry(struct pt_regs *ctx)
{
	return 0;
}

SEC("uretprobe.s")
int ret(struct pt_regs *ctx)
{
	return 0;
}

SEC("usdt.s")
int on_usdt(struct pt_regs *ctx)
{
	return 0;
}

/* A probe of a program that the guest does not have: with attach = "attach-required" there is no answer, and no pass. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("uretprobe//usr/bin/bash:readline")
int on_line(struct pt_regs *ctx)
{
	return 0;
}

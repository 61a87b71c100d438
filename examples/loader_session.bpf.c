/* One program for a function's entry and return. libbpf knows the section's name since 1.5. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("kprobe.session/vfs_read")
int on_read(struct pt_regs *regs)
{
	return 0;
}

/* One link for many kprobes: since Linux 5.18, if CONFIG_FPROBE is on. Debian 12's 6.1 is new enough and has it
 * off: a version test would promise what the kernel does not do.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("kprobe.multi/vfs_*link")
int on_link(void *ctx)
{
	return 0;
}

SEC("kretprobe.multi")
int on_return_of_choice(void *ctx)
{
	return 0;
}

SEC("kprobe.multi")
int on_functions_of_choice(void *ctx)
{
	return 0;
}

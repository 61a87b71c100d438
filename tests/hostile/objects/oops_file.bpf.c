/* Oopses the kernel: as oops_task.bpf.c, by way of a file.
 *
 * Measured on 6.12 and 7.3: "BUG: kernel NULL pointer dereference" in sock_from_file(), "note: init[...] exited with
 * irqs disabled"; the child is killed, and the guest goes on.  5.10 and 6.1 refuse to load it (EINVAL, invalid CO-RE
 * relocation): there f_owner is no pointer.  It is one since Linux commit 1934b212615d ("file: reclaim 24 bytes from
 * f_owner") (in v6.12).
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

volatile __u64 found;

SEC("fentry/locks_remove_posix")
int BPF_PROG(on_close, struct file *file)
{
	found = (__u64)bpf_sock_from_file(file->f_owner->file);
	return 0;
}

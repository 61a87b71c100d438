/* One trampoline for a function's entry and its return: since Linux 7.0. libbpf knows the section's name since 1.7, so an
 * older one cannot even say what it is.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

__u64 calls;

SEC("fsession/vfs_read")
int BPF_PROG(both, struct file *file)
{
	calls++;
	return 0;
}

SEC("fsession.s/bpf_fentry_test1")
int BPF_PROG(both_may_sleep, int a)
{
	calls++;
	return 0;
}

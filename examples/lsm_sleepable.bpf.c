/* A BPF LSM program that may sleep, on a hook that Linux 5.10 does not let sleep yet. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

SEC("lsm.s/file_open")
int BPF_PROG(on_open, struct file *file)
{
	return 0;
}

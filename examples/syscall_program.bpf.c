/* A program that its loader runs, since Linux 5.14. It is attached to nothing: loading is all that is asked. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("syscall")
int setup(void *ctx)
{
	return 0;
}

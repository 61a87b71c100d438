/* An iterator over all tasks: since Linux 5.8, attached by libbpf, read like a file. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("iter/task")
int count(struct bpf_iter__task *ctx)
{
	return 0;
}

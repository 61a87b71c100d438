/* An iterator over cgroups, which takes an order that libbpf's auto-attach does not give: since Linux 6.1. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("iter/cgroup")
int cgroups(struct bpf_iter__cgroup *ctx)
{
	return 0;
}

SEC("iter.s/task")
int tasks(struct bpf_iter__task *ctx)
{
	return 0;
}

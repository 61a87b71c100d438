/* A BPF LSM program for the processes of a cgroup: since Linux 6.0. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

SEC("lsm_cgroup/socket_bind")
int BPF_PROG(on_bind, struct socket *sock, struct sockaddr *address, int addrlen)
{
	return 1;
}

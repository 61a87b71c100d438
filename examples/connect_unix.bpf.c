/* Cgroup hooks for Unix sockets: since Linux 6.7. The program type is old, its attach type is not; an older kernel
 * refuses it without reading the program (attach-type-missing).
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("cgroup/connect_unix")
int allow_all(struct bpf_sock_addr *ctx)
{
	return 1;
}

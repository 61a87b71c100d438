/* Cgroup hooks for Unix sockets: since Linux 6.7. The program type is old, its attach types are not; an older kernel
 * refuses them without reading the program (attach-type-missing).
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

#define ALLOW(section, name)			\
	SEC(section)				\
	int name(struct bpf_sock_addr *ctx)	\
	{					\
		return 1;			\
	}

ALLOW("cgroup/connect_unix", allow_all)
ALLOW("cgroup/sendmsg_unix", sendmsg)
ALLOW("cgroup/recvmsg_unix", recvmsg)
ALLOW("cgroup/getpeername_unix", getpeername)
ALLOW("cgroup/getsockname_unix", getsockname)

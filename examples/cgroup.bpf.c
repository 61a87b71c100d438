/* One program for each cgroup hook that Linux 5.10 has. A loader attaches them to a cgroup that it chooses; here that is
 * an empty one, by a link.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

#define ALLOW(section, name, context)	\
	SEC(section)			\
	int name(struct context *ctx)	\
	{				\
		return 1;		\
	}

ALLOW("cgroup/skb", on_skb, __sk_buff)
ALLOW("cgroup_skb/ingress", on_skb_ingress, __sk_buff)
ALLOW("cgroup_skb/egress", on_skb_egress, __sk_buff)
ALLOW("cgroup/sock", on_sock, bpf_sock)
ALLOW("cgroup/sock_create", on_sock_create, bpf_sock)
ALLOW("cgroup/sock_release", on_sock_release, bpf_sock)
ALLOW("cgroup/post_bind4", on_post_bind4, bpf_sock)
ALLOW("cgroup/post_bind6", on_post_bind6, bpf_sock)
ALLOW("cgroup/bind4", on_bind4, bpf_sock_addr)
ALLOW("cgroup/bind6", on_bind6, bpf_sock_addr)
ALLOW("cgroup/connect4", on_connect4, bpf_sock_addr)
ALLOW("cgroup/connect6", on_connect6, bpf_sock_addr)
ALLOW("cgroup/sendmsg4", on_sendmsg4, bpf_sock_addr)
ALLOW("cgroup/sendmsg6", on_sendmsg6, bpf_sock_addr)
ALLOW("cgroup/recvmsg4", on_recvmsg4, bpf_sock_addr)
ALLOW("cgroup/recvmsg6", on_recvmsg6, bpf_sock_addr)
ALLOW("cgroup/getpeername4", on_getpeername4, bpf_sock_addr)
ALLOW("cgroup/getpeername6", on_getpeername6, bpf_sock_addr)
ALLOW("cgroup/getsockname4", on_getsockname4, bpf_sock_addr)
ALLOW("cgroup/getsockname6", on_getsockname6, bpf_sock_addr)
ALLOW("cgroup/sysctl", on_sysctl, bpf_sysctl)
ALLOW("cgroup/getsockopt", on_getsockopt, bpf_sockopt)
ALLOW("cgroup/setsockopt", on_setsockopt, bpf_sockopt)
ALLOW("cgroup/dev", on_dev, bpf_cgroup_dev_ctx)
ALLOW("sockops", on_sockops, bpf_sock_ops)

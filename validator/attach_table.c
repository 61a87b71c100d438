/* The table: every section name that libbpf knows, and how its programs are attached here.
 *
 * A row with a longer name stands before its prefix; a program whose section says nothing (its type was declared) takes the
 * first row of its type, and of its attach type where one has that.
 */
#include "attach_how.h"

#define ROW(section, type, attach_type, family) { section, BPF_PROG_TYPE_##type, attach_type, &family_##family }

const struct attach_row attach_rows[] = {
	/* functions and tracepoints of the kernel */
	ROW("kprobe+", KPROBE, ATTACH_ANY, kprobe),
	ROW("kretprobe+", KPROBE, ATTACH_ANY, kprobe),
	ROW("kprobe.multi+", KPROBE, BPF_TRACE_KPROBE_MULTI, kprobe_multi),
	ROW("kretprobe.multi+", KPROBE, BPF_TRACE_KPROBE_MULTI, kprobe_multi),
#if LIBBPF_SINCE(5)
	ROW("kprobe.session+", KPROBE, BPF_TRACE_KPROBE_SESSION, kprobe_multi),
#endif
	ROW("ksyscall+", KPROBE, ATTACH_ANY, ksyscall),
	ROW("kretsyscall+", KPROBE, ATTACH_ANY, ksyscall),
	ROW("tracepoint+", TRACEPOINT, ATTACH_ANY, tp),
	ROW("tp+", TRACEPOINT, ATTACH_ANY, tp),
	ROW("raw_tracepoint+", RAW_TRACEPOINT, ATTACH_ANY, raw_tp),
	ROW("raw_tp+", RAW_TRACEPOINT, ATTACH_ANY, raw_tp),
	ROW("raw_tracepoint.w+", RAW_TRACEPOINT_WRITABLE, ATTACH_ANY, raw_tp),
	ROW("raw_tp.w+", RAW_TRACEPOINT_WRITABLE, ATTACH_ANY, raw_tp),
	ROW("tp_btf+", TRACING, BPF_TRACE_RAW_TP, trace),
	ROW("fentry+", TRACING, BPF_TRACE_FENTRY, trace),
	ROW("fentry.s+", TRACING, BPF_TRACE_FENTRY, trace),
	ROW("fexit+", TRACING, BPF_TRACE_FEXIT, trace),
	ROW("fexit.s+", TRACING, BPF_TRACE_FEXIT, trace),
	ROW("fmod_ret+", TRACING, BPF_MODIFY_RETURN, trace),
	ROW("fmod_ret.s+", TRACING, BPF_MODIFY_RETURN, trace),
#if LIBBPF_SINCE(7)
	ROW("fsession+", TRACING, BPF_TRACE_FSESSION, trace),
	ROW("fsession.s+", TRACING, BPF_TRACE_FSESSION, trace),
#endif
	ROW("iter+", TRACING, BPF_TRACE_ITER, iter),
	ROW("iter.s+", TRACING, BPF_TRACE_ITER, iter),
	ROW("lsm+", LSM, BPF_LSM_MAC, lsm),
	ROW("lsm.s+", LSM, BPF_LSM_MAC, lsm),
	ROW("lsm_cgroup+", LSM, BPF_LSM_CGROUP, lsm_cgroup),
	ROW("perf_event", PERF_EVENT, ATTACH_ANY, perf_event),
	ROW("freplace+", EXT, ATTACH_ANY, freplace),
	ROW("struct_ops+", STRUCT_OPS, ATTACH_ANY, struct_ops),
	ROW("struct_ops.s+", STRUCT_OPS, ATTACH_ANY, struct_ops),
	ROW("syscall", SYSCALL, ATTACH_ANY, syscall),
	/* user space */
	ROW("uprobe+", KPROBE, ATTACH_ANY, uprobe),
	ROW("uprobe.s+", KPROBE, ATTACH_ANY, uprobe),
	ROW("uretprobe+", KPROBE, ATTACH_ANY, uprobe),
	ROW("uretprobe.s+", KPROBE, ATTACH_ANY, uprobe),
#if LIBBPF_SINCE(3)
	ROW("uprobe.multi+", KPROBE, BPF_TRACE_UPROBE_MULTI, uprobe_multi),
	ROW("uprobe.multi.s+", KPROBE, BPF_TRACE_UPROBE_MULTI, uprobe_multi),
	ROW("uretprobe.multi+", KPROBE, BPF_TRACE_UPROBE_MULTI, uprobe_multi),
	ROW("uretprobe.multi.s+", KPROBE, BPF_TRACE_UPROBE_MULTI, uprobe_multi),
#endif
#if LIBBPF_SINCE(6)
	ROW("uprobe.session+", KPROBE, BPF_TRACE_UPROBE_SESSION, uprobe_multi),
	ROW("uprobe.session.s+", KPROBE, BPF_TRACE_UPROBE_SESSION, uprobe_multi),
#endif
	ROW("usdt+", KPROBE, ATTACH_ANY, usdt),
	ROW("usdt.s+", KPROBE, ATTACH_ANY, usdt),
	/* devices, traffic control, routes */
	ROW("xdp", XDP, BPF_XDP, xdp),
	ROW("xdp.frags", XDP, BPF_XDP, xdp),
	ROW("xdp/devmap", XDP, BPF_XDP_DEVMAP, devmap),
	ROW("xdp.frags/devmap", XDP, BPF_XDP_DEVMAP, devmap),
	ROW("xdp/cpumap", XDP, BPF_XDP_CPUMAP, cpumap),
	ROW("xdp.frags/cpumap", XDP, BPF_XDP_CPUMAP, cpumap),
	ROW("tc", SCHED_CLS, ATTACH_ANY, tc),
	ROW("classifier", SCHED_CLS, ATTACH_ANY, tc),
	ROW("action", SCHED_ACT, ATTACH_ANY, action),
#if LIBBPF_SINCE(3)
	ROW("tc/ingress", SCHED_CLS, BPF_TCX_INGRESS, tcx),
	ROW("tc/egress", SCHED_CLS, BPF_TCX_EGRESS, tcx),
	ROW("tcx/ingress", SCHED_CLS, BPF_TCX_INGRESS, tcx),
	ROW("tcx/egress", SCHED_CLS, BPF_TCX_EGRESS, tcx),
	ROW("netkit/primary", SCHED_CLS, BPF_NETKIT_PRIMARY, netkit),
	ROW("netkit/peer", SCHED_CLS, BPF_NETKIT_PEER, netkit),
	ROW("netfilter", NETFILTER, BPF_NETFILTER, netfilter),
#endif
	ROW("lwt_in", LWT_IN, ATTACH_ANY, lwt),
	ROW("lwt_out", LWT_OUT, ATTACH_ANY, lwt),
	ROW("lwt_xmit", LWT_XMIT, ATTACH_ANY, lwt),
	ROW("lwt_seg6local", LWT_SEG6LOCAL, ATTACH_ANY, seg6local),
	ROW("flow_dissector", FLOW_DISSECTOR, BPF_FLOW_DISSECTOR, netns),
	ROW("sk_lookup", SK_LOOKUP, BPF_SK_LOOKUP, netns),
	/* sockets */
	ROW("socket", SOCKET_FILTER, ATTACH_ANY, socket),
	ROW("sk_reuseport", SK_REUSEPORT, BPF_SK_REUSEPORT_SELECT, reuseport),
	ROW("sk_reuseport/migrate", SK_REUSEPORT, BPF_SK_REUSEPORT_SELECT_OR_MIGRATE, reuseport),
	ROW("sk_msg", SK_MSG, BPF_SK_MSG_VERDICT, sockmap),
	ROW("sk_skb", SK_SKB, ATTACH_ANY, sockmap),
	ROW("sk_skb/stream_parser", SK_SKB, BPF_SK_SKB_STREAM_PARSER, sockmap),
	ROW("sk_skb/stream_verdict", SK_SKB, BPF_SK_SKB_STREAM_VERDICT, sockmap),
	ROW("sk_skb/verdict", SK_SKB, BPF_SK_SKB_VERDICT, sockmap),
	/* cgroups */
	ROW("sockops", SOCK_OPS, BPF_CGROUP_SOCK_OPS, cgroup),
	ROW("cgroup/skb", CGROUP_SKB, ATTACH_ANY, cgroup),
	ROW("cgroup_skb/ingress", CGROUP_SKB, BPF_CGROUP_INET_INGRESS, cgroup),
	ROW("cgroup_skb/egress", CGROUP_SKB, BPF_CGROUP_INET_EGRESS, cgroup),
	ROW("cgroup/sock", CGROUP_SOCK, BPF_CGROUP_INET_SOCK_CREATE, cgroup),
	ROW("cgroup/sock_create", CGROUP_SOCK, BPF_CGROUP_INET_SOCK_CREATE, cgroup),
	ROW("cgroup/sock_release", CGROUP_SOCK, BPF_CGROUP_INET_SOCK_RELEASE, cgroup),
	ROW("cgroup/post_bind4", CGROUP_SOCK, BPF_CGROUP_INET4_POST_BIND, cgroup),
	ROW("cgroup/post_bind6", CGROUP_SOCK, BPF_CGROUP_INET6_POST_BIND, cgroup),
	ROW("cgroup/bind4", CGROUP_SOCK_ADDR, BPF_CGROUP_INET4_BIND, cgroup),
	ROW("cgroup/bind6", CGROUP_SOCK_ADDR, BPF_CGROUP_INET6_BIND, cgroup),
	ROW("cgroup/connect4", CGROUP_SOCK_ADDR, BPF_CGROUP_INET4_CONNECT, cgroup),
	ROW("cgroup/connect6", CGROUP_SOCK_ADDR, BPF_CGROUP_INET6_CONNECT, cgroup),
	ROW("cgroup/sendmsg4", CGROUP_SOCK_ADDR, BPF_CGROUP_UDP4_SENDMSG, cgroup),
	ROW("cgroup/sendmsg6", CGROUP_SOCK_ADDR, BPF_CGROUP_UDP6_SENDMSG, cgroup),
	ROW("cgroup/recvmsg4", CGROUP_SOCK_ADDR, BPF_CGROUP_UDP4_RECVMSG, cgroup),
	ROW("cgroup/recvmsg6", CGROUP_SOCK_ADDR, BPF_CGROUP_UDP6_RECVMSG, cgroup),
	ROW("cgroup/getpeername4", CGROUP_SOCK_ADDR, BPF_CGROUP_INET4_GETPEERNAME, cgroup),
	ROW("cgroup/getpeername6", CGROUP_SOCK_ADDR, BPF_CGROUP_INET6_GETPEERNAME, cgroup),
	ROW("cgroup/getsockname4", CGROUP_SOCK_ADDR, BPF_CGROUP_INET4_GETSOCKNAME, cgroup),
	ROW("cgroup/getsockname6", CGROUP_SOCK_ADDR, BPF_CGROUP_INET6_GETSOCKNAME, cgroup),
#if LIBBPF_SINCE(3)
	ROW("cgroup/connect_unix", CGROUP_SOCK_ADDR, BPF_CGROUP_UNIX_CONNECT, cgroup),
	ROW("cgroup/sendmsg_unix", CGROUP_SOCK_ADDR, BPF_CGROUP_UNIX_SENDMSG, cgroup),
	ROW("cgroup/recvmsg_unix", CGROUP_SOCK_ADDR, BPF_CGROUP_UNIX_RECVMSG, cgroup),
	ROW("cgroup/getpeername_unix", CGROUP_SOCK_ADDR, BPF_CGROUP_UNIX_GETPEERNAME, cgroup),
	ROW("cgroup/getsockname_unix", CGROUP_SOCK_ADDR, BPF_CGROUP_UNIX_GETSOCKNAME, cgroup),
#endif
	ROW("cgroup/sysctl", CGROUP_SYSCTL, BPF_CGROUP_SYSCTL, cgroup),
	ROW("cgroup/getsockopt", CGROUP_SOCKOPT, BPF_CGROUP_GETSOCKOPT, cgroup),
	ROW("cgroup/setsockopt", CGROUP_SOCKOPT, BPF_CGROUP_SETSOCKOPT, cgroup),
	ROW("cgroup/dev", CGROUP_DEVICE, BPF_CGROUP_DEVICE, cgroup),
	/* hardware */
	ROW("lirc_mode2", LIRC_MODE2, BPF_LIRC_MODE2, lirc),
};
const size_t attach_row_count = sizeof(attach_rows) / sizeof(*attach_rows);

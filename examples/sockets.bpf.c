/* Programs of sockets, of maps of sockets and of the network namespace, as Linux 5.10 has them. None has an auto-attach: a
 * loader has the socket. The sockmap is this object's own, so its programs are attached to it.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 4);
	__type(key, int);
	__type(value, int);
} peers SEC(".maps");

SEC("sk_reuseport")
int reuseport(struct sk_reuseport_md *ctx)
{
	return SK_PASS;
}

SEC("sk_msg")
int message(struct sk_msg_md *ctx)
{
	return bpf_msg_redirect_map(ctx, &peers, 0, 0);
}

SEC("sk_skb/stream_parser")
int parser(struct __sk_buff *ctx)
{
	return ctx->len;
}

SEC("sk_skb/stream_verdict")
int verdict(struct __sk_buff *ctx)
{
	return SK_PASS;
}

SEC("sk_skb")
int either(struct __sk_buff *ctx)
{
	return SK_PASS;
}

SEC("sk_lookup")
int lookup(struct bpf_sk_lookup *ctx)
{
	return SK_PASS;
}

SEC("flow_dissector")
int dissect(struct __sk_buff *ctx)
{
	return 0; /* BPF_OK */
}

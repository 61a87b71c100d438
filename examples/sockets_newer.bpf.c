/* Two later ways to attach: sk_skb/verdict (Linux 5.13) loads on older kernels and does not attach; sk_reuseport/migrate
 * (5.14) loads and attaches on older ones, which take it for one that does not migrate.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("sk_skb/verdict")
int verdict(struct __sk_buff *ctx)
{
	return SK_PASS;
}

SEC("sk_reuseport/migrate")
int migrate(struct sk_reuseport_md *ctx)
{
	return SK_PASS;
}

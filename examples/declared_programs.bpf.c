/* Programs as their application sets them up: a type and a way to attach that the section does not say, a function to
 * attach to, a function of another program to replace, one that is left out and one that is put in. bpfcompat.toml
 * declares all of it.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

SEC("filter")
int typed(struct __sk_buff *skb)
{
	return skb->len;
}

SEC("addresses")
int on_connect(struct bpf_sock_addr *ctx)
{
	return ctx->user_ip4 != 0;
}

SEC("fentry")
int BPF_PROG(chosen)
{
	return 0;
}

__attribute__((noinline)) int decide(struct __sk_buff *skb)
{
	return skb->len > 64;
}

SEC("socket")
int main_program(struct __sk_buff *skb)
{
	return decide(skb);
}

SEC("?freplace/decide")
int replaces(struct __sk_buff *skb)
{
	return 1;
}

/* a placeholder, as many a tool has it: the function is chosen when it is attached */
SEC("kprobe/placeholder")
int BPF_KPROBE(placed)
{
	return 0;
}

/* needs a function that no kernel has */
SEC("fentry/bpfcompat_nowhere")
int BPF_PROG(left_out)
{
	return 0;
}

/* A kfunc that no kernel has. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

extern int bpfcompat_never_a_kfunc(void *it) __ksym;

SEC("tc")
int calls(struct __sk_buff *skb)
{
	return bpfcompat_never_a_kfunc(skb);
}

/* Another kfunc that no kernel has. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

extern int bpfcompat_another_kfunc(int it) __ksym;

SEC("tc")
int calls(struct __sk_buff *skb)
{
	return bpfcompat_another_kfunc(1);
}

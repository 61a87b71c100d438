/* An address that no kernel has. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

extern const void bpfcompat_never_an_address __ksym;

SEC("tc")
int calls(struct __sk_buff *skb)
{
	return (long)&bpfcompat_never_an_address & 1;
}

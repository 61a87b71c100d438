/* More instructions than a user without capabilities may hand over. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("socket")
int count(struct __sk_buff *skb)
{
	asm volatile(".rept 4096\n r1 += 1\n .endr" ::: "r1");
	return 0;
}

/* A kfunc since Linux 6.17. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

extern int bpf_strnstr(const char *in, const char *what, __u64 size) __ksym;

SEC("tc")
int calls(struct __sk_buff *skb)
{
	return bpf_strnstr("a", "b", 1);
}

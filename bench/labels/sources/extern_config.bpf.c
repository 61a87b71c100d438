/* An option that no configuration has. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

extern int CONFIG_BPFCOMPAT_NEVER_AN_OPTION __kconfig;

SEC("tc")
int calls(struct __sk_buff *skb)
{
	return CONFIG_BPFCOMPAT_NEVER_AN_OPTION;
}

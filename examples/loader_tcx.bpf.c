/* Traffic control by links. The kernel has it; libbpf knows the section's name since 1.3, and an older one does not load
 * the object: with which libbpf does it pass?
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("tcx/ingress")
int pass_all(struct __sk_buff *skb)
{
	return -1; /* TCX_NEXT */
}

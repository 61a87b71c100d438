/* libbpf derives a program's type from its section's name, and this name says nothing. The application sets the
 * type itself; until we are told which, the answer is inconclusive (needs-declaration).
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("filter")
int keep_all(struct __sk_buff *skb)
{
	return skb->len;
}

/* A socket filter loads everywhere but is attached to a socket that only its application has. Loading is tested,
 * attaching is not: the verdict says so in a note.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("socket")
int keep_all(struct __sk_buff *skb)
{
	return skb->len;
}

/* Traffic control as before tcx: a filter on clsact, or an action. Debian's kernels have both as modules; without them a
 * filter is attached by a tcx link where there are such, and what is left is not attempted. Read the note.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("tc")
int filter(struct __sk_buff *skb)
{
	return 0; /* TC_ACT_OK */
}

SEC("classifier")
int classify(struct __sk_buff *skb)
{
	return 0;
}

SEC("action")
int act(struct __sk_buff *skb)
{
	return 0;
}

/* Traffic control by links: since Linux 6.6. Loading asks for a type that all kernels have; only attaching to an
 * interface, which is not attempted, would tell old from new. Read the note.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("tcx/ingress")
int pass_all(struct __sk_buff *skb)
{
	return -1; /* TCX_NEXT */
}

/* An XDP program needs an interface, which only its user can name. It loads everywhere; that attaching was not
 * attempted is a note, never a silent pass.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("xdp")
int pass_all(struct xdp_md *ctx)
{
	return XDP_PASS;
}

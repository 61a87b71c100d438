/* A program type of Linux 6.4: older kernels refuse it without a word, EINVAL and an empty verifier log (prog-
 * type-missing).
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("netfilter")
int accept_all(struct bpf_nf_ctx *ctx)
{
	return 1; /* NF_ACCEPT */
}

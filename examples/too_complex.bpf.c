/* Every round of the loop branches on something the verifier cannot know, so the paths to remember pile up until
 * it gives up (verifier-too-complex). The limit is the verifier's patience, not a mistake in the program.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("xdp")
int wander(struct xdp_md *ctx)
{
	__u64 steps = 0;

	for (int i = 0; i < 20000; i++) {
		if (bpf_get_prandom_u32() & 1)
			asm volatile("%0 += 1" : "+r"(steps));
	}
	return steps & 1;
}

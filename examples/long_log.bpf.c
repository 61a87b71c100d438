/* Loads everywhere, and the verifier's log of it is larger than a loader's usual buffer: who asks for the log while
 * loading, into one that is too small, gets ENOSPC and takes it for a refusal.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("socket")
int walk(void *ctx)
{
	__u32 sum = 0;

	for (int i = 0; i < 4000; i++)
		sum += bpf_get_prandom_u32() ^ i;
	return sum;
}

/* Four programs, one of which the verifier refuses. libbpf stops at the first refusal, so the object as a whole
 * does not load; each program is asked alone as well, so that one refusal hides no neighbour.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("tracepoint/sched/sched_process_exec")
int on_exec(void *ctx)
{
	return 0;
}

SEC("raw_tracepoint/sched_switch")
int on_switch(void *ctx)
{
	return 0;
}

SEC("xdp")
int read_blindly(struct xdp_md *ctx)
{
	unsigned char *packet = (void *)(long)ctx->data;

	return packet[0] ? XDP_PASS : XDP_DROP;
}

SEC("tracepoint/sched/sched_process_exit")
int on_exit(void *ctx)
{
	return 0;
}

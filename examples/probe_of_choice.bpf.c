/* A tracepoint that only its loader names. Any other would be another context, so attaching it is not attempted. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("tracepoint")
int any(void *ctx)
{
	return 0;
}

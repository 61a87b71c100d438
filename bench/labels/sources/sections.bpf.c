/* A section whose name has no type for any libbpf. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("bpfcompat_of_ours")
int typeless(void *ctx)
{
	return 0;
}

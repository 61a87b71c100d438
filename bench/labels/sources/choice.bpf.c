/* Programs whose application chooses the function. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("fentry")
int targetless(void *ctx)
{
	return 0;
}

SEC("freplace/of_whom")
int replaces(void *ctx)
{
	return 0;
}

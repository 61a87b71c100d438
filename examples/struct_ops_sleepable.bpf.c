/* Operations of a kernel's struct whose program may sleep. bpf_dummy_ops is there to be tested with: it can be run and
 * not registered, and only one of its members may sleep.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("struct_ops.s/test_sleepable")
int on_test(unsigned long long *ctx)
{
	return 0;
}

SEC(".struct_ops")
struct bpf_dummy_ops dummy = {
	.test_sleepable = (void *)on_test,
};

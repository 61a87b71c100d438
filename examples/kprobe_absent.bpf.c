/* A kprobe on a function that no kernel has. The name is looked up while attaching, so the object loads and then
 * does not attach: a tool that only loads would say all is well (attach-target-missing).
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("kprobe/bpfcompat_no_such_function")
int never(void *ctx)
{
	return 0;
}

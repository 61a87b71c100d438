/* A value of the kernel's own configuration, filled in while loading. libbpf reads /boot/config-RELEASE, since
 * Debian's kernels carry no /proc/config.gz: a guest without that file would refuse every such object.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

extern int CONFIG_HZ __kconfig;
extern int LINUX_KERNEL_VERSION __kconfig;

__u64 nanoseconds;

SEC("tracepoint/sched/sched_process_exec")
int on_exec(void *ctx)
{
	if (LINUX_KERNEL_VERSION > KERNEL_VERSION(5, 0, 0))
		nanoseconds = 1000000000ULL / CONFIG_HZ;
	return 0;
}

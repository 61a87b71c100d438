/* A scheduler in BPF (sched_ext), the least there is: every task goes to the kernel's own queue. Registering it puts all
 * ordinary tasks under it; `init` may sleep. Since Linux 6.12, where CONFIG_SCHED_CLASS_EXT is set: among Debian's kernels
 * the cloud ones since 6.16.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

/* What of the kernel's struct is used; libbpf finds the members by their names. */
struct sched_ext_ops {
	s32 (*init)(void);
	void (*running)(struct task_struct *task);
	char name[128];
};

u64 inited, ran;

SEC("struct_ops.s/init")
s32 BPF_PROG(on_init)
{
	inited++;
	return 0;
}

SEC("struct_ops/running")
void BPF_PROG(on_running, struct task_struct *task)
{
	ran++;
}

SEC(".struct_ops.link")
struct sched_ext_ops scheduler = {
	.init = (void *)on_init,
	.running = (void *)on_running,
	.name = "bpfcompat",
};

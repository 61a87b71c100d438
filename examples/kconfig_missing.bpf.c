/* A value that no kernel's configuration has, asked for without __weak: libbpf cannot fill it in and gives up
 * before the kernel sees anything (extern-unresolved).
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

extern int CONFIG_BPFCOMPAT_NO_SUCH_OPTION __kconfig;

int value;

SEC("tracepoint/sched/sched_process_exec")
int on_exec(void *ctx)
{
	value = CONFIG_BPFCOMPAT_NO_SUCH_OPTION;
	return 0;
}

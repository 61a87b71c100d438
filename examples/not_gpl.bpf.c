/* Some helpers are for programs under a GPL-compatible licence only (licence-refused). The licence is what the
 * object says of itself.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Proprietary";

SEC("tracepoint/sched/sched_process_exec")
int on_exec(void *ctx)
{
	bpf_printk("exec");
	return 0;
}

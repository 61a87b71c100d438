/* A helper that takes a function, since Linux 5.17. A kernel before 5.13 knows no pointers to functions at all and
 * gives up before it comes to the call, in words that name no helper; the verdict still does (helper-missing).
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

static int add(__u32 index, __u64 *sum)
{
	*sum += index;
	return 0;
}

SEC("tracepoint/sched/sched_process_exec")
int on_exec(void *ctx)
{
	__u64 sum = 0;

	bpf_loop(100, add, &sum, 0);
	return sum & 1;
}

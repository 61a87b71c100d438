/* A helper that writes into a process's memory. A kernel under lockdown, even in its milder mode (integrity), takes
 * it away: the program loads on a plain debian-12 and not on debian-12-lockdown (locked-down).
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("tracepoint/sched/sched_process_exec")
int on_exec(void *ctx)
{
	int zero = 0;

	bpf_probe_write_user((void *)0, &zero, sizeof(zero));
	return 0;
}

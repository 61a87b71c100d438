/* Burns 40 s in one run of a program, then lets the kernel go on: a probe that passes beside a splat.
 *
 * Measured on 6.1, 6.12 and 7.3: attached, the report complete after 43 s, and "watchdog: BUG: soft lockup - CPU#0
 * stuck for 22s!" (or 26s).  5.10 says "rcu: INFO: rcu_sched detected stalls on CPUs/tasks" instead, or the soft
 * lockup when the program is a raw tracepoint.  As a raw tracepoint of sys_enter 7.3 says nothing at all.
 *
 * A kprobe handler runs with preemption off.  The watchdog speaks after 20 s (2 * watchdog_thresh), RCU after 21 s
 * (CONFIG_RCU_CPU_STALL_TIMEOUT).  For the loop see nest.h.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

#define BURN_NS (40ULL * 1000 * 1000 * 1000)

volatile __u64 until;

__attribute__((noinline)) int innermost(int seed)
{
	return bpf_ktime_get_ns() > until;
}

#include "nest.h"

SEC("kprobe/__x64_sys_ioctl")
int on_ioctl(void *ctx)
{
	if (until)
		return 0;
	until = bpf_ktime_get_ns() + BURN_NS;
	return spin(0) & 0;
}

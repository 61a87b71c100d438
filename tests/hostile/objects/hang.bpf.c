/* Hangs the kernel: when the probe detaches, the only CPU never comes back from the program.
 *
 * Measured on 5.10, 6.1, 6.12 and 7.3: silence after the load frame.  5.10, 6.1 and 6.12 say "watchdog: BUG: soft
 * lockup" some 22 s later; 7.3 says nothing for 45 s, although the same watchdog speaks when the
 * loop ends (splat_lockup.bpf.c): it seems that its console is written by a thread, which does not get to run.
 *
 * A kprobe handler runs with preemption off, and libbpf's detaching is an ioctl (PERF_EVENT_IOC_DISABLE).  Why the
 * verifier lets it pass: see nest.h.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

volatile __u64 turns;

__attribute__((noinline)) int innermost(int seed)
{
	turns += seed;
	return 0;
}

#include "nest.h"

SEC("kprobe/__x64_sys_ioctl")
int on_ioctl(void *ctx)
{
	return spin(0) & 0;
}

/* Hangs the process that asks, in the kernel; what else depends on the kernel.
 *
 * Measured on 5.10, 6.1 and 6.12: as hang.bpf.c, soft lockup after some 22 s.  On 7.3 the console stays
 * silent for 90 s.
 * Whether init runs on meanwhile is for its heartbeat to say: no validator without one can tell (see
 * docs/deaths.md).  A signal does not end it: the program never returns to where signals are looked at.
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

SEC("raw_tracepoint/sys_enter")
int on_syscall(void *ctx)
{
	return spin(0) & 0;
}

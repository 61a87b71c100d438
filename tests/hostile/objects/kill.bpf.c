/* Kills the process that asks (SIGKILL), by bpf_send_signal(): Linux commit 8b401f9ed244 (in v5.3).
 *
 * Measured on 5.10, 6.1, 6.12 and 7.3: the report has a `died` frame, signal 9, and the guest goes on.  The helper
 * refuses to signal init.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("raw_tracepoint/sys_enter")
int on_syscall(void *ctx)
{
	bpf_send_signal(9);
	return 0;
}

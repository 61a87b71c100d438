/* A trampoline at a function's entry, cheaper than a kprobe and with typed arguments. vfs_unlink() is in every
 * kernel here; its arguments are not the same in each, so this program reads none.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

int calls;

SEC("fentry/vfs_unlink")
int on_unlink(void *ctx)
{
	__sync_fetch_and_add(&calls, 1);
	return 0;
}

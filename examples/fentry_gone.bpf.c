/* The function that many a tutorial traces. do_unlinkat() was an internal of the kernel, and 7.3 has it no more
 * (nor need any kernel have it): the target is looked up in BTF while loading, so the object does not even load
 * there (attach-target-missing).
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

int calls;

SEC("fentry/do_unlinkat")
int on_unlink(void *ctx)
{
	__sync_fetch_and_add(&calls, 1);
	return 0;
}

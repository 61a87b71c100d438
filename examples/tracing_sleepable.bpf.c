/* Trampolines whose programs may sleep. A kernel allows them on functions that may sleep themselves and that error
 * injection may touch: system calls, where CONFIG_FUNCTION_ERROR_INJECTION is set. Debian set it after 6.12.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

int calls;

SEC("fentry.s/__x64_sys_nanosleep")
int on_sleep(void *ctx)
{
	__sync_fetch_and_add(&calls, 1);
	return 0;
}

SEC("fexit.s/__x64_sys_nanosleep")
int slept(void *ctx)
{
	__sync_fetch_and_add(&calls, 1);
	return 0;
}

SEC("fmod_ret.s/__x64_sys_nanosleep")
int may_sleep(void *ctx)
{
	return 0;
}

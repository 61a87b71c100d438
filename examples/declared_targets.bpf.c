/* Sections that name nothing to attach to: their loader does, when it attaches. bpfcompat.toml declares what it names, and
 * a behaviour test sees each of them run there. Linux 5.10 and Debian 12's 6.1 have no kprobe.multi.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

int execs, raw_execs, calls, returns, functions;

SEC("tp")
int on_tracepoint(void *ctx)
{
	__sync_fetch_and_add(&execs, 1);
	return 0;
}

SEC("raw_tp")
int on_raw_tracepoint(void *ctx)
{
	__sync_fetch_and_add(&raw_execs, 1);
	return 0;
}

SEC("ksyscall")
int on_call(void *ctx)
{
	__sync_fetch_and_add(&calls, 1);
	return 0;
}

SEC("kretsyscall")
int on_return(void *ctx)
{
	__sync_fetch_and_add(&returns, 1);
	return 0;
}

SEC("kprobe.multi")
int on_functions(void *ctx)
{
	__sync_fetch_and_add(&functions, 1);
	return 0;
}

/* A BPF LSM program. Debian 11's 5.10 has BPF LSM compiled in but not in its list of active LSMs: the program
 * loads, attaches and is never called. The verdict is compatible with a loud note.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

SEC("lsm/file_open")
int BPF_PROG(on_open, struct file *file)
{
	return 0;
}

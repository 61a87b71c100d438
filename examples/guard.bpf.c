/* Loads and attaches everywhere, and guards nothing where bpf is not among the active LSMs (5.10 as Debian starts it): only
 * a behaviour test tells the two apart.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define EPERM 1

char LICENSE[] SEC("license") = "GPL";

SEC("lsm/path_mkdir")
int BPF_PROG(no_folder, const struct path *dir, struct dentry *dentry, umode_t mode)
{
	static const char forbidden[] = "forbidden";
	char name[sizeof(forbidden)];

	bpf_probe_read_kernel_str(name, sizeof(name), dentry->d_name.name);
	for (unsigned int i = 0; i < sizeof(forbidden); i++) {
		if (name[i] != forbidden[i])
			return 0;
		/* else clang computes the errno, and Linux 6.12 wants to see that it is one */
		asm volatile("" ::: "memory");
	}
	return -EPERM;
}

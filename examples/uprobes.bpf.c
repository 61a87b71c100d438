/* Probes of user space. A section that names no file is attached to the guest's own program; one that names a file which
 * the guest does not have says nothing about the kernel, and is not attempted.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <linux/errno.h>
#include <bpf/usdt.bpf.h>

char LICENSE[] SEC("license") = "GPL";

#define PROBE(section, name)	\
	SEC(section)		\
	int name(struct pt_regs *ctx) \
	{			\
		return 0;	\
	}

PROBE("uprobe", entry)
PROBE("uretprobe", ret)
PROBE("uprobe/readline", named_without_a_file)
PROBE("uprobe//tmp/target:target_function", named)
PROBE("uprobe//usr/bin/bash:readline", elsewhere)
PROBE("usdt", on_usdt)
PROBE("usdt//tmp/target:bpfcompat:target", on_usdt_named)

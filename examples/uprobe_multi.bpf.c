/* Many functions of user space by one link: since Linux 6.6. The type of program is old; attaching tells old from new. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

#define PROBE(section, name)	\
	SEC(section)		\
	int name(struct pt_regs *ctx) \
	{			\
		return 0;	\
	}

PROBE("uprobe.multi", entry)
PROBE("uretprobe.multi", ret)
PROBE("uprobe.multi//tmp/target:target_*", named)

/* Functions and tracepoints of the kernel, in every spelling that Linux 5.10 takes; and sections that name no function, whose
 * loader chooses one.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

#define PROBE(section, name)	\
	SEC(section)		\
	int name(void *ctx)	\
	{			\
		return 0;	\
	}

PROBE("kprobe/vfs_read", kprobe)
PROBE("kretprobe/vfs_read", kretprobe)
PROBE("kprobe", kprobe_of_choice)
PROBE("kretprobe", kretprobe_of_choice)
PROBE("ksyscall/unlink", ksyscall)
PROBE("kretsyscall/unlink", kretsyscall)
PROBE("ksyscall", ksyscall_of_choice)
PROBE("tracepoint/sched/sched_switch", tracepoint)
PROBE("tp/sched/sched_switch", tp)
PROBE("raw_tracepoint/sched_switch", raw_tracepoint)
PROBE("raw_tp/sched_switch", raw_tp)
PROBE("raw_tracepoint.w/bpf_test_finish", raw_tracepoint_w)
PROBE("raw_tp.w/bpf_test_finish", raw_tp_w)
PROBE("tp_btf/sched_switch", tp_btf)
PROBE("fentry/vfs_read", fentry)
PROBE("fexit/vfs_read", fexit)
PROBE("fmod_ret/security_file_open", fmod_ret)
PROBE("perf_event", perf_event)

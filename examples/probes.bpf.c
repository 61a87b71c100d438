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

PROBE("kprobe/vfs_read", on_kprobe)
PROBE("kretprobe/vfs_read", on_kretprobe)
PROBE("kprobe", on_kprobe_of_choice)
PROBE("kretprobe", on_kretprobe_of_choice)
PROBE("ksyscall/unlink", on_ksyscall)
PROBE("kretsyscall/unlink", on_kretsyscall)
PROBE("ksyscall", on_ksyscall_of_choice)
PROBE("tracepoint/sched/sched_switch", on_tracepoint)
PROBE("tp/sched/sched_switch", on_tp)
PROBE("raw_tracepoint/sched_switch", on_raw_tracepoint)
PROBE("raw_tp/sched_switch", on_raw_tp)
PROBE("raw_tracepoint.w/bpf_test_finish", on_raw_tracepoint_w)
PROBE("raw_tp.w/bpf_test_finish", on_raw_tp_w)
PROBE("tp_btf/sched_switch", on_tp_btf)
PROBE("fentry/vfs_read", on_fentry)
PROBE("fexit/vfs_read", on_fexit)
PROBE("fmod_ret/security_file_open", on_fmod_ret)
PROBE("perf_event", on_perf_event)

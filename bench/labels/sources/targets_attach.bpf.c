/* Targets that are in no kernel, may not be probed, or do not sleep. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

#define AT(NAME, SECTION) SEC(SECTION) int NAME(void *ctx) { return 0; }

AT(kprobe_never, "kprobe/bpfcompat_never_a_function")
AT(kretprobe_never, "kretprobe/bpfcompat_never_a_function")
AT(tracepoint_never, "tracepoint/sched/bpfcompat_never_an_event")
AT(tracepoint_group, "tracepoint/bpfcompat_never/an_event")
AT(raw_never, "raw_tracepoint/bpfcompat_never_an_event")
AT(kprobe_blacklisted, "kprobe/notify_die")
AT(kretprobe_blacklisted, "kretprobe/kprobe_dispatcher")
AT(kprobe_int3, "kprobe/exc_int3")

/* Targets that are in no kernel, may not be probed, or do not sleep. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

#define AT(NAME, SECTION) SEC(SECTION) int NAME(void *ctx) { return 0; }

AT(fentry_never, "fentry/bpfcompat_never_a_function")
AT(fexit_never, "fexit/bpfcompat_never_a_function")
AT(modify_never, "fmod_ret/bpfcompat_never_a_function")
AT(lsm_never, "lsm/bpfcompat_never_a_hook")
AT(btf_never, "tp_btf/bpfcompat_never_an_event")
AT(iter_never, "iter/bpfcompat_never_a_kind")
AT(sleepless, "lsm.s/task_free")

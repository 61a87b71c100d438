"""Objects of many programs and maps, as C: written here, compiled as any object of a project is."""

HEAD = """#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
char LICENSE[] SEC("license") = "GPL";
"""
HOOKS = (
    "tracepoint/sched/sched_process_exec", "raw_tracepoint/sched_switch", "kprobe/do_sys_openat2", "xdp", "socket",
    "tracepoint/syscalls/sys_enter_execve",
)  # fmt: skip


def a_map(name: str, kind: str = "HASH", entries: int = 16, more: str = "") -> str:
    """A map of 4-byte keys and 8-byte values."""
    return (
        f"struct {{ __uint(type, BPF_MAP_TYPE_{kind}); __uint(max_entries, {entries}); __type(key, __u32);"
        f' __type(value, __u64); {more} }} {name} SEC(".maps");\n'
    )


def program(name: str, section: str, use: str) -> str:
    """A program that counts in the map `use`; one that traces also follows a pointer of the kernel (CO-RE)."""
    key = "BPF_CORE_READ((struct task_struct *)bpf_get_current_task(), real_parent, tgid)"
    key = "1" if section in ("xdp", "socket") else key
    return (
        f'SEC("{section}") int {name}(void *ctx) {{ __u32 key = {key}; __u64 one = 1, *found;\n'
        f" found = bpf_map_lookup_elem(&{use}, &key);\n"
        f" if (found) __sync_fetch_and_add(found, 1); else bpf_map_update_elem(&{use}, &key, &one, BPF_ANY);\n"
        " return 0; }\n"
    )


def many(programs: int, maps: int, hooks: tuple[str, ...] = HOOKS) -> str:
    """An object of this many programs and maps; each map is used."""
    made = [a_map(f"map_{n}") for n in range(maps)]
    made += [program(f"program_{n}", hooks[n % len(hooks)], f"map_{n % maps}") for n in range(programs)]
    return HEAD + "".join(made)

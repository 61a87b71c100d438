"""What to change, best first: a table over a cause and what is known around it.

A row is a condition and a text; the rows that hold are the proposals, in the table's order.  A row that costs the user
nothing on newer kernels (a guard, a flavour) stands before one that gives something up, and that before one that asks
for another kernel.  Pure.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bpfcompat.btfindex import essential
from bpfcompat.nearby import Near

MOST = 5


@dataclass(frozen=True, slots=True)
class Ground:
    """What a proposal may lean on; "" or None where it is not known.

    `section` is without its leading `?`.  `since` is the first upstream release with what is missing; `option` what
    switches it off in this kernel; `home` the module that has the kfunc; `said` the kernel's own suggestion, `reason`
    its deciding line.
    """

    slug: str
    program: str = ""
    section: str = ""
    type: str = ""
    map: str = ""
    map_type: str = ""
    helper: str = ""
    kfunc: str = ""
    spec: str = ""
    kind: str = ""
    target: str = ""
    near: Near | None = None
    closest: tuple[str, ...] = ()
    since: str = ""
    option: str = ""
    home: str = ""
    said: str = ""
    reason: str = ""
    hint: str = ""

    @property
    def family(self) -> str:
        """`fentry` of `fentry/do_unlinkat`."""
        return self.section.partition("/")[0]

    @property
    def record(self) -> tuple[str, str]:
        """Type and the rest of a specification: `struct task_struct___old`, `state`."""
        head, _, rest = self.spec.partition("::" if "::" in self.spec else ".")
        return head, rest.partition(" = ")[0]


@dataclass(frozen=True, slots=True)
class Fix:
    """A row: for which causes (a prefix that ends in `-` takes all that begin so), when, and what to say."""

    slugs: tuple[str, ...]
    applies: Callable[[Ground], bool]
    text: Callable[[Ground], str]


def fixes(ground: Ground) -> tuple[str, ...]:
    """The proposals for a cause, best first; the verdict's own hint where the table has none."""
    found = [row.text(ground) for row in FIXES if _meant(row, ground.slug) and row.applies(ground)]
    return tuple(dict.fromkeys(found))[:MOST] or ((ground.hint,) if ground.hint else ())


def _meant(row: Fix, slug: str) -> bool:
    return any(slug == s or (s.endswith("-") and slug.startswith(s)) for s in row.slugs)


def _always(_: Ground) -> bool:
    return True


def _flavour(g: Ground) -> str:
    head, name = g.record
    new, what = (g.near.renamed if g.near else ""), essential(head)
    return (
        f"this kernel likely calls it '{new}': declare `{what}___new {{ … {new}; }} "
        f"__attribute__((preserve_access_index));` and choose with "
        f"`bpf_core_field_exists((({what}___new *)0)->{new})`"
        if name
        else f"this kernel likely calls it '{new}': declare a flavour of it too, and choose with bpf_core_type_exists()"
    )


def _guarded_field(g: Ground) -> str:
    head, name = g.record
    return f"guard the access: `if (bpf_core_field_exists((({head} *)0)->{name}))`, and do without it elsewhere"


def _guarded_type(g: Ground) -> str:
    return f"guard it: `if (bpf_core_type_exists({g.record[0]}))`, and do without it elsewhere"


def _guarded_value(g: Ground) -> str:
    head, name = g.record
    return f"guard it: `if (bpf_core_enum_value_exists({head}, {name}))`, and do without it elsewhere"


def _autoload_off(g: Ground) -> str:
    plain = g.since and not g.option and "(" not in g.since  # switched off, or nobody knows when it came
    below = f" on kernels before {g.since}" if plain else " where it does not work"
    return f'turn the program off{below}: `SEC("?{g.section}")`, and bpf_program__set_autoload() where it works'


def _is_struct_ops(g: Ground) -> bool:
    """The autoload of such programs follows the maps that call them: bpf_object_adjust_struct_ops_autoload()."""
    return g.family.partition(".")[0] == "struct_ops"


def _is_field(g: Ground) -> bool:
    return "." in g.spec and "::" not in g.spec


def _worded(words: str) -> Callable[[Ground], bool]:
    return lambda g: re.match(words, g.reason) is not None


_CORE, _TARGET, _KFUNC = ("core-relocation-unresolved",), ("attach-target-missing",), ("kfunc-missing",)
_ATTACH = ("attach-type-missing", "config-disabled")
_OPTIONAL = (
    "prog-type-missing", "attach-type-missing", "config-disabled", "helper-missing", "attach-target-missing",
    "kfunc-missing", "helper-not-allowed",
)  # fmt: skip

FIXES: Sequence[Fix] = (
    Fix(("verifier-",), lambda g: bool(g.said), lambda g: f"the verifier's own suggestion: {g.said}"),
    Fix(_CORE, lambda g: g.near is not None and bool(g.near.renamed), _flavour),
    Fix(_CORE, _is_field, _guarded_field),
    Fix(_CORE, lambda g: "::" in g.spec, _guarded_value),
    Fix(_CORE, lambda g: bool(g.spec) and not _is_field(g) and "::" not in g.spec, _guarded_type),
    Fix(
        ("helper-missing",),
        lambda g: g.helper == "bpf_loop",
        lambda g: "use a bounded loop instead of bpf_loop() on such kernels, from 5.3 on: "
        "`for (i = 0; i < CONSTANT; i++)`",
    ),
    Fix(
        ("helper-missing",),
        lambda g: g.helper.startswith("bpf_ringbuf_"),
        lambda g: "send events with bpf_perf_event_output() and a perf event array on such kernels",
    ),
    Fix(
        ("helper-missing",),
        lambda g: g.helper.startswith("bpf_"),
        lambda g: f"guard the call: `if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_{g.helper[4:]}))`",
    ),
    Fix(
        _KFUNC,
        lambda g: bool(g.home),
        lambda g: f'load module {g.home}; here: `modules = ["{g.home}"]` in the object\'s table',
    ),
    Fix(
        _KFUNC,
        lambda g: bool(g.closest),
        lambda g: f"it may have been renamed: this kernel has {', '.join(g.closest[:3])}; declare both names __weak",
    ),
    Fix(
        _KFUNC,
        lambda g: bool(g.kfunc),
        lambda g: f"declare it weak, `extern … {g.kfunc}(…) __ksym __weak;`, "
        f"and call it only `if (bpf_ksym_exists({g.kfunc}))`",
    ),
    Fix(
        ("map-type-missing",),
        lambda g: g.map_type == "ringbuf",
        lambda g: "use a perf event array (BPF_MAP_TYPE_PERF_EVENT_ARRAY) instead of the ring buffer on such kernels",
    ),
    Fix(
        ("map-type-missing",),
        lambda g: g.map_type in ("task_storage", "inode_storage", "cgrp_storage", "sk_storage"),
        lambda g: "keep the values in a hash map by pid, inode or cgroup id on such kernels, "
        "and delete them when it ends",
    ),
    Fix(
        ("map-type-missing", "map-create-failed"),
        lambda g: bool(g.map),
        lambda g: f"do not create the map on such kernels: `bpf_map__set_autocreate(skel->maps.{g.map}, false)`, "
        "with the programs that use it off",
    ),
    Fix(
        _TARGET,
        lambda g: bool(g.closest),
        lambda g: f"a compiler may have renamed or split it: this kernel has {', '.join(g.closest[:3])}",
    ),
    Fix(
        (*_TARGET, "prog-type-missing"),
        lambda g: g.family in ("fentry", "fexit", "fentry.s", "fexit.s", "fmod_ret"),
        lambda g: "fall back to a kprobe or kretprobe, which needs no BTF id; one that is inlined has neither: "
        "take its caller",
    ),
    Fix(
        _TARGET,
        lambda g: g.family in ("tracepoint", "tp", "tp_btf", "raw_tp", "raw_tracepoint"),
        lambda g: "see which tracepoints there are in /sys/kernel/tracing/events; "
        "older kernels may need a kprobe instead",
    ),
    Fix(
        _ATTACH,
        lambda g: g.family.startswith(("kprobe.", "kretprobe.")),
        lambda g: "attach a plain kprobe to each function on such kernels",
    ),
    Fix(
        _ATTACH,
        lambda g: g.family.startswith(("uprobe.", "uretprobe.")),
        lambda g: "attach a plain uprobe at each place on such kernels",
    ),
    Fix(
        _ATTACH,
        lambda g: g.family in ("tcx", "tc", "netkit"),
        lambda g: "attach to a clsact qdisc (bpf_tc_attach) on such kernels",
    ),
    Fix(
        _OPTIONAL,
        _is_struct_ops,
        lambda g: 'make the map optional that calls the program, `SEC("?.struct_ops.link")`, and '
        "bpf_map__set_autocreate() where it works: libbpf loads no program that only such maps call",
    ),
    Fix(
        (*_TARGET, "helper-missing", "kfunc-missing", "helper-not-allowed"),
        lambda g: _is_struct_ops(g) and not g.option,
        lambda g: "where the kernel has the struct, and only not this member: set the member to NULL before loading"
        if g.slug in _TARGET
        else "or leave only this program out: set its member of the map to NULL before loading",
    ),
    Fix(
        ("map-type-missing", "prog-type-missing", "attach-type-missing", "config-disabled", "kernel-btf-absent",
         "attach-target-missing"),
        lambda g: bool(g.option),
        lambda g: f"use a kernel with {g.option}=y: this one was built without",
    ),
    Fix(
        _OPTIONAL,
        lambda g: bool(g.section) and not _is_struct_ops(g),
        _autoload_off,
    ),
    Fix(
        ("lsm-inactive",),
        _always,
        lambda g: "start the kernel with bpf at the end of its list of security modules: `lsm=…,bpf` with those of "
        "/sys/kernel/security/lsm, or CONFIG_LSM",
    ),
    Fix(
        ("lsm-inactive",),
        _always,
        lambda g: "let the application look for bpf in /sys/kernel/security/lsm, and say so where it is not: "
        "attaching succeeds all the same",
    ),
    Fix(
        ("verifier-type",),
        _worded(r"access beyond (struct|the end)|(struct|union) [^\s']{1,128} doesn't have field at offset \d"),
        lambda g: "an offset is compiled in that this kernel's structure does not have: read the field by CO-RE, "
        "`BPF_CORE_READ()`, or with `__attribute__((preserve_access_index))` on the structure",
    ),
    Fix(
        ("verifier-rejected",),
        _worded(r"[a-z ]{1,40} cannot use bpf_spin_lock yet"),
        lambda g: "use an atomic, such as `__sync_fetch_and_add()`, or a per-CPU map in this type of program, which "
        "may not take a bpf_spin_lock here",
    ),
    Fix(
        ("verifier-sleepable",),
        lambda g: g.family == "fmod_ret.s",
        lambda g: 'take fentry or fexit, without ".s": fmod_ret too is only for functions that this kernel marks for '
        "error injection, and for security_ hooks",
    ),
    Fix(
        ("verifier-sleepable",),
        lambda g: g.family.startswith(("uprobe.", "uretprobe.")) and g.family not in ("uprobe.s", "uretprobe.s"),
        lambda g: 'attach a plain uprobe at each place, without ".s", where the kernel lacks this way to attach too',
    ),
    Fix(("verifier-sleepable",), lambda g: not g.said and g.family != "fmod_ret.s" and bool(g.hint), lambda g: g.hint),
    Fix(
        ("verifier-rejected",),
        _worded(r"[^\s']{1,128} is not modifiable"),
        lambda g: "take fentry or fexit, which only look; fmod_ret is for functions that this kernel marks for error "
        "injection, and for security_ hooks",
    ),
    Fix(
        ("verifier-sleepable", "verifier-rejected"),
        lambda g: bool(g.option),
        lambda g: f"use a kernel with {g.option}=y, where the function is marked for error injection as system calls "
        "are: this one was built without",
    ),
    Fix(("verifier-bounds",), lambda g: not g.said and bool(g.hint), lambda g: g.hint),
    Fix(
        ("verifier-bounds",),
        lambda g: not g.said,
        lambda g: "read the log from the source line above the reason; a check the compiler moved away is kept by "
        "`barrier_var()` or a bounded mask (`x &= MASK`) right before the access",
    ),
    Fix(
        ("verifier-rejected",),
        lambda g: not g.said,
        lambda g: "read the log from the source line above the reason",
    ),
)  # fmt: skip

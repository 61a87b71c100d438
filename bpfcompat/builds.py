"""What one exact build of Linux has, read from its own files: no boot, no table of versions.

Enums of its BTF say which helpers, types and commands it was compiled with; tags of its BTF and the sets of its
`.BTF_ids` say which kernel functions BPF programs may call; its configuration says what was switched off.  What a
distribution took back from a newer Linux is there like anything else.  Pure and bounded: bytes in, values out.

Sources: include/uapi/linux/bpf.h, include/linux/btf_ids.h, include/linux/btf.h, include/linux/bpf_types.h.
"""

import json
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from bpfcompat.btf import check_header
from bpfcompat.btftypes import Kind, Type, Types
from bpfcompat.digest import canonical
from bpfcompat.errors import KernelError, ObjectError

MAX_BTF = 64 << 20  # Debian's largest has some 8 MiB
MAX_IDS = 256 << 10  # bytes of .BTF_ids, which has some 20 KiB
MAX_SET = 512  # functions in one set; the largest has some 150
MAX_NAMES = 1 << 18  # enumerators that are looked at; a kernel has some 15,000
MAX_OPTIONS = 1 << 16

# The kinds that a Build maps from names to numbers, and the enum of the uapi header that has them.
ENUMS = {
    "helpers": "bpf_func_id",
    "program_types": "bpf_prog_type",
    "map_types": "bpf_map_type",
    "attach_types": "bpf_attach_type",
    "link_types": "bpf_link_type",
    "commands": "bpf_cmd",
}
# No names of anything: ends of enums, and the zero that means nothing.
_NO_NAME = re.compile(r"_*MAX_|__|.*_UNSPEC$|.*_unspec$")
_HELPER = "BPF_FUNC_"
_FLAG = "BPF_F_"

# Bits of a function in a set, include/linux/btf.h.  KPTR_GET was in 6.0 to 6.3, TRUSTED_ARGS until 6.19.
KFUNC_FLAGS = (
    "acquire", "release", "ret_null", "kptr_get", "trusted_args", "sleepable", "destructive", "rcu", "iter_new",
    "iter_next", "iter_destroy", "rcu_protected", "fastcall", "arena_ret", "arena_arg1", "arena_arg2", "implicit_args",
    "spinlock_safe", "perfmon",
)  # fmt: skip
_SET_OF_KFUNCS = 1  # BTF_SET8_KFUNCS, commit 6f3189f38a3e ("bpf: treewide: Annotate BPF kfuncs in BTF") (in v6.9)
_OLD_BITS, _NEW_BITS = 12, 24  # a wider word is no word of flags
# Functions whose result a program may modify stand in sets of the same shape, even in marked ones.
_NO_KFUNCS = frozenset((
    "bpf_modify_return_test", "bpf_modify_return_test2", "bpf_modify_return_test_tp", "bpf_fentry_test1",
    "bpf_rstat_flush", "update_socket_protocol", "hid_bpf_device_event", "hid_bpf_rdesc_fixup", "__hid_bpf_tail_call",
))  # fmt: skip

_OPTION = re.compile(r"^(CONFIG_[A-Za-z0-9_]{1,120})=(.{0,4096})$", re.M)


@dataclass(frozen=True, slots=True)
class Build:
    """One build: names to their numbers, as its uapi header has them; of helpers without `BPF_FUNC_`.

    `kfuncs` are those of vmlinux, each with its flags (`acquire`, `sleepable` …); modules have more.  `options` are the
    configuration's lines as they stand, without what is not set; None where nobody has the configuration.
    `btf_size` is in bytes.
    """

    release: str
    helpers: Mapping[str, int] = field(default_factory=dict)
    program_types: Mapping[str, int] = field(default_factory=dict)
    map_types: Mapping[str, int] = field(default_factory=dict)
    attach_types: Mapping[str, int] = field(default_factory=dict)
    link_types: Mapping[str, int] = field(default_factory=dict)
    commands: Mapping[str, int] = field(default_factory=dict)
    flags: Mapping[str, int] = field(default_factory=dict)
    kfuncs: Mapping[str, frozenset[str]] = field(default_factory=dict)
    options: Mapping[str, str] | None = None
    btf_size: int = 0

    def option(self, name: str) -> str:
        """`y`, `m`, a value without its quotes, `n` for what is not set, "" where nobody knows."""
        return "" if self.options is None else self.options.get(name, "n").strip('"')

    @property
    def lsm(self) -> tuple[str, ...]:
        """The security modules that are started where the command line names none, in order."""
        return tuple(name for name in self.option("CONFIG_LSM").split(",") if name not in ("", "n"))

    def switched_off(self, kind: str, name: str) -> str | None:
        """The option without which a type or helper is compiled out, where this build lacks it."""
        option = GATES.get(kind, {}).get(name)
        return option if option and self.option(option) == "n" else None

    def names(self, kind: str) -> Mapping[str, Any]:
        """What the build has of a kind: one of ENUMS, `kfuncs` or `flags`."""
        found: Mapping[str, Any] = getattr(self, kind)
        return found


def _gates(rows: Iterable[tuple[str, str, str]]) -> dict[str, str]:
    return {prefix + name: option for prefix, option, names in rows for name in names.split()}


_P, _M, _A = "BPF_PROG_TYPE_", "BPF_MAP_TYPE_", "BPF_"
# Types and the option that compiles them in, include/linux/bpf_types.h: those that it was for all of 5.10 to 7.3.
GATES: Mapping[str, Mapping[str, str]] = {
    "program_types": _gates((
        (_P, "CONFIG_NET", "SOCKET_FILTER SCHED_CLS SCHED_ACT XDP LWT_IN LWT_OUT LWT_XMIT LWT_SEG6LOCAL SOCK_OPS"),
        (_P, "CONFIG_NET", "SK_SKB SK_MSG FLOW_DISSECTOR"),
        (_P, "CONFIG_CGROUP_BPF", "CGROUP_SKB CGROUP_SOCK CGROUP_SOCK_ADDR CGROUP_DEVICE CGROUP_SYSCTL CGROUP_SOCKOPT"),
        (_P, "CONFIG_BPF_EVENTS", "KPROBE TRACEPOINT PERF_EVENT RAW_TRACEPOINT RAW_TRACEPOINT_WRITABLE TRACING"),
        (_P, "CONFIG_BPF_LIRC_MODE2", "LIRC_MODE2"),
        (_P, "CONFIG_INET", "SK_REUSEPORT SK_LOOKUP"),
        (_P, "CONFIG_BPF_JIT", "STRUCT_OPS EXT"),
        (_P, "CONFIG_BPF_LSM", "LSM"),
        (_P, "CONFIG_NETFILTER_BPF_LINK", "NETFILTER"),
    )),
    "map_types": _gates((
        (_M, "CONFIG_CGROUPS", "CGROUP_ARRAY CGRP_STORAGE"),
        (_M, "CONFIG_CGROUP_BPF", "CGROUP_STORAGE PERCPU_CGROUP_STORAGE"),
        (_M, "CONFIG_PERF_EVENTS", "STACK_TRACE"),
        (_M, "CONFIG_NET", "DEVMAP DEVMAP_HASH SK_STORAGE CPUMAP"),
        (_M, "CONFIG_XDP_SOCKETS", "XSKMAP"),
        (_M, "CONFIG_INET", "REUSEPORT_SOCKARRAY SOCKMAP SOCKHASH"),
        (_M, "CONFIG_BPF_JIT", "STRUCT_OPS"),
        (_M, "CONFIG_BPF_LSM", "INODE_STORAGE"),
    )),
    # What refuses to attach without, though its number is in every header: kernel/trace/bpf_trace.c, net/core/dev.c,
    # drivers/net/netkit.c, net/netfilter/nf_bpf_link.c, kernel/bpf/bpf_lsm.c, kernel/bpf/cgroup.c.
    "attach_types": _gates((
        (_A, "CONFIG_FPROBE", "TRACE_KPROBE_MULTI TRACE_KPROBE_SESSION"),
        (_A, "CONFIG_UPROBES", "TRACE_UPROBE_MULTI TRACE_UPROBE_SESSION"),
        (_A, "CONFIG_NET_XGRESS", "TCX_INGRESS TCX_EGRESS"),
        (_A, "CONFIG_NETKIT", "NETKIT_PRIMARY NETKIT_PEER"),
        (_A, "CONFIG_NETFILTER_BPF_LINK", "NETFILTER"),
        (_A, "CONFIG_BPF_LSM", "LSM_MAC LSM_CGROUP"),
        (_A, "CONFIG_BPF_LIRC_MODE2", "LIRC_MODE2"),
    )),
    # Helpers whose number every kernel knows, and that their types get with an option: kernel/trace/bpf_trace.c,
    # net/core/filter.c.
    "helpers": _gates((
        ("", "CONFIG_BPF_KPROBE_OVERRIDE", "override_return"),
        ("", "CONFIG_XFRM", "skb_get_xfrm_state"),
        ("", "CONFIG_IPV6_SEG6_BPF", "lwt_seg6_store_bytes lwt_seg6_action lwt_seg6_adjust_srh"),
    )),
}  # fmt: skip


# The types that get such a helper with its option; others never do.
GATED_FOR: Mapping[str, tuple[str, ...]] = {
    "override_return": ("kprobe",), "skb_get_xfrm_state": ("sched_cls", "sched_act"),
    "lwt_seg6_store_bytes": ("lwt_seg6local",), "lwt_seg6_action": ("lwt_seg6local",),
    "lwt_seg6_adjust_srh": ("lwt_seg6local",),
}  # fmt: skip


def build_of(btf: bytes, config: bytes | None, release: str, ids: bytes | None = None) -> Build:
    """The inventory of a build from its `.BTF` section, its configuration, and the `.BTF_ids` section of its vmlinux.

    Without `ids` nothing says which flags a kfunc has, nor, before 6.9, which functions are kfuncs.  KernelError for
    bytes that are damaged, of a newer format, or too many.
    """
    if len(btf) > MAX_BTF:
        raise KernelError(f"kernel {release}: btf: {len(btf)} bytes, at most {MAX_BTF} expected")
    try:
        check_header(btf)
        types = Types(btf)
        named = _enums(types)
        kfuncs = kfuncs_of(types, ids)
    except (ObjectError, KernelError) as error:
        raise KernelError(f"kernel {release}: {error.message}", error.hint) from None
    except struct.error as error:
        raise KernelError(f"kernel {release}: btf: damaged: {error}") from None
    if not named["helpers"]:
        raise KernelError(f"kernel {release}: btf: no enum bpf_func_id in it", hint="is it the BTF of a vmlinux?")
    options = None if config is None else options_of(config)
    return Build(release, kfuncs=kfuncs, options=options, btf_size=len(btf), **named)


def options_of(config: bytes) -> dict[str, str]:
    """The options of a configuration that are set: `y`, `m` or the value as it is written."""
    found = dict(_OPTION.findall(config.decode("utf-8", "replace")))
    if len(found) > MAX_OPTIONS:
        raise KernelError(f"config: {len(found)} options, at most {MAX_OPTIONS} expected")
    return found


# --- enums


def _enums(types: Types) -> dict[str, dict[str, int]]:
    """The mappings of a Build, by field; flags stand in enums without a name, or with one of BPF's."""
    fields_of = {enum: name for name, enum in ENUMS.items()}
    found: dict[str, dict[str, int]] = {name: {} for name in (*ENUMS, "flags")}
    seen = 0
    for enum in _all_enums(types):
        kind = fields_of.get(enum.name) or ("flags" if not enum.name or enum.name.startswith("bpf_") else "")
        seen += enum.vlen if kind else 0
        if seen > MAX_NAMES:
            raise KernelError(f"btf: more than {MAX_NAMES} enumerators")
        if kind:
            found[kind] |= _names(kind, types.enumerators(enum))
    return found


def _all_enums(types: Types) -> Iterable[Type]:
    for kind in (Kind.ENUM, Kind.ENUM64):
        yield from (enum for _, enum in types.of_kind(kind))


def _names(kind: str, values: Mapping[str, int]) -> dict[str, int]:
    if kind == "flags":
        return {name: value for name, value in values.items() if name.startswith(_FLAG)}
    return {name.removeprefix(_HELPER): value for name, value in values.items() if not _NO_NAME.match(name)}


# --- kfuncs


def kfuncs_of(types: Types, ids: bytes | None) -> dict[str, frozenset[str]]:
    """Functions that programs may call, with their flags: those that are tagged, and those of the sets.

    A stripped vmlinux names no set, but a set has a shape: how many, its own flags, and so many pairs of a function's
    id and flags, in the order of their ids.  From 6.9 on a set of kfuncs is marked as one.
    """
    tagged = {name: frozenset[str]() for name in _tagged(types)}
    found = list(_sets(types, ids or b""))
    marked = any(flags & _SET_OF_KFUNCS for flags, _ in found)
    listed = {
        types[number].name: _words(bits)
        for flags, pairs in found
        if not marked or flags & _SET_OF_KFUNCS
        for number, bits in pairs
    }
    return {name: words for name, words in sorted((tagged | listed).items()) if name and name not in _NO_KFUNCS}


def _tagged(types: Types) -> Iterable[str]:
    """Functions with the tag `bpf_kfunc`, which pahole 1.26 and later leave."""
    for _, tag in types.of_kind(Kind.DECL_TAG):
        if tag.name == "bpf_kfunc" and (function := types[tag.size_or_type]).kind is Kind.FUNC:
            yield function.name


Pairs = tuple[tuple[int, int], ...]


def _sets(types: Types, ids: bytes) -> Iterable[tuple[int, Pairs]]:
    """What in `.BTF_ids` has the shape of a set with flags: its own flags and its pairs."""
    if len(ids) > MAX_IDS:
        raise KernelError(f"btf ids: {len(ids)} bytes, at most {MAX_IDS} expected")
    words = struct.unpack_from(f"<{len(ids) // 4}I", ids)
    at = 0
    while at + 4 <= len(words):
        found = _set_at(types, words, at)
        if found:
            yield words[at + 1], found
            at += 2 + 2 * words[at]
        else:
            at += 1


def _set_at(types: Types, words: tuple[int, ...], at: int) -> Pairs:
    """The pairs of a set that begins here; () where none does.  What the linker could not resolve has the id 0."""
    count, flags = words[at : at + 2]
    start, end = at + 2, at + 2 + 2 * count
    if not 0 < count <= MAX_SET or flags > _SET_OF_KFUNCS or end > len(words):
        return ()
    widest = 1 << (_NEW_BITS if flags else _OLD_BITS)
    found: list[tuple[int, int]] = []
    for number, bits in zip(words[start:end:2], words[start + 1 : end : 2], strict=True):
        last = found[-1][0] if found else 0
        if number <= last or number >= len(types) or bits >= widest or types.kind(number) is not Kind.FUNC:
            if number or last:  # zeros come first, as the pairs are sorted
                return ()
        else:
            found.append((number, bits))
    return tuple(found)


def _words(bits: int) -> frozenset[str]:
    named = {word for n, word in enumerate(KFUNC_FLAGS) if bits >> n & 1}
    return frozenset(named | {f"bit{n}" for n in range(len(KFUNC_FLAGS), _NEW_BITS) if bits >> n & 1})


# --- as bytes


def to_json(build: Build) -> dict[str, Any]:
    """A build as JSON values; flags of a kfunc are a sorted list."""
    plain = {f.name: getattr(build, f.name) for f in fields(Build)}
    return plain | {"kfuncs": {name: sorted(words) for name, words in build.kfuncs.items()}}


def to_bytes(build: Build) -> bytes:
    """A build as canonical JSON."""
    return canonical(to_json(build))


def from_json(data: bytes) -> Build:
    """The build that `to_bytes` wrote; KernelError for anything else."""
    try:
        raw = json.loads(data)
        named = {kind: _by_number(raw[kind]) for kind in (*ENUMS, "flags")}
        kfuncs = {str(name): frozenset(map(str, words)) for name, words in raw["kfuncs"].items()}
        options = None if raw["options"] is None else {str(k): str(v) for k, v in raw["options"].items()}
        return Build(str(raw["release"]), kfuncs=kfuncs, options=options, btf_size=int(raw["btf_size"]), **named)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise KernelError(f"inventory: expected one that we wrote, got {data[:40]!r}") from error


def _by_number(raw: Mapping[str, Any]) -> dict[str, int]:
    """Names in the order of the enum, which canonical JSON has lost."""
    return dict(sorted(((str(name), int(value)) for name, value in raw.items()), key=lambda item: item[1]))


# --- two of them


@dataclass(frozen=True, slots=True)
class Change:
    """How one kind differs between two builds: names only in the newer, only in the older, in both but not the same.

    `changed` maps a name to what stands for it in each: a number, flags in words, or an option's value.
    """

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


def differences(old: Build, new: Build) -> dict[str, Change]:
    """What changed from one build to another, by kind: those of ENUMS, `flags`, `kfuncs`, `options`, `lsm`.

    Kinds that are the same are left out, and so are options and `lsm` where one build has no configuration.
    """
    found = {kind: _change(old.names(kind), new.names(kind)) for kind in (*ENUMS, "flags", "kfuncs")}
    if old.options is not None and new.options is not None:
        found["options"] = _change(old.options, new.options)
        found["lsm"] = _order(old.lsm, new.lsm)
    return {kind: change for kind, change in found.items() if change}


def _change(old: Mapping[str, Any], new: Mapping[str, Any]) -> Change:
    return Change(
        tuple(name for name in new if name not in old),
        tuple(name for name in old if name not in new),
        {name: (_said(old[name]), _said(new[name])) for name in old if name in new and old[name] != new[name]},
    )


def _order(old: tuple[str, ...], new: tuple[str, ...]) -> Change:
    """Security modules that came and went, and the order of the others where it changed."""
    both = [tuple(name for name in side if name in old and name in new) for side in (old, new)]
    moved = {"order": (",".join(both[0]), ",".join(both[1]))} if both[0] != both[1] else {}
    return Change(tuple(n for n in new if n not in old), tuple(n for n in old if n not in new), moved)


def _said(value: Any) -> str:
    return " ".join(sorted(value)) if isinstance(value, frozenset) else str(value)

"""What an object consists of, decoded without libbpf: programs with their types, maps with theirs, externs, licence.

The section names and what they mean are libbpf's (its table section_defs); map declarations are read from BTF as libbpf
reads them.  A name that is not in the table has no type here, and that decides nothing: libbpf's is longer each year.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

from bpfcompat import sections as elf
from bpfcompat.btftypes import Kind, Type, Types
from bpfcompat.corelo import Local, relocations
from bpfcompat.errors import ObjectError
from bpfcompat.insns import INSN, Code, Function, Reference, To, read_code
from bpfcompat.lineinfo import Debug
from bpfcompat.sections import printable

MAX_MAPS = 4096
MAX_LICENCE = 64
_STRUCT_OPS = frozenset((".struct_ops", ".struct_ops.link", "?.struct_ops", "?.struct_ops.link"))

# enum bpf_map_type of the uapi header, by number; the numbers never change
MAP_TYPES = (
    "unspec", "hash", "array", "prog_array", "perf_event_array", "percpu_hash", "percpu_array", "stack_trace",
    "cgroup_array", "lru_hash", "lru_percpu_hash", "lpm_trie", "array_of_maps", "hash_of_maps", "devmap", "sockmap",
    "cpumap", "xskmap", "sockhash", "cgroup_storage", "reuseport_sockarray", "percpu_cgroup_storage", "queue", "stack",
    "sk_storage", "devmap_hash", "struct_ops", "ringbuf", "inode_storage", "task_storage", "bloom_filter",
    "user_ringbuf", "cgrp_storage", "arena", "insn_array",
)  # fmt: skip

# What a section's name means: the program type and, where libbpf sets it, the attach type, names as in the uapi header
# without BPF_PROG_TYPE_ and BPF_.  `+` takes `name/anything`, `name` alone or with a target too.
_SECTIONS = """
socket SOCKET_FILTER
sk_reuseport/migrate SK_REUSEPORT SK_REUSEPORT_SELECT_OR_MIGRATE
sk_reuseport SK_REUSEPORT SK_REUSEPORT_SELECT
kprobe+ KPROBE
kretprobe+ KPROBE
uprobe+ KPROBE
uprobe.s+ KPROBE
uretprobe+ KPROBE
uretprobe.s+ KPROBE
kprobe.multi+ KPROBE TRACE_KPROBE_MULTI
kretprobe.multi+ KPROBE TRACE_KPROBE_MULTI
kprobe.session+ KPROBE TRACE_KPROBE_SESSION
uprobe.multi+ KPROBE TRACE_UPROBE_MULTI
uretprobe.multi+ KPROBE TRACE_UPROBE_MULTI
uprobe.multi.s+ KPROBE TRACE_UPROBE_MULTI
uretprobe.multi.s+ KPROBE TRACE_UPROBE_MULTI
uprobe.session+ KPROBE TRACE_UPROBE_SESSION
uprobe.session.s+ KPROBE TRACE_UPROBE_SESSION
ksyscall+ KPROBE
kretsyscall+ KPROBE
usdt+ KPROBE
usdt.s+ KPROBE
tc/ingress SCHED_CLS TCX_INGRESS
tc/egress SCHED_CLS TCX_EGRESS
tcx/ingress SCHED_CLS TCX_INGRESS
tcx/egress SCHED_CLS TCX_EGRESS
tc SCHED_CLS
classifier SCHED_CLS
action SCHED_ACT
netkit/primary SCHED_CLS NETKIT_PRIMARY
netkit/peer SCHED_CLS NETKIT_PEER
tracepoint+ TRACEPOINT
tp+ TRACEPOINT
raw_tracepoint+ RAW_TRACEPOINT
raw_tp+ RAW_TRACEPOINT
raw_tracepoint.w+ RAW_TRACEPOINT_WRITABLE
raw_tp.w+ RAW_TRACEPOINT_WRITABLE
tp_btf+ TRACING TRACE_RAW_TP
fentry+ TRACING TRACE_FENTRY
fentry.s+ TRACING TRACE_FENTRY
fexit+ TRACING TRACE_FEXIT
fexit.s+ TRACING TRACE_FEXIT
fmod_ret+ TRACING MODIFY_RETURN
fmod_ret.s+ TRACING MODIFY_RETURN
fsession+ TRACING TRACE_FSESSION
fsession.s+ TRACING TRACE_FSESSION
freplace+ EXT
lsm+ LSM LSM_MAC
lsm.s+ LSM LSM_MAC
lsm_cgroup+ LSM LSM_CGROUP
iter+ TRACING TRACE_ITER
iter.s+ TRACING TRACE_ITER
syscall SYSCALL
xdp.frags/devmap XDP XDP_DEVMAP
xdp/devmap XDP XDP_DEVMAP
xdp.frags/cpumap XDP XDP_CPUMAP
xdp/cpumap XDP XDP_CPUMAP
xdp.frags XDP XDP
xdp XDP XDP
perf_event PERF_EVENT
lwt_in LWT_IN
lwt_out LWT_OUT
lwt_xmit LWT_XMIT
lwt_seg6local LWT_SEG6LOCAL
sockops SOCK_OPS CGROUP_SOCK_OPS
sk_skb/stream_parser SK_SKB SK_SKB_STREAM_PARSER
sk_skb/stream_verdict SK_SKB SK_SKB_STREAM_VERDICT
sk_skb/verdict SK_SKB SK_SKB_VERDICT
sk_skb SK_SKB
sk_msg SK_MSG SK_MSG_VERDICT
lirc_mode2 LIRC_MODE2 LIRC_MODE2
flow_dissector FLOW_DISSECTOR FLOW_DISSECTOR
cgroup_skb/ingress CGROUP_SKB CGROUP_INET_INGRESS
cgroup_skb/egress CGROUP_SKB CGROUP_INET_EGRESS
cgroup/skb CGROUP_SKB
cgroup/sock_create CGROUP_SOCK CGROUP_INET_SOCK_CREATE
cgroup/sock_release CGROUP_SOCK CGROUP_INET_SOCK_RELEASE
cgroup/sock CGROUP_SOCK CGROUP_INET_SOCK_CREATE
cgroup/post_bind4 CGROUP_SOCK CGROUP_INET4_POST_BIND
cgroup/post_bind6 CGROUP_SOCK CGROUP_INET6_POST_BIND
cgroup/bind4 CGROUP_SOCK_ADDR CGROUP_INET4_BIND
cgroup/bind6 CGROUP_SOCK_ADDR CGROUP_INET6_BIND
cgroup/connect4 CGROUP_SOCK_ADDR CGROUP_INET4_CONNECT
cgroup/connect6 CGROUP_SOCK_ADDR CGROUP_INET6_CONNECT
cgroup/connect_unix CGROUP_SOCK_ADDR CGROUP_UNIX_CONNECT
cgroup/sendmsg4 CGROUP_SOCK_ADDR CGROUP_UDP4_SENDMSG
cgroup/sendmsg6 CGROUP_SOCK_ADDR CGROUP_UDP6_SENDMSG
cgroup/sendmsg_unix CGROUP_SOCK_ADDR CGROUP_UNIX_SENDMSG
cgroup/recvmsg4 CGROUP_SOCK_ADDR CGROUP_UDP4_RECVMSG
cgroup/recvmsg6 CGROUP_SOCK_ADDR CGROUP_UDP6_RECVMSG
cgroup/recvmsg_unix CGROUP_SOCK_ADDR CGROUP_UNIX_RECVMSG
cgroup/getpeername4 CGROUP_SOCK_ADDR CGROUP_INET4_GETPEERNAME
cgroup/getpeername6 CGROUP_SOCK_ADDR CGROUP_INET6_GETPEERNAME
cgroup/getpeername_unix CGROUP_SOCK_ADDR CGROUP_UNIX_GETPEERNAME
cgroup/getsockname4 CGROUP_SOCK_ADDR CGROUP_INET4_GETSOCKNAME
cgroup/getsockname6 CGROUP_SOCK_ADDR CGROUP_INET6_GETSOCKNAME
cgroup/getsockname_unix CGROUP_SOCK_ADDR CGROUP_UNIX_GETSOCKNAME
cgroup/sysctl CGROUP_SYSCTL CGROUP_SYSCTL
cgroup/getsockopt CGROUP_SOCKOPT CGROUP_GETSOCKOPT
cgroup/setsockopt CGROUP_SOCKOPT CGROUP_SETSOCKOPT
cgroup/dev CGROUP_DEVICE CGROUP_DEVICE
sk_lookup SK_LOOKUP SK_LOOKUP
struct_ops+ STRUCT_OPS
struct_ops.s+ STRUCT_OPS
netfilter NETFILTER NETFILTER
"""


def _table() -> dict[str, tuple[str, str, bool]]:
    rows = (line.split() for line in _SECTIONS.split("\n") if line)
    return {row[0].rstrip("+"): (row[1], row[2] if len(row) > 2 else "", row[0].endswith("+")) for row in rows}


SECTIONS: Mapping[str, tuple[str, str, bool]] = _table()


class Program(NamedTuple):
    """A program: its type and attach type (`XDP`, `CGROUP_INET4_BIND`; "" unknown or none), what it is attached to.

    `autoload` is False for what libbpf leaves out unless it is told to load it: a section that begins with `?`.  A
    `struct_ops` program that maps name is loaded if one of these is made: bpf_object_adjust_struct_ops_autoload().
    """

    function: Function
    type: str
    attach_type: str
    target: str
    autoload: bool

    @property
    def name(self) -> str:
        """The program's name."""
        return self.function.name


class Map(NamedTuple):
    """A map as its BTF declares it; `number` is the type's, sizes in bytes, 0 where nothing is said."""

    name: str
    number: int
    key_size: int = 0
    value_size: int = 0
    max_entries: int = 0
    legacy: bool = False

    @property
    def type(self) -> str:
        """The type's name, as in the uapi header but for BPF_MAP_TYPE_; its number where that has none."""
        return MAP_TYPES[self.number] if 0 <= self.number < len(MAP_TYPES) else str(self.number)


class Anatomy:
    """An object, with what is worked out of it only when it is asked for."""

    def __init__(self, code: Code) -> None:
        self.code = code
        self.debug = Debug(code)

    @cached_property
    def programs(self) -> tuple[Program, ...]:
        """All programs, in the object's order."""
        try:
            named = _named_by_maps(self.code.elf)
        except ObjectError as error:
            self.debug.fault, named = error.message, {}
        return tuple(_program(function, named) for function in self.code.programs)

    @cached_property
    def maps(self) -> tuple[Map, ...]:
        """All maps that are declared: of section .maps, and legacy ones, which libbpf 1.x does not load."""
        try:
            declared = tuple(_declared(self.debug.types)) if self.debug.types else ()
        except ObjectError as error:
            self.debug.fault = error.message
            declared = ()
        return (*declared, *self._legacy())

    def _legacy(self) -> Iterator[Map]:
        taken = self.code.elf
        old = {n for n, s in enumerate(taken.sections) if s.name == "maps" or s.name.startswith("maps/")}
        for symbol in taken.symbols:
            if symbol.section in old and symbol.name and symbol.type in (elf.STT_OBJECT, elf.STT_NOTYPE):
                yield Map(symbol.name, 0, legacy=True)

    @cached_property
    def relocations(self) -> tuple[Local, ...]:
        """All CO-RE relocations, in libbpf's order."""
        try:
            return relocations(self.debug)
        except ObjectError as error:
            self.debug.fault = error.message
            return ()

    @property
    def byte_order(self) -> str:
        """`little` or `big`."""
        return "little" if self.code.elf.order == "<" else "big"

    @property
    def licence(self) -> str:
        """What the object says of its licence, "" when nothing."""
        body = self.code.elf.contents(self.code.elf.named("license"))[:MAX_LICENCE]
        return printable(body.split(b"\0")[0].decode("utf-8", "replace"))

    @cached_property
    def externs(self) -> tuple[tuple[str, bool], ...]:
        """What the kernel or its configuration must give: names, and whether each may be missing."""
        found = (s for s in self.code.elf.symbols if s.section == elf.SHN_UNDEF and s.name)
        return tuple((s.name, s.binding == elf.STB_WEAK) for s in found)

    @cached_property
    def kfuncs(self) -> frozenset[str]:
        """Names of all kernel functions that are called."""
        return frozenset(r.name for f in self.code.functions for r in f.references if r.to is To.KFUNC)

    def functions(self, program: Program) -> tuple[Function, ...]:
        """A program's functions: its own, then all that it calls or hands over."""
        return tuple(function for _, function in self.code.layout(program.function))

    def references(self, program: Program) -> Iterator[tuple[Function, Reference]]:
        """Everything that a program refers to, wherever in it."""
        for function in self.functions(program):
            yield from ((function, reference) for reference in function.references)

    def helpers(self, program: Program) -> Mapping[int, Sequence[tuple[Function, int]]]:
        """The helpers that a program calls, by number: each call's function, and the instruction's place in it."""
        place = program.function.section, program.function.start
        if place not in self._helpers:
            found: dict[int, list[tuple[Function, int]]] = {}
            for function, reference in self.references(program):
                if reference.to is To.HELPER:
                    found.setdefault(reference.number, []).append((function, reference.insn))
            self._helpers[place] = found
        return self._helpers[place]

    @cached_property
    def _helpers(self) -> dict[tuple[str, int], Mapping[int, Sequence[tuple[Function, int]]]]:
        return {}


def read_anatomy(data: bytes) -> Anatomy:
    """Take an object apart; ObjectError when that cannot be done."""
    return Anatomy(read_code(data))


def meaning(section: str) -> tuple[str, str, str]:
    """Program type, attach type and target of a section's name, as libbpf takes it; "" for what it does not say."""
    name = section.removeprefix("?")
    if name in SECTIONS:
        return *SECTIONS[name][:2], ""
    head, slash, target = name.partition("/")
    found = SECTIONS.get(head)
    return (found[0], found[1], target) if found and slash and found[2] else ("", "", "")


def _program(function: Function, named: Mapping[tuple[str, int], bool]) -> Program:
    kind, attach_type, target = meaning(function.section)
    autoload = not function.section.startswith("?")
    if kind == "STRUCT_OPS":
        autoload = named.get((function.section, function.start), autoload)
    return Program(function, kind, attach_type, target, autoload)


def _named_by_maps(taken: elf.Elf) -> Mapping[tuple[str, int], bool]:
    """The places, section and instruction, that `struct_ops` maps name, and whether one of these is made unasked."""
    found: dict[tuple[str, int], bool] = {}
    for name, index in {s.name: n for n, s in enumerate(taken.sections) if s.name in _STRUCT_OPS}.items():
        for number in taken.relocations(index).values():
            there = taken.symbols[number] if number < len(taken.symbols) else None
            if there and there.section < len(taken.sections):
                place = taken.sections[there.section].name, there.value // INSN  # libbpf asks for no addend
                found[place] = found.get(place, False) or not name.startswith("?")
    return found


def _declared(types: Types) -> Iterator[Map]:
    for count, (name, number) in enumerate(types.variables(".maps").items()):
        if count >= MAX_MAPS:
            raise ObjectError(f"btf: more than {MAX_MAPS} maps")
        _, found = types.resolved(number)
        fields = {m.name: m.type for m in types.members(found)} if found.kind is Kind.STRUCT else {}
        numbers = {field: _number(types, fields.get(field, 0)) for field in ("type", "max_entries")}
        yield Map(
            printable(name),
            numbers["type"],
            _size(types, fields, "key"),
            _size(types, fields, "value"),
            numbers["max_entries"],
        )


def _number(types: Types, number: int) -> int:
    """`int (*name)[7]` declares a 7."""
    array = _pointed(types, number)
    return types.element(array)[1] if array is not None and array.kind is Kind.ARRAY else 0


def _pointed(types: Types, number: int) -> Type | None:
    if not number:
        return None
    _, pointer = types.resolved(number)
    return types.resolved(pointer.size_or_type)[1] if pointer.kind is Kind.PTR and pointer.size_or_type else None


def _size(types: Types, fields: Mapping[str, int], name: str) -> int:
    declared = _number(types, fields.get(f"{name}_size", 0))
    if declared or name not in fields:
        return declared
    _, pointer = types.resolved(fields[name])
    return types.size(pointer.size_or_type) if pointer.kind is Kind.PTR and pointer.size_or_type else 0

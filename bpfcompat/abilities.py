"""Which helper each program type may call on a kernel: objects to ask with, and what the answers mean.  Pure.

No file says it, so the kernel is asked, with the smallest program that can be refused for nothing else first: one that
calls the helper and ends.  The verifier looks up whether a type has a helper before it looks at any argument.
"""

import json
import re
import struct
from collections.abc import Mapping, Sequence

from bpfcompat.digest import canonical
from bpfcompat.errors import KernelError
from bpfcompat.model import ProgramReport, Report

ASKED = 2  # raise when the objects or the reading of answers change

# Program types, and a section of libbpf's for each that needs nothing else to load; of tracing and lsm also the ways to
# attach that change what may be called (bpf_tracing_prog_func_proto, bpf_lsm_func_proto).  Not asked are two types that
# load for nothing without a second program or a map of theirs: ext has the helpers of the type that it replaces, and
# struct_ops those of the member that it stands for.
SECTIONS = {
    "socket_filter": "socket", "kprobe": "kprobe", "sched_cls": "tc", "sched_act": "action",
    "tracepoint": "tracepoint", "xdp": "xdp", "perf_event": "perf_event", "cgroup_skb": "cgroup_skb/egress",
    "cgroup_sock": "cgroup/sock_create", "lwt_in": "lwt_in", "lwt_out": "lwt_out", "lwt_xmit": "lwt_xmit",
    "sock_ops": "sockops", "sk_skb": "sk_skb", "cgroup_device": "cgroup/dev", "sk_msg": "sk_msg",
    "raw_tracepoint": "raw_tp", "cgroup_sock_addr": "cgroup/connect4", "lwt_seg6local": "lwt_seg6local",
    "lirc_mode2": "lirc_mode2", "sk_reuseport": "sk_reuseport", "flow_dissector": "flow_dissector",
    "cgroup_sysctl": "cgroup/sysctl", "raw_tracepoint_writable": "raw_tp.w", "cgroup_sockopt": "cgroup/getsockopt",
    "tracing": "fentry/vfs_read", "tracing/tp_btf": "tp_btf/sched_switch", "tracing/iter": "iter/task",
    "tracing/fmod_ret": "fmod_ret/security_file_open", "lsm": "lsm/file_open", "lsm/sleepable": "lsm.s/file_open",
    "lsm/cgroup": "lsm_cgroup/socket_bind", "sk_lookup": "sk_lookup", "syscall": "syscall",
    "netfilter": "netfilter",
}  # fmt: skip
# The verifier's words for a helper that this type may not call: until 6.12 "unknown func" for both.  Of a few that it
# takes for one of the type's own it says later that this way to attach has them not.
_REFUSED = re.compile(
    r"^(?:unknown func |invalid func |program of this type cannot use helper |cannot call GPL-restricted function"
    r"|helper call (?:might sleep|is not allowed)|sleepable helper \S+ in"
    r"|func \S+ (?:not supported for program type|supported only for) )",
    re.M,
)
# The call was read; what is refused before that, such as a hook that is not sleepable, says "processed 0 insns".
_WALKED = re.compile(r"^(?:0: |processed [1-9]\d* insns)", re.M)
_CALL, _ZERO, _EXIT = 0x85, 0xB7, 0x95
_INSN = struct.Struct("<BBhi")

Abilities = Mapping[str, tuple[str, ...] | None]


def object_of(section: str, helpers: Mapping[str, int]) -> bytes:
    """An object with a program for each helper, named after its id, in one section."""
    code, symbols = b"", []
    for number in sorted(helpers.values()):
        program = _INSN.pack(_CALL, 0, 0, number) + _INSN.pack(_ZERO, 0, 0, 0) + _INSN.pack(_EXIT, 0, 0, 0)
        symbols.append((f"h{number}", len(code), len(program)))
        code += program
    return _elf(section, code, symbols)


def allowed(report: Report, helpers: Mapping[str, int]) -> tuple[str, ...] | None:
    """The helpers that the type of a report's programs may call; None where the kernel has no such type."""
    names = {f"h{number}": name for name, number in helpers.items()}
    answers = {names[p.name]: _answer(p) for p in report.programs if p.name in names}
    if not any(said is not None for said in answers.values()):
        return None
    return tuple(name for name in helpers if answers.get(name))


def _answer(program: ProgramReport) -> bool | None:
    """Whether a helper was let through; None where the program was refused before anyone looked at it."""
    if program.load_errno == 0:
        return True
    if not _WALKED.search(program.log.text):
        return None
    return _REFUSED.search(program.log.text) is None


def to_bytes(found: Abilities) -> bytes:
    """Abilities as canonical JSON."""
    return canonical({kind: None if names is None else list(names) for kind, names in found.items()})


def from_json(data: bytes) -> dict[str, tuple[str, ...] | None]:
    """The abilities that `to_bytes` wrote; KernelError for anything else."""
    try:
        raw = json.loads(data)
        return {str(k): None if names is None else tuple(map(str, names)) for k, names in raw.items()}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise KernelError(f"abilities: expected what we wrote, got {data[:40]!r}") from error


def _elf(section: str, code: bytes, functions: Sequence[tuple[str, int, int]]) -> bytes:
    """A relocatable ELF file for BPF with one section of code, a licence, and a symbol for each program."""
    names, table = b"\0", bytes(24)
    for name, at, size in functions:
        table += struct.pack("<IBBHQQ", len(names), 0x12, 0, 1, at, size)
        names += name.encode() + b"\0"
    # name, type, flags, link, info, alignment, size of an entry; numbers in the order of the file
    made = [
        (section, 1, 6, 0, 0, 8, 0, code),
        ("license", 1, 3, 0, 0, 1, 0, b"GPL\0"),
        (".symtab", 2, 0, 4, 1, 8, 24, table),
        (".strtab", 3, 0, 0, 0, 1, 0, names),
    ]
    titles = b"\0" + b"".join(row[0].encode() + b"\0" for row in made) + b".shstrtab\0"
    body, headers, at = b"", bytes(64), 1
    for title, kind, flags, link, info, align, entry, data in (*made, (".shstrtab", 3, 0, 0, 0, 1, 0, titles)):
        body += bytes(-len(body) % 8)
        headers += struct.pack("<IIQQQQIIQQ", at, kind, flags, 0, 64 + len(body), len(data), link, info, align, entry)
        at += len(title) + 1
        body += data
    body += bytes(-len(body) % 8)
    count = len(made) + 2
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    return (
        ident
        + struct.pack("<HHIQQQIHHHHHH", 1, 247, 1, 0, 0, 64 + len(body), 0, 64, 0, 0, 64, count, count - 1)
        + body
        + headers
    )

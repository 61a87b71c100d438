"""The ordered table of causes: one refusal in, the first row that explains it out.

A row looks at the phase, and at the errno or at words that only one refusal has; words are matched at the start of a
line, where an object's own source lines (which a verifier log quotes) do not stand.  Pure; nothing here decides
whether an object is compatible, only why a refusal happened and whether it was the kernel's.
"""

import errno
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache, lru_cache
from importlib import resources
from typing import Any

from bpfcompat import refusals
from bpfcompat.builds import GATED_FOR, Build
from bpfcompat.declared import inner_line, off_line, program_line, size_line, target_line, type_line
from bpfcompat.elf import ObjectFacts
from bpfcompat.model import Answer, Attach, MapReport, ProgramReport
from bpfcompat.since import Since, full_name, since, version
from bpfcompat.twins import has_twin, placeholder, split, variant_line

MAX_LINES = 14
MAX_LINE = 300

ENOTSUPP = 524  # the kernel's own, which never should have reached user space
LIBBPF_FORMAT = 4001
LIBBPF_ENDIAN = 4003

# libbpf's errors from LIBBPF_ERRNO__LIBELF on, as in its libbpf.h
_LIBBPF_ERRNO = (
    "LIBELF", "FORMAT", "KVERSION", "ENDIAN", "INTERNAL", "RELOC", "LOAD", "VERIFY", "PROG2BIG", "KVER", "PROGTYPE",
    "WRNGPID", "INVSEQ", "NLPARSE",
)  # fmt: skip
_ERRNO = {
    **errno.errorcode,
    # of two names for one number, the one that kernel and libbpf use
    errno.EAGAIN: "EAGAIN",
    errno.EDEADLK: "EDEADLK",
    errno.EOPNOTSUPP: "EOPNOTSUPP",
    ENOTSUPP: "ENOTSUPP",
    **{4000 + n: f"LIBBPF_ERRNO__{name}" for n, name in enumerate(_LIBBPF_ERRNO)},
}

# Types that a kernel of any release may be built without.
PROGRAM_OPTION = {"lirc_mode2": "CONFIG_BPF_LIRC_MODE2", "netfilter": "CONFIG_NETFILTER_BPF_LINK"}
# Ways to attach that say EOPNOTSUPP where they are compiled out, by section: kernel/trace/bpf_trace.c
ATTACH_OPTION = {
    "kprobe.multi": ("TRACE_KPROBE_MULTI", "CONFIG_FPROBE"),
    "kretprobe.multi": ("TRACE_KPROBE_MULTI", "CONFIG_FPROBE"),
    "kprobe.session": ("TRACE_KPROBE_SESSION", "CONFIG_FPROBE"),
    "uprobe.multi": ("TRACE_UPROBE_MULTI", "CONFIG_UPROBES"),
    "uretprobe.multi": ("TRACE_UPROBE_MULTI", "CONFIG_UPROBES"),
}
# Helpers that take a function; the first came with the pointers to functions themselves,
# commit 69c087ba6225 ("bpf: Add bpf_for_each_map_elem() helper") (in v5.13)
CALLBACK_HELPERS = frozenset((164, 170, 180, 181, 209))
# A kernel takes these maps with max_entries = 0, or libbpf fills the number in.
SIZED_BY_ITSELF = frozenset((
    "perf_event_array", "cgroup_storage", "percpu_cgroup_storage", "sk_storage", "inode_storage", "task_storage",
    "cgrp_storage", "struct_ops",
))  # fmt: skip
# Attached by a link whose type an older kernel does not know, which it says with EINVAL.
LINK_SECTIONS = ("kprobe.multi", "kretprobe.multi", "kprobe.session", "uprobe.", "uretprobe.", "tcx/", "netkit/")
# The attach types of sections that load on older kernels too, and only attaching tells.
ATTACH_TYPES = {
    "tcx/": "TCX_INGRESS", "tc/": "TCX_INGRESS", "netkit/": "NETKIT_PRIMARY", "uprobe.multi": "TRACE_UPROBE_MULTI",
    "uretprobe.multi": "TRACE_UPROBE_MULTI", "uprobe.session": "TRACE_UPROBE_SESSION",
    "sk_skb/verdict": "SK_SKB_VERDICT",
}  # fmt: skip
# The attach types of further sections, which a kernel without them refuses while loading, or says EOPNOTSUPP to.
LOADED_AS = {
    "kprobe.multi": "TRACE_KPROBE_MULTI", "kretprobe.multi": "TRACE_KPROBE_MULTI",
    "kprobe.session": "TRACE_KPROBE_SESSION", "cgroup/connect_unix": "CGROUP_UNIX_CONNECT",
    "cgroup/sendmsg_unix": "CGROUP_UNIX_SENDMSG", "cgroup/recvmsg_unix": "CGROUP_UNIX_RECVMSG",
    "cgroup/getpeername_unix": "CGROUP_UNIX_GETPEERNAME", "cgroup/getsockname_unix": "CGROUP_UNIX_GETSOCKNAME",
    "lsm_cgroup/": "LSM_CGROUP", "netfilter": "NETFILTER", "sk_lookup": "SK_LOOKUP",
    "sk_reuseport/migrate": "SK_REUSEPORT_SELECT_OR_MIGRATE", "fsession": "TRACE_FSESSION",
}  # fmt: skip
_NEWER_TYPES = (*ATTACH_TYPES.items(), *LOADED_AS.items())
# Sections that are loaded with a flag beside their attach type, which is a macro, so that no inventory has it: the
# first Linux that takes it.  BPF_F_XDP_HAS_FRAGS is of commit c2f2cdbeffda ("bpf: introduce BPF_F_XDP_HAS_FRAGS flag in
# prog_flags loading the ebpf program"), v5.18.
LOADED_SINCE = {"xdp.frags": "5.18"}
# Sections that an older libbpf has no type for, with the first of Debian's packages (1.1, 1.4, 1.5, 1.7) whose table of
# sections has them: what is 1.4 here came in upstream's 1.2, 1.3 or 1.4.
SECTION_SINCE = {
    "tcx/": "1.4", "tc/": "1.4", "netkit/": "1.4", "netfilter": "1.4", "struct_ops.s": "1.4", "sk_skb/verdict": "1.4",
    "uprobe.multi": "1.4", "uretprobe.multi": "1.4", "usdt.s": "1.4", "cgroup/connect_unix": "1.4",
    "cgroup/getpeername_unix": "1.4", "cgroup/getsockname_unix": "1.4", "cgroup/recvmsg_unix": "1.4",
    "cgroup/sendmsg_unix": "1.4", "kprobe.session": "1.5", "uprobe.session": "1.7", "fsession": "1.7",
}  # fmt: skip
# How a line of libbpf's begins, and a name in it.  Whatever an object's names are, they begin no line and end no
# quotation (see tame); the bounds keep a search's time in proportion to a log.
_AHEAD = r"^(?:libbpf: )?(?:[a-z]{1,10}: )?"
_LINE = _AHEAD + r"(?:(?:prog|object) '[^'\n]{0,300}': )?"
_NAME = r"([^'\n]{0,300})"
_NOT_THE_OBJECT = frozenset((
    errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EINTR, errno.EAGAIN, errno.EIO, errno.ENOSPC,
))  # fmt: skip


class Phase(StrEnum):
    """What was being done when the refusal came."""

    OPEN = "open"
    LOAD = "load"
    ATTACH = "attach"


class Certainty(StrEnum):
    """How sure a cause is: said by kernel or loader (or told by their inventory), read from a table, or guessed."""

    PROVEN = "proven"
    INFERRED = "inferred"
    GUESSED = "guessed"


@dataclass(frozen=True, slots=True)
class Case:
    """One refusal and all that is known around it.

    `program` is None for the object as a whole.  `facts` is None when the object could not be read as ELF, and
    `fault` then says why.  `errno` is positive; `libbpf` and `verifier` are their words.  `homes`: kfunc → the module
    of this kernel that holds it.  `build` is the inventory of this very build, None where nothing says what it has.
    `place` is what the program was declared to be attached to, "" where that is for its section to say.
    """

    phase: Phase
    errno: int
    libbpf: str
    verifier: str
    guest: Mapping[str, Any]
    facts: ObjectFacts | None = None
    fault: str = ""
    maps: tuple[MapReport, ...] = ()
    program: ProgramReport | None = None
    homes: Mapping[str, str] = field(default_factory=dict)
    build: Build | None = None
    place: str = ""

    @property
    def aim(self) -> tuple[str, str]:
        """By which way the program is attached, and to what; "" for what nobody says."""
        kind, _, named = (self.program.section if self.program else "").removeprefix("?").partition("/")
        return kind, self.place or named

    @property
    def who(self) -> str:
        """The breadcrumb that a sentence begins with."""
        return f"program '{self.program.name}'" if self.program else "object"

    @property
    def kernel(self) -> str:
        """`this kernel (5.10.0-32-cloud-amd64)`."""
        return f"this kernel ({clip(str(self.guest.get('release', '?')), 64)})"

    @property
    def code(self) -> str:
        """The errno's name."""
        return errno_name(self.errno)

    def find(self, pattern: str) -> re.Match[str] | None:
        """First match of a pattern, `^` and `$` at lines, in libbpf's words and then the verifier's."""
        return re.search(pattern, self.libbpf, re.M) or re.search(pattern, self.verifier, re.M)

    def older_than(self, release: str | None) -> bool:
        """True if the guest's release is before `5.8` or the like; False when either is not known."""
        return older(self.guest, release)

    def too_old(self, kind: str, name: str) -> Since | None:
        """The row of the since table by which this kernel is older than a name; None where none says so.

        Only to word a refusal that did happen: distributions backport, so a version alone decides nothing.
        """
        found = since(kind, name)
        return found if found and found.newer_than(str(self.guest.get("release", ""))) else None

    def lacks(self, kind: str, name: str) -> bool | None:
        """Whether this very build has no such name, as `lacks` below."""
        return lacks(self.build, kind, name)

    def switched_off(self, kind: str, name: str) -> str | None:
        """The option without which this very build has the name compiled out."""
        return self.build.switched_off(kind, full_name(kind, name)) if self.build else None

    def inventory_says(self, kind: str, name: str) -> tuple[str, ...]:
        """A line of evidence for a name that this build lacks."""
        if self.build is None or not self.lacks(kind, name):
            return ()
        count, what = len(self.build.names(kind)), kind.replace("_", " ")
        return (f"inventory of {clip(self.build.release, 64)}: no {full_name(kind, name)} among its {count} {what}",)


@dataclass(frozen=True, slots=True)
class Finding:
    """Why: a sentence for people, lines of the report that prove it, one thing to do, the thing it is about.

    `certainty` is None where it is that of the row, else lower than that.
    """

    sentence: str
    evidence: tuple[str, ...]
    hint: str
    subject: str = ""
    certainty: Certainty | None = None


@dataclass(frozen=True, slots=True)
class Cause:
    """A row: its slug, the answer it leads to, the phases in which it can be, what recognises it, how sure that is."""

    slug: str
    answer: Answer
    phases: tuple[Phase, ...]
    explain: Callable[[Case], Finding | None]
    certainty: Certainty


def lacks(build: Build | None, kind: str, name: str) -> bool | None:
    """Whether a build has no such name; None where no inventory says it, or nobody has heard of the name.

    What distributions took back from a newer Linux is in its BTF like anything else.
    """
    names, full = build.names(kind) if build else {}, full_name(kind, name)
    if not names or (full not in names and since(kind, name) is None):
        return None
    return full not in names


def errno_name(number: int) -> str:
    """`EINVAL` for 22, `ENOTSUPP` for 524, `LIBBPF_ERRNO__FORMAT` for 4001, "" for 0, else `errno 9999`."""
    return _ERRNO.get(number, f"errno {number}") if number else ""


@cache
def helper_names() -> Mapping[int, str]:
    """All helpers by id.  The list is closed: what is new since Linux 6.2 are kfuncs."""
    text = (resources.files("bpfcompat") / "data" / "helpers.json").read_text("utf-8")
    return {int(number): str(name) for number, name in json.loads(text)["helpers"].items()}


def helper(number: int) -> str:
    """`bpf_loop (#181)`."""
    return f"{helper_names().get(number, 'unknown to us')} (#{number})"


def explain(case: Case) -> tuple[Cause, Finding]:
    """The first row that explains a refusal; the last row explains any."""
    for cause in CAUSES:
        found = cause.explain(case) if case.phase in cause.phases else None
        if found is not None:
            name = case.program.name if case.program else ""
            return cause, found if found.subject else replace(found, subject=name)
    raise AssertionError("the last row of CAUSES takes all")


# --- words


def clip(text: str, limit: int = MAX_LINE) -> str:
    """One line fit to print: bounded, no control characters, and no kernel address, which differs at each boot."""
    text = re.sub(r"0xff(?!ffffffff)[0-9a-f]{14}\b", "0xADDRESS", text)
    if not text.isprintable():
        text = "".join(char if char.isprintable() else " " for char in text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def last_lines(text: str, count: int = 6) -> tuple[str, ...]:
    """The last lines that are not blank."""
    return tuple(clip(line.removeprefix("libbpf: ").rstrip()) for line in text.splitlines() if line.strip())[-count:]


def older(guest: Mapping[str, Any], release: str | None) -> bool:
    """True if a guest's release is before `5.8` or the like; False when either is not known."""
    own = re.match(r"(\d{1,4})\.(\d{1,4})", str(guest.get("release", "")))
    return own is not None and release is not None and version(own[0]) < version(release)


def attach_since(section: str) -> str | None:
    """The first Linux that attaches this kind of section, where only attaching tells; None where loading does."""
    name = section.removeprefix("?")
    kind = next((kind for prefix, kind in ATTACH_TYPES.items() if name.startswith(prefix)), None)
    found = since("attach_types", kind) if kind else None
    return found.version if found and not found.after else None


def attach_type(section: str) -> str:
    """The attach type of a section that newer kernels brought, without `BPF_`; "" for any other."""
    name = section.removeprefix("?")
    return next((kind for prefix, kind in _NEWER_TYPES if name.startswith(prefix)), "")


def loaded_since(section: str) -> str | None:
    """The first Linux that takes the flag which a section is loaded with; None where there is no such flag."""
    name = section.removeprefix("?")
    return next((first for prefix, first in LOADED_SINCE.items() if name.startswith(prefix)), None)


def deciding_lines(log: str) -> tuple[str, ...]:
    """The lines of a verifier log that say why, with the source line and instruction they are about.

    Until 7.2 the reason stands above "processed N insns"; from 7.3 on a block follows it, with category, reason, place
    and suggestion, and the log's last line says nothing.
    """
    head, mark, block = log.partition("\nVerification failed:")
    lines = [line.rstrip() for line in head.splitlines() if line.strip()]
    while lines and re.match(_TRAILER, lines[-1]):
        lines.pop()
    start = len(lines)
    while start and not re.match(_WALK, lines[start - 1]):
        start -= 1
    around = [line for line in lines[max(0, start - 6) : start] if re.match(r";|\d+: \(", line)]
    found = [*around[-2:], *lines[start:][-MAX_LINES // 2 :], *(_block(block) if mark else [])]
    return tuple(clip(line) for line in found)[:MAX_LINES]


def reason(log: str) -> str:
    """The one deciding line of a verifier log, for a sentence; "" when there is none."""
    said = [line for line in deciding_lines(log) if not re.match(r";|\d+: \(|Verification failed:", line)]
    return said[0] if said else ""


# what a verifier log ends with, and what it says while it walks
_TRAILER = r"processed \d+ insns|max_states_per_insn|verification time|stack depth|insns processed"
_WALK = r";|\d+: |\s*(from \d+ to \d+.*: )?R\d+\w*=|from \d+ to|last_idx|regs=|parent |mark_precise|func#|propagating"


def _block(block: str) -> list[str]:
    """Category, reason and source line of a verifier's block (Linux 7.3 on)."""
    lines = block.split("\n")
    text = "\n".join(lines[1:])
    because = re.search(r"^Reason:\n((?:[ \t]+\S.*\n?)+)", text, re.M)
    place = re.search(r"^At:\n[ \t]+(\S.*)$", text, re.M)
    source = re.search(r"^ *>>> *\d+ \| *(.*)$", text, re.M)
    found = [f"Verification failed:{lines[0]}"]
    found += [f"Reason: {' '.join(because[1].split())}"] if because else []
    found += [f"At: {place[1]}{': ' + source[1] if source else ''}"] if place else []
    return found


def suggestion(log: str) -> str:
    """What a verifier proposes itself (Linux 7.3 on), in one line; "" where it does not."""
    said = re.search(r"^Suggestion:\n((?:[ \t]+\S.*\n?)+)", log, re.M)
    return clip(" ".join(said[1].split())) if said else ""


def _line(case: Case, match: re.Match[str]) -> tuple[str, ...]:
    """The whole line in which a match begins."""
    start = match.string.rfind("\n", 0, match.start()) + 1
    return (clip(match.string[start:].split("\n", 1)[0].removeprefix("libbpf: ").rstrip()),)


# --- rows


def _wrong_byte_order(case: Case) -> Finding | None:
    own = "big" if str(case.guest.get("machine", "")).startswith(("s390", "ppc", "mips")) else "little"
    own = "little" if str(case.guest.get("machine", "")).endswith(("le", "el")) else own
    said = case.find(_LINE + r"(?:loading non-native endianness is unsupported|endianness mismatch).*$")
    if case.errno != LIBBPF_ENDIAN and not said:
        return None
    other = case.facts.byte_order if case.facts else "other"
    target = "bpfel" if own == "little" else "bpfeb"
    return Finding(
        f"object: compiled for {other}-endian machines, {case.kernel} is {own}-endian",
        _line(case, said) if said else (),
        f"compile it with -target {target}",
    )


def section_since(section: str) -> str | None:
    """The first libbpf of Debian's packages that has a type for a section which older ones have none for."""
    name = section.removeprefix("?")
    return next((first for prefix, first in SECTION_SINCE.items() if name.startswith(prefix)), None)


def _loader_too_old(case: Case) -> Finding | None:
    said, own = missing_type(case.libbpf), re.match(r"\d{1,4}\.\d{1,4}", str(case.guest.get("libbpf", "")))
    first = section_since(said[2]) if said else None
    if not said or not first or not own or version(own[0]) >= version(first):
        return None
    old, section = clip(str(case.guest["libbpf"]), 20), clip(said[2])
    return Finding(
        f"program '{clip(said[1])}': libbpf {old} knows no type for section '{section}', libbpf {first} does",
        _line(case, said),
        f"load it with libbpf {first} or newer",
        said[1],
    )


def _loader_unsupported(case: Case) -> Finding | None:
    return _loader_too_old(case) or _legacy_maps(case)


def _legacy_maps(case: Case) -> Finding | None:
    said = case.find(_LINE + r"legacy map definitions in 'maps' section are not supported.*$")
    if not said:
        return _own_maps(case)
    names = f" ({', '.join(case.facts.legacy_maps[:5])})" if case.facts and case.facts.legacy_maps else ""
    version = clip(str(case.guest.get("libbpf", "1.x")), 20)
    return Finding(
        f"object: libbpf {version} does not take maps of section 'maps'{clip(names)}; no kernel was asked",
        _line(case, said),
        'define the maps with BTF, in SEC(".maps")',
    )


def _own_maps(case: Case) -> Finding | None:
    """Some loaders have a map section of their own, such as ir-keytable's `lirc_mode2/maps`."""
    said = case.find(rf"{_LINE}bad map relo against '{_NAME}' in section '([^'\n]{{0,300}})'$")
    if not said or not re.search(r"\bmaps\b", said[2]):
        return None
    version = clip(str(case.guest.get("libbpf", "1.x")), 20)
    return Finding(
        f"object: libbpf {version} knows no maps of section '{clip(said[2])}', another loader may; no kernel was asked",
        _line(case, said),
        'define the maps with BTF, in SEC(".maps")',
    )


def _kernel_config_absent(case: Case) -> Finding | None:
    said = case.find(_LINE + r"failed to open system Kconfig.*$")
    if not said:
        return None
    names = [name for name in case.facts.externs if name.startswith("CONFIG_")] if case.facts else []
    return Finding(
        f"object: asks for the kernel's configuration ({clip(', '.join(names[:5]))}), and the guest has none",
        _line(case, said),
        "give this kernel's entry in the catalogue its config file",
    )


def _needs_declaration(case: Case) -> Finding | None:
    found = _needs_type(case) or _needs_target(case) or _needs_size(case) or _needs_inner(case)
    return found or _needs_program(case) or _needs_choice(case) or _needs_caller(case) or _needs_function(case)


def missing_type(text: str) -> re.Match[str] | None:
    """Libbpf's words for a section whose name gives a program no type: the program, and the section."""
    return re.search(rf"{_AHEAD}prog '{_NAME}': missing BPF prog type, check ELF section name '{_NAME}'$", text, re.M)


def missing_target(text: str) -> re.Match[str] | None:
    """Libbpf's words for a program whose application chooses the function to attach to."""
    return re.search(rf"{_AHEAD}prog '{_NAME}': no BTF-based attach target is specified.*$", text, re.M)


def missing_caller(text: str) -> re.Match[str] | None:
    """Libbpf's words for a struct_ops program that no struct_ops map calls."""
    return re.search(rf"{_AHEAD}prog '{_NAME}': SEC\(\"struct_ops\"\) program isn't referenced anywhere.*$", text, re.M)


def _needs_type(case: Case) -> Finding | None:
    said = missing_type(case.libbpf) or missing_type(case.verifier)
    if not said:
        return None
    return Finding(
        f"program '{clip(said[1])}': libbpf knows no program type for section '{clip(said[2])}'",
        _line(case, said),
        f"declare it: {type_line(said[1], said[2])}",
        said[1],
    )


def _needs_target(case: Case) -> Finding | None:
    said = missing_target(case.libbpf) or missing_target(case.verifier)
    if not said or not case.program:
        return None
    section = clip(case.program.section)
    return Finding(
        f"program '{clip(said[1])}': its application chooses the function to attach to; section '{section}' names none",
        _line(case, said),
        f"declare it: {target_line(said[1], case.program.section)}",
        said[1],
    )


def _needs_caller(case: Case) -> Finding | None:
    """libbpf loads no struct_ops program alone: a member of a struct_ops map tells the kernel what it is."""
    said = missing_caller(case.libbpf)
    if not said:
        return None
    return Finding(
        f"program '{clip(said[1])}': no struct_ops map of the object calls it; its application may set that",
        _line(case, said),
        f"declare it: {off_line(said[1])}",
        said[1],
    )


def missing_function(text: str, section: str) -> str:
    """The placeholder that a loader did not find: before it loaded (BTF), or when it attached (a kprobe)."""
    name = placeholder(section)
    words = (
        rf"failed to find kernel BTF type ID of '{re.escape(name)}': |failed to create k(ret)?probe '{re.escape(name)}"
    )
    return name if name and re.search(words, text) else ""


def _needs_function(case: Case) -> Finding | None:
    """Like a section without a function: what stands there is in no kernel, and its application sets another."""
    name = missing_function(case.libbpf, case.program.section) if case.program else ""
    if not name or not case.program:
        return None
    return Finding(
        f"{case.who}: its application chooses the function to attach to; '{clip(name)}' stands in its place",
        last_lines(case.libbpf),
        f"declare it: {target_line(case.program.name, case.program.section)}",
        name,
        Certainty.INFERRED,
    )


def unsized(found: MapReport) -> bool:
    """True for a map that its application must size; of a stack trace that is the depth too."""
    entries = not found.max_entries and found.type not in SIZED_BY_ITSELF
    return entries or (found.type == "stack_trace" and not found.value_size)


def _needs_size(case: Case) -> Finding | None:
    said, found = _failed_map(case)
    if not said or not found or case.errno != errno.EINVAL or not unsized(found):
        return None
    what = "entries" if not found.max_entries else "bytes a stack"
    return Finding(
        f"map '{clip(found.name)}': its application sets the size of this {found.type} map; the object says 0 {what}",
        _line(case, said),
        f"declare it: {size_line(found.name, found.type, found.value_size)}",
        found.name,
        Certainty.INFERRED,
    )


def missing_inner(text: str, found: MapReport) -> bool:
    """True for a map of maps that has a size and was not made: what it lacks is the prototype of those inside."""
    return found.type.endswith("_of_maps") and f"map '{found.name}': failed to create: " in text


def _needs_inner(case: Case) -> Finding | None:
    said, found = _failed_map(case)
    if not said or not found or case.errno not in (errno.EINVAL, errno.EBADF) or not missing_inner(said[0], found):
        return None
    return Finding(
        f"map '{clip(found.name)}': its application sets a prototype of the maps inside; the object has none",
        _line(case, said),
        f"declare it: {inner_line(found.name)}",
        found.name,
        Certainty.INFERRED,
    )


def missing_program(text: str) -> re.Match[str] | None:
    """Libbpf's words for a program that replaces a function of another one, which is not set."""
    return re.search(rf"{_AHEAD}prog '{_NAME}': attach program FD is not set$", text, re.M)


def _needs_program(case: Case) -> Finding | None:
    said = missing_program(case.libbpf) or missing_program(case.verifier)
    if not said:
        return None
    return Finding(
        f"program '{clip(said[1])}': replaces a function of another program, which its application chooses",
        _line(case, said),
        f"declare it: {program_line(said[1])}",
        said[1],
    )


def _needs_choice(case: Case) -> Finding | None:
    """An object with its programs twice, by a newer way and by an older one, is not meant to be loaded as a whole."""
    said = case.find(rf"{_LINE}failed to find kernel BTF type ID of '{_NAME}': .*$")
    if not said or not case.facts or not case.program or not has_twin(case.facts, case.program.name):
        return None
    family = split(case.program.section)[0]
    line = variant_line(case.facts, "fentry" if family == "fexit" else family)
    return Finding(
        f"{case.who}: {case.kernel} has no '{clip(said[1])}'; the object has its programs twice, and its application "
        "chooses the targets and which ones to load",
        _line(case, said),
        f"declare it: {line}",
        certainty=Certainty.INFERRED,
    )


_NO_SUCH = (errno.EINVAL, errno.EOPNOTSUPP, ENOTSUPP)


def _failed_map(case: Case) -> tuple[re.Match[str] | None, MapReport | None]:
    said = case.find(rf"{_AHEAD}map '{_NAME}': failed to create(?: inner map)?: .*$")
    return said, next((m for m in case.maps if said and m.name == said[1]), None)


def _map_type_missing(case: Case) -> Finding | None:
    said, found = _failed_map(case)
    if not said or not found or case.errno not in _NO_SUCH:
        return None
    absent, row = case.lacks("map_types", found.type), case.too_old("map_types", found.type)
    if absent is False or (absent is None and case.errno == errno.EINVAL and row is None):
        return None
    came = f"; upstream has it since {row.words}" if row else ""
    return Finding(
        f"map '{clip(found.name)}': {case.kernel} has no maps of type {found.type} ({case.code}){came}",
        (*_line(case, said), *case.inventory_says("map_types", found.type)),
        "use an older map type, or turn the map off with bpf_map__set_autocreate() on such kernels",
        found.name,
        None if absent else Certainty.INFERRED,
    )


def _map_create_failed(case: Case) -> Finding | None:
    said, found = _failed_map(case)
    said = said or case.find(
        rf"^(?:BPF map '{_NAME}' is referenced but wasn't created|invalid func unknown#(2001\d{{6}}))$"
    )
    if not said or case.errno in _NOT_THE_OBJECT or case.errno == errno.EPERM:
        return None
    what = f" of type {found.type}, {found.max_entries} entries," if found else ""
    name = said[1] or said[2]
    return Finding(
        f"map '{clip(name)}': {case.kernel} refuses to create it{what} with {case.code}",
        _line(case, said),
        "check the map's key size, value size, max_entries and flags against its type",
        name,
    )


def _core_unresolved(case: Case) -> Finding | None:
    said = case.find(r"^failed to resolve CO-RE relocation <(\w+)> \[\d+\] (.*)$")
    if said:
        kind, what = said[1], re.sub(r" \(\d[^()]* @ offset .*\)$", "", said[2])
        sentence = f"{case.who}: {case.kernel} has no match for CO-RE relocation {kind} of {clip(what)}"
        return Finding(sentence, _line(case, said), _CORE_HINT, what)
    said = case.find(r"^(?:invalid func unknown#195896080|\d+: <invalid CO-RE relocation>)$") or case.find(
        rf"{_AHEAD}prog '{_NAME}': relo #\d+: .*(?:ambigu|failed|error matching|no matching|can't be).*$"
    )
    if not said:
        return None
    return Finding(f"{case.who}: a CO-RE relocation has no match in {case.kernel}", _line(case, said), _CORE_HINT)


_CORE_HINT = "guard the access with bpf_core_field_exists() or its like, or add a ___flavour of the type"


def _absent_kfunc(case: Case) -> re.Match[str] | None:
    said = case.find(rf"{_LINE}extern \(func ksym\) '{_NAME}': not found in kernel or module BTFs$") or case.find(
        rf"^kfunc '{_NAME}' is referenced but wasn't resolved$"
    )
    # the last six digits number the extern; libbpf names it, but not where the log is cut
    return said or case.find(r"^invalid func unknown#(2002\d{6})$")


def _module_not_loaded(case: Case) -> Finding | None:
    said = _absent_kfunc(case)
    home = case.homes.get(said[1]) if said else None
    told = {m["name"]: m["errno"] for m in case.guest.get("modules") or ()}
    if said is None or home is None or not told.get(home):
        return None
    return Finding(
        f"object: kfunc {clip(said[1])} is in module {home}, which {case.kernel} has and did not load "
        f"({errno_name(told[home])}); that is no answer",
        _line(case, said),
        "look at the console of this pair for what the kernel said of the module",
        said[1],
    )


def _kfunc_missing(case: Case) -> Finding | None:
    said = _absent_kfunc(case)
    if not said:
        return None
    home = case.homes.get(said[1])
    if home is not None:
        return Finding(
            f"object: kfunc {clip(said[1])} is in module {home} of {case.kernel}, which is not loaded",
            _line(case, said),
            f'if your loader loads it, or the machine does: modules = ["{home}"] in the object\'s table',
            said[1],
        )
    return Finding(
        f"object: kfunc {clip(said[1])} does not exist on {case.kernel}, in it or in a loaded module",
        _line(case, said),
        "declare it __weak and ask bpf_ksym_exists() before the call",
        said[1],
    )


def _kfunc_changed(case: Case) -> Finding | None:
    said = case.find(rf"{_LINE}extern \(func ksym\) '{_NAME}': func_proto \[\d+\] incompatible with .*$")
    if not said:
        return None
    return Finding(
        f"object: kfunc {clip(said[1])} has another signature on {case.kernel}",
        _line(case, said),
        "declare both signatures as __weak with a ___flavour each, and ask bpf_ksym_exists()",
        said[1],
    )


def _kfunc_not_allowed(case: Case) -> Finding | None:
    said = case.find(r"^calling kernel function (\S+) is not allowed$")
    if not said:
        return None
    kind = f" of type {case.program.type}" if case.program else ""
    return Finding(
        f"{case.who}: kfunc {clip(said[1])} exists on {case.kernel} but not for a program{kind}",
        deciding_lines(case.verifier),
        "call it from a program type that it is registered for",
        said[1],
    )


def _extern_unresolved(case: Case) -> Finding | None:
    said = case.find(rf"{_LINE}extern '{_NAME}' \(strong\): not resolved$") or case.find(
        rf"{_LINE}extern \(var ksym\) '{_NAME}': not found in kernel BTF$"
    )
    if not said:
        return None
    what = "value {} in the configuration" if said[1].startswith("CONFIG_") else "symbol {} in the BTF"
    return Finding(
        f"object: there is no {what.format(clip(said[1]))} of {case.kernel}",
        _line(case, said),
        "declare it __weak and test it before use",
        said[1],
    )


def _kernel_btf_absent(case: Case) -> Finding | None:
    if case.guest.get("btf") is not False:
        return None
    said = case.find(
        _LINE + r"(?:vmlinux BTF is not found|Error loading vmlinux BTF|failed to find valid kernel BTF).*$"
    )
    if not said:
        return None
    if _under(case, "btf=hidden"):
        return Finding(
            f"object: needs the kernel's own BTF, and the entry of {case.kernel} hides it from the loader",
            _line(case, said),
            "ship a variant that needs no kernel BTF, for kernels that were built without",
        )
    return Finding(
        f"object: needs the kernel's own BTF, and {case.kernel} has none",
        _line(case, said),
        "enable CONFIG_DEBUG_INFO_BTF in that kernel, or ship a variant that needs no kernel BTF",
    )


def _helper_missing(case: Case) -> Finding | None:
    said = case.find(r"^invalid func \S*?#(\d{1,9})$") or case.find(r"^(?:unknown|invalid) func (\d{1,9})$")
    if said:
        number = int(said[1])
        return Finding(
            f"{case.who}: helper {helper(number)} does not exist on {case.kernel}",
            deciding_lines(case.verifier),
            _HELPER_HINT,
            helper_names().get(number, f"#{number}"),
        )
    # A kernel that knows no pointers to functions does not count a callback among the subprograms, and gives up
    # before it comes to the call; the helpers that take one came with or after such pointers.
    said = case.find(r"^number of funcs in func_info doesn't match number of subprogs$")
    called = sorted(CALLBACK_HELPERS.intersection(case.facts.helpers)) if case.facts else []
    numbers = [n for n in called if case.lacks("helpers", helper_names()[n]) is not False]
    if not said or not numbers:
        return None
    first = helper_names()[numbers[0]]
    return Finding(
        f"{case.who}: {case.kernel} knows no callbacks, so it has no helper {', '.join(map(helper, numbers))} either",
        (*_line(case, said), *case.inventory_says("helpers", first)),
        'make the program optional (SEC("?…")) and load a variant with a plain loop on such kernels',
        first,
        None if case.lacks("helpers", first) else Certainty.INFERRED,
    )


_HELPER_HINT = "guard the call with bpf_core_enum_value_exists(enum bpf_func_id, …), and do without it on such kernels"


def _under(case: Case, condition: str) -> bool:
    """True where the kernel's entry asked for this and the guest says that it is so."""
    return condition in (case.guest.get("conditions") or ())


# Helpers that a locked-down kernel takes away: LOCKDOWN_BPF_WRITE_USER and LOCKDOWN_BPF_READ_KERNEL of
# include/linux/security.h, as kernel/trace/bpf_trace.c asks for them.
_INTEGRITY = frozenset(("bpf_probe_write_user",))
_CONFIDENTIALITY = _INTEGRITY | {
    "bpf_probe_read", "bpf_probe_read_str", "bpf_probe_read_kernel", "bpf_probe_read_kernel_str", "bpf_snprintf_btf",
}  # fmt: skip
_LOCKED = {"integrity": _INTEGRITY, "confidentiality": _CONFIDENTIALITY}


_HELPER_REFUSED = r"^(?:unknown func|program of this type cannot use helper) ([a-z]\w{0,100})#(\d{1,9})$"


def _locked_down(case: Case) -> Finding | None:
    said = case.find(_HELPER_REFUSED)
    mode = str(case.guest.get("lockdown"))
    if not said or said[1] not in _LOCKED.get(mode, ()):
        return None
    other = "a program of type tracing reads kernel memory by plain access"
    return Finding(
        f"{case.who}: lockdown is {mode}, and {case.kernel} then takes helper {clip(said[1])} (#{said[2]}) away",
        deciding_lines(case.verifier),
        f"do without the helper on locked-down kernels; {'no other does that' if said[1] in _INTEGRITY else other}",
        said[1],
    )


def _helper_not_allowed(case: Case) -> Finding | None:
    # Until 6.12 both are worded "unknown func", but only a helper that the kernel has comes with its name.  Some are
    # given to a type and refused to its way to attach, in words of their own; the last do not name the helper again.
    said = (
        case.find(_HELPER_REFUSED)
        or case.find(r"^func ([a-z]\w*)#(\d{1,9}) (?:not supported for program type \d+|supported only for .*)$")
        or case.find(r"^\d+: \(85\) call ([a-z]\w*)#(\d{1,9})\nhelper call is not allowed in probe$")
    )
    if not said:
        return None
    kind = f" of type {case.program.type}" if case.program else ""
    return Finding(
        f"{case.who}: {case.kernel} has helper {clip(said[1])} (#{said[2]}), but not for a program{kind}",
        deciding_lines(case.verifier),
        "move the call to a program type that may use it",
        said[1],
    )


def _licence_refused(case: Case) -> Finding | None:
    said = case.find(
        r"^(?:cannot call GPL-restricted function"
        r"|(?!;)[^'\n]{0,200}?(?:GPL-only|must have a GPL compatible license)).*$"
    ) or case.find(r"^(?:libbpf: )?cannot call kernel function from non-GPL compatible program$")
    if not said or case.errno not in (errno.EINVAL, errno.EACCES, errno.EPERM):
        return None
    own = f"'{clip(case.facts.licence, 64)}'" if case.facts and case.facts.licence else "no licence"
    return Finding(
        f"{case.who}: calls what is for GPL-compatible programs only, and the object says {own}",
        deciding_lines(case.verifier),
        'if that is what you want: char LICENSE[] SEC("license") = "GPL";',
    )


def _too_complex(case: Case) -> Finding | None:
    return _gave_up(case) or _too_long(case)


def _gave_up(case: Case) -> Finding | None:
    said = case.find(
        r"^(?:BPF program is too large|The sequence of \d+ jumps is too complex|too many (?:subprograms|states)"
        r"|combined stack size of|the call stack of \d+ frames is too deep).*$"
    )
    if not said:
        return None
    return Finding(
        f"{case.who}: too much for the verifier of {case.kernel}: {clip(said[0].rstrip('.'), 200)}",
        (*_line(case, said), *(_line(case, spent) if (spent := case.find(r"^processed \d+ insns.*$")) else ())),
        "split the program, bound its loops more tightly, or use bpf_loop() where it exists",
    )


def _too_long(case: Case) -> Finding | None:
    """The kernel counts the instructions before it reads one: E2BIG, and no log.

    It takes 4096 of a user without capabilities, and took no more of anybody before commit c04c0d2b968a ("bpf: increase
    complexity limit and maximum program size") (in v5.2); a million of others since.
    """
    own = case.program.measures if case.program else None
    limit = 4096 if case.older_than("5.2") or _under(case, "user=unprivileged") else 1_000_000
    if case.errno != errno.E2BIG or not _unheard(case) or own is None or 0 < own.insns <= limit:
        return None
    return Finding(
        f"{case.who}: {own.insns} instructions, {case.kernel} takes 1 to {limit} at a time (E2BIG, no log)",
        last_lines(case.libbpf, 3),
        "split it by tail calls, or let the compiler unroll and inline less",
    )


def _attribute_unknown(case: Case) -> Finding | None:
    """What a kernel knows no attribute for must be zero: bpf_check_uarg_tail_zero() of kernel/bpf/syscall.c.

    It says so with E2BIG, before anything is looked at; where the instructions were counted, nothing else is left.
    """
    if case.errno != errno.E2BIG or not _unheard(case):
        return None
    counted = case.program is not None and case.program.measures is not None
    or_long = "" if counted else ", or too many instructions"
    return Finding(
        f"{case.who}: {case.kernel} does not read the program (E2BIG, no log): the loader hands over an attribute that "
        f"it does not know{or_long}",
        last_lines(case.libbpf, 3),
        "do without what needs it on such kernels, such as a kfunc of a module or a token",
        certainty=Certainty.INFERRED if counted else Certainty.GUESSED,
    )


NO_TRACEPOINT = "the section names no tracepoint"  # validator/attach_trace.c


def is_placeless(program: ProgramReport) -> bool:
    """True for a program that was not attached because its loader chooses the tracepoint, and none is declared."""
    return program.attach is Attach.NOT_ATTEMPTED and program.attach_reason.startswith(NO_TRACEPOINT)


def place_line(program: ProgramReport) -> str:
    """The tracepoint of such a program, as a line to declare; where its section says no family, its type does."""
    known = split(program.section)[0] in ("tracepoint", "raw_tp", "raw_tp.w")
    return target_line(program.name, program.section if known else program.type)


def _attach_not_attempted(case: Case) -> Finding | None:
    if not case.program or case.program.attach is not Attach.NOT_ATTEMPTED:
        return None
    why = clip(case.program.attach_reason)
    hint = 'give the guest what the reason names, or ask for less: attach = "attach"'
    return Finding(
        f"{case.who}: loads, but attaching it was required and not attempted: {why}",
        (why,),
        f"declare it: {place_line(case.program)}" if is_placeless(case.program) else hint,
        case.program.section,
    )


def _attach_target_missing(case: Case) -> Finding | None:
    return _missing_in_btf(case) if case.phase is Phase.LOAD else _missing_at_attach(case)


def _missing_in_btf(case: Case) -> Finding | None:
    said = (
        case.find(rf"{_LINE}failed to find kernel BTF type ID of '{_NAME}': .*$")
        or case.find(
            _AHEAD + r"struct_ops init_kern[^'\n]{0,300}?: (?:struct|Cannot find member) (\S{1,300}) .*in kernel BTF$"
        )
        or case.find(r"^The address of function (\S+) cannot be found$")
    )
    if not said:
        return None
    what = clip(re.sub(r"^bpf_lsm_", "", said[1]))
    return Finding(
        f"{case.who}: {case.kernel} has no '{what}' to attach to; it is looked up while loading",
        _line(case, said),
        _TARGET_HINT,
        said[1],
    )


_TARGET_HINT = 'make the program optional (SEC("?…")), and let the application choose a target that is there'


def _missing_at_attach(case: Case) -> Finding | None:
    if case.errno not in (errno.ENOENT, errno.ESRCH, errno.EADDRNOTAVAIL) or not case.program:
        return None
    kind, target = case.aim
    if not target:
        return None
    return Finding(
        f"{case.who}: loads, but {case.kernel} has no {clip(kind)} target '{clip(target)}' ({case.code})",
        last_lines(case.libbpf),
        f"correct the declared target, or {_TARGET_HINT}" if case.place else _TARGET_HINT,
        target,
        Certainty.INFERRED,
    )


def _unheard(case: Case) -> bool:
    """The kernel refused a program before it looked at any instruction; from the verifier on, it says so."""
    silent = re.fullmatch(r"\s*(processed 0 insns .*)?\s*", case.verifier) is not None
    asked = case.program is not None and case.phase is Phase.LOAD and silent
    return asked and bool(case.find(rf"{_AHEAD}prog '{_NAME}': BPF program load failed: .*$"))


@dataclass(frozen=True, slots=True)
class _Unmade:
    """What was refused as something unknown is: its kind and name, the words for it, and the option it may hang on."""

    kind: str
    name: str
    words: str
    subject: str
    option: str = ""


def _withheld(case: Case) -> _Unmade | None:
    """A helper that a type gets with an option only, refused by its name."""
    said = case.find(_HELPER_REFUSED) if case.phase is Phase.LOAD and case.program else None
    if said is None or not case.program or case.program.type not in GATED_FOR.get(full_name("helpers", said[1]), ()):
        return None
    words = f"{case.who}: {case.kernel} gives helper {said[1]} (#{said[2]}) to no program of type {case.program.type}"
    return _Unmade("helpers", said[1], words, said[1])


def _unmade(case: Case) -> _Unmade | None:
    """A helper, map, program or way to attach that the kernel refuses as it does what it does not know."""
    if withheld := _withheld(case):
        return withheld
    _, made = _failed_map(case)
    if made and case.phase is Phase.LOAD and case.errno in _NO_SUCH:
        words = f"map '{clip(made.name)}': {case.kernel} makes no maps of type {made.type} ({case.code})"
        return _Unmade("map_types", made.type, words, made.name)
    if not case.program:
        return None
    name, section = case.program.type, case.program.section
    if case.phase is Phase.LOAD and case.errno == errno.EINVAL and _unheard(case):
        words = f"{case.who}: {case.kernel} has no programs of type {name} ({case.code}, empty verifier log)"
        return _Unmade("program_types", name, words, name, PROGRAM_OPTION.get(name, ""))
    if case.phase is not Phase.ATTACH or not _no_such_way(case):
        return None
    words = f"{case.who}: {case.kernel} does not attach section '{clip(section)}' ({case.code})"
    _, option = ATTACH_OPTION.get(section.removeprefix("?").partition("/")[0].removesuffix(".s"), ("", ""))
    return _Unmade("attach_types", attach_type(section), words, section, option if case.errno != errno.EINVAL else "")


def _config_disabled(case: Case) -> Finding | None:
    """Refused as something unknown is, and known to this build: an option that is off compiles it out.

    Without an inventory: by a kernel that is new enough to know it, where it is an option of the build.
    """
    found = _unmade(case)
    if found is None:
        return None
    there = case.lacks(found.kind, found.name) is False
    off, upstream = case.switched_off(found.kind, found.name) if there else None, since(found.kind, found.name)
    if not off and not _by_option(case, found, upstream):
        return None
    option = off or found.option
    proof = (f"inventory of {clip(case.build.release, 64)}: {off} is not set",) if off and case.build else ()
    came = f"; upstream has it since {upstream.words}, with {option}" if upstream else f"; {option} is not set"
    return Finding(
        f"{found.words}{came}",
        (*(deciding_lines(case.verifier) or last_lines(case.libbpf, 3)), *proof),
        f"use a kernel with {option}=y, or a fallback that needs no such option",
        found.subject,
        None if off else Certainty.INFERRED,
    )


def _by_option(case: Case, found: _Unmade, upstream: Since | None) -> bool:
    """True where the tables leave nothing but an option of the build, and no inventory knows better."""
    if not found.option or upstream is None or _configured(case) or case.lacks(found.kind, found.name):
        return False
    return not upstream.newer_than(str(case.guest.get("release", "")))


def _configured(case: Case) -> bool:
    """True where the inventory has this build's configuration."""
    return case.build is not None and case.build.options is not None


def _name_refused(case: Case) -> Finding | None:
    """A kernel takes letters, digits, `_` and `.` in a name: bpf_obj_name_cpy() of kernel/bpf/syscall.c, EINVAL else.

    libbpf hands it the first 15 characters.
    """
    name = case.program.name[:_NAME_LEN] if case.program else ""
    if case.errno != errno.EINVAL or not _unheard(case) or re.fullmatch(r"[A-Za-z0-9_.]*", name):
        return None
    return Finding(
        f"{case.who}: {case.kernel} does not read the program (EINVAL, no log): its name is not of letters, digits, _ "
        "and . alone",
        last_lines(case.libbpf, 3),
        "give the function another name",
        certainty=Certainty.INFERRED,
    )


_NAME_LEN = 15  # BPF_OBJ_NAME_LEN without the zero


def _prog_type_missing(case: Case) -> Finding | None:
    if not case.program or not _unheard(case) or case.errno != errno.EINVAL:
        return None
    absent, row = case.lacks("program_types", case.program.type), case.too_old("program_types", case.program.type)
    if absent is False or (absent is None and row is None):
        return None
    came = f"; upstream has it since {row.words}" if row else ""
    return Finding(
        f"{case.who}: {case.kernel} has no programs of type {case.program.type} "
        f"({case.code}, empty verifier log){came}",
        (*last_lines(case.libbpf, 3), *case.inventory_says("program_types", case.program.type)),
        'make the program optional (SEC("?…")) and load it only where the type exists',
        case.program.type,
        None if absent else Certainty.INFERRED,
    )


def _attach_type_missing(case: Case) -> Finding | None:
    if not case.program:
        return None
    where = f"{case.who}: section '{clip(case.program.section)}'"
    unsupported = case.errno in (errno.EOPNOTSUPP, ENOTSUPP)
    if case.phase is Phase.LOAD and (unsupported or case.errno == errno.EINVAL) and _unheard(case):
        sentence = f"{where}: {case.kernel} refuses this attach type without reading the program ({case.code}, no log)"
    elif case.phase is Phase.ATTACH and case.program.type == "struct_ops" and unsupported:
        sentence = f"{where}: loads, but {case.kernel} registers no struct_ops of this type ({case.code})"
    elif case.phase is Phase.ATTACH and _no_such_way(case):
        sentence = f"{where}: loads, but {case.kernel} has no such way to attach, or has it switched off ({case.code})"
    else:
        return None
    hint = "fall back to an older way to attach on such kernels, or enable the option in that kernel"
    proof = case.inventory_says("attach_types", attach_type(case.program.section))
    return Finding(sentence, (*last_lines(case.libbpf, 3), *proof), hint, case.program.section, _sure_of_way(case))


def _sure_of_way(case: Case) -> Certainty | None:
    """How sure it is that the way to attach is missing: this build lacks it, or has it, or only a table speaks."""
    section = case.program.section if case.program else ""
    flagged = loaded_since(section) if case.phase is Phase.LOAD else None
    if flagged:
        return Certainty.INFERRED if case.older_than(flagged) else Certainty.GUESSED
    absent = case.lacks("attach_types", attach_type(section))
    if absent is not None:
        return None if absent else Certainty.GUESSED
    return Certainty.GUESSED if case.errno == errno.EINVAL and not _by_newer_way(case) else Certainty.INFERRED


def _no_such_way(case: Case) -> bool:
    """The words for a way to attach that is not known: EOPNOTSUPP, or EINVAL where a newer kernel brought it."""
    return case.errno in (errno.EOPNOTSUPP, ENOTSUPP) or (case.errno == errno.EINVAL and _by_newer_way(case))


def _by_newer_way(case: Case) -> bool:
    section = case.program.section.removeprefix("?") if case.program else ""
    return section.startswith(LINK_SECTIONS) or case.older_than(attach_since(section))


def _permission(case: Case) -> Finding | None:
    if case.errno != errno.EPERM:
        return None
    lockdown = str(case.guest.get("lockdown") or "none")
    why = f"lockdown is {clip(lockdown, 32)}" if lockdown != "none" else "the guest's init is root, without limits"
    hint = "look at lockdown, LSM policy and kernel.unprivileged_bpf_disabled of that kernel"
    if _under(case, "user=unprivileged"):
        closed = (case.guest.get("sysctls") or {}).get("kernel.unprivileged_bpf_disabled")
        why = "its loader has no capability" + (f", and kernel.unprivileged_bpf_disabled is {closed}" if closed else "")
        hint = f"give its loader {_capabilities(case)}"
    return Finding(
        f"{case.who}: {case.kernel} does not permit it (EPERM); {why}",
        last_lines(case.libbpf) + last_lines(case.verifier, 3),
        hint,
    )


def _capabilities(case: Case) -> str:
    """What a loader needs: capabilities(7); Linux 2c78ee898d8f split CAP_BPF off."""
    if case.older_than("5.8"):
        return "CAP_SYS_ADMIN"
    return "CAP_BPF, and CAP_PERFMON to trace or CAP_NET_ADMIN for network programs; CAP_SYS_ADMIN stands for all"


def _guest_resources(case: Case) -> Finding | None:
    if case.errno not in _NOT_THE_OBJECT:
        return None
    if case.phase is Phase.ATTACH and case.code == "ENOMEM" and case.program and case.program.type == "socket_filter":
        # net/core/filter.c, __sk_filter_charge(): a filter counts among what a socket may hold beside its buffers
        return Finding(
            f"{case.who}: a socket has no room for a filter of this size (ENOMEM while attaching); that is no answer",
            last_lines(case.libbpf),
            'name a kernel entry with sysctls = { "net.core.optmem_max" = N }: eight bytes an instruction must fit, on'
            " your machines too",
        )
    return Finding(
        f"{case.who}: the guest ran out of something ({case.code} while {_DOING[case.phase]}); that is no answer",
        last_lines(case.libbpf),
        "raise [guest] memory_mb",
    )


_DOING = {Phase.OPEN: "opening", Phase.LOAD: "loading", Phase.ATTACH: "attaching"}


def _object_malformed(case: Case) -> Finding | None:
    broken = case.find(_LINE + r"(?:BTF is required, but is missing or corrupted|BTF data is corrupted).*$")
    if unspecified := case.find(_LINE + r"failed to find USDT support BPF maps.*$"):
        return Finding(
            f"{case.who}: libbpf cannot attach it: the object has no maps for what its USDT probes find",
            _line(case, unspecified),
            "include <bpf/usdt.bpf.h> in the source, and keep its maps when the object is linked or stripped",
        )
    if case.phase is not Phase.OPEN and not broken:
        return _name_refused(case)
    said = case.fault or (_line(case, broken)[0] if broken else (last_lines(case.libbpf, 1) or (case.code,))[0])
    return Finding(
        f"object: libbpf cannot open it: {clip(said.removeprefix('elf: ').removeprefix('libbpf: '))}",
        last_lines(case.libbpf),
        "compile it with clang -O2 -g -target bpf -c, and hand over the object itself",
    )


@lru_cache(maxsize=64)  # each row asks it of the same log
def kind_of_refusal(log: str) -> refusals.Kind | None:
    """Which of the kinds in refusals.py a verifier's log tells of; None where none of them."""
    found = deciding_lines(log)
    lines = [line for line in found if not re.match(r";|\d+: \(|Verification failed:|Reason:|At:", line)]
    head = next((line for line in found if line.startswith("Verification failed:")), "")
    return refusals.row_of(lines, head.partition(":")[2].strip())


def _refused_as(row: refusals.Kind) -> Callable[[Case], Finding | None]:
    def found(case: Case) -> Finding | None:
        if not case.program or not case.verifier.strip() or kind_of_refusal(case.verifier) is not row:
            return None
        words = suggestion(case.verifier) or row.hint
        return Finding(_refused(case), deciding_lines(case.verifier), words)

    return found


def _refused(case: Case) -> str:
    said = reason(case.verifier) or f"refused with {case.code}"
    return f"{case.who}: the verifier of {case.kernel} refuses it: {clip(said, 200)}"


def _verifier_rejected(case: Case) -> Finding | None:
    if not case.program or not case.verifier.strip():
        return None
    return Finding(
        _refused(case),
        deciding_lines(case.verifier),
        suggestion(case.verifier) or "read the log from the source line above the reason",
    )


def _attach_busy(case: Case) -> Finding | None:
    if case.errno not in (errno.EBUSY, errno.EEXIST) or not case.program:
        return None
    return Finding(
        f"{case.who}: loads, but section '{clip(case.program.section)}' is taken by something attached already "
        f"({case.code})",
        last_lines(case.libbpf),
        "attach by a way that several programs can share, or replace what is there",
    )


def _not_traceable(case: Case) -> Finding | None:
    """A trampoline is set where a function begins with room for a call, else EBUSY (Linux, bpf_jit_comp.c).

    A guest attaches one program at a time, so that it is not taken by another.
    """
    kind, target = case.aim
    listed = case.errno in (errno.EINVAL, errno.EADDRNOTAVAIL) and kind in ("kprobe", "kretprobe")
    closed = case.errno == errno.EBUSY and kind.removesuffix(".s") in ("fentry", "fexit", "fmod_ret")
    if not target or not (listed or closed):
        return None
    why = "on the kernel's list of what may not be probed" if listed else "compiled without a place to enter it by"
    return Finding(
        f"{case.who}: loads, but {case.kernel} takes no {kind} on '{clip(target)}' ({case.code}): "
        f"it is there, and {why}",
        last_lines(case.libbpf),
        "take a caller or a callee of it, or a tracepoint nearby",
        target,
    )


def _btf_rejected(case: Case) -> Finding | None:
    said = case.find(_LINE + r"Error loading \.BTF into kernel: .*BTF is mandatory, can't proceed\.?$")
    if not said:
        return None
    where = case.find(r"^\[\d+\] .*\n\s*-- END BTF LOAD LOG --$")  # what the kernel says last of it
    lines = _line(case, where) if where else ()
    return Finding(
        f"object: {case.kernel} does not take the object's own BTF, and its programs need it"
        + (f": {clip(lines[0], 200)}" if lines else ""),
        (*lines, *_line(case, said)),
        "compile with a clang whose BTF this kernel knows, or leave newer kinds out (pahole --skip_encoding_btf_…)",
    )


def _map_memlock(case: Case) -> Finding | None:
    said = case.find(_LINE + r"permission error while running as root; try raising 'ulimit -l'.*$")
    if not said or case.errno != errno.EPERM:
        return None
    return Finding(
        f"{case.who}: the guest's limit on locked memory does not suffice on {case.kernel} (EPERM); that is no answer",
        _line(case, said),
        "raise RLIMIT_MEMLOCK before loading (kernels before 5.11 count maps against it)",
    )


def _attach_failed(case: Case) -> Finding | None:
    section = f" (section '{clip(case.program.section)}')" if case.program else ""
    why = f": {clip(case.program.attach_reason)}" if case.program and case.program.attach_reason else ""
    return Finding(
        f"{case.who}{section}: loads, but attaching fails with {case.code}{why}",
        last_lines(case.libbpf),
        "look at the target: it may be inlined, not traceable, or taken",
    )


def _unknown(case: Case) -> Finding:
    return Finding(
        f"{case.who}: {case.kernel} refuses it with {case.code or 'no errno'}; the cause is not in our table",
        tuple(dict.fromkeys(last_lines(case.libbpf) + last_lines(case.verifier))),
        "read the evidence, and report what it meant so that it gets a row",
    )


_O, _L, _A = (Phase.OPEN,), (Phase.LOAD,), (Phase.ATTACH,)
_NO, _ASK = Answer.INCOMPATIBLE, Answer.INCONCLUSIVE
_SAID, _TABLE, _GUESS = Certainty.PROVEN, Certainty.INFERRED, Certainty.GUESSED

# Most specific first.  What only looks like something else comes before it: a map that its application must size
# before a type that is missing, a missing helper and a licence before a rejection.  ENOMEM and its like come before
# all that would take the refusal for the kernel's opinion; only a verifier that says it gave up comes earlier.
CAUSES: Sequence[Cause] = (
    Cause("attach-not-attempted", _ASK, _A, _attach_not_attempted, _SAID),
    Cause("wrong-byte-order", _NO, _O + _L, _wrong_byte_order, _SAID),
    Cause("loader-unsupported", _ASK, _O + _L, _loader_unsupported, _SAID),
    Cause("kernel-config-absent", _ASK, _O + _L, _kernel_config_absent, _SAID),
    Cause("verifier-too-complex", _NO, _L, _too_complex, _SAID),
    Cause("guest-resources", _ASK, _O + _L + _A, _guest_resources, _TABLE),
    Cause("object-malformed", _NO, _O + _L + _A, _object_malformed, _SAID),
    Cause("btf-rejected", _NO, _L, _btf_rejected, _SAID),
    Cause("needs-declaration", _ASK, _L + _A, _needs_declaration, _SAID),
    Cause("kernel-btf-absent", _NO, _L, _kernel_btf_absent, _SAID),
    Cause("module-not-loaded", _ASK, _L, _module_not_loaded, _SAID),
    Cause("kfunc-missing", _NO, _L, _kfunc_missing, _SAID),
    Cause("kfunc-changed", _NO, _L, _kfunc_changed, _SAID),
    Cause("extern-unresolved", _NO, _L, _extern_unresolved, _SAID),
    Cause("map-memlock", _ASK, _L, _map_memlock, _SAID),
    Cause("config-disabled", _NO, _L + _A, _config_disabled, _SAID),
    Cause("map-type-missing", _NO, _L, _map_type_missing, _SAID),
    Cause("map-create-failed", _NO, _L, _map_create_failed, _TABLE),
    Cause("core-relocation-unresolved", _NO, _L, _core_unresolved, _SAID),
    Cause("attach-target-missing", _NO, _L + _A, _attach_target_missing, _SAID),
    Cause("attribute-unknown", _NO, _L, _attribute_unknown, _TABLE),
    Cause("prog-type-missing", _NO, _L, _prog_type_missing, _SAID),
    Cause("attach-type-missing", _NO, _L + _A, _attach_type_missing, _SAID),
    Cause("helper-missing", _NO, _L, _helper_missing, _SAID),
    Cause("locked-down", _NO, _L, _locked_down, _SAID),
    Cause("helper-not-allowed", _NO, _L, _helper_not_allowed, _SAID),
    Cause("kfunc-not-allowed", _NO, _L, _kfunc_not_allowed, _SAID),
    Cause("licence-refused", _NO, _L, _licence_refused, _SAID),
    Cause("permission", _NO, _L + _A, _permission, _TABLE),
    *(Cause(row.slug, _NO, _L, _refused_as(row), _SAID) for row in refusals.ROWS),
    Cause("verifier-rejected", _NO, _L, _verifier_rejected, _TABLE),
    Cause("attach-not-traceable", _NO, _A, _not_traceable, _TABLE),
    Cause("attach-busy", _NO, _A, _attach_busy, _TABLE),
    Cause("attach-failed", _NO, _A, _attach_failed, _GUESS),
    Cause("unknown", _NO, _O + _L + _A, _unknown, _GUESS),
)

"""What would forbid an object on a kernel, from the object's bytes and the kernel's types alone.  A prediction.

Never a verdict and never signed: only a guest's kernel answers.  An obstacle is `certain` where no way is left around
it: the kernel lacks the thing, and libbpf or the verifier must meet the need for it.  Everything else (a call behind a
branch that may be decided beforehand, what a module may bring, what only attaching shows) is a doubt.  Tests hold that
nothing is ever called impossible that a real boot found compatible.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple

from bpfcompat.anatomy import MAP_TYPES, Anatomy, Program
from bpfcompat.btfindex import KernelTypes, essential
from bpfcompat.btftypes import Kind
from bpfcompat.corelo import GUARDS, Outcome, Resolved, Resolver
from bpfcompat.flow import Certain
from bpfcompat.insns import Function
from bpfcompat.since import Since, since, version

NOTICE = "a prediction from the object's bytes and the kernel's types: no kernel was asked, and this is no verdict"
MAX_OBSTACLES = 200

_ENUMS = ("bpf_func_id", "bpf_prog_type", "bpf_map_type", "bpf_attach_type")
# libbpf calls an older helper where the kernel lacks one of these (bpf_probe_read_{user,kernel}[_str])
_REPLACED = frozenset((112, 113, 114, 115))
# Program types whose attach type the kernel checks when it loads them: bpf_prog_load_check_attach() and
# bpf_check_attach_target()
_CHECKED = frozenset((
    "CGROUP_SOCK", "CGROUP_SOCK_ADDR", "CGROUP_SOCKOPT", "SK_LOOKUP", "NETFILTER", "TRACING", "LSM",
))  # fmt: skip
# Options without which a program type is not compiled in (include/linux/bpf_types.h), or attaching is not.
_OPTION = {
    "LIRC_MODE2": "CONFIG_BPF_LIRC_MODE2", "LSM": "CONFIG_BPF_LSM", "NETFILTER": "CONFIG_NETFILTER_BPF_LINK",
    "CGROUP_SKB": "CONFIG_CGROUP_BPF", "CGROUP_SOCK": "CONFIG_CGROUP_BPF", "CGROUP_SOCK_ADDR": "CONFIG_CGROUP_BPF",
    "CGROUP_SOCKOPT": "CONFIG_CGROUP_BPF", "CGROUP_SYSCTL": "CONFIG_CGROUP_BPF", "CGROUP_DEVICE": "CONFIG_CGROUP_BPF",
    "TRACE_KPROBE_MULTI": "CONFIG_FPROBE", "TRACE_KPROBE_SESSION": "CONFIG_FPROBE",
}  # fmt: skip


class Word(StrEnum):
    """What a prediction comes to."""

    POSSIBLE = "could work"
    DOUBTFUL = "doubtful"
    IMPOSSIBLE = "cannot work"


class Obstacle(NamedTuple):
    """One thing in the way: its cause as verdicts name it, what it is about, and why it is (not) certain.

    `program` is "" where it concerns the object as a whole.  `instead` are names that the kernel has and that are like
    what it lacks.  `guarded`: the program asks whether something is there, so this is likely what it asks for; it then
    counts for nothing.
    """

    cause: str
    subject: str
    program: str
    certain: bool
    words: str
    instead: tuple[str, ...] = ()
    guarded: bool = False


class Prediction(NamedTuple):
    """What is predicted of one kernel."""

    kernel: str
    release: str
    word: Word
    obstacles: tuple[Obstacle, ...]


class Target:
    """A kernel as a prediction sees it.

    `types` are its own, None where it was built without; `shown` False where its guests hide them.  `homes` are the
    kfuncs of its modules, `options` what its configuration sets; None where that is not known.
    """

    def __init__(self, name: str, release: str, types: KernelTypes | None, shown: bool = True,
                 homes: Mapping[str, str] | None = None,
                 options: Callable[[], frozenset[str] | None] = lambda: None) -> None:  # fmt: skip
        self.name, self.release, self.types, self.shown = name, release, types, shown
        self.homes, self.options = homes, options

    @cached_property
    def enums(self) -> Mapping[str, frozenset[int | str]]:
        """Of the enums that say what the kernel was compiled with: all names and values; empty for an unknown one."""
        found: dict[str, frozenset[int | str]] = {}
        for name in _ENUMS if self.types else ():
            there = [self.types[n] for n in self.types.named(name, Kind.ENUM)] if self.types else []
            pairs = [pair for t in there for pair in self.types.enumerators(t).items()] if self.types else []
            real = [(n, v) for n, v in pairs if "MAX_" not in n]
            found[name] = frozenset(n for n, _ in real) | frozenset(v for _, v in real)
        return found

    def lacks(self, enum: str, what: int | str) -> bool:
        """True where the kernel's types have this enum, and it is not in it."""
        there = self.enums.get(enum)
        return bool(there) and what not in (there or ())


def resolve(anatomy: Anatomy, target: Target) -> tuple[Resolved, ...]:
    """The object's relocations with what this kernel has for them; none where its guests show no types."""
    if not anatomy.relocations or target.types is None or not target.shown:
        return ()
    return tuple(Resolver(anatomy.debug, target.types).all(anatomy.relocations))


def predict(
    anatomy: Anatomy, target: Target, declared: bool = False, resolved: Iterable[Resolved] | None = None
) -> Prediction:
    """What forbids this object on this kernel.

    `declared`: its own loader changes it before it loads, so that nothing is certain.  `resolved` is what `resolve`
    gives, where that is known already.
    """
    resolved = resolve(anatomy, target) if resolved is None else resolved
    found: dict[tuple[str, str, str], Obstacle] = {}
    for obstacle in _Predictor(anatomy, target, resolved).obstacles():
        known = found.setdefault((obstacle.cause, obstacle.subject, obstacle.program), obstacle)
        if obstacle.certain > known.certain:
            found[obstacle.cause, obstacle.subject, obstacle.program] = obstacle
        if len(found) >= MAX_OBSTACLES:
            break
    told = (_softened(o) if declared else o for o in found.values())
    ordered = tuple(sorted(told, key=lambda o: not o.certain))
    return Prediction(target.name, target.release, _word(ordered), ordered)


def _word(obstacles: Iterable[Obstacle]) -> Word:
    counting = [o for o in obstacles if not o.guarded]
    if not counting:
        return Word.POSSIBLE
    return Word.IMPOSSIBLE if any(o.certain for o in counting) else Word.DOUBTFUL


def _softened(obstacle: Obstacle) -> Obstacle:
    more = "; what is declared may change that" if obstacle.certain else ""
    return obstacle._replace(certain=False, words=obstacle.words + more)


class _Predictor:
    def __init__(self, anatomy: Anatomy, target: Target, resolved: Iterable[Resolved]) -> None:
        self.anatomy, self.target, self.resolved = anatomy, target, resolved
        self.certain = Certain(anatomy.code)

    def obstacles(self) -> Iterator[Obstacle]:
        yield from self._whole()
        yield from self._maps()
        yield from self._externs()
        for program in self.anatomy.programs:
            if program.autoload:
                yield from self._types(program)
                yield from self._target(program)
                yield from self._helpers(program)
        yield from self._relocations()

    # --- the object as a whole

    def _whole(self) -> Iterator[Obstacle]:
        if self.anatomy.byte_order != "little":
            yield Obstacle("wrong-byte-order", "", "", True, "it is big-endian, and this machine is not")
        for found in self.anatomy.maps:
            if found.legacy:
                words = f"map '{found.name}' is of section 'maps', which libbpf 1.x does not take; another loader may"
                yield Obstacle("loader-unsupported", found.name, "", False, words)

    def _maps(self) -> Iterator[Obstacle]:
        for found in self.anatomy.maps:
            if not found.legacy and found.number and self.target.lacks("bpf_map_type", found.number):
                words = f"map '{found.name}' is a {found.type}, which this kernel does not have"
                yield Obstacle("map-type-missing", found.type, "", True, words)

    def _externs(self) -> Iterator[Obstacle]:
        for name, weak in self.anatomy.externs:
            if weak:
                continue
            if name in self.anatomy.kfuncs:
                yield from self._kfunc(name)
            elif name.startswith("CONFIG_"):
                yield from self._option(name)

    def _kfunc(self, name: str) -> Iterator[Obstacle]:
        types, homes = self.target.types, self.target.homes
        bare = essential(name)
        if types is None or any(True for _ in types.named(bare, Kind.FUNC)):
            return
        home = (homes or {}).get(bare)
        if home:
            yield Obstacle("kfunc-missing", bare, "", False, f"kfunc {bare} is in module {home}, which must be loaded")
        elif homes is not None:
            yield Obstacle("kfunc-missing", bare, "", True, f"neither this kernel nor its modules have kfunc {bare}")
        else:
            yield Obstacle("kfunc-missing", bare, "", False, f"this kernel has no kfunc {bare}; a module may")

    def _option(self, name: str) -> Iterator[Obstacle]:
        options = self.target.options()
        if options is not None and name not in options:
            yield Obstacle("extern-unresolved", name, "", True, f"this kernel's configuration does not set {name}")

    # --- programs

    def _types(self, program: Program) -> Iterator[Obstacle]:
        who = f"program '{program.name}'"
        if program.type and self.target.lacks("bpf_prog_type", f"BPF_PROG_TYPE_{program.type}"):
            words = f"{who} is of type {program.type}, which this kernel does not have"
            yield Obstacle("prog-type-missing", program.type.lower(), program.name, True, words)
            return
        option = _OPTION.get(program.type) or _OPTION.get(program.attach_type)
        if option and (options := self.target.options()) is not None and option not in options:
            certain = program.type in _OPTION
            words = f"{who} is of type {program.type}, for which this kernel's configuration must set {option}"
            yield Obstacle("config-disabled", option, program.name, certain, words)
        elif program.attach_type and self.target.lacks("bpf_attach_type", f"BPF_{program.attach_type}"):
            checked = program.type in _CHECKED
            when = "" if checked else "; it may load all the same"
            words = f"{who} is for {program.attach_type}, which this kernel does not have{when}"
            yield Obstacle("attach-type-missing", program.attach_type.lower(), program.name, checked, words)

    def _target(self, program: Program) -> Iterator[Obstacle]:
        """What a program names must be among the kernel's types; all but hooks of LSM may be a module's."""
        types = self.target.types
        wanted = _target_type(program)
        if wanted is None or types is None:
            return
        name, kind = wanted
        if not any(True for _ in types.named(name, kind)):
            certain = program.type == "LSM"
            may = "" if certain else "; a module may"
            words = f"program '{program.name}': this kernel has no {program.target}{may}"
            yield Obstacle("attach-target-missing", program.target, program.name, certain, words)

    def _helpers(self, program: Program) -> Iterator[Obstacle]:
        for number, calls in self.anatomy.helpers(program).items():
            if number not in _REPLACED and self.target.lacks("bpf_func_id", number):
                yield from self._lacking(program, number, calls)

    def _lacking(self, program: Program, number: int, calls: Sequence[tuple[Function, int]]) -> Iterator[Obstacle]:
        """The calls of a helper that is not there, up to one that is certain."""
        name = helper_name(number)
        for function, insn in calls:
            certain = self.certain.at(program.function, function, insn)
            guarded = not certain and program.name in self.guarding
            words = f"program '{program.name}' calls {name} (helper {number}), which this kernel does not have"
            words += _unless(certain, guarded)
            yield Obstacle("helper-missing", name, program.name, certain, words, guarded=guarded)
            if certain:
                return

    # --- relocations

    def _relocations(self) -> Iterator[Obstacle]:
        if not self.anatomy.relocations:
            return
        if self.target.types is None or not self.target.shown:
            words = "its CO-RE relocations need the kernel's types, which this kernel does not show"
            yield Obstacle("kernel-btf-absent", "", "", True, words)
            return
        reached = self.programs_of
        for found in self.resolved:
            if found.poisoned and found.outcome is not Outcome.INVALID:
                for program in reached.get((found.local.section, found.local.function), ()):
                    yield self._relocation(program, found)

    @cached_property
    def guarding(self) -> frozenset[str]:
        """Names of the programs that ask whether the kernel has something."""
        asking = {(r.section, r.function) for r in self.anatomy.relocations if r.kind in GUARDS}
        return frozenset(p.name for place in asking for p in self.programs_of.get(place, ()))

    @cached_property
    def programs_of(self) -> dict[tuple[str, str], list[Program]]:
        found: dict[tuple[str, str], list[Program]] = {}
        for program in self.anatomy.programs:
            if program.autoload:
                for function in self.anatomy.functions(program):
                    found.setdefault((function.section, function.name), []).append(program)
        return found

    def _relocation(self, program: Program, found: Resolved) -> Obstacle:
        local = found.local
        function = next(f for f in self.anatomy.functions(program) if f.name == local.function)
        certain = found.outcome is Outcome.AMBIGUOUS or self.certain.at(program.function, function, local.insn)
        if found.outcome is Outcome.AMBIGUOUS:
            words = "this kernel has several types of that name, which disagree"
        elif found.fault:
            words = found.fault
        elif not found.where:
            certain, words = False, f"this kernel has no type {found.wanted}; a module may"
        else:
            words = f"{found.where} has no {found.wanted}"
        words = f"program '{program.name}': {local.word} of {local.spec}: {words}"
        guarded = not certain and program.name in self.guarding
        words += _unless(certain, guarded) if found.where or guarded else ""
        return Obstacle("core-relocation-unresolved", local.spec, program.name, certain, words, found.closest, guarded)


def _unless(certain: bool, guarded: bool) -> str:
    if certain:
        return ""
    return "; the program asks first what there is" if guarded else "; a branch may keep the verifier from it"


def _target_type(program: Program) -> tuple[str, Kind] | None:
    """The type that libbpf looks for among the kernel's when it loads this program."""
    name = program.target
    if not name or ":" in name:
        return None
    if program.attach_type in ("TRACE_FENTRY", "TRACE_FEXIT", "MODIFY_RETURN", "TRACE_FSESSION"):
        return name, Kind.FUNC
    if program.attach_type in ("LSM_MAC", "LSM_CGROUP"):
        return f"bpf_lsm_{name}", Kind.FUNC
    if program.attach_type == "TRACE_RAW_TP":
        return f"btf_trace_{name}", Kind.TYPEDEF
    if program.type in ("TRACEPOINT", "RAW_TRACEPOINT"):  # each tracepoint has such a type, but for those of syscalls
        group, slash, event = name.rpartition("/")
        known = (group != "syscalls") if slash else not event.startswith("sys_")
        return (f"btf_trace_{event}", Kind.TYPEDEF) if known else None
    if program.type == "KPROBE" and program.function.section.startswith(("kprobe/", "kretprobe/")):
        return (name, Kind.FUNC) if name.isidentifier() else None
    if program.attach_type == "TRACE_ITER":
        return f"bpf_iter_{name}", Kind.FUNC
    return None


@cache
def _helper_names() -> Mapping[str, str]:
    text = (Path(__file__).resolve().parent / "data" / "helpers.json").read_text("utf-8")
    found: dict[str, str] = json.loads(text)["helpers"]
    return found


def helper_name(number: int) -> str:
    """`bpf_loop`, by its number; `helper 4711` for one that no Linux had when this was written."""
    return _helper_names().get(str(number), f"helper {number}")


# --- upstream


class Need(NamedTuple):
    """Something of Linux's that an object needs, `kind` and `name` as in the since table."""

    kind: str
    name: str

    @property
    def short(self) -> str:
        """`helper bpf_loop`, `map type ringbuf`."""
        word, prefix = _NEEDS[self.kind]
        return f"{word} {self.name.removeprefix(prefix).lower() if prefix else f'bpf_{self.name}'}"


_NEEDS = {
    "helpers": ("helper", ""),
    "map_types": ("map type", "BPF_MAP_TYPE_"),
    "program_types": ("program type", "BPF_PROG_TYPE_"),
    "attach_types": ("attach type", "BPF_"),
}


_Places = dict[tuple[str, str], list[tuple[Program, Function, int] | None]]


def _needs(anatomy: Anatomy) -> _Places:
    """What an object may need of a kernel, each with the instructions that do; None where it surely does."""
    found: _Places = {}

    def add(kind: str, name: str, place: tuple[Program, Function, int] | None = None) -> None:
        found.setdefault((kind, name), []).append(place)

    for declared in anatomy.maps:
        if 0 < declared.number < len(MAP_TYPES):
            add("map_types", f"BPF_MAP_TYPE_{declared.type.upper()}")
    for program in (p for p in anatomy.programs if p.autoload):
        if program.type:
            add("program_types", f"BPF_PROG_TYPE_{program.type}")
        if program.attach_type and program.type in _CHECKED:
            add("attach_types", f"BPF_{program.attach_type}")
        for number, calls in anatomy.helpers(program).items():
            places = found.setdefault(("helpers", helper_name(number).removeprefix("bpf_")), [])
            places.extend((program, function, insn) for function, insn in calls)
    return found


def upstream(anatomy: Anatomy) -> Iterator[tuple[Need, Since]]:
    """What an object surely needs of Linux with the first upstream version that has it, the newest first.

    It decides nothing: distributions take back what is newer.
    """
    found, certain = _needs(anatomy), Certain(anatomy.code)
    dated = [(row, kind, name) for kind, name in found if (row := since(kind, name)) is not None]
    for row, kind, name in sorted(dated, key=lambda d: version(d[0].version), reverse=True):
        places = found[kind, name]
        if any(place is None or certain.at(place[0].function, place[1], place[2]) for place in places):
            yield Need(kind, name), row

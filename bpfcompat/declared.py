"""What an object's own loader does between opening and loading it, as the user declared it, and what came of it.

Frozen values and their JSON.  The JSON is part of the probe's key and of the signed statement, so it holds only what
was declared: no default, no None.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from bpfcompat.tomledit import quoted

FORMAT = 1  # raise when the same declaration reaches the guest as something else
HELD = ("helper", "kfunc", "prog-type", "map-type", "symbol")  # conditions that name something: `helper:bpf_loop`
TRIAL = "trial-load"
MOST = 1 << 53

Entries = int | str  # a number, `cpus` (one for each possible CPU), or `pages:N` (N times the page size)
Constant = bool | int | float | str | tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class InnerMap:
    """The prototype of the maps inside a map of maps; what is None is as the object says."""

    type: str | None = None
    key_size: int | None = None
    value_size: int | None = None
    max_entries: Entries | None = None


@dataclass(frozen=True, slots=True)
class MapChange:
    """What is set of one map; types in libbpf's words, sizes in bytes.  `pinning`, `autocreate` can only be False."""

    name: str
    max_entries: Entries | None = None
    type: str | None = None
    key_size: int | None = None
    value_size: int | None = None
    pinning: bool | None = None
    autocreate: bool | None = None
    inner: InnerMap | None = None


@dataclass(frozen=True, slots=True)
class ProgramChange:
    """What is set of one program, which `name` names by its function or by its section.

    `target` is a function of the kernel (or `MODULE:FUNCTION`) or of user space (`/FILE:FUNCTION`), a tracepoint, a
    system call, or what else programs of its family attach to; with `target_program` it is a function of that program,
    which is loaded first, and by default the program itself.  That program is of the same object, or of another that
    lies at `target_file` below the guest's /files.  `attach` is how far this program goes, in AttachMode's words.
    """

    name: str
    type: str | None = None
    attach_type: str | None = None
    target: str | None = None
    target_program: str | None = None
    target_file: str | None = None
    attach: str | None = None
    autoload: bool | None = None


@dataclass(frozen=True, slots=True)
class Alternative:
    """Programs that go together, maps that only they need, and the condition on which they are chosen.

    "" always holds.  Maps of the other alternatives are not created.
    """

    programs: tuple[str, ...]
    needs: str = ""
    maps: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VariantGroup:
    """The first alternative whose condition holds is on, the others are off.

    `companions` are switched on beside an alternative while it is loaded on trial.  `optional`: that none holds is no
    fault.
    """

    name: str
    alternatives: tuple[Alternative, ...]
    companions: tuple[str, ...] = ()
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Declared:
    """All of it for one object.  Constants are by name, members of a structure by their path (`filter.pid`)."""

    maps: tuple[MapChange, ...] = ()
    programs: tuple[ProgramChange, ...] = ()
    variants: tuple[VariantGroup, ...] = ()
    constants: tuple[tuple[str, Constant], ...] = ()
    kconfig: tuple[tuple[str, bool | int | str], ...] = ()

    def __bool__(self) -> bool:
        return any(getattr(self, f.name) for f in fields(self))

    def to_json(self) -> dict[str, Any]:
        """What enters the key: only what was declared."""
        found = {
            "maps": {m.name: _said(m) for m in self.maps},
            "programs": {p.name: _said(p) for p in self.programs},
            "variants": {v.name: _group(v) for v in self.variants},
            "constants": {name: _plain(value) for name, value in self.constants},
            "kconfig": {name: _plain(value) for name, value in self.kconfig},
        }
        return {"format": FORMAT, **{name: part for name, part in found.items() if part}}


def _said(change: MapChange | ProgramChange) -> dict[str, Any]:
    table = {name: value for name, value in asdict(change).items() if value is not None and name != "name"}
    if "inner" in table:
        table["inner"] = {name: value for name, value in table["inner"].items() if value is not None}
    return table


def _group(group: VariantGroup) -> dict[str, Any]:
    found: dict[str, Any] = {"alternatives": [_alternative(a) for a in group.alternatives]}
    if group.companions:
        found["companions"] = list(group.companions)
    if group.optional:
        found["optional"] = True
    return found


def _alternative(one: Alternative) -> dict[str, Any]:
    more = {"needs": one.needs, "maps": list(one.maps)}
    return {"programs": list(one.programs), **{name: part for name, part in more.items() if part}}


def _plain(value: Constant) -> Any:
    """Signed JSON has no fractions and no integer beyond 2^53: both are written as text that gives the same back."""
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return {"float": value.hex()}
    return {"int": str(value)} if isinstance(value, int) and abs(value) > MOST else value


# --- the lines to add, on one line each; a terminal shows them on two


FRAMES = 8 * 127  # bytes of a stack trace: as many frames as kernel.perf_event_max_stack has by default


def size_line(name: str, kind: str, value_size: int) -> str:
    """A map's size: of a ring buffer in pages, because that is in bytes and depends on the kernel."""
    value = '"pages:64"' if kind in ("ringbuf", "user_ringbuf") else "10240"
    frames = f"value_size = {FRAMES}; " if kind == "stack_trace" and not value_size else ""
    return f"[objects.NAME.maps.{toml_key(name)}] {frames}max_entries = {value}  # the number that the application sets"


def type_line(name: str, section: str) -> str:
    """A program's type, guessed from its section's name."""
    kind = "xdp" if "xdp" in section else "socket_filter"
    return f'[objects.NAME.programs.{toml_key(name)}] type = "{kind}"  # the type that the application sets'


def target_line(name: str, section: str) -> str:
    """What a program attaches to: an example that its section's family takes, the same on every kernel."""
    example, what = example_target(section)
    return f'[objects.NAME.programs.{toml_key(name)}] target = "{example}"  # the {what} that the application chooses'


def example_target(section: str) -> tuple[str, str]:
    """A target that a section's family takes, and what that is: `sched_switch`, `tracepoint`; a type's word will do."""
    family = section.removeprefix("?").partition("/")[0].removesuffix(".s")
    return _TARGETS.get(family, ("vfs_read", "function"))


_TARGETS = {
    "tp_btf": ("sched_switch", "tracepoint"), "iter": ("task", "iterator"), "lsm": ("file_open", "hook"),
    "lsm_cgroup": ("socket_bind", "hook"),
    **dict.fromkeys(("tp", "tracepoint"), ("sched/sched_switch", "tracepoint")),
    **dict.fromkeys(("raw_tp", "raw_tracepoint"), ("sched_switch", "tracepoint")),
    **dict.fromkeys(("raw_tp.w", "raw_tracepoint.w", "raw_tracepoint_writable"), ("bpf_test_finish", "tracepoint")),
    **dict.fromkeys(("ksyscall", "kretsyscall"), ("unlink", "system call")),
    **dict.fromkeys(("kprobe.multi", "kretprobe.multi", "kprobe.session"), ("vfs_read", "function or pattern")),
}  # fmt: skip


def program_line(name: str) -> str:
    """The program that a `freplace` replaces a function of."""
    where = f"[objects.NAME.programs.{toml_key(name)}]"
    return f'{where} target_program = "main"  # of the same object, or with target_object = "NAME" of another'


def off_line(name: str) -> str:
    """A program that is not loaded."""
    return f"[objects.NAME.programs.{toml_key(name)}] autoload = false  # or let a struct_ops map name it"


def inner_line(name: str) -> str:
    """The prototype of the maps inside a map."""
    inner = '{ type = "hash", key_size = 4, value_size = 8, max_entries = 1024 }'
    return f"[objects.NAME.maps.{toml_key(name)}] inner = {inner}  # the prototype that the application sets"


def toml_key(name: str) -> str:
    """A name as a key of TOML, whatever an object calls its things."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else quoted(name)


# --- what came of it, in the report


@dataclass(frozen=True, slots=True)
class SettingReport:
    """One thing that was set: `map counts max_entries`, its value in effect, and 0 or the errno that refused it."""

    subject: str
    name: str
    key: str
    value: str
    errno: int

    def __str__(self) -> str:
        return (
            f"{PLURAL.get(self.subject, self.subject)}.{self.name}{'.' + self.key if self.key else ''} = {self.value}"
        )


PLURAL: Mapping[str, str] = {"map": "maps", "program": "programs", "constant": "constants"}


@dataclass(frozen=True, slots=True)
class TriedReport:
    """One alternative of a group: whether its condition held (None: not asked), and the errno that says why not."""

    needs: str
    programs: tuple[str, ...]
    held: bool | None
    errno: int


@dataclass(frozen=True, slots=True)
class VariantReport:
    """One group: the position of the alternative that is on, or None."""

    group: str
    chosen: int | None
    tried: tuple[TriedReport, ...]


@dataclass(frozen=True, slots=True)
class DeclaredReport:
    """What the guest did of what was declared."""

    settings: tuple[SettingReport, ...] = ()
    variants: tuple[VariantReport, ...] = ()

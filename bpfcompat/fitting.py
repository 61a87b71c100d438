"""Declarations and tests against the object that they are about: names are there, values fit, and the guest's lines.

Pure.  A name that the object has not, or a value that its type cannot hold, is a ConfigError with the nearest name,
before any guest starts.  Constants become bytes here, by the object's own BTF; the guest only copies them.
"""

import difflib
import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from bpfcompat.behaviour import BehaviourTest
from bpfcompat.btftypes import Kind, Types
from bpfcompat.causes import helper_names
from bpfcompat.declared import Constant, Declared, Entries, InnerMap, MapChange, ProgramChange, VariantGroup
from bpfcompat.elf import ObjectFacts, VariableFacts, read_object, section_of
from bpfcompat.errors import ConfigError, ObjectError, did_you_mean
from bpfcompat.twins import split

MAX_LINES_BYTES = (1 << 20) - (64 << 10)  # of what the guest takes as its spec, validator/main.c
PAGE = 4096
_FUNCTION = re.compile(r"[!-+\--~]{1,255}")  # printable, without the blank and comma that part words of a line
_RING_BUFFERS = ("ringbuf", "user_ringbuf")


@dataclass(frozen=True, slots=True)
class _Way:
    """How the guest is told a target: under which word of validator/wire.md, of which shape, and that in words."""

    word: str
    shape: re.Pattern[str]
    wanted: str
    families: tuple[str, ...]


_OF_KERNEL = re.compile(r"(?:[\w-]+:)?[A-Za-z_][\w.$]*", re.ASCII)
# What is looked up when it is attached; libbpf looks up every other target before it loads.
_WAYS = (
    _Way("kprobe", _OF_KERNEL, "a function of the kernel", ("kprobe", "kretprobe")),
    _Way("kprobe_multi", re.compile(r"[\w.*?]+", re.ASCII), "a function of the kernel or a pattern, such as vfs_*",
         ("kprobe.multi", "kretprobe.multi", "kprobe.session")),
    _Way("ksyscall", re.compile(r"[a-z_]\w*", re.ASCII), "a system call's name, such as openat",
         ("ksyscall", "kretsyscall")),
    _Way("tracepoint", re.compile(r"[\w-]+/[\w-]+", re.ASCII), "CATEGORY/NAME, such as sched/sched_switch",
         ("tracepoint",)),
    _Way("raw_tp", re.compile(r"[A-Za-z_]\w*", re.ASCII), "a tracepoint's name, such as sched_switch",
         ("raw_tp", "raw_tp.w")),
    _Way("uprobe", re.compile(r"/[^:]+:[^:]+"), "/FILE:FUNCTION",
         ("uprobe", "uretprobe", "uprobe.multi", "uretprobe.multi", "uprobe.session")),
    _Way("uprobe", re.compile(r"/[^:]+:[^:]+:[^:]+"), "/FILE:PROVIDER:PROBE", ("usdt",)),
)  # fmt: skip
_BY_FAMILY = {family: way for way in _WAYS for family in way.families}
NAMED_LATE = tuple(f for f, way in _BY_FAMILY.items() if way.word != "uprobe")  # where a section may name nothing
_OTHERWISE = _Way("target", _OF_KERNEL, "a function of the kernel", ())
# The family of a program whose section does not say its declared type, as attach_row_of() of validator/attach.c has it.
_BY_TYPE = {
    "kprobe": "kprobe", "tracepoint": "tracepoint", "raw_tracepoint": "raw_tp", "raw_tracepoint_writable": "raw_tp.w",
    "perf_event": "perf_event", "trace_kprobe_multi": "kprobe.multi", "trace_kprobe_session": "kprobe.session",
    "trace_uprobe_multi": "uprobe.multi", "trace_uprobe_session": "uprobe.session",
}  # fmt: skip
_TYPES = {"tracepoint": "tracepoint", "raw_tp": "raw_tracepoint", "raw_tp.w": "raw_tracepoint_writable"}


def lines(declared: Declared, data: bytes, where: str) -> tuple[str, ...]:
    """What the guest is told, one setting a line, for this object; ConfigError for what does not fit it.

    ObjectError when the object cannot be read: then nothing could be checked.
    """
    if not declared:
        return ()
    try:
        found = tuple(_Fitting(data, where).lines(declared))
    except struct.error as error:
        raise ObjectError(f"{where}: the object's BTF is damaged: {error}") from None
    size = sum(len(line) + 1 for line in found)
    if size > MAX_LINES_BYTES:
        raise ConfigError(f"{where}: {size} bytes of settings, at most {MAX_LINES_BYTES} expected")
    return found


def fit_tests(tests: Iterable[BehaviourTest], facts: ObjectFacts | str, where: str) -> None:
    """ConfigError where a test names a program that the object has not; `where` is the object's table.

    A program is named by its function, as libbpf does.  Of an object that cannot be read here (a fault instead of
    facts) nothing is known to be absent, and what it is worth is the real loader's to say.
    """
    if isinstance(facts, str):
        return
    known = tuple(p.name for p in facts.programs)
    for test in tests:
        for key, name in _programs_named(test):
            _known(name, known, f"program {name!r}", f"{where}: tests: {test.name[:60]!r}: {key}")


def _programs_named(test: BehaviourTest) -> Iterator[tuple[str, str]]:
    """The key of a test, and the program that it names, for each."""
    yield from (("programs", name) for name in test.programs)
    if test.run is not None:
        yield "run: program", test.run.program


def _known(name: str, known: Sequence[str], what: str, where: str) -> None:
    if name not in known:
        hint = did_you_mean(name, known, f"it has: {', '.join(known[:20]) or 'none'}", most=1)
        raise ConfigError(f"{where}: the object has no {what}", hint=hint)


class _Fitting:
    """One object, and the look-ups in it."""

    def __init__(self, data: bytes, where: str) -> None:
        self.where = where
        self.facts: ObjectFacts = read_object(data)
        btf = section_of(data, ".BTF")
        self.types = Types(btf) if btf else None

    def lines(self, declared: Declared) -> Iterator[str]:
        for change in declared.maps:
            yield from self.map(change)
        for program in declared.programs:
            yield from self.program(program)
        for name, value in declared.constants:
            yield self.constant(name, value)
        for name, setting in declared.kconfig:
            yield self.kconfig(name, setting)
        for group in declared.variants:
            yield from self.variants(group)

    # --- maps and programs

    def map(self, change: MapChange) -> Iterator[str]:
        self._known(change.name, self.facts.maps, "map", f"maps.{change.name}")
        head = f"map {change.name}"
        yield from _set(head, "type", change.type)
        yield from _set(head, "key_size", change.key_size)
        yield from _set(head, "value_size", change.value_size)
        yield from _set(head, "max_entries", change.max_entries)
        if change.inner is not None:
            where = f"{self.where}: maps.{change.name}: inner"
            yield f"{head} inner {_inner(change.inner, where)}"
        yield from _set(head, "pinning", "off" if change.pinning is False else None)
        yield from _set(head, "autocreate", "off" if change.autocreate is False else None)

    def program(self, change: ProgramChange) -> Iterator[str]:
        where = f"programs.{change.name}"
        name = self.function(change.name, where)
        head = f"program {name}"
        yield from _set(head, "type", change.type)
        yield from _set(head, "attach_type", change.attach_type)
        way = self._way(name, change, where) if change.target is not None else _OTHERWISE
        if change.target_file is not None:
            other = change.target_program
            yield f"{head} target_file {change.target_file} {other} {change.target or other}"
        elif change.target_program is not None:
            other = self.function(change.target_program, f"{where}: target_program")
            yield f"{head} target_program {other} {change.target or other}"
        else:
            yield from _set(head, way.word, change.target)
        yield from _set(head, "attach", change.attach)
        yield from _set(head, "autoload", None if change.autoload is None else "on" if change.autoload else "off")

    def _way(self, name: str, change: ProgramChange, where: str) -> _Way:
        """How the guest is told its target; ConfigError for one that a program of its family does not take."""
        family = "" if change.target_program else self._family(name, change)
        if family == "perf_event":
            raise ConfigError(f"{self.where}: {where}: target: a perf_event program takes none: the guest itself makes "
                              "the software event cpu-clock for it", hint="leave target out")  # fmt: skip
        way = _BY_FAMILY.get(family, _OTHERWISE)
        if not way.shape.fullmatch(change.target or ""):
            kind = f" of a {family} program" if family else ""
            raise ConfigError(f"{self.where}: {where}: target{kind}: expected {way.wanted}, got {change.target!r}")
        return way

    def _family(self, name: str, change: ProgramChange) -> str:
        """By the section, or where that does not go with the declared type, by the type."""
        family = split(next(p.section for p in self.facts.programs if p.name == name))[0]
        own = _TYPES.get(family, "kprobe" if family in _BY_FAMILY else family)
        if change.type in (None, own):
            return family
        return _BY_TYPE.get(change.attach_type or "") or _BY_TYPE.get(change.type or "", "")

    def function(self, name: str, where: str) -> str:
        """The function of a program that is named by it or by its section."""
        programs = self.facts.programs
        found = [p.name for p in programs if name == p.name]
        found = found or [p.name for p in programs if p.section.removeprefix("?") == name.removeprefix("?")]
        if len(found) > 1:
            raise ConfigError(f"{self.where}: {where}: {len(found)} programs are meant: {', '.join(found[:5])}",
                              hint="name one by its function")  # fmt: skip
        if not found:
            known = [*(p.name for p in programs), *(p.section for p in programs)]
            self._known(name, known, "program", where)
        if not _FUNCTION.fullmatch(found[0]):
            raise ConfigError(f"{self.where}: {where}: its function has a name that cannot be declared: {found[0]!r}")
        return found[0]

    def _known(self, name: str, known: Sequence[str], what: str, where: str) -> None:
        _known(name, known, f"{what} of this name", f"{self.where}: {where}")

    # --- variants

    def variants(self, group: VariantGroup) -> Iterator[str]:
        where = f"variants {group.name!r}"
        chosen = [self.function(n, where) for one in group.alternatives for n in dict.fromkeys(one.programs)]
        for name in group.companions:
            if (found := self.function(name, f"{where}: companions")) in chosen:
                raise ConfigError(f"{self.where}: {where}: {found} is a companion and an alternative too")
        if group.companions:
            names = ",".join(self.function(n, where) for n in group.companions)
            yield f"companions {group.name} {names}"
        for one in group.alternatives:
            names = ",".join(self.function(n, where) for n in one.programs)
            for name in one.maps:
                self._known(name, self.facts.maps, "map", where)
            maps = f" {','.join(one.maps)}" if one.maps else ""
            yield f"variant {group.name} {self._needs(one.needs, where)} {names}{maps}"
        if group.optional:
            yield f"variant {group.name} always -"

    def _needs(self, needs: str, where: str) -> str:
        kind, _, name = needs.partition(":")
        if kind != "helper":
            return needs or "always"
        ids = {n: number for number, n in helper_names().items()}
        number = int(name) if name.isdecimal() else ids.get(name)
        if number is None:
            hint = did_you_mean(name, ids, "newer functions are kfuncs: kfunc:NAME", most=1)
            raise ConfigError(f"{self.where}: {where}: no helper is named {name!r}", hint=hint)
        return f"helper:{name}:{number}"

    # --- constants

    def constant(self, path: str, value: Constant) -> str:
        """`constant NAME SECTION OFFSET HEX`."""
        name, _, rest = path.partition(".")
        where = f"constants.{path}"
        variable = self._variable(name, where)
        types = self._types(where)
        number, offset = types.variables(variable.section).get(name), 0
        if number is None:
            raise ConfigError(f"{self.where}: {where}: the object's BTF says no type for it")
        for member in rest.split(".") if rest else ():
            number, offset = self._member(types, number, offset, member, where)
        try:
            encoded = encode(types, number, value, "<" if self.facts.byte_order == "little" else ">")
        except ValueError as error:
            raise ConfigError(f"{self.where}: {where}: {error}") from None
        if offset + len(encoded) > variable.size:
            raise ObjectError(f"{self.where}: {where}: its BTF says {len(encoded)} bytes at {offset}, "
                              f"its symbol {variable.size} in all")  # fmt: skip
        return f"constant {path} {variable.section} {variable.offset + offset} {encoded.hex()}"

    def _types(self, where: str) -> Types:
        if self.types is None:
            raise ConfigError(f"{self.where}: {where}: the object has no BTF, which says what type it has",
                              hint="compile with -g")  # fmt: skip
        return self.types

    def _variable(self, name: str, where: str) -> VariableFacts:
        known = {v.name: v for v in self.facts.variables}
        self._known(name, tuple(known), "global variable", where)
        return known[name]

    def _member(self, types: Types, number: int, offset: int, name: str, where: str) -> tuple[int, int]:
        _, of = types.resolved(number)
        members = {m.name: m for m in types.members(of)} if of.kind in (Kind.STRUCT, Kind.UNION) else {}
        self._known(name, tuple(members), "member", where)
        found = members[name]
        if found.bits or found.offset % 8:
            raise ConfigError(f"{self.where}: {where}: a bit field cannot be declared")
        return found.type, offset + found.offset // 8

    # --- configuration

    def kconfig(self, name: str, value: bool | int | str) -> str:
        """`kconfig NAME TEXT`, as a line of a kernel's configuration has it."""
        where = f"kconfig.{name}"
        self._known(name, [n for n in self.facts.externs if n.startswith("CONFIG_")], "Kconfig extern", where)
        types = self._types(where)
        number = types.variables(".kconfig").get(name)
        if number is None:
            raise ConfigError(f"{self.where}: {where}: the object's BTF says no type for it")
        wanted = _kconfig_fault(types, number, value)
        if wanted:
            raise ConfigError(f"{self.where}: {where}: expected {wanted}, got {value!r}")
        if isinstance(value, bool):
            return f"kconfig {name} {'y' if value else 'n'}"
        quoted = isinstance(value, str) and types.resolved(number)[1].kind is Kind.ARRAY
        return f'kconfig {name} "{value}"' if quoted else f"kconfig {name} {value}"


def _set(head: str, key: str, value: Entries | None) -> Iterator[str]:
    if value is not None:
        yield f"{head} {key} {value}"


def _inner(inner: InnerMap, where: str) -> str:
    entries = inner.max_entries
    if inner.type in _RING_BUFFERS and entries is not None and entries != "cpus":
        size = entries if isinstance(entries, int) else int(entries.partition(":")[2]) * PAGE
        if size < PAGE or size & (size - 1):
            raise ConfigError(f"{where}: max_entries: expected a power of two of at least {PAGE} bytes, got {entries}")
    words: Iterable[Entries | None] = (inner.type, inner.key_size, inner.value_size, entries)
    return " ".join("-" if word is None else str(word) for word in words)


# --- values to bytes


def encode(types: Types, number: int, value: Constant, order: str) -> bytes:
    """A value as it lies in memory for a type; ValueError that says what the type takes."""
    _, of = types.resolved(number)
    if of.kind is Kind.ARRAY:
        return _array(types, *types.element(of), value, order)
    if of.kind is Kind.INT:
        return _integer(types.integer(of), of.size_or_type, value, order)
    if of.kind in (Kind.ENUM, Kind.ENUM64):
        return _enumerator(types.enumerators(of), of.flag, of.size_or_type, value, order)
    if of.kind is Kind.FLOAT and of.size_or_type in (4, 8):
        return _fraction(of.size_or_type, value, order)
    what = of.kind.name.lower()
    raise _wrong(f"a variable that is a number, an enum, text or a list of such; this is a {what}", value)


def _fraction(size: int, value: Constant, order: str) -> bytes:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong("a number", value)
    try:
        return struct.pack(f"{order}{'f' if size == 4 else 'd'}", value)
    except OverflowError:
        raise _wrong("a number that a float of this size can hold", value) from None


def _integer(kind: tuple[bool, bool, int], size: int, value: Constant, order: str) -> bytes:
    signed, is_bool, bits = kind
    if is_bool:
        if not isinstance(value, bool):
            raise _wrong("true or false", value)
        return int(value).to_bytes(size, "little" if order == "<" else "big")
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed and bits else (0, (1 << bits) - 1)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise _wrong(f"a whole number from {low} to {high}", value)
    return value.to_bytes(size, "little" if order == "<" else "big", signed=signed)


def _enumerator(known: dict[str, int], signed: bool, size: int, value: Constant, order: str) -> bytes:
    number = known.get(value) if isinstance(value, str) else value
    if isinstance(number, bool) or not isinstance(number, int) or number not in known.values():
        near = difflib.get_close_matches(str(value), known, n=1)
        raise _wrong(f"one of {', '.join((near or list(known))[:10])}", value)
    return number.to_bytes(size, "little" if order == "<" else "big", signed=signed or number < 0)


def _array(types: Types, element: int, count: int, value: Constant, order: str) -> bytes:
    _, of = types.resolved(element)
    if isinstance(value, str):
        text = value.encode()
        if of.kind is not Kind.INT or of.size_or_type != 1:
            raise _wrong(f"a list of {count}", value)
        if len(text) >= count:
            raise _wrong(f"a text of at most {count - 1} bytes", value)
        return text.ljust(count, b"\0")
    if not isinstance(value, tuple) or len(value) != count:
        raise _wrong(f"a list of {count}", value)
    return b"".join(encode(types, element, item, order) for item in value)


def _kconfig_fault(types: Types, number: int, value: bool | int | str) -> str:
    """What a Kconfig extern of this type takes, or "" when the value is such."""
    _, of = types.resolved(number)
    letters = isinstance(value, bool) or value in ("y", "n", "m")
    if of.kind is Kind.ARRAY:
        _, count = types.element(of)
        return "" if isinstance(value, str) and len(value) < count else f"a text of at most {count - 1} bytes"
    if of.kind is Kind.ENUM:
        return "" if letters else 'true, false or "m"'
    signed, is_bool, bits = types.integer(of) if of.kind is Kind.INT else (False, False, 0)
    if is_bool:
        return "" if letters and value != "m" else "true or false"
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed and bits else (0, (1 << bits) - 1)
    fits = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
    return "" if fits or (bits == 8 and letters) else f"a whole number from {low} to {high}"


def _wrong(expected: str, got: object) -> ValueError:
    return ValueError(f"expected {expected}, got {repr(got)[:80]}")

"""The validator's report: frames of validator/wire.md in, a Report out, and the Report's own JSON.

Pure and strict: the guest is hostile, so one byte that is not as specified makes the whole report no answer
(GuestError), never a verdict.  What an errno means is not known here.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain, islice
from typing import Any

from bpfcompat.behaviour import Ended, Heard, HeldProgram, Reading, RunReport, TestReport
from bpfcompat.declare import MAX_ALTERNATIVES, MAX_GROUPS, MAX_SETTINGS
from bpfcompat.declared import DeclaredReport, SettingReport, TriedReport, VariantReport
from bpfcompat.digest import digest_bytes
from bpfcompat.errors import GuestError, StoreError, TrustError
from bpfcompat.measures import RELOCATIONS_MAX, measures, relocations
from bpfcompat.model import (
    Attach,
    AttachMode,
    CommandReport,
    Cost,
    Creation,
    Ending,
    Fate,
    Log,
    MapReport,
    Measures,
    ProgramReport,
    Relocation,
    Report,
    Start,
    Types,
)
from bpfcompat.shards import joined
from bpfcompat.squeezed import LOG_MAX, Squeezed, Unpacker, squeezed
from bpfcompat.strictjson import parse_json

REPORT_MAX = 64 << 20  # bytes, of a report and of its stored form
PROGRAMS_MAX = 10_000
MAPS_MAX = 10_000
TESTS_MAX = 64
MODULES_MAX = 256
ERRNO_MAX = 4095  # Linux MAX_ERRNO; libbpf's own start at 4000

_HEAD_MAX = 256
_HEAD = re.compile(rb"BPFC1 ([0-9a-f]{32}) (0|[1-9][0-9]{0,8}) ([1-9][0-9]{0,8}) ([0-9a-f]{64})")
_GAVE_UP = b"BPFC0 "
_END = b'{"kind":"end",'
# A 64-bit load of a kernel address into a register, which differs at each boot.  Addresses fill the top of the space
# but for its last 2^24 bytes, where small negative constants are.
_ADDRESS = re.compile(r"(\(18\) r\d+ = )0xff(?!ffffffff)[0-9a-f]{14}")

_HEX = re.compile(r"(?:[0-9a-f]{2})*")
_COUNT = (1 << 53) - 1  # the most that every reader of JSON takes

Check = Callable[[Any], Any]
Shape = Mapping[str, Check]


def spec(
    nonce: str, attach: AttachMode, clock_ns: int, seed: str,
    declared: Sequence[str] = (), tests: Sequence[str] = (), command: Sequence[str] = (),
    shard: tuple[int, int] = (0, 1),
) -> bytes:  # fmt: skip
    """What the validator is asked: its `opt/bpfcompat/spec`.

    `clock_ns` (since 1970) and `seed` (64 hex digits) are for the guest's clock and random state, which a thawed guest
    has from its template.  `declared` are lines of fitting.py, `tests` of behave.py, `command` of loaders.py.  `shard`
    is which of how many guests that share the object this is; the tests are the first one's.
    """
    mode = AttachMode.ATTACH if attach.attaches else AttachMode.LOAD  # what is missing is held against it on the host
    lines = [f"nonce={nonce}", f"clock={clock_ns}", f"seed={seed}", f"attach={mode}"]
    lines += [f"shard={shard[0]}/{shard[1]}"] if shard[1] > 1 else []
    lines += [*(f"declare={line}" for line in declared), *(tests if shard[0] == 0 else ())]
    lines += [f"command={line}" for line in command]
    return "".join(f"{line}\n" for line in lines).encode()


def is_complete(data: bytes | bytearray) -> bool:
    """True when the last line is an end frame's, or the validator's word that there will be none."""
    tail = bytes(data[-_HEAD_MAX * 2 :])
    last = tail[tail.rfind(b"\n", 0, -1) + 1 :]
    return last.endswith(b"\n") and last.startswith((_END, _GAVE_UP))


def parse(data: bytes, nonce: str, declared: bool = False, log_max: int = 1 << 20) -> Report:
    """A complete report with this nonce; GuestError (phase `report`) for anything else.

    The arguments are those of parse_shards.
    """
    return parse_shards([(data, nonce)], declared, log_max)


def parse_shards(shards: Sequence[tuple[bytes, str]], declared: bool = False, log_max: int = 1 << 20) -> Report:
    """One report of what each of the guests said that shared an object, with its nonce; GuestError as of parse.

    `declared`: something was declared, so an object that opened must say what came of it.  Of each log, the last
    `log_max` bytes are in `text`; where that is not all, `whole` has it.
    """
    try:
        each = [_frames(bytes(data), nonce) for data, nonce in shards]
        found = _report(_Reader(each[0] if len(each) == 1 else joined([list(frames) for frames in each]), log_max))
        if (found.declared is not None) != (declared and not found.open_errno):
            raise ValueError("what is said of declarations is not what was asked")
        return found
    except _DiedError as error:
        raise GuestError(f"report: {error}", phase="report", death="validator-killed") from None
    except (ValueError, TrustError) as error:
        raise GuestError(f"report: {error}", phase="report", death="broken-report") from None


@dataclass(frozen=True, slots=True)
class Partial:
    """What a guest had said when it was lost: the report so far, and what it was being asked then.

    `phase` is `open`, `load`, `maps`, `map`, `program` or `test`; `program` is the name in the last two cases, else "".
    """

    report: Report
    phase: str
    program: str


def parse_partial(data: bytes, nonce: str, tests: Sequence[str] = (), log_max: int = 1 << 20) -> Partial | None:
    """The whole frames of a report that broke off, or whose validator lost a process, up to there.

    `tests` are the names of those that were asked.  None if it said nothing of an object, or not in our words.
    """
    whole = data[: data.rfind(b"\n") + 1]
    found: list[Any] = []
    try:
        found.extend(_frames_until_cut(whole, nonce))
        kinds = [frame.get("kind") for frame in found]
        told = kinds.index("died") if "died" in kinds else len(kinds)
        if told == 0 or "end" in kinds[:told]:
            return None
        return _partial(_Reader(iter(found[:told]), log_max), told, tests)
    except (ValueError, TrustError, AttributeError):
        return None


def _frames_until_cut(data: bytes, nonce: str) -> Iterator[Any]:
    """Frames up to the one that is not whole."""
    frames = _frames(data, nonce)
    while True:
        try:
            yield next(frames)
        except (StopIteration, ValueError):
            return


def _partial(reader: "_Reader", count: int, tests: Sequence[str]) -> Partial:
    guest = reader.take("hello", _HELLO, _HELLO_GIVEN)
    report = Report(guest=guest, open_errno=0, open_log=Log(""), load_errno=None, load_log=Log(""))
    if count == 1:
        return Partial(report, "open", "")
    opened = _opened(reader)
    declared = _declared(reader, opened)
    report = replace(report, open_errno=opened["errno"], open_log=opened["log"], maps=opened.get("maps", ()),
                     declared=declared)  # fmt: skip
    if count == reader.count:
        return Partial(report, "load", "")
    report = _with_load(report, reader)
    if count == reader.count:
        return Partial(report, "maps", "")
    created = _created(reader, report.maps)
    maps, left = list(report.maps), count - reader.count
    for n in [n for n, done in enumerate(created) if not done][:left]:
        maps[n] = _asked_alone(reader, maps[n])
    report = replace(report, maps=_marked(maps, created))
    if created.count(False) > left:
        return Partial(report, "map", "")
    listed = opened.get("programs", ())
    told = [_program(reader, listed[n]) for n in range(min(count - reader.count, len(listed)))]
    report = _with_programs(report, told)
    if len(told) < len(listed):
        return Partial(report, "program", listed[len(told)]["name"])
    tested = tuple(_sound_test(reader.take("test", _TEST)) for _ in range(count - reader.count))
    if len(tested) > len(tests) or [t.name for t in tested] != list(tests[: len(tested)]):
        raise ValueError(f"{len(tested)} test frames, of tests that were not asked")
    report = replace(report, tests=tested)
    return Partial(report, "test", tests[len(tested)]) if len(tested) < len(tests) else Partial(report, "program", "")


def report_to_json(report: Report) -> dict[str, Any]:
    """A Report as plain JSON values; `report_from_json` gives it back."""
    return {**_pruned(asdict(replace(report, guest={}))), "guest": dict(report.guest), "format": 1}


# What is left out of the stored form: always, or where it has this value.
_NEVER = frozenset(("whole", "cost"))
_UNLESS: Mapping[str, Any] = {"left_out": 0, "measures": None, "types": None, "relocations": (), "ending": None,
                           "relocations_cut": False,
                           "declared": None, "tests": (), "command": None}  # fmt: skip


def _pruned(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {n: v for n, v in value.items() if n not in _NEVER and not (n in _UNLESS and v == _UNLESS[n])}
        return {name: _pruned(inner) for name, inner in kept.items()}
    return [_pruned(inner) for inner in value] if isinstance(value, list | tuple) else value


def comparable(report: Report) -> Report:
    """What two guests that were asked the same must agree on: all, but for a command's words and leftovers."""
    if report.command is None:
        return report
    return replace(report, command=replace(report.command, left=0, stdout=Log(""), stderr=Log("")))


def report_from_json(value: Any) -> Report:
    """The Report that `report_to_json` described; StoreError if it is not one."""
    try:
        found = _fields(value, _STORED, "report", _OPTIONAL)
        del found["format"]
        return Report(**found)
    except ValueError as error:
        raise StoreError(f"stored {error}") from None


def report_from_bytes(data: bytes) -> Report:
    """A Report from the bytes of its JSON; StoreError if they are not one."""
    try:
        return report_from_json(parse_json(data, "report", REPORT_MAX))
    except TrustError as error:
        raise StoreError(f"stored {error.message}") from None


# --- frames


def _frames(data: bytes, nonce: str) -> Iterator[Any]:
    """Each frame's JSON; ValueError or TrustError at the first byte that is not as specified."""
    if len(data) > REPORT_MAX:
        raise ValueError(f"{len(data)} bytes, at most {REPORT_MAX} expected")
    at = seq = 0
    while at < len(data):
        start, end, digest = _head(data, at, seq, nonce)
        body = data[start:end]
        if data[end : end + 1] != b"\n":
            raise ValueError(f"frame {seq}: cut short or too long")
        if digest_bytes(body) != digest:
            raise ValueError(f"frame {seq}: its hash does not match")
        yield parse_json(body, f"frame {seq}", REPORT_MAX)
        at, seq = end + 1, seq + 1


def _head(data: bytes, at: int, seq: int, nonce: str) -> tuple[int, int, str]:
    """Where frame `seq`'s body starts and ends, and the digest that it must have."""
    line = data[at : at + _HEAD_MAX].partition(b"\n")[0]
    if line.startswith(_GAVE_UP):
        raise ValueError(f"the validator gave up: {line[len(_GAVE_UP) :].decode('ascii', 'replace')}")
    match = _HEAD.fullmatch(line)
    if match is None:
        raise ValueError(f"frame {seq}: expected a frame's first line, got {line[:40]!r}")
    if match[1] != nonce.encode():
        raise ValueError(f"frame {seq}: another guest's nonce")
    if int(match[2]) != seq:
        raise ValueError(f"expected frame {seq}, got frame {int(match[2])}")
    start = at + len(line) + 1
    return start, start + int(match[3]), f"sha256:{match[4].decode()}"


class _DiedError(ValueError):
    """The validator says that its process for one question died."""


class _Reader:
    """Hands out frames in the order in which they must come."""

    def __init__(self, frames: Iterator[Any], log_max: int) -> None:
        self._frames = frames
        self._unpacker = Unpacker(log_max)
        self._held: list[Any] = []
        self.count = 0

    def take(self, kind: str, *shapes: Shape) -> dict[str, Any]:
        """The next frame, which must be of this kind and of the first shape whose names it has."""
        frame = self._next(kind)
        found = frame.get("kind")
        if found == "died":
            raise _DiedError(_death(frame))
        if found != kind:
            raise ValueError(f"expected a frame of kind {kind!r}, got {str(found)[:40]!r}")
        body = {name: value for name, value in frame.items() if name != "kind"}
        shape = next((shape for shape in shapes if shape.keys() == body.keys()), shapes[0])
        checked = _fields(body, shape, kind)
        return {n: self._masked(v) if isinstance(v, Log | Squeezed) else v for n, v in checked.items()}

    def _masked(self, found: Log | Squeezed) -> Log:
        log = self._unpacker.log(found)
        whole = log.whole and _masked(log.whole)
        return replace(log, text=_masked(log.text), whole=whole)

    def comes(self, kind: str) -> bool:
        """True when the next frame is of this kind; it stays the next."""
        if not self._held:
            self._held = [next(self._frames, None)]
        return isinstance(self._held[0], dict) and self._held[0].get("kind") == kind

    def _next(self, kind: str) -> dict[str, Any]:
        frame = self._held.pop() if self._held else next(self._frames, None)
        self.count += 1
        if not isinstance(frame, dict):
            raise ValueError(f"expected a frame of kind {kind!r}, got {'the end' if frame is None else 'no object'}")
        return frame

    def close(self) -> None:
        """There must be nothing more."""
        if self._held or next(self._frames, None) is not None:
            raise ValueError("more frames after the end frame")


def _death(frame: dict[str, Any]) -> str:
    found = _fields(frame, _DIED, "died")
    how = f"signal {found['signal']}" if found["signal"] else f"errno {found['errno']}"
    return f"the validator's process for {found['phase']} {found['index']} died: {how}"


# --- from frames to a Report


def _report(reader: _Reader) -> Report:
    guest = reader.take("hello", _HELLO, _HELLO_GIVEN)
    if reader.comes("command"):
        return _commanded(reader, guest)
    opened = _opened(reader)
    declared = _declared(reader, opened)
    report = Report(
        guest, opened["errno"], opened["log"], None, Log(""), maps=opened.get("maps", ()), declared=declared
    )
    if "programs" in opened:
        report = _with_load(report, reader)
        created = _created(reader, report.maps)
        maps = [m if done else _asked_alone(reader, m) for m, done in zip(report.maps, created, strict=True)]
        programs = [_program(reader, listed) for listed in opened["programs"]]
        report = _with_programs(replace(report, maps=_marked(maps, created)), programs)
        report = replace(report, tests=tuple(_tests(reader)))
    _closed(reader)
    return report


def _with_load(report: Report, reader: _Reader) -> Report:
    loaded = reader.take("load", _LOADED)
    return replace(
        report,
        load_errno=loaded["errno"],
        load_log=_joined(loaded["log"], loaded["verifier"]),
        types=loaded["btf"],
        relocations=(found := _relocated(loaded["relocations"]))[:RELOCATIONS_MAX],
        relocations_cut=loaded["relocations"].cut or len(found) > RELOCATIONS_MAX,
    )


Told = tuple[ProgramReport, tuple[Relocation, ...], bool]  # and whether there are more relocations


def _relocated(log: Log) -> tuple[Relocation, ...]:
    """As they were told, and one more than are kept."""
    return tuple(islice(relocations(log.whole or log.text), RELOCATIONS_MAX + 1))


def _with_programs(report: Report, told: Sequence[Told]) -> Report:
    """What a program says of its relocations itself stands in the place of what the whole object's load said."""
    own = {program.name for program, found, _ in told if found}
    kept = [r for r in report.relocations if r.function not in own]
    found = tuple(islice(chain(kept, *(relocated for _, relocated, _ in told)), RELOCATIONS_MAX + 1))
    cut = report.relocations_cut or len(found) > RELOCATIONS_MAX or any(cut for *_, cut in told)
    programs = tuple(p for p, *_ in told)
    return replace(report, programs=programs, relocations=found[:RELOCATIONS_MAX], relocations_cut=cut)


def _created(reader: _Reader, maps: Sequence[MapReport]) -> tuple[bool, ...]:
    created: tuple[bool, ...] = reader.take("maps", {"created": _list_of(_flag, MAPS_MAX)})["created"]
    if len(created) != len(maps):
        raise ValueError(f"maps: {len(created)} told of, {len(maps)} expected")
    return created


def _asked_alone(reader: _Reader, listed: MapReport) -> MapReport:
    found = reader.take("map", {"name": _text, **_ASKED})
    if found.pop("name") != listed.name:
        raise ValueError(f"map: the object's next map is {listed.name[:40]!r}")
    return _sound_map(replace(listed, **found))


def _marked(maps: Sequence[MapReport], created: Sequence[bool]) -> tuple[MapReport, ...]:
    return tuple(
        replace(m, outcome=Creation.CREATED, errno=0, reason="") if done else m
        for m, done in zip(maps, created, strict=True)
    )


def _sound_map(found: MapReport) -> MapReport:
    """The same, if its parts can be true together."""
    if (found.outcome is Creation.FAILED) != (found.errno != 0):
        raise ValueError(f"map {found.name[:40]!r}: {found.outcome} with errno {found.errno}")
    if found.outcome is Creation.NOT_ASKED and not found.reason:
        raise ValueError(f"map {found.name[:40]!r}: {found.outcome} without a reason")
    return found


def _closed(reader: _Reader) -> None:
    before_end = reader.count
    if reader.take("end", {"frames": _whole(PROGRAMS_MAX + MAPS_MAX + TESTS_MAX + 5)})["frames"] != before_end:
        raise ValueError(f"end: expected {before_end} frames before it")
    reader.close()


def _commanded(reader: _Reader, guest: Mapping[str, Any]) -> Report:
    """The report of the project's own loader: one frame in place of all that libbpf would have been asked."""
    told = _possible(CommandReport(**reader.take("command", _COMMAND)))
    _closed(reader)
    return Report(guest=guest, open_errno=0, open_log=Log(""), load_errno=None, load_log=Log(""), command=told)


def _possible(told: CommandReport) -> CommandReport:
    """The same, if its parts can be true together."""
    started = told.start is Start.STARTED
    if started != (told.start_errno == 0):
        raise ValueError(f"command: start {told.start!r} with errno {told.start_errno}")
    if started and (told.exit is None) != (told.signal != 0):
        raise ValueError("command: expected an exit code or a signal, one of them")
    if not started and (told.exit is not None or told.signal or told.timed_out):
        raise ValueError("command: not started, and yet it ended")
    return told


def _tests(reader: _Reader) -> Iterator[TestReport]:
    count = 0
    while count < TESTS_MAX and reader.comes("test"):
        yield _sound_test(reader.take("test", _TEST))
        count += 1


def _declared(reader: _Reader, opened: dict[str, Any]) -> DeclaredReport | None:
    """What came of the declarations; from here on their lists of programs and maps stand for the object's own."""
    if not reader.comes("declared"):
        return None
    found = reader.take("declared", _DECLARED)
    if "programs" not in opened:
        raise ValueError("declared: of an object that did not open")
    for what, same in (("programs", ("name", "section")), ("maps", ("name",))):
        before, after = (_picked(lists.get(what, ()), same) for lists in (opened, found))
        if before != after:
            raise ValueError(f"declared: {what}: not those of the object")
    opened["programs"] = tuple(
        {**listed, "type": now["type"], "effective": now["autoload"]}
        for listed, now in zip(opened["programs"], found["programs"], strict=True)
    )
    opened["maps"] = found["maps"]
    return DeclaredReport(found["settings"], found["variants"])


def _picked(things: Sequence[Any], names: tuple[str, ...]) -> list[tuple[Any, ...]]:
    return [tuple(t[n] if isinstance(t, dict) else getattr(t, n) for n in names) for t in things]


def _opened(reader: _Reader) -> dict[str, Any]:
    opened = reader.take("open", _OPENED, _NOT_OPENED)
    if ("programs" in opened) != (opened["errno"] == 0):
        raise ValueError("open: programs and maps go with errno 0, and with no other")
    return opened


def _program(reader: _Reader, known: Mapping[str, Any]) -> Told:
    """One program's answer.  Its autoload is as shipped; `effective` is what declarations made of it."""
    listed = {name: value for name, value in known.items() if name != "effective"}
    found = reader.take("program", _PROGRAM)
    if {name: found[name] for name in listed} != listed:
        raise ValueError(f"program {found['name'][:40]!r}: the object's next program is {listed['name'][:40]!r}")
    program = ProgramReport(
        **{**listed, "autoload": known.get("effective", listed["autoload"])},
        load_errno=found["load_errno"],
        log=found["verifier"],
        attach=found["attach"],
        attach_errno=found["attach_errno"],
        attach_reason=found["reason"],
        libbpf=found["libbpf"],
        how=found["how"],
        measures=measures(found["insns"], found["line_info"], found["counts"]),
        cost=found["cost"],
    )
    return _sound(program), _relocated(found["relocations"]), found["relocations"].cut


def _sound(program: ProgramReport) -> ProgramReport:
    """The same, if its parts can be true together."""
    attach = program.attach
    if attach is not Attach.NOT_ATTEMPTED and program.load_errno:
        raise ValueError(f"program {program.name[:40]!r}: {attach} although it was not loaded")
    if (attach is Attach.FAILED) != (program.attach_errno != 0):
        raise ValueError(f"program {program.name[:40]!r}: {attach} with errno {program.attach_errno}")
    if attach is Attach.NOT_ATTEMPTED and not program.attach_reason:
        raise ValueError(f"program {program.name[:40]!r}: {attach} without a reason")
    if (attach is Attach.NOT_ATTEMPTED) != (program.how == ""):
        raise ValueError(f"program {program.name[:40]!r}: {attach}, and how: {program.how[:40]!r}")
    return program


def _joined(first: Log, second: Log) -> Log:
    left_out = first.left_out + second.left_out
    whole = (first.whole or first.text) + (second.whole or second.text) if left_out else None
    return Log(first.text + second.text, first.cut or second.cut, left_out, whole)


# --- shapes: exactly these names, each value checked


def _fields(value: Any, shape: Shape, what: str, perhaps: Shape | None = None) -> dict[str, Any]:
    """The checked values of an object that has exactly the shape's names; ValueError with breadcrumbs otherwise.

    Names of `perhaps` may be there too.
    """
    if isinstance(value, dict):
        shape = {**shape, **{n: check for n, check in (perhaps or {}).items() if n in value}}
    if not isinstance(value, dict) or value.keys() != shape.keys():
        names = sorted(value) if isinstance(value, dict) else type(value).__name__
        raise ValueError(f"{what}: expected {', '.join(sorted(shape))}, got {str(names)[:200]}")
    found = {}
    for name, check in shape.items():
        try:
            found[name] = check(value[name])
        except ValueError as error:
            raise ValueError(f"{what}: {name}: {error}") from None
    return found


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected text, got {type(value).__name__}")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"expected true or false, got {type(value).__name__}")
    return value


def _whole(most: int, least: int = 0) -> Check:
    def check(value: Any) -> int:
        if type(value) is not int or not least <= value <= most:
            raise ValueError(f"expected a whole number from {least} to {most}, got {str(value)[:40]}")
        return value

    return check


def _or_none(check: Check) -> Check:
    return lambda value: None if value is None else check(value)


def _list_of(check: Check, most: int) -> Callable[[Any], tuple[Any, ...]]:
    def check_all(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, Sequence) or isinstance(value, str) or len(value) > most:
            raise ValueError(f"expected a list of at most {most}")
        return tuple(check(item) for item in value)

    return check_all


def _plain_list(value: Any) -> list[str]:
    return list(_list_of(_text, 64)(value))


def _loaded_module(value: Any) -> dict[str, Any]:
    return _fields(value, {"name": _text, "errno": _errno}, "module")


def _modules(value: Any) -> list[dict[str, Any]]:
    return list(_list_of(_loaded_module, MODULES_MAX)(value))


def _sysctls(value: Any) -> dict[str, int | None]:
    if not isinstance(value, dict) or len(value) > 64:
        raise ValueError("expected at most 64 names with a number each")
    number = _or_none(_whole(1 << 31, -(1 << 31)))
    return {name: number(found) for name, found in value.items()}


def _guest(value: Any) -> dict[str, Any]:
    given = isinstance(value, dict) and "modules" in value
    return _fields(value, _HELLO_GIVEN if given else _HELLO, "guest")


def _log(value: Any) -> Log | Squeezed:
    if isinstance(value, dict) and "deflated" in value:
        found = _fields(value, {"deflated": _text, "size": _whole(LOG_MAX), "cut": _flag}, "log")
        return squeezed(found["deflated"], found["size"], found["cut"])
    return _stored_log(value, {})


def _stored_log(value: Any, perhaps: Shape | None = None) -> Log:
    perhaps = {"left_out": _whole(LOG_MAX * 2, 1)} if perhaps is None else perhaps
    found = _fields(value, {"text": _text, "cut": _flag}, "log", perhaps)
    return Log(_masked(found["text"]), found["cut"], found.get("left_out", 0))


def _plain_log(value: Any) -> Log:
    return _stored_log(value, {})


def _masked(text: str) -> str:
    return _ADDRESS.sub(r"\g<1>0xADDRESS", text)


def _attach(value: Any) -> Attach:
    return Attach(_text(value))


def _listed(value: Any) -> dict[str, Any]:
    return _fields(value, _LISTED, "program")


def _map(value: Any) -> MapReport:
    return MapReport(**_fields(value, _MAP, "map"))


def _stored_map(value: Any) -> MapReport:
    asked = {**_ASKED, "libbpf": _stored_log} if isinstance(value, dict) and "outcome" in value else {}
    return _sound_map(MapReport(**_fields(value, {**_MAP, **asked}, "map")))


def _creation(value: Any) -> Creation:
    return Creation(_text(value))


def _types(value: Any) -> Types:
    return Types(**_fields(value, {"errno": _errno, "changed": _flag}, "btf"))


def _cost(value: Any) -> Cost:
    found = _fields(value, {"jited": _u32, "verify_us": _whole(1 << 50, -1)}, "cost")
    return Cost(found["jited"] or None, found["verify_us"] if found["verify_us"] >= 0 else None)


def _measures(value: Any) -> Measures:
    return Measures(**_fields(value, _MEASURES, "measures"))


def _relocation(value: Any) -> Relocation:
    return Relocation(**_fields(value, _RELOCATION, "relocation"))


def _two(value: Any) -> tuple[int, int]:
    first, second = _list_of(_count, 2)(value)
    return first, second


def _ending(value: Any) -> Ending:
    return Ending(**_fields(value, _ENDING, "ending"))


def _start(value: Any) -> Start:
    return Start(_text(value))


def _command(value: Any) -> CommandReport:
    return _possible(CommandReport(**_fields(value, _COMMAND, "command")))


def _setting(value: Any) -> SettingReport:
    return SettingReport(**_fields(value, _SETTING, "setting"))


def _tried(value: Any) -> TriedReport:
    found = _fields(value, _TRIED, "alternative")
    if found["held"] is None and found["errno"]:
        raise ValueError("alternative: an errno, although it was not asked")
    return TriedReport(**found)


def _variant(value: Any) -> VariantReport:
    found = VariantReport(**_fields(value, _VARIANT, "variants"))
    held = [n for n, one in enumerate(found.tried) if one.held]
    if held != ([] if found.chosen is None else [found.chosen]):
        raise ValueError(f"variants {found.group[:40]!r}: number {found.chosen} is chosen, and {held} held")
    return found


def _functions(value: Any) -> tuple[str, ...]:
    return tuple(value.split(",")) if isinstance(value, str) else _list_of(_text, PROGRAMS_MAX)(value)


def _declared_report(value: Any) -> DeclaredReport:
    return DeclaredReport(**_fields(value, _SAID_OF_DECLARED, "declared"))


def _fate(value: Any) -> Fate:
    return Fate(_text(value))


def _stored_program(value: Any) -> ProgramReport:
    return _sound(ProgramReport(**_fields(value, _STORED_PROGRAM, "program", {"measures": _measures})))


def _hex(most: int) -> Check:
    """Bytes as lower-case hex digits, `most` bytes at most."""

    def check(value: Any) -> str:
        if not _HEX.fullmatch(_text(value)) or len(value) > 2 * most:
            raise ValueError(f"expected hex digits of at most {most} bytes")
        return str(value)

    return check


def _ended(value: Any) -> Ended:
    return Ended(_text(value))


def _held(value: Any) -> HeldProgram:
    return HeldProgram(**_fields(value, _HELD, "program"))


def _reading(value: Any) -> Reading:
    return Reading(**_fields(value, _READING, "reading"))


def _heard(value: Any) -> Heard:
    return Heard(**_fields(value, _HEARD, "events"))


def _run(value: Any) -> RunReport:
    return RunReport(**_fields(value, _RUN, "run"))


def _test(value: Any) -> TestReport:
    logs = {"stdout": _stored_log, "stderr": _stored_log, "trace": _or_none(_stored_log)}
    return _sound_test(_fields(value, {**_TEST, **logs}, "test"))


def _sound_test(checked: Mapping[str, Any]) -> TestReport:
    found = TestReport(**checked)
    if (found.ended is Ended.NOT_ATTEMPTED) != bool(found.reason):
        raise ValueError(f"test {found.name[:40]!r}: {found.ended} with the reason {found.reason[:40]!r}")
    return found


_errno = _whole(ERRNO_MAX)
_u32 = _whole((1 << 32) - 1)
_count = _whole((1 << 64) - 1)
_LISTED: Shape = {"name": _text, "section": _text, "type": _text, "autoload": _flag}
_MAP: Shape = {"name": _text, "type": _text, "key_size": _u32, "value_size": _u32, "max_entries": _u32}
_HELLO: Shape = {"release": _text, "version": _text, "machine": _text, "btf": _flag, "config": _flag, "libbpf": _text,
                 "lsm": _or_none(_plain_list), "lockdown": _or_none(_text), "sysctls": _sysctls,
                 "unmounted": _plain_list}  # fmt: skip
_HELLO_GIVEN: Shape = {**_HELLO, "modules": _modules, "conditions": _plain_list, "unmet": _plain_list}
_NOT_OPENED: Shape = {"errno": _errno, "log": _log}
_OPENED: Shape = {**_NOT_OPENED, "programs": _list_of(_listed, PROGRAMS_MAX), "maps": _list_of(_map, MAPS_MAX)}
_LOADED: Shape = {"errno": _errno, "log": _log, "verifier": _log, "btf": _or_none(_types), "relocations": _log}
_ASKED: Shape = {"outcome": _creation, "errno": _errno, "reason": _text, "libbpf": _log}
_PROGRAM: Shape = {**_LISTED, "load_errno": _errno, "verifier": _log, "insns": _u32, "line_info": _u32,
                   "counts": _text, "cost": _cost, "relocations": _log, "attach": _attach, "attach_errno": _errno,
                   "reason": _text, "how": _text, "libbpf": _log}  # fmt: skip
_MEASURES: Shape = {"insns": _u32, "line_info": _u32, "verified": _or_none(_count), "limit": _or_none(_count),
                    "states": _or_none(_count), "peak_states": _or_none(_count),
                    "stack": _list_of(_u32, 1000)}  # fmt: skip
_RELOCATION: Shape = {"function": _text, "insn": _u32, "kind": _text, "spec": _text, "found": _or_none(_two)}
_DIED: Shape = {"kind": _text, "phase": _text, "index": _u32, "signal": _whole(64), "errno": _whole(255)}
_HELD: Shape = {"name": _text, "attach": _attach, "errno": _errno, "reason": _text}
_READING: Shape = {"errno": _errno, "reason": _text, "signed": _flag, "cut": _flag, "values": _list_of(_hex(1024), 256)}
_HEARD: Shape = {"errno": _errno, "reason": _text, "count": _whole(_COUNT), "lost": _whole(_COUNT), "cut": _flag,
                 "first": _list_of(_hex(256), 32)}  # fmt: skip
_RUN: Shape = {"errno": _errno, "returned": _u32, "output": _hex(16 << 10), "context": _hex(4096)}
_TEST: Shape = {"name": _text, "ended": _ended, "reason": _text, "programs": _list_of(_held, PROGRAMS_MAX),
                "steps": _list_of(_errno, 64), "exec_errno": _errno, "exit": _or_none(_whole(255)),
                "signal": _whole(64), "stdout": _log, "stderr": _log, "run": _or_none(_run),
                "readings": _list_of(_reading, 64), "events": _list_of(_heard, 8), "trace": _or_none(_log)}  # fmt: skip
_STORED_PROGRAM: Shape = {**_LISTED, "load_errno": _errno, "log": _stored_log, "attach": _attach,
                          "attach_errno": _errno, "attach_reason": _text, "libbpf": _stored_log,
                          "how": _text}  # fmt: skip
_STORED: Shape = {"format": _whole(1, 1), "guest": _guest, "open_errno": _errno,
                  "open_log": _stored_log, "load_errno": _or_none(_errno), "load_log": _stored_log,
                  "programs": _list_of(_stored_program, PROGRAMS_MAX),
                  "maps": _list_of(_stored_map, MAPS_MAX)}  # fmt: skip
_ENDING: Shape = {"fate": _fate, "phase": _text, "program": _text, "console": _list_of(_text, 1000),
                  "runs": _whole(100, 1)}  # fmt: skip
_COMMAND: Shape = {"start": _start, "start_errno": _errno, "exit": _or_none(_whole(255)), "signal": _whole(64),
                   "timed_out": _flag, "out_of_memory": _flag, "left": _u32,
                   "stdout": _plain_log, "stderr": _plain_log}  # fmt: skip
_SETTING: Shape = {"subject": _text, "name": _text, "key": _text, "value": _text, "errno": _errno}
_TRIED: Shape = {"needs": _text, "programs": _functions, "held": _or_none(_flag), "errno": _errno}
_VARIANT: Shape = {"group": _text, "chosen": _or_none(_whole(MAX_ALTERNATIVES - 1)),
                   "tried": _list_of(_tried, MAX_ALTERNATIVES)}  # fmt: skip
_SAID_OF_DECLARED: Shape = {"settings": _list_of(_setting, 2 * MAX_SETTINGS),
                            "variants": _list_of(_variant, MAX_GROUPS)}  # fmt: skip
_DECLARED: Shape = {**_SAID_OF_DECLARED, "programs": _list_of(_listed, PROGRAMS_MAX),
                    "maps": _list_of(_map, MAPS_MAX)}  # fmt: skip
_OPTIONAL: Shape = {"ending": _ending, "declared": _declared_report, "types": _types,
                    "relocations": _list_of(_relocation, RELOCATIONS_MAX), "relocations_cut": _flag,
                    "tests": _list_of(_test, TESTS_MAX), "command": _command}  # fmt: skip

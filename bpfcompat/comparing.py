"""Two sets of answers side by side, without a boot: flips first, then what is near a limit, then the rest.

Pure.  Nothing that hangs on the host enters: no durations, no sizes of machine code.  A pair without an answer on one
side is told apart from one whose answer flipped: "could not ask" is never no.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from bpfcompat.errors import Exit
from bpfcompat.model import Answer, Attach, Measures, ProgramVerdict
from bpfcompat.voice import clean

NEAR = 0.8  # of a limit: from here on a program is near it
STACK_LIMIT = 512  # bytes of one function, MAX_BPF_STACK of the kernel's include/linux/filter.h


@dataclass(frozen=True, slots=True)
class Cell:
    """What one side says of one object on one kernel.  `answer` is None where the kernel could not be asked."""

    release: str
    answer: Answer | None
    cause: str = ""
    programs: tuple[ProgramVerdict, ...] = ()

    def __str__(self) -> str:
        said = "no answer" if self.answer is None else str(self.answer)
        return f"{said}:{self.cause}" if self.cause and self.answer is not None else said


@dataclass(frozen=True, slots=True)
class Side:
    """One set of answers.

    Two cells are compared that have the same key: the pair for two runs, the object for two kernels, the kernel for two
    objects.  `about` says where it is from.
    """

    name: str
    cells: Mapping[str, Cell]
    about: str = ""


class Kind(StrEnum):
    """In what a pair or program differs, the gravest first."""

    BROKEN = "now fails"
    FIXED = "now passes"
    PROGRAM = "a program flips"
    CAUSE = "another cause"
    UNANSWERED = "no answer on one side"
    APPEARED = "only in the second"
    GONE = "only in the first"


NOT_ATTEMPTED = f"loaded, {Attach.NOT_ATTEMPTED}"
FLIPS = (Kind.BROKEN, Kind.FIXED, Kind.PROGRAM)


@dataclass(frozen=True, slots=True)
class Flip:
    """One pair whose answers differ, or one of its programs."""

    kind: Kind
    key: str
    before: str
    after: str
    program: str = ""


@dataclass(frozen=True, slots=True)
class CostChange:
    """What one measure of one program is on both sides, None where it is not known; `limit` where there is one."""

    key: str
    program: str
    measure: str
    before: int | None
    after: int | None
    limit: int | None = None

    @property
    def share(self) -> float:
        """The larger side's part of the limit."""
        return max(self.before or 0, self.after or 0) / self.limit if self.limit else 0.0

    @property
    def newly_near(self) -> bool:
        """The second side is near the limit, and the first was not."""
        return self.limit is not None and (self.after or 0) >= NEAR * self.limit > (self.before or 0)

    @property
    def ratio(self) -> float:
        """By how much of itself it changed: 0.1 is a tenth more; 0 where one side does not know."""
        return self.after / self.before - 1 if self.before and self.after is not None else 0.0


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything in which two sides differ, each part in the order in which people should read it."""

    a: Side
    b: Side
    common: int
    flips: tuple[Flip, ...] = ()
    others: tuple[Flip, ...] = ()
    near: tuple[CostChange, ...] = ()
    rest: tuple[CostChange, ...] = ()
    notes: tuple[str, ...] = field(default_factory=tuple)

    def exit_code(self, fail_on: str = "flips") -> Exit:
        """1 for a flip; with `near` also for a program that came near a limit, with `any` for whatever differs.

        3 where nothing of that is so, and some pair has an answer on one side only, or there was nothing to compare.
        """
        wrong = bool(self.flips)
        wrong |= fail_on in ("near", "any") and any(c.newly_near for c in self.near)
        wrong |= fail_on == "any" and bool(self.others or self.rest or any(c.before != c.after for c in self.near))
        silent = not self.common or any(self._one_sided(f) for f in self.others)
        return Exit.UNEXPECTED if wrong else Exit.INCONCLUSIVE if silent else Exit.OK

    def _one_sided(self, found: Flip) -> bool:
        if found.kind in (Kind.GONE, Kind.APPEARED):
            side = self.a if found.kind is Kind.GONE else self.b
            return side.cells[found.key].answer is not None
        return found.kind is Kind.UNANSWERED


def compare(a: Side, b: Side) -> Comparison:
    """What differs between two sides."""
    keys = [k for k in a.cells if k in b.cells]
    found = [flip for k in keys for flip in _flips(k, a.cells[k], b.cells[k])]
    found += [Flip(Kind.GONE, k, str(a.cells[k]), "") for k in a.cells if k not in b.cells]
    found += [Flip(Kind.APPEARED, k, "", str(b.cells[k])) for k in b.cells if k not in a.cells]
    order = list(Kind)
    found.sort(key=lambda f: order.index(f.kind))
    costs = [c for k in keys for c in _costs(k, a.cells[k], b.cells[k])]
    near = sorted((c for c in costs if c.share >= NEAR), key=lambda c: (not c.newly_near, -c.share))
    rest = [c for c in costs if c.share < NEAR and c.before != c.after]
    return Comparison(
        a, b, len(keys),
        flips=tuple(f for f in found if f.kind in FLIPS),
        others=tuple(f for f in found if f.kind not in FLIPS),
        near=tuple(near),
        rest=tuple(sorted(rest, key=lambda c: -abs(c.ratio))),
        notes=tuple(_notes(a, b)),
    )  # fmt: skip


def _flips(key: str, a: Cell, b: Cell) -> Iterator[Flip]:
    kind = _kind(a, b)
    if kind is not None:
        yield Flip(kind, key, str(a), str(b))
    if kind in (Kind.BROKEN, Kind.FIXED, Kind.UNANSWERED):  # what its programs did follows from that
        return
    before = {p.name: _did(p) for p in a.programs}
    for program in b.programs:
        was, now = before.get(program.name), _did(program)
        if was is not None and was != now:
            one_sided = NOT_ATTEMPTED in (was, now) and "not loaded" not in (was, now)
            yield Flip(Kind.UNANSWERED if one_sided else Kind.PROGRAM, key, was, now, program.name)


def _kind(a: Cell, b: Cell) -> Kind | None:
    conclusive = (Answer.COMPATIBLE, Answer.INCOMPATIBLE)
    if a.answer is b.answer:
        return Kind.CAUSE if a.cause != b.cause else None
    if a.answer not in conclusive or b.answer not in conclusive:
        return Kind.UNANSWERED
    return Kind.BROKEN if a.answer is Answer.COMPATIBLE else Kind.FIXED


def _did(program: ProgramVerdict) -> str:
    """What counts of a program: whether it loads and attaches."""
    return f"loaded, {program.attach}" if program.loaded else "not loaded"


def _costs(key: str, a: Cell, b: Cell) -> Iterator[CostChange]:
    before = {p.name: p.measures for p in a.programs if p.measures and p.loaded}
    for program in b.programs:
        was, now = before.get(program.name), program.measures
        if was is not None and now is not None and program.loaded:
            yield from (CostChange(key, program.name, *values) for values in _measured(was, now))


def _measured(a: Measures, b: Measures) -> Iterator[tuple[str, int | None, int | None, int | None]]:
    yield "verified instructions", a.verified, b.verified, b.limit or a.limit
    yield "stack of one function", max(a.stack, default=None), max(b.stack, default=None), STACK_LIMIT
    yield "states", a.states, b.states, None
    yield "peak states", a.peak_states, b.peak_states, None
    yield "instructions", a.insns, b.insns, None


_SERIES = re.compile(r"(\d+\.\d+)[\d.]*(?:[+~][\w.]+)*(?:-\d[\w.]*)*(.*)")  # and its flavour: -cloud-amd64


def _notes(a: Side, b: Side) -> Iterator[str]:
    """Two builds of one series should answer alike: whatever flips between them is that build's."""
    one, other = ({c.release for c in side.cells.values() if c.release} for side in (a, b))
    if len(one) == len(other) == 1 and one != other:
        (x,), (y,) = one, other
        series = {found.groups() if (found := _SERIES.fullmatch(name)) else (name,) for name in (x, y)}
        if len(series) == 1:
            yield f"{x} and {y} are builds of one series: a flip between them is a regression, or the repair of one"
    for side in (a, b):
        if side.about:
            yield f"{side.name}: {side.about}"


# --- in words

MOST = 20  # lines of a part in a terminal


def as_text(found: Comparison, most: int = MOST) -> str:
    """For a terminal: each part with its first lines, and how many more there are."""
    lines = [_head(found), *found.notes]
    for title, part in _parts(found):
        lines += ["", f"{title}: {len(part)}", *(f"  {line}" for line in part[:most])]
        lines += [f"  and {len(part) - most} more; --format json has all"] if len(part) > most else []
    return "\n".join(lines)


def as_markdown(found: Comparison, most: int = 200) -> str:
    """For a pull request."""
    lines = [f"**{_code(_head(found))}**", "", *(f"- {_code(note)}" for note in found.notes)]
    for title, part in _parts(found):
        lines += ["", f"### {title.capitalize()}: {len(part)}", "", *(f"- {_code(line)}" for line in part[:most])]
        lines += [f"- and {len(part) - most} more"] if len(part) > most else []
    return "\n".join(lines) + "\n"


def as_json(found: Comparison) -> dict[str, Any]:
    """Everything, as JSON values; docs/compare.md has the fields."""
    return {
        "format": 1,
        "a": found.a.name,
        "b": found.b.name,
        "compared": found.common,
        "notes": list(found.notes),
        "flips": [_flip_json(f) for f in found.flips],
        "others": [_flip_json(f) for f in found.others],
        "near": [{**_cost_json(c), "limit": c.limit, "newly": c.newly_near} for c in found.near],
        "rest": [_cost_json(c) for c in found.rest],
    }


def _flip_json(flip: Flip) -> dict[str, str]:
    return {"kind": str(flip.kind), "key": flip.key, "program": flip.program, "a": flip.before, "b": flip.after}


def _cost_json(cost: CostChange) -> dict[str, Any]:
    return {"key": cost.key, "program": cost.program, "measure": cost.measure, "a": cost.before, "b": cost.after}


def _head(found: Comparison) -> str:
    flips = len(found.flips)
    said = f"{flips} flip" + ("" if flips == 1 else "s") if flips else "no flips"
    return f"{found.a.name} against {found.b.name}: {found.common} compared, {said}"


def _parts(found: Comparison) -> Iterator[tuple[str, Sequence[str]]]:
    parts = (
        ("flips", [_flip_line(f) for f in found.flips]),
        ("near a limit of the verifier", [_cost_line(c) for c in found.near]),
        ("otherwise different", [_flip_line(f) for f in found.others]),
        ("other costs", [_cost_line(c) for c in found.rest]),
    )
    # here and not where they are read: two names that look alike are two programs
    return ((title, [clean(line) for line in lines]) for title, lines in parts if lines)


def _flip_line(flip: Flip) -> str:
    name = f"{flip.key} {flip.program}".rstrip()
    return f"{name}: {flip.kind}: {flip.before or '-'} -> {flip.after or '-'}"


def _cost_line(cost: CostChange) -> str:
    before, after = ("?" if n is None else f"{n:,}" for n in (cost.before, cost.after))
    of = f" of {cost.limit:,}" if cost.limit and cost.share >= NEAR else ""
    newly = ", newly near" if cost.newly_near else ""
    change = f" ({cost.ratio:+.1%})" if cost.ratio else ""
    return f"{cost.key} {cost.program}: {cost.measure}: {before} -> {after}{of}{change}{newly}"


def _code(text: str) -> str:
    return "`" + text.replace("`", "'") + "`"

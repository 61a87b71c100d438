"""Where answers change along a line of builds: which to ask next, and what may be concluded.  Pure.

A search assumes one boundary.  What is known already is held against that, and where it does not fit nothing is
concluded.  An end is asked only if the boundary lies at it; a build that cannot be asked is stepped over.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from bpfcompat.errors import BpfcompatError, Exit


class Side(StrEnum):
    """What one build says to one question: yes, no, or nothing that can be had."""

    YES = "yes"
    NO = "no"
    SILENT = "no answer"


class Surprise(BpfcompatError):
    """The builds do not lie on two sides of one boundary, so none is named."""

    exit_code = Exit.UNEXPECTED


class Unanswered(BpfcompatError):
    """A build at the end of the line cannot be asked, and everything hangs on it."""

    exit_code = Exit.INCONCLUSIVE


@dataclass(frozen=True, slots=True)
class Boundary:
    """The last build that answers as the first one of the line, and the first that does not; both have answered.

    `between` are those that lie between them and could not be asked: the change is in one of them or in `after`.
    """

    before: int
    after: int
    between: tuple[int, ...] = ()


@dataclass(slots=True)
class Line:
    """A line of `count` builds and what is known of them; `asked` are those that were asked for this search."""

    count: int
    ask: Callable[[int], Side]
    known: dict[int, Side] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)

    def side(self, index: int) -> Side:
        """A build's answer, asked for once."""
        if index not in self.known:
            self.known[index] = self.ask(index)
            self.asked.append(index)
        return self.known[index]


def boundary(line: Line, low: int, high: int, first: Side) -> Boundary:
    """The boundary between `low`, of which `first` is claimed, and `high`, of which the contrary is.

    At most ceil(log2(high - low)) builds are asked, and one more where the boundary is at an end.
    Surprise where an answer contradicts the claims, or those that are known have more than one boundary.
    """
    other = Side.NO if first is Side.YES else Side.YES
    known = {i: s for i, s in sorted(line.known.items()) if low <= i <= high and s is not Side.SILENT}
    _check_claims(known, {low: first, high: other})
    _one_boundary(known, first)
    low = max([low, *(i for i, s in known.items() if s is first)])
    high = min([high, *(i for i, s in known.items() if s is other)])
    while True:
        open_ = [i for i in range(low + 1, high) if line.known.get(i) is not Side.SILENT]
        if not open_:
            break
        middle = min(open_, key=lambda i: abs(2 * i - low - high))
        said = line.side(middle)
        low, high = (middle, high) if said is first else (low, middle) if said is other else (low, high)
    for end, claimed in ((low, first), (high, other)):
        _check_end(line, end, claimed)
    return Boundary(low, high, tuple(range(low + 1, high)))


def _check_claims(known: Mapping[int, Side], claims: Mapping[int, Side]) -> None:
    """Surprise where an end is known to say the contrary; both do where the two were given the wrong way round."""
    wrong = [end for end, claimed in claims.items() if known.get(end, claimed) is not claimed]
    if len(wrong) == len(claims):
        said = ", ".join(f"{Place(end)} says {known[end]}, and {claims[end]} was claimed" for end in wrong)
        raise Surprise(f"both ends contradict what was claimed: {said}", hint="swap the good and the bad one")
    for end in wrong:
        raise _contradicted(end, known[end], claims[end])


def _contradicted(end: int, said: Side, claimed: Side) -> Surprise:
    return Surprise(f"{Place(end)} says {said}, and {claimed} was claimed: there is no boundary between the two",
                    hint="did you swap the good and the bad one?  bpfcompat floor looks without a claim")  # fmt: skip


def _one_boundary(known: Mapping[int, Side], first: Side) -> None:
    """Surprise unless the known answers are `first` up to some build and the contrary from there on."""
    turned = None
    for index, said in known.items():
        if said is not first and turned is None:
            turned = index
        elif said is first and turned is not None:
            raise Surprise(f"more than one boundary: {Place(turned)} says {known[turned]}, and {Place(index)} after it "
                           f"{said} again", hint="name two builds with one boundary between them")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """A build's number in a message, for whoever knows its name: `{3}`."""

    index: int

    def __str__(self) -> str:
        return f"{{{self.index}}}"


def _check_end(line: Line, end: int, claimed: Side) -> None:
    said = line.side(end)
    if said is Side.SILENT:
        raise Unanswered(f"{Place(end)} cannot be asked, and everything hangs on it", hint="name another build")
    if said is not claimed:
        raise _contradicted(end, said, claimed)


@dataclass(frozen=True, slots=True)
class Floor:
    """The oldest build of a line that says yes; None where none does.

    `below` is the newest below it that says no, None where there is none; `silent` those between that cannot be asked;
    `above` those above it of which it is known that they say no.
    """

    oldest: int | None
    below: int | None = None
    silent: tuple[int, ...] = ()
    above: tuple[int, ...] = ()


def floor(line: Line) -> Floor:
    """The oldest build that says yes; Surprise where below it the answers known do not lie on two sides of a boundary.

    Where the store knows a no and a newer yes, only what lies between is asked; else at most two builds more.
    """
    below, works = (_known(line, side) for side in (Side.NO, Side.YES))
    if below and works and below[0] < works[0]:
        return _floor_between(line, below[0], works[-1])
    oldest = _answering(line, range(line.count))
    if oldest is None:
        return Floor(None)
    if line.side(oldest) is Side.YES:
        return Floor(oldest, None, tuple(range(oldest)), _known(line, Side.NO, oldest))
    newest = _answering(line, range(line.count - 1, -1, -1)) or oldest
    if line.side(newest) is Side.NO:
        newest = max(_known(line, Side.YES), default=-1)
    if newest < 0:
        return Floor(None)
    return _floor_between(line, oldest, newest)


def _floor_between(line: Line, low: int, high: int) -> Floor:
    found = boundary(line, low, high, Side.NO)
    return Floor(found.after, found.before, found.between, _known(line, Side.NO, found.after))


def _answering(line: Line, order: Iterable[int]) -> int | None:
    """The first build in this order that can be asked."""
    return next((i for i in order if line.side(i) is not Side.SILENT), None)


def _known(line: Line, side: Side, above: int = -1) -> tuple[int, ...]:
    return tuple(i for i, s in sorted(line.known.items()) if s is side and i > above)


def named(error: BpfcompatError, names: Sequence[str]) -> BpfcompatError:
    """The error with the names of the builds that it speaks of."""
    for index, name in enumerate(names):
        error.message = error.message.replace(str(Place(index)), name)
    return error

"""When to ask again, and when enough was heard: pure.

A guest may be lost for reasons that are nobody's (the host, QEMU), and is then asked again, at most `retries` times.
A kernel that died, hung or complained while it had an object in hand is another matter: that may be the answer.  It is
one when every fresh guest, started cold and asked the same, comes to the same end.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from bpfcompat.console import SPLAT_LINES
from bpfcompat.errors import GuestError
from bpfcompat.guest import Death, Ended
from bpfcompat.model import Ending, Fate, Report

if TYPE_CHECKING:  # loading it takes longer than all of this, and it is not needed before a guest runs
    from bpfcompat.wire import Partial

FATES = {Death.PANIC: Fate.CRASH, Death.OOPS: Fate.CRASH, Death.HANG: Fate.HANG}


@dataclass(frozen=True, slots=True)
class Attempt:
    """One guest: its report as far as it came, and the kernel's fate if there is one to tell; or how it was lost.

    Exactly one of `ended` and `error` is there.  Where several `guests` shared the object, `ended` is the first one's.
    """

    cold: bool
    report: Report | None = None
    ended: Ended | None = None
    error: GuestError | None = None
    fate: Ending | None = None
    seconds: float = 0.0
    guests: int = 1

    @property
    def clean(self) -> bool:
        """True for a complete report of a kernel that had nothing to complain of."""
        return self.error is None and self.fate is None

    @property
    def signature(self) -> tuple[Fate, str, str] | None:
        """What must be equal in two guests to say that they came to the same end."""
        return (self.fate.fate, self.fate.phase, self.fate.program) if self.fate else None


def fate_of(error: GuestError, partial: "Partial | None") -> Ending | None:
    """What became of a kernel that was lost with an object in hand; None for all that proves nothing of the object."""
    fate = FATES.get(Death(error.death)) if error.death in set(Death) else None
    if fate is None or partial is None:
        return None
    console = error.splats or tuple(error.console.split("\n")[-SPLAT_LINES:])
    return Ending(fate, partial.phase, partial.program, console, 1)


@dataclass(frozen=True, slots=True)
class Policy:
    """[run] retries: fresh guests for one that was lost; [run] confirm: cold ones that must agree on a fate."""

    retries: int = 1
    confirm: int = 2


@dataclass(frozen=True, slots=True)
class Again:
    """Ask once more, in a guest that is started cold or thawed, and say why."""

    cold: bool
    why: str = ""


@dataclass(frozen=True, slots=True)
class Settled:
    """This report is the answer."""

    report: Report


@dataclass(frozen=True, slots=True)
class Lost:
    """There is no answer, and this is why."""

    error: GuestError


@dataclass(frozen=True, slots=True)
class Flaky:
    """Guests that were asked the same said different things: these reports."""

    reports: tuple[Report, ...]
    words: str = field(default="")


Next = Again | Settled | Lost | Flaky


def following(attempts: Sequence[Attempt], policy: Policy, cold: bool) -> Next:
    """What comes after these attempts at one question; `cold` is how the first guest is to be started."""
    if not attempts:
        return Again(cold)
    last = attempts[-1]
    fates = [a for a in attempts if a.fate is not None]
    if not fates:
        return Settled(_report(last)) if last.clean else _after_loss(attempts, policy)
    told = [a for a in attempts if a.clean]
    if told or len({a.signature for a in fates}) > 1:
        return _disagree(fates, told)
    if last.fate is None:  # lost to something else while it was to confirm
        return _after_loss(attempts, policy)
    agreed = sum(a.cold for a in fates[1:])
    if agreed >= policy.confirm:
        return Settled(_with_fate(fates))
    return Again(
        True, f"{_words(last)}; asking a fresh guest whether it does so too ({agreed + 1} of {policy.confirm})"
    )


def _after_loss(attempts: Sequence[Attempt], policy: Policy) -> Next:
    losses = [a for a in attempts if a.error is not None and a.fate is None]
    error = losses[-1].error or GuestError("guest: lost")
    if len(losses) > policy.retries:
        return Lost(error)
    return Again(True, f"{error.message}; asking again ({len(losses)} of {policy.retries})")


def _disagree(fates: Sequence[Attempt], told: Sequence[Attempt]) -> Next:
    """A complaint that does not come again is no answer; any other difference makes the pair flaky."""
    first = fates[0]
    if told and all(a.fate is not None and a.fate.fate is Fate.SPLAT for a in fates):
        error = GuestError(f"guest: {_words(first)}; a fresh guest did not", phase="report", death="splat")
        error.console = "\n".join(first.fate.console) if first.fate else ""
        return Lost(error)
    other = told[0] if told else next(a for a in fates if a.signature != first.signature)
    second = "answered" if other.clean else _words(other)
    return Flaky((_with_fate([first]), _with_fate([other]) if other.fate else _report(other)),
                 f"guests differ: one {_words(first)}, another {second}")  # fmt: skip


def _words(attempt: Attempt) -> str:
    fate = attempt.fate
    if fate is None:
        return "answered"
    said = {Fate.CRASH: "crashed the kernel", Fate.HANG: "hung the kernel", Fate.SPLAT: "made the kernel complain"}
    where = f"program {fate.program!r}" if fate.program else fate.phase
    return f"{said[fate.fate]} ({where})"


def _report(attempt: Attempt) -> Report:
    if attempt.report is None:
        raise ValueError("an attempt that was not lost has a report")
    return attempt.report


def _with_fate(fates: Sequence[Attempt]) -> Report:
    """The last guest's report; the lines are the last guest's, started cold."""
    last = fates[-1]
    if last.fate is None:
        raise ValueError("an attempt without a fate")
    return replace(_report(last), ending=replace(last.fate, runs=len(fates)))

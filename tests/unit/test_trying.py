"""When to ask again, when the answer is settled, and when there is none."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfcompat.errors import GuestError
from bpfcompat.guest import Death
from bpfcompat.model import Ending, Fate, Log, Report
from bpfcompat.trying import FATES, Again, Attempt, Flaky, Lost, Policy, Settled, fate_of, following
from bpfcompat.wire import Partial

POLICY = Policy(retries=1, confirm=2)
REPORT = Report({"release": "6.1"}, 0, Log(""), 0, Log(""))
PANIC = Ending(Fate.CRASH, "program", "on_exec", ("Kernel panic - not syncing: x",), 1)
HANG = Ending(Fate.HANG, "load", "", (), 1)
SPLAT = Ending(Fate.SPLAT, "object", "", ("WARNING: CPU: 0 PID: 1 at x",), 1)


def clean(cold: bool = False) -> Attempt:
    """A guest that answered."""
    return Attempt(cold, REPORT)


def lost(cold: bool = False, death: Death = Death.DEADLINE) -> Attempt:
    """A guest that was lost for a reason that says nothing of the object."""
    return Attempt(cold, error=GuestError("guest: gone", death=death))


def died(fate: Ending = PANIC, cold: bool = True) -> Attempt:
    """A guest whose kernel came to an end, or complained, with the object in hand."""
    error = None if fate.fate is Fate.SPLAT else GuestError("guest: dead", death=Death.PANIC)
    return Attempt(cold, REPORT, error=error, fate=fate)


@pytest.mark.parametrize("cold", [True, False])
def test_first(cold: bool) -> None:
    """The first guest is started as the settings say, and nothing needs a reason."""
    assert following([], POLICY, cold) == Again(cold, "")


def test_answered() -> None:
    """A guest that answers settles it, also after one that was lost."""
    assert following([clean()], POLICY, False) == Settled(REPORT)
    assert following([lost(), clean(cold=True)], POLICY, False) == Settled(REPORT)


def test_lost() -> None:
    """A lost guest is asked again, booted, as often as the policy says, and then there is no answer."""
    step = following([lost()], POLICY, False)
    assert isinstance(step, Again) and step.cold and "asking again (1 of 1)" in step.why
    step = following([lost(), lost(cold=True)], POLICY, False)
    assert isinstance(step, Lost) and step.error.death == Death.DEADLINE
    assert isinstance(following([lost()], Policy(retries=0), False), Lost)


@pytest.mark.parametrize("fate", [PANIC, HANG, SPLAT])
def test_confirmed(fate: Ending) -> None:
    """What a kernel comes to is the answer once as many fresh, booted guests came to it as must confirm it."""
    attempts = [died(fate, cold=False)]
    for confirmed in range(POLICY.confirm):
        step = following(attempts, POLICY, False)
        assert isinstance(step, Again) and step.cold and f"({confirmed + 1} of 2)" in step.why
        attempts.append(died(replace(fate, console=(f"guest {confirmed}",))))
    step = following(attempts, POLICY, False)
    assert isinstance(step, Settled) and step.report.ending is not None
    assert (step.report.ending.fate, step.report.ending.runs) == (fate.fate, 3)
    assert step.report.ending.console == ("guest 1",)


def test_splat_not_repeated() -> None:
    """A complaint that a fresh guest does not repeat is no answer; its lines are kept."""
    step = following([died(SPLAT, cold=False), clean(cold=True)], POLICY, False)
    assert isinstance(step, Lost)
    assert (step.error.death, step.error.console) == ("splat", SPLAT.console[0])


@pytest.mark.parametrize(
    ("attempts", "words"),
    [
        ([died(PANIC), clean(cold=True)], "one crashed the kernel (program 'on_exec'), another answered"),
        ([died(HANG), died(PANIC)], "one hung the kernel (load), another crashed the kernel (program 'on_exec')"),
        ([died(PANIC), died(replace(PANIC, program="other"))], "another crashed the kernel (program 'other')"),
        ([died(PANIC), died(SPLAT)], "another made the kernel complain (object)"),
    ],
)
def test_flaky(attempts: list[Attempt], words: str) -> None:
    """Guests that come to different ends have no answer between them, and both reports are kept."""
    step = following(attempts, POLICY, False)
    assert isinstance(step, Flaky)
    assert words in step.words
    assert len(step.reports) == 2 and step.reports[0].ending is not None


def test_lost_while_confirming() -> None:
    """A guest that is lost on the way confirms nothing and denies nothing."""
    step = following([died(PANIC), lost(cold=True)], POLICY, False)
    assert isinstance(step, Again) and "asking again" in step.why
    assert isinstance(following([died(PANIC), lost(True), lost(True)], POLICY, False), Lost)
    settled = following([died(PANIC), lost(True), died(PANIC), died(PANIC)], POLICY, False)
    assert isinstance(settled, Settled)


KINDS = [clean(True), lost(True), died(PANIC), died(HANG), died(SPLAT)]


@given(st.lists(st.sampled_from(KINDS), min_size=12, max_size=12), st.integers(0, 3), st.integers(1, 3))
def test_it_ends(coming: list[Attempt], retries: int, confirm: int) -> None:
    """Whatever comes, there is an end to it; and a fate is only the answer where every guest that told agrees."""
    policy, attempts = Policy(retries, confirm), list[Attempt]()
    while isinstance(step := following(attempts, policy, False), Again):
        attempts.append(coming[len(attempts)])
    assert len(attempts) <= 1 + retries + confirm
    if isinstance(step, Settled):
        told = [a for a in attempts if a.error is None or a.fate is not None]
        ending = step.report.ending
        assert {a.signature for a in told} == {ending and (ending.fate, ending.phase, ending.program)}
        assert ending is None or len(told) == 1 + confirm


@pytest.mark.parametrize("death", Death)
def test_fate_of(death: Death) -> None:
    """Only a kernel's own end with an object in hand tells of the object; the host's and QEMU's troubles do not."""
    error = GuestError("guest: dead", console="first\nlast", death=death)
    partial = Partial(REPORT, "program", "on_exec")
    found = fate_of(error, partial)
    assert found == (Ending(FATES[death], "program", "on_exec", ("first", "last"), 1) if death in FATES else None)
    assert fate_of(error, None) is None
    assert set(FATES) == {Death.PANIC, Death.OOPS, Death.HANG}


def test_fate_of_stranger() -> None:
    """A death that is no guest's tells nothing."""
    assert fate_of(GuestError("flaky", death="flaky"), Partial(REPORT, "open", "")) is None

"""When a guest is asked again, and when what came is an answer."""

from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfcompat import trying
from bpfcompat.console import SPLAT_LINES
from bpfcompat.errors import GuestError
from bpfcompat.guest import Console, Death, Ended
from bpfcompat.model import Ending, Fate, Log, Report
from bpfcompat.trying import Again, Attempt, Flaky, Lost, Next, Policy, Settled, fate_of, following
from bpfcompat.wire import Partial

POLICY = Policy(retries=1, confirm=2)
ENDED = Ended(b"", Console(b""), 1.0)


def report(release: str = "6.1") -> Report:
    """A report that can be told from others."""
    return Report({"release": release}, 0, Log(""), 0, Log(""))


def clean(cold: bool = True, release: str = "6.1") -> Attempt:
    """A guest that answered."""
    return Attempt(cold, report(release), ENDED)


def lost(death: Death = Death.KILLED, cold: bool = True) -> Attempt:
    """A guest that was lost to nobody's fault."""
    return Attempt(cold, error=GuestError(f"guest: {death}", death=death))


def fated(
    fate: Fate = Fate.CRASH, cold: bool = True, phase: str = "program", program: str = "p", console: str = "x"
) -> Attempt:
    """A kernel that came to an end, or that complained and answered."""
    error = None if fate is Fate.SPLAT else GuestError("guest: died", death=Death.PANIC)
    ended = ENDED if fate is Fate.SPLAT else None
    return Attempt(cold, report(console), ended, error, Ending(fate, phase, program, (console,), 1))


def after(*attempts: Attempt, policy: Policy = POLICY, cold: bool = False) -> Next:
    return following(attempts, policy, cold)


# --- the usual


@pytest.mark.parametrize("cold", [True, False])
def test_first(cold: bool) -> None:
    """The first guest is started as the caller says, and there is nothing to say about it."""
    assert after(cold=cold) == Again(cold)


@pytest.mark.parametrize("cold", [True, False])
def test_an_answer(cold: bool) -> None:
    """One clean report is enough, whichever way the guest was started."""
    assert after(clean(cold)) == Settled(report())


# --- losses


def test_loss() -> None:
    """A lost guest is asked again, cold, and it is said why and how often."""
    assert after(lost(cold=False)) == Again(True, "guest: qemu-killed; asking again (1 of 1)")
    assert after(lost(cold=False), clean()) == Settled(report())


def test_lost_for_good() -> None:
    """After the last retry the pair is lost, with the last guest's error."""
    found = after(lost(Death.KILLED), lost(Death.SILENCE))
    assert isinstance(found, Lost)
    assert found.error.death == Death.SILENCE


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_retries(retries: int) -> None:
    """The settings say how often; 0 is never."""
    policy = Policy(retries=retries)
    for times in range(1, retries + 1):
        assert isinstance(after(*[lost()] * times, policy=policy), Again)
    assert isinstance(after(*[lost()] * (retries + 1), policy=policy), Lost)


# --- fates


@pytest.mark.parametrize("fate", list(Fate))
def test_fate_confirmed(fate: Fate) -> None:
    """A fate is an answer once `confirm` cold guests came to the same end; the report says how many agreed."""
    one, two, three = (fated(fate, cold, console=c) for cold, c in ((False, "1"), (True, "2"), (True, "3")))
    first, second = after(one), after(one, two)
    assert isinstance(first, Again) and isinstance(second, Again)
    assert (first.cold, second.cold) == (True, True)
    assert "(1 of 2)" in first.why and "(2 of 2)" in second.why and "program 'p'" in first.why
    found = after(one, two, three)
    assert isinstance(found, Settled)
    assert found.report.guest["release"] == "3"  # the last guest's, not the first one's
    assert found.report.ending == Ending(fate, "program", "p", ("3",), 3)


def test_confirm_counts_cold_guests() -> None:
    """The guest that first came to an end confirms nothing, also when it was started cold; nor does a clone."""
    assert isinstance(after(fated(), fated()), Again)
    assert isinstance(after(fated(), fated(cold=False), fated()), Again)
    assert isinstance(after(fated(), fated(), fated()), Settled)


def test_confirm_none() -> None:
    """`confirm = 0` believes the first guest."""
    found = after(fated(cold=False), policy=Policy(confirm=0))
    assert isinstance(found, Settled) and found.report.ending is not None
    assert found.report.ending.runs == 1


@pytest.mark.parametrize("fate", [Fate.CRASH, Fate.HANG])
def test_fate_then_clean(fate: Fate) -> None:
    """A kernel that dies of an object once and not again has no answer: both reports are kept."""
    found = after(fated(fate, cold=False), clean())
    assert isinstance(found, Flaky)
    died, answered = found.reports
    assert died.ending is not None and died.ending.fate is fate
    assert answered == report()
    assert "another answered" in found.words and "program 'p'" in found.words


def test_splat_then_clean() -> None:
    """A complaint that does not come again is no answer and no quarantine; its lines are kept for who looks."""
    found = after(fated(Fate.SPLAT, cold=False, console="WARNING: at x"), clean())
    assert isinstance(found, Lost)
    assert (found.error.death, found.error.phase, found.error.console) == ("splat", "report", "WARNING: at x")
    assert "a fresh guest did not" in found.error.message


def test_splat_confirmed_once_then_clean() -> None:
    """Two complaints and a clean guest are no more of an answer."""
    assert isinstance(after(fated(Fate.SPLAT), fated(Fate.SPLAT), clean()), Lost)


@pytest.mark.parametrize(
    "other",
    [
        fated(Fate.HANG),
        fated(Fate.CRASH, program="q"),
        fated(Fate.CRASH, phase="load", program=""),
        fated(Fate.SPLAT),
    ],
)
def test_fates_differ(other: Attempt) -> None:
    """Another end, or the same in another place, is a difference: both are kept, each with its own ending."""
    found = after(fated(Fate.CRASH, cold=False), other)
    assert isinstance(found, Flaky)
    assert [r.ending for r in found.reports] == [fated(Fate.CRASH).fate, other.fate]
    assert "crashed the kernel (program 'p')" in found.words


def test_splat_and_crash_and_clean() -> None:
    """With a crash among them, complaints that do not come again are flaky."""
    assert isinstance(after(fated(Fate.SPLAT), fated(Fate.CRASH), clean()), Flaky)


def test_other_lines_are_no_difference() -> None:
    """What the console says differs from boot to boot; the end is the same."""
    assert isinstance(after(fated(console="a"), fated(console="b"), fated(console="c")), Settled)


def test_loss_while_confirming() -> None:
    """A guest that is lost to something else confirms nothing and contradicts nothing: another is asked, cold."""
    again = after(fated(cold=False), lost())
    assert isinstance(again, Again) and again.cold and "asking again (1 of 1)" in again.why
    assert isinstance(after(fated(cold=False), lost(), fated()), Again)
    found = after(fated(cold=False), lost(), fated(), fated())
    assert isinstance(found, Settled) and found.report.ending is not None
    assert found.report.ending.runs == 3


def test_lost_while_confirming() -> None:
    """When too many are, the pair is lost, and the fate of one guest is no verdict."""
    found = after(fated(cold=False), lost(), lost(Death.SILENCE))
    assert isinstance(found, Lost) and found.error.death == Death.SILENCE


def test_loss_then_fate() -> None:
    """A guest lost before does not count as one that came to the end."""
    assert isinstance(after(lost(), fated(), fated()), Again)
    assert isinstance(after(lost(), fated(), fated(), fated()), Settled)


# --- every sequence

ATTEMPTS = st.one_of(
    st.just(clean()),
    st.builds(lost, st.sampled_from([Death.KILLED, Death.SILENCE, Death.HOST])),
    st.builds(fated, st.sampled_from(Fate), program=st.sampled_from("pq")),
)


def asked(given_attempts: Iterable[Attempt], policy: Policy, cold: bool) -> tuple[Sequence[Attempt], Next]:
    """What is asked until it ends, each guest started as it was told to be."""
    attempts: list[Attempt] = []
    for attempt in given_attempts:
        step = following(attempts, policy, cold)
        if not isinstance(step, Again):
            return attempts, step
        attempts.append(Attempt(step.cold, attempt.report, attempt.ended, attempt.error, attempt.fate))
    return attempts, following(attempts, policy, cold)


@given(st.lists(ATTEMPTS, min_size=12, max_size=12), st.integers(0, 3), st.integers(0, 4), st.booleans())
def test_any_sequence(attempts: list[Attempt], retries: int, confirm: int, cold: bool) -> None:
    """However guests end, few are asked; an ending is settled only where all that came to one agree, none was clean."""
    taken, end = asked(attempts, Policy(retries, confirm), cold)
    assert not isinstance(end, Again)
    assert len(taken) <= 1 + confirm + retries + 1
    assert all(a.cold for a in taken[1:])
    fates = [a for a in taken if a.fate is not None]
    if isinstance(end, Settled) and end.report.ending is not None:
        assert len({a.signature for a in fates}) == 1
        assert not any(a.clean for a in taken)
        assert end.report.ending.runs == len(fates) == confirm + 1
    if isinstance(end, Settled) and end.report.ending is None:
        assert taken[-1].clean and not fates
    if isinstance(end, Flaky):
        assert end.reports[0] != end.reports[1]


# --- the fate of one guest

PARTIAL = Partial(report(), "load", "")


@pytest.mark.parametrize(
    ("death", "fate"), [(Death.PANIC, Fate.CRASH), (Death.OOPS, Fate.CRASH), (Death.HANG, Fate.HANG)]
)
def test_fate_of(death: Death, fate: Fate) -> None:
    """A kernel that died or hung with the object in hand came to an end in what it was asked then."""
    error = GuestError("x", death=death)
    error.splats = ("BUG: x", "RIP: y")
    assert fate_of(error, PARTIAL) == Ending(fate, "load", "", ("BUG: x", "RIP: y"), 1)


def test_fate_without_a_complaint() -> None:
    """Where the console has no complaint, its last lines are the evidence."""
    error = GuestError("x", death=Death.HANG, console="\n".join(str(n) for n in range(100)))
    found = fate_of(error, PARTIAL)
    assert found is not None
    assert found.console == tuple(str(n) for n in range(100 - SPLAT_LINES, 100))


@pytest.mark.parametrize("death", [*sorted(set(Death) - {*trying.FATES}), "", "flaky", "host?"])
def test_no_fate(death: str) -> None:
    """Any other death proves nothing of the object, nor does a word that is no death of a guest's."""
    assert fate_of(GuestError("x", death=death), PARTIAL) is None


def test_no_object_in_hand() -> None:
    """A kernel that died before it had the object died of something else."""
    assert fate_of(GuestError("x", death=Death.PANIC), None) is None

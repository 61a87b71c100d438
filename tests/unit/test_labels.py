"""How often the classifier is right on failures whose cause is known: tests/golden/labels and tests/golden/verdicts."""

from bench.labels import score
from bench.labels.__main__ import PAGE, answers, page
from bench.labels.capture import labels
from bench.labels.goldens import KERNELS
from bpfcompat.causes import Certainty
from bpfcompat.slugs import SLUGS


def test_accuracy() -> None:
    """Of at least 300 labelled failures on at least six kernels 95 % are right, 2 % unknown, none wrong but proven."""
    every = [a for rows in answers().values() for a in rows]
    assert len(every) >= 300
    assert len({a.case.kernel for a in every}) >= 6
    assert [a.case.name for a in every if a.wrong_but_proven] == []
    assert sum(a.right for a in every) / len(every) >= 0.95
    assert sum(a.unknown for a in every) / len(every) <= 0.02


def test_page_is_current() -> None:
    """docs/accuracy.md says what the cases give now."""
    assert PAGE.read_text() == page(answers()), "python -m bench.labels --page"


def test_labels_name_causes() -> None:
    """Each label and each case names a cause that there is, and says why."""
    told = {row.cause for row in labels()} | {case.cause for case in score.cases()}
    assert told <= SLUGS
    assert all(len(row.why) > 10 for row in labels())


def test_each_cause_of_each_kernel() -> None:
    """Of each cause and kernel a log is kept, or it is written why not; never both, and no reason is for nothing."""
    kept, rows = score.kept(), score.absent()
    pairs = {(cause, kernel) for cause in SLUGS for kernel in KERNELS}
    reasons = {pair: [row for row in rows if row.tells(*pair)] for pair in pairs}
    assert {pair for pair in pairs if (pair in kept) == bool(reasons[pair])} == set()
    assert all(len(found) <= 1 for found in reasons.values())
    assert {row.why for found in reasons.values() for row in found} == {row.why for row in rows}


def test_builds() -> None:
    """A kernel under conditions, a variant of a case, and one with another loader are the build of their base."""
    names = ("debian-12-lockdown", "debian-12-refusing", "debian-13-6.18-bare", "debian-13+libbpf-1.1", "debian-13-rt")
    assert [score.build_of(n) for n in names] == [
        "debian-12", "debian-12", "debian-13-6.18", "debian-13", "debian-13-rt",
    ]  # fmt: skip


def test_inventories() -> None:
    """Each kernel of the cases has the inventory of the very build that answered; it is asked with it."""
    every = {(c.kernel, c.report.guest.get("release")) for c in (*score.cases(), *score.examples())}
    assert {(k, b.release if (b := score.inventory_of(k)) else None) for k, _ in every} == every
    case = next(c for c in score.examples() if c.name == "connect_unix@debian-11")
    told = next(a for rows in answers().values() for a in rows if a.case.name == case.name)
    assert (score.answer(case).certainty, told.certainty) == (Certainty.GUESSED, Certainty.PROVEN)
    bare = score.inventory_of("debian-12-bare")
    assert bare is not None and bare.options is None and bare.helpers


def test_a_wrong_answer_counts() -> None:
    """A case whose label is another cause is wrong, and wrong but proven where the classifier is sure."""
    case = next(c for c in score.cases() if c.object == "verifier" and c.program == "null_value")
    found = score.answer(case)
    assert (found.right, found.certainty) == (True, Certainty.PROVEN)
    other = score.Answer(score.Case(case.kernel, case.object, case.program, "permission", "", case.report, case.facts),
                         found.cause, found.certainty)  # fmt: skip
    assert (other.right, other.unknown, other.wrong_but_proven) == (False, False, True)
    for cause in ("unknown", "verifier-rejected"):
        silent = score.Answer(other.case, cause, Certainty.GUESSED)
        assert (silent.unknown, silent.wrong_but_proven) == (True, False)

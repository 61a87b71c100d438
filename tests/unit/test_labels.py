"""How often the classifier is right on failures whose cause is known: tests/golden/labels and tests/golden/verdicts."""

from bench.labels import score
from bench.labels.__main__ import PAGE, answers, page
from bench.labels.capture import labels
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


def test_a_wrong_answer_counts() -> None:
    """A case whose label is another cause is wrong, and wrong but proven where the classifier is sure."""
    case = next(c for c in score.cases() if c.object == "verifier" and c.program == "null_value")
    found = score.answer(case)
    assert (found.right, found.certainty) == (True, Certainty.PROVEN)
    other = score.Answer(score.Case(case.kernel, case.object, case.program, "permission", "", case.report, case.facts),
                         found.cause, found.certainty)  # fmt: skip
    assert (other.right, other.unknown, other.wrong_but_proven) == (False, False, True)
    silent = score.Answer(other.case, "unknown", Certainty.GUESSED)
    assert (silent.unknown, silent.wrong_but_proven) == (True, False)

"""The gate: does every pair answer as expected, and what does the run exit with?"""

from collections import Counter
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfcompat.errors import Exit
from bpfcompat.gate import NO_ANSWER, Difference, decide, meets
from bpfcompat.model import Answer, Expectation
from tests.rows import ANY, NO, UNKNOWN, YES, expects, row

MAY_FAIL, NOT_SAID = Expectation(None, None, "may-fail"), Expectation(None, None, "unknown")


@pytest.mark.parametrize(
    ("wanted", "answer", "cause", "met"),
    [
        (ANY, YES, "", True),
        (ANY, NO, "helper-missing", True),
        (ANY, UNKNOWN, "guest-resources", False),
        (expects(YES), YES, "", True),
        (expects(YES), NO, "x", False),
        (expects(YES), UNKNOWN, "x", False),
        (expects(NO), NO, "x", True),
        (expects(NO), NO, "", True),
        (expects(NO), YES, "", False),
        (expects(NO), UNKNOWN, "x", False),
        (expects(NO, "x"), NO, "x", True),
        (expects(NO, "x"), NO, "y", False),
        (expects(NO, "x"), NO, "", False),
        (expects(NO, "x"), UNKNOWN, "x", False),
        (expects(UNKNOWN), UNKNOWN, "x", True),
        (expects(UNKNOWN, "x"), UNKNOWN, "x", True),
        (expects(UNKNOWN, "x"), UNKNOWN, "y", False),
        (expects(UNKNOWN, "x"), NO, "x", False),
        (MAY_FAIL, YES, "", True),
        (MAY_FAIL, NO, "x", True),
        (MAY_FAIL, UNKNOWN, "x", False),
        (Expectation(None, "x", "may-fail"), NO, "x", True),
        (Expectation(None, "x", "may-fail"), NO, "y", False),
        (Expectation(None, "x", "may-fail"), YES, "", True),
        (NOT_SAID, YES, "", True),
        (NOT_SAID, NO, "x", True),
        (NOT_SAID, UNKNOWN, "x", True),
        (NOT_SAID, UNKNOWN, NO_ANSWER, False),
    ],
)
def test_meets(wanted: Any, answer: Answer, cause: str, met: bool) -> None:
    """The answer must be the expected one, and the cause where one is named; `any` is never met by no answer."""
    assert meets(wanted, answer, cause) is met


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (row(YES, expected=expects(YES)), Difference.NONE),
        (row(NO, "x", expects(YES)), Difference.FAILS),
        (row(NO, "x", expects(UNKNOWN)), Difference.FAILS),
        (row(YES, expected=expects(NO, "x")), Difference.PASSES),
        (row(YES, expected=expects(UNKNOWN, "x")), Difference.PASSES),
        (row(NO, "y", expects(NO, "x")), Difference.CAUSE),
        (row(NO, "y", Expectation(None, "x", "may-fail")), Difference.CAUSE),
        (row(UNKNOWN, "y", expects(UNKNOWN, "x")), Difference.CAUSE),
        (row(UNKNOWN, "x", expects(YES)), Difference.UNANSWERED),
        (row(None, expected=NOT_SAID), Difference.UNANSWERED),
        (row(None, not_to_be_had=True, expected=expects(YES)), Difference.NONE),
    ],
)
def test_difference(found: Any, said: Difference) -> None:
    """An unexpected pass is told apart from an unexpected failure, another cause, and no answer."""
    assert found.difference is said


OKAY = row(YES)
WRONG = row(NO, "x", expects(YES))
WRONG_CAUSE = row(NO, "x", expects(NO, "y"))
LOST = row(None, trouble="lost")
UNSURE = row(UNKNOWN, "x")
ABSENT = row(None, not_to_be_had=True)
OPTIONAL = [row(NO, "x", expects(YES), required=False), row(None, required=False), row(UNKNOWN, required=False)]


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ([], 0),
        ([OKAY], 0),
        ([WRONG], 1),
        ([WRONG_CAUSE], 1),
        ([row(YES, expected=expects(NO))], 1),
        ([LOST], 3),
        ([UNSURE], 3),
        ([row(None, expected=expects(UNKNOWN))], 3),
        ([row(UNKNOWN, "x", expects(UNKNOWN, "x"))], 0),
        ([row(UNKNOWN, "x", expects(NO))], 3),
        ([OKAY, LOST, WRONG, UNSURE], 1),
        ([LOST, WRONG], 1),
        ([WRONG, LOST], 1),
        ([OKAY, ABSENT], 0),
        ([ABSENT], 0),
        ([OKAY, *OPTIONAL], 0),
        ([LOST, *OPTIONAL], 3),
        ([WRONG, *OPTIONAL], 1),
    ],
)
def test_exit_code(rows: list[Any], code: int) -> None:
    """1 for a certain wrong answer, else 3 for a missing one, else 0; optional pairs and kernels do not count."""
    assert decide(rows).exit == code


def test_failed_names_the_rows() -> None:
    """The rows held against the run are the required ones that are not as expected, in their order."""
    rows = [LOST, OKAY, WRONG, *OPTIONAL, ABSENT, UNSURE]
    assert decide(rows).failed == (LOST, WRONG, UNSURE)
    assert decide(rows).tolerated == tuple(OPTIONAL)


def test_counts() -> None:
    """Every row is counted once, by its answer; a kernel that is not to be had is no inconclusive answer."""
    rows = [OKAY, OKAY, WRONG, LOST, UNSURE, ABSENT]
    counts = {"compatible": 2, "incompatible": 1, "inconclusive": 2, "not to be had": 1}
    assert decide(rows).counts == Counter(counts)


ROWS = st.builds(
    row,
    st.sampled_from([YES, NO, UNKNOWN, None]),
    st.sampled_from(["", "x"]),
    st.sampled_from([ANY, MAY_FAIL, NOT_SAID, *(expects(a, c) for a, c in product([YES, NO, UNKNOWN], [None, "x"]))]),
    required=st.booleans(),
)


@given(st.lists(ROWS, max_size=6))
def test_decision_property(rows: list[Any]) -> None:
    """Exit 0 exactly when nothing failed; no order of the rows changes the code; an answer is needed for a 1."""
    decision = decide(rows)
    assert (decision.exit == Exit.OK) == (decision.failed == ())
    assert [bool(r.difference) for r in rows] == [not r.as_expected for r in rows]
    assert decide(rows[::-1]).exit == decision.exit
    assert decision.exit in (Exit.OK, Exit.UNEXPECTED, Exit.INCONCLUSIVE)
    assert sum(decision.counts.values()) == len(rows)
    if decision.exit == Exit.UNEXPECTED:
        assert any(r.answer is not UNKNOWN and r.required for r in decision.failed)


@given(ROWS)
def test_no_answer_is_never_a_yes(row: Any) -> None:
    """A required pair without an answer is as expected only where someone wrote that they expect just that."""
    said = row.expected.answer is UNKNOWN or (row.expected == NOT_SAID and row.verdict is not None)
    if row.required and row.answer is UNKNOWN and not said:
        assert decide([row]).exit == Exit.INCONCLUSIVE


def test_cached() -> None:
    """A row seen again differs only in that nothing ran."""
    ran = row(NO, "x", ran=True)
    assert ran.cached().ran is False and ran.cached().verdict == ran.verdict and decide([ran]).exit == Exit.OK

"""Rows in, decision out: does every pair answer as expected?  Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from bpfcompat.errors import Exit
from bpfcompat.model import Answer, Cost, Expectation, GuestRun, Verdict
from bpfcompat.plan import Pair

NO_ANSWER = "no-answer"  # the cause of a pair whose kernel could not be asked


class Difference(StrEnum):
    """In what way a pair is not as expected; an unexpected pass is news too."""

    NONE = ""
    FAILS = "unexpected-fail"
    PASSES = "unexpected-pass"
    CAUSE = "other-cause"
    UNANSWERED = "no-answer"


def meets(wanted: Expectation, answer: Answer, cause: str) -> bool:
    """True when an answer is what was expected.

    `any` and `may-fail` are met by yes and no, never by inconclusive; `unknown` by all that a kernel said.
    """
    if wanted.answer is not None:
        return answer is wanted.answer and wanted.cause in (None, cause)
    if wanted.word == "unknown":
        return cause != NO_ANSWER
    return answer is Answer.COMPATIBLE or (answer is Answer.INCOMPATIBLE and wanted.cause in (None, cause))


def difference(wanted: Expectation, answer: Answer, cause: str) -> Difference:
    """How an answer differs from what was expected."""
    if meets(wanted, answer, cause):
        return Difference.NONE
    if answer is Answer.INCONCLUSIVE:
        return Difference.CAUSE if wanted.answer is answer else Difference.UNANSWERED
    if answer is Answer.COMPATIBLE:
        return Difference.PASSES
    return Difference.CAUSE if wanted.cause and wanted.answer is not Answer.INCONCLUSIVE else Difference.FAILS


@dataclass(frozen=True, slots=True)
class Row:
    """One pair of a finished run.

    `verdict` is None when the kernel could not be asked; `trouble` then says why.  `not_to_be_had`: the kernel is
    declared optional and could not be fetched, which is nobody's failure.
    `libbpf` is the version that loaded.  `seconds` is the guest's time when it ran.
    """

    pair: Pair
    release: str
    expected: Expectation
    required: bool
    verdict: Verdict | None
    ran: bool = False
    why: tuple[str, ...] = ()
    trouble: str = ""
    not_to_be_had: bool = False
    run: GuestRun | None = None
    probe_key: str = ""
    libbpf: str = ""
    costs: tuple[Cost, ...] = ()  # of the verdict's programs, on the host that asked
    declared: bool = False  # the answer is as declared, not the object's as it came

    @property
    def answer(self) -> Answer:
        """The pair's answer; inconclusive when there is no verdict."""
        return self.verdict.answer if self.verdict else Answer.INCONCLUSIVE

    @property
    def as_expected(self) -> bool:
        """True when the answer, and the cause where one was named, are what was expected."""
        if self.verdict is None:
            return self.not_to_be_had
        return meets(self.expected, self.verdict.answer, self.verdict.cause)

    @property
    def difference(self) -> Difference:
        """In what way it is not as expected."""
        if self.verdict is None:
            return Difference.NONE if self.as_expected else Difference.UNANSWERED
        return difference(self.expected, self.verdict.answer, self.verdict.cause)

    def cached(self) -> "Row":
        """The same row as a later run will see it."""
        return replace(self, ran=False, why=())


@dataclass(frozen=True, slots=True)
class Decision:
    """The gate's word: exit code, the required rows that are not as expected, and the optional ones that are not."""

    exit: Exit
    failed: tuple[Row, ...]
    counts: Counter[str]
    tolerated: tuple[Row, ...] = ()


def decide(rows: Sequence[Row]) -> Decision:
    """A required row with a verdict that is not as expected gives exit 1; one that could not be asked gives exit 3.

    1 wins over 3: a wrong answer is certain, a missing one is not.
    """
    failed = tuple(r for r in rows if r.required and not r.as_expected)
    counts = Counter(_kind(r) for r in rows)
    known_bad = any(r.verdict is not None and r.verdict.answer is not Answer.INCONCLUSIVE for r in failed)
    code = Exit.OK if not failed else Exit.UNEXPECTED if known_bad else Exit.INCONCLUSIVE
    return Decision(code, failed, counts, tuple(r for r in rows if not r.required and not r.as_expected))


def _kind(row: Row) -> str:
    return "not to be had" if row.not_to_be_had else str(row.answer)

"""Rows of a finished run, as the gate and the reports see them."""

from bpfcompat.gate import Row
from bpfcompat.model import Answer, Expectation, GuestRun, Verdict
from bpfcompat.plan import Pair

YES, NO, UNKNOWN = Answer.COMPATIBLE, Answer.INCOMPATIBLE, Answer.INCONCLUSIVE
RUN = GuestRun("tcg", "7.2.22", "cold", 2.25, 1)
ANY = Expectation(None)

HOSTILE = (
    "]]>",
    "</failure><script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "\x00\x01\x08\x0b\x1b[31m\x7f\x9b",
    "\u202egnp.exe",
    "\ufffe\uffff\ud800",
    "a\r\nb\u2028c",
    "`![x](https://evil.example)`",
    "| --- |\n\n# heading",
    "&lt;&#0;&amp;",
    "{{ 7 * 7 }}{% raw %}",
)


def row(
    answer: Answer | None = YES, cause: str = "", expected: Expectation = ANY, name: str = "x@k", trouble: str = "",
    required: bool = True, not_to_be_had: bool = False, ran: bool = False, evidence: tuple[str, ...] = (),
    notes: tuple[str, ...] = (), sentence: str = "it is so",
) -> Row:  # fmt: skip
    """A row; `answer` None is a pair whose kernel could not be asked."""
    said = None if answer is None else Verdict(answer, cause, sentence, evidence, hint=sentence, notes=notes)
    return Row(Pair(*name.split("@")), "6.1.0", expected, required, said, ran, trouble=trouble,
               not_to_be_had=not_to_be_had, run=RUN if said else None)  # fmt: skip


def expects(answer: Answer, cause: str | None = None) -> Expectation:
    """An expectation."""
    return Expectation(answer, cause)

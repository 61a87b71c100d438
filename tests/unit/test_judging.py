"""What guests report of behaviour tests, held against what was declared: passed, failed, or not attempted."""

import json
from dataclasses import replace
from typing import Any

import pytest

from bpfcompat import judging
from bpfcompat.behave import parse_tests
from bpfcompat.behaviour import (
    BehaviourTest,
    Ended,
    Heard,
    HeldProgram,
    Outcome,
    Reading,
    RunReport,
    TestReport,
    TestVerdict,
    steady,
)
from bpfcompat.model import Answer, Attach, AttachMode, Log
from bpfcompat.verdict import CONTRADICTORY, classify, verdict_from_bytes, verdict_to_json
from tests.unit.test_behave import HERE, WHERE
from tests.unit.test_verdict import FACTS, program, refused, report

ATTACHED = HeldProgram("one", Attach.ATTACHED, 0, "")
SKIPPED = HeldProgram("one", Attach.NOT_ATTEMPTED, 0, "no interface")


def declared(**fields: Any) -> BehaviourTest:
    (test,) = parse_tests([{"name": "t", "do": ["exec"], **fields}], HERE, WHERE)
    return test


def told(**changes: Any) -> TestReport:
    """A test of one step that went well."""
    plain = TestReport("t", Ended.DONE, "", (ATTACHED,), (0,), 0, None, 0, Log(""), Log(""), None, (), (), None)
    return replace(plain, **changes)


def number(*values: int, size: int = 4, signed: bool = False) -> Reading:
    return Reading(0, "", signed, False, tuple(v.to_bytes(size, "little", signed=v < 0).hex() for v in values))


def text(value: bytes) -> Reading:
    return Reading(0, "", False, False, (value.hex(),))


GONE = Reading(2, "no such entry", False, False, ())
NO_MAP = Reading(2, "the object has no map and no variable of this name", False, False, ())
EVENTS = Heard(0, "", 3, 0, False, (b"init\0".hex(), b"sh\0".hex()))
RAN = RunReport(0, 2, "aabb", "")

YES, NO, NOT = Outcome.PASSED, Outcome.FAILED, Outcome.NOT_ATTEMPTED
CASES: list[tuple[str, dict[str, Any], dict[str, Any], Outcome, str]] = [
    # what it shows, declared, reported, outcome, words of the first line
    ("step", {}, {}, YES, ""),
    ("step refused", {}, {"steps": (1,)}, NO, "exec: expected success, got EPERM"),
    ("step refused as it should be", {"do": ["exec = EPERM"]}, {"steps": (1,)}, YES, ""),
    ("step not refused", {"do": ["exec = EPERM"]}, {}, NO, "expected EPERM, got success"),
    ("step of no interest", {"do": ["exec = any"], "trace": "x"}, {"steps": (1,), "trace": Log("x")}, YES, ""),
    ("killed on the way", {}, {"steps": (), "signal": 9}, NO, "got: killed by SIGKILL"),
    ("exit code", {"command": ["./p"]}, {"exit": 0}, YES, ""),
    ("other exit code", {"command": ["./p"]}, {"exit": 3, "stderr": Log("oh\n")}, NO,
     "./p: expected exit 0, got exit 3; stderr: 'oh'"),
    ("signal", {"command": ["./p"], "exit": "SIGSEGV"}, {"signal": 11}, YES, ""),
    ("signal instead of exit", {"command": ["./p"]}, {"signal": 11}, NO, "got killed by SIGSEGV"),
    ("no such command", {"command": ["./p"]}, {"exit": 127, "exec_errno": 2}, NOT, "cannot be run: ENOENT"),
    ("output", {"command": ["./p"], "stdout": ["a*c"]}, {"exit": 0, "stdout": Log("xabbcx")}, YES, ""),
    ("other output", {"command": ["./p"], "stdout": ["a*c"]}, {"exit": 0, "stdout": Log("ca")}, NO,
     "stdout: expected 'a*c', got 'ca'"),
    ("output out of sight", {"command": ["./p"], "stdout": ["a*c"]}, {"exit": 0, "stdout": Log("ca", True)}, NOT,
     "stdout: 'a*c' is not in the 2 characters that are kept, and more was said"),
    ("silence", {"command": ["./p"], "stderr": ""}, {"exit": 0, "stderr": Log("x")}, NO, "expected nothing"),
    ("endless", {}, {"ended": Ended.TIMED_OUT, "signal": 9}, NO, "expected to end within 10 s"),
    ("number", {"maps": ["m[0] >= 2"]}, {"readings": (number(2),)}, YES, ""),
    ("other number", {"maps": ["m[0] >= 2"]}, {"readings": (number(1),)}, NO, "m[0] >= 2: got 1"),
    ("sum over processors", {"maps": ["m[0] == 5"]}, {"readings": (number(2, 3),)}, YES, ""),
    ("negative number", {"maps": ["v == -1"]}, {"readings": (number(-1, signed=True),)}, YES, ""),
    ("no sign", {"maps": ["v == -1"]}, {"readings": (number(0xFFFFFFFF),)}, NO, "got 4294967295"),
    ("a struct is no number", {"maps": ["m[0] > 0"]}, {"readings": (text(bytes(9)),)}, NO, "at most 8 bytes"),
    ("padded text", {"maps": ['m[0] == "init"']}, {"readings": (text(b"init\0\0"),)}, YES, ""),
    ("other text", {"maps": ['m[0] != "init"']}, {"readings": (text(b"init\0\0"),)}, NO, "got hex:696e"),
    ("part of a text", {"maps": ['m[0] contains "ni"']}, {"readings": (text(b"init\0"),)}, YES, ""),
    ("no entry", {"maps": ["m[0] >= 0"]}, {"readings": (GONE,)}, NO, "m[0] >= 0: got no such entry"),
    ("absent", {"maps": ["m[0] absent"]}, {"readings": (GONE,)}, YES, ""),
    ("not absent", {"maps": ["m[0] absent"]}, {"readings": (number(0),)}, NO, "got present"),
    ("not present", {"maps": ["m[0] present"]}, {"readings": (GONE,)}, NO, "got absent"),
    ("a map that is none is not absent", {"maps": ["m[0] absent"]}, {"readings": (NO_MAP,)}, NOT,
     "ENOENT: the object has no map"),
    ("events", {"ringbuf": {"map": "e", "at_least": 3, "contains": "sh"}}, {"events": (EVENTS,)}, YES, ""),
    ("too few", {"ringbuf": {"map": "e", "at_least": 4}}, {"events": (EVENTS,)}, NO, "expected 4 or more, got 3"),
    ("too many", {"ringbuf": {"map": "e", "at_most": 2}}, {"events": (EVENTS,)}, NO, "expected 2 or fewer"),
    ("lost ones count", {"ringbuf": {"map": "e", "at_least": 4}}, {"events": (replace(EVENTS, lost=1),)}, YES, ""),
    ("other events", {"ringbuf": {"map": "e", "contains": "hex:ff"}}, {"events": (EVENTS,)}, NO,
     "expected one with hex:ff (1 bytes), got hex:696e697400"),
    ("no buffer", {"ringbuf": {"map": "e"}}, {"events": (Heard(22, "neither", 0, 0, False, ()),)}, NOT,
     "EINVAL: neither"),
    ("event out of sight", {"ringbuf": {"map": "e", "contains": "hex:ff"}}, {"events": (replace(EVENTS, cut=True),)},
     NOT, "hex:ff (1 bytes) is in none that is kept"),
    ("trace", {"trace": "hit"}, {"trace": Log("a hit\n")}, YES, ""),
    ("trace out of sight", {"trace": "hit"}, {"trace": Log("a\n", cut=True)}, NOT, "and more was said"),
    ("seen all the same", {"trace": "hit"}, {"trace": Log("hit\n", cut=True)}, YES, ""),
    ("out of sight, and endless", {"trace": "hit"},
     {"trace": Log("a\n", cut=True), "ended": Ended.TIMED_OUT, "signal": 9}, NO, "expected to end within 10 s"),
    ("no such file", {"do": ["exec:/files/nope"]}, {"steps": (2,)}, NOT, "the guest has no such file"),
    ("no such file, as expected", {"do": ["exec:/files/nope = ENOENT"]}, {"steps": (2,)}, YES, ""),
    ("no trace", {"trace": "hit"}, {"trace": Log("")}, NO, "trace: expected 'hit', got nothing"),
    ("run", {"run": {"program": "f", "return": 2, "output": "hex:aabb"}}, {"run": RAN}, YES, ""),
    ("other return", {"run": {"program": "f", "return": 1}}, {"run": RAN}, NO, "expected return 1, got 2"),
    ("other packet", {"run": {"program": "f", "output": "hex:aabc"}}, {"run": RAN}, NO,
     "expected output hex:aabc (2 bytes), got hex:aabb"),
    ("refused input", {"run": {"program": "f", "return": 2}}, {"run": RunReport(22, 0, "", "")}, NO, "got EINVAL"),
    ("no way to run", {"run": {"program": "f", "return": 2}}, {"run": RunReport(524, 0, "", "")}, NOT,
     "this kernel cannot run"),
    ("no interface", {"do": ["packet:eth9:" + "00" * 14]}, {"steps": (19,)}, NOT, "no such interface"),
    ("not attempted", {}, {"ended": Ended.NOT_ATTEMPTED, "reason": "why"}, NOT, "why"),
    ("passes without one", {"trace": "x"}, {"programs": (SKIPPED, replace(ATTACHED, name="two")), "trace": Log("x")},
     YES, ""),
    ("is met and nothing was attached", {"trace": "x"}, {"programs": (SKIPPED,), "trace": Log("x")}, NOT,
     "program 'one' was not attached: no interface"),
    ("is met without the one it names", {"trace": "x", "programs": ["one"]},
     {"programs": (SKIPPED, replace(ATTACHED, name="two")), "trace": Log("x")}, NOT, "program 'one' was not attached"),
    ("is met and names a program that is none", {"trace": "x", "programs": ["two"]}, {"trace": Log("x")}, NOT,
     "no program 'two'"),
    ("fails without one", {"trace": "x"}, {"programs": (SKIPPED,), "trace": Log("")}, NOT,
     "program 'one' was not attached: no interface"),
    ("fails, and the missing one is none of its own", {"trace": "x", "programs": ["two"]},
     {"programs": (SKIPPED, replace(ATTACHED, name="two")), "trace": Log("")}, NO, "trace: expected"),
    ("names a program that is none", {"trace": "x", "programs": ["two"]}, {"trace": Log("")}, NOT,
     "no program 'two'"),
    ("an optional program may be missing", {"trace": "x"},
     {"programs": (replace(SKIPPED, reason=judging.NOT_BY_DEFAULT), replace(ATTACHED, name="two")), "trace": Log("")},
     NO, "trace: expected"),
    ("only an optional one, and it is missing", {"trace": "x"},
     {"programs": (replace(SKIPPED, reason=judging.NOT_BY_DEFAULT),), "trace": Log("x")}, NOT, "no program of the"),
    ("has no program", {"trace": "x"}, {"programs": (), "trace": Log("x")}, NOT, "no program of the object"),
    ("a value out of sight", {"maps": ["m contains hex:ff"]},
     {"readings": (Reading(0, "", False, True, ("00" * 1024,)),)}, NOT,
     "the value is longer than what is kept of it"),
    ("out of sight, and wrong beside", {"command": ["./p"], "stdout": ["a*c"]},
     {"exit": 3, "stdout": Log("ca", True)}, NO, "expected exit 0, got exit 3"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "reported", "outcome", "words"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_judged(fields: dict[str, Any], reported: dict[str, Any], outcome: Outcome, words: str) -> None:
    """Each expectation passes where it is met, and fails with the difference where it is not."""
    test, found = declared(**fields), told(**reported)
    assert judging.mismatch([test], [found]) == ""
    (verdict,) = judging.judge([test], [found])
    assert (verdict.outcome, bool(verdict.detail)) == (outcome, outcome is not Outcome.PASSED)
    assert words in "".join(verdict.detail[:1])


def test_pattern_is_linear() -> None:
    """A pattern's parts are looked for in order, and a hostile output costs no more than its length."""
    assert judging.occurs("a*b*c", "xaxbxcx")
    assert not judging.occurs("a*b*c", "xaxcxbx")
    assert not judging.occurs("a*" * 300 + "b", "a" * 16384)


@pytest.mark.parametrize(
    "reports",
    [
        [],
        [told(name="other")],
        [told(), told()],
        [told(readings=(number(1),))],
        [told(trace=Log(""))],
        [told(run=RAN)],
        [told(steps=())],
        [told(events=(EVENTS,))],
    ],
)
def test_reports_of_other_tests(reports: list[TestReport]) -> None:
    """A report that does not speak of exactly what was declared is contradictory, and no answer."""
    found = classify(replace(report(program()), tests=tuple(reports)), FACTS, AttachMode.ATTACH, [declared()])
    assert (found.answer, found.cause) == (Answer.INCONCLUSIVE, CONTRADICTORY)


def verdict_of(*pairs: tuple[BehaviourTest, TestReport], of: Any = None) -> Any:
    given = replace(of or report(program()), tests=tuple(r for _, r in pairs))
    found = classify(given, FACTS, AttachMode.ATTACH, [t for t, _ in pairs])
    assert verdict_from_bytes(json.dumps(verdict_to_json(found)).encode()) == found
    return found


def named(name: str, passes: bool, **fields: Any) -> tuple[BehaviourTest, TestReport]:
    return declared(name=name, **fields), told(name=name, steps=(0 if passes else 1,))


def test_failed_is_incompatible() -> None:
    """A required test that fails makes the object incompatible, with what was expected and got, by name."""
    found = verdict_of(named("a", True), named("b", False), named("c", False))
    assert (found.answer, found.cause, found.subject) == (Answer.INCOMPATIBLE, judging.FAILED, "b")
    assert "test 'b' fails on this kernel (5.10.0-32-cloud-amd64): exec: expected success, got EPERM" in found.sentence
    assert found.evidence == tuple(f"test '{n}': exec: expected success, got EPERM" for n in "bc")
    assert [t.outcome for t in found.tests] == [Outcome.PASSED, Outcome.FAILED, Outcome.FAILED]
    assert found.programs[0].loaded


def test_not_required_is_noted() -> None:
    """A test that is not required changes no answer, and is not silent."""
    found = verdict_of(named("a", True), named("b", False, required=False))
    assert (found.answer, found.cause) == (Answer.COMPATIBLE, "")
    assert found.sentence.endswith("; 1 of 2 behaviour tests passed")
    assert found.notes == ("test 'b' (not required): failed: exec: expected success, got EPERM",)


def test_not_attempted_is_inconclusive() -> None:
    """A required test that was not attempted is never a pass, and never a no; one that failed decides before it."""
    absent = declared(name="a"), told(name="a", ended=Ended.NOT_ATTEMPTED, reason="why")
    assert verdict_of(absent).cause == judging.NOT_ATTEMPTED
    assert verdict_of(absent).answer is Answer.INCONCLUSIVE
    assert verdict_of(absent, named("b", False)).cause == judging.FAILED


def test_refused_object_is_not_tested() -> None:
    """Where the object itself is refused, that is the verdict, and no test is counted as passed."""
    absent = declared(name="a"), told(name="a", ended=Ended.NOT_ATTEMPTED, reason="the object does not load: EINVAL")
    found = verdict_of(absent, of=report(refused(13, "bad\n")))
    assert found.cause == "verifier-rejected"
    assert found.tests == (TestVerdict("a", True, Outcome.NOT_ATTEMPTED, (found.sentence,)),)


def test_steady() -> None:
    """What a test saw may differ between two guests; how it went may not."""
    one = replace(report(program()), tests=(told(stdout=Log("pid 83"), readings=(number(83),), events=(EVENTS,)),))
    other = replace(
        one, tests=(told(stdout=Log("pid 84"), readings=(number(84),), events=(replace(EVENTS, count=4),)),)
    )
    assert steady(one) == steady(other)
    assert steady(one) != steady(replace(one, tests=(replace(one.tests[0], steps=(1,)),)))

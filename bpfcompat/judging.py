"""What a guest reports of behaviour tests, held against what was declared.

Pure.  A test that could not be done, or that fails where a program it needs could not be attached here, is *not
attempted*: that is no answer, and never a pass.  Everything that a guest says is data: it is compared, never run.
"""

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence

from bpfcompat.behaviour import (
    BehaviourTest,
    Check,
    Ended,
    Events,
    Heard,
    Outcome,
    Reading,
    Run,
    RunReport,
    TestReport,
    TestVerdict,
)
from bpfcompat.causes import clip, errno_name
from bpfcompat.model import Answer, Attach, Log, Verdict

FAILED, NOT_ATTEMPTED = "behaviour-failed", "behaviour-not-attempted"
SLUGS = (FAILED, NOT_ATTEMPTED)
SHOWN = 100  # characters of a text that was got
MAX_LINES = 20
ENOENT, ESRCH, ENODEV, ENOTSUPP = 2, 3, 19, 524
NO_ENTRY = "no such entry"  # validator/reading.c
_UNRUNNABLE = {
    ESRCH: "the object has no program of this name",
    ENOENT: "the program is not loaded by default",
    ENOTSUPP: "this kernel cannot run programs of its type by itself",
}

_COMPARE: Mapping[str, Callable[[int, int], bool]] = {
    "==": lambda got, wanted: got == wanted,
    "!=": lambda got, wanted: got != wanted,
    ">=": lambda got, wanted: got >= wanted,
    "<=": lambda got, wanted: got <= wanted,
    ">": lambda got, wanted: got > wanted,
    "<": lambda got, wanted: got < wanted,
}


def judge(tests: Sequence[BehaviourTest], reports: Sequence[TestReport]) -> tuple[TestVerdict, ...]:
    """The tests' answers, in their order; `mismatch` has looked that the report speaks of these tests."""
    return tuple(_judged(test, report) for test, report in zip(tests, reports, strict=True))


def mismatch(tests: Sequence[BehaviourTest], reports: Sequence[TestReport]) -> str:
    """Why the reports cannot be of these tests, "" if they can."""
    wanted, told = [t.name for t in tests], [r.name for r in reports]
    if wanted != told:
        declared, said = (clip(", ".join(names)) or "none" for names in (wanted, told))
        return f"tests {declared} were declared, and the report tells of {said}"
    return next((why for t, r in zip(tests, reports, strict=True) if (why := _misshapen(t, r))), "")


def decisive(verdicts: Sequence[TestVerdict], release: str) -> Verdict | None:
    """What the required tests make of an object that loads and attaches; None when all of them passed."""
    required = [v for v in verdicts if v.required]
    failed = next((v for v in required if v.outcome is Outcome.FAILED), None)
    absent = next((v for v in required if v.outcome is Outcome.NOT_ATTEMPTED), None)
    if failed is not None:
        return Verdict(
            answer=Answer.INCOMPATIBLE,
            cause=FAILED,
            sentence=clip(f"test '{failed.name}' fails on this kernel ({release}): {failed.detail[0]}", 600),
            evidence=_evidence(required, Outcome.FAILED),
            hint="compare what was expected and got; the object loads and attaches, and does something else here",
            subject=clip(failed.name),
        )
    if absent is not None:
        return Verdict(
            answer=Answer.INCONCLUSIVE,
            cause=NOT_ATTEMPTED,
            sentence=clip(f"test '{absent.name}' could not be attempted: {absent.detail[0]}", 600),
            evidence=_evidence(required, Outcome.NOT_ATTEMPTED),
            hint="name the programs that the test is about (programs = […]), or set required = false",
            subject=clip(absent.name),
        )
    return None


def praise(verdicts: Sequence[TestVerdict]) -> str:
    """What is said of tests behind the sentence of a compatible object; "" where none was declared."""
    passed = sum(v.outcome is Outcome.PASSED for v in verdicts)
    return f"; {passed} of {len(verdicts)} behaviour tests passed" if verdicts else ""


def notes(verdicts: Sequence[TestVerdict]) -> Iterator[str]:
    """A line for each test that did not pass and is not required, or that passed with something to say."""
    for verdict in verdicts:
        if verdict.outcome is not Outcome.PASSED and not verdict.required:
            yield clip(f"test '{verdict.name}' (not required): {verdict.outcome}: {'; '.join(verdict.detail)}", 600)


def unasked(tests: Sequence[BehaviourTest], why: str) -> tuple[TestVerdict, ...]:
    """The answers of tests that were not attempted because the object itself was refused."""
    return tuple(TestVerdict(t.name, t.required, Outcome.NOT_ATTEMPTED, (why,)) for t in tests)


def _evidence(verdicts: Sequence[TestVerdict], outcome: Outcome) -> tuple[str, ...]:
    lines = [f"test '{v.name}': {line}" for v in verdicts if v.outcome is outcome for line in v.detail]
    return tuple(clip(line) for line in lines[:MAX_LINES])


def _misshapen(test: BehaviourTest, report: TestReport) -> str:
    """A report that was not attempted tells of nothing; any other of exactly what was asked."""
    if report.ended is Ended.NOT_ATTEMPTED:
        return "" if report.reason else f"test '{clip(test.name)}' was not attempted, without a reason"
    done = report.ended is Ended.DONE
    pairs = [
        (len(report.readings), len(test.checks)),
        (len(report.events), len(test.events)),
        (report.run is None, test.run is None),
        (report.trace is None, test.trace is None),
        *([(len(report.steps), len(test.steps))] if done and test.attaches and not report.signal else []),
    ]
    return (
        "" if all(a == b for a, b in pairs) else f"test '{clip(test.name)}' was asked other things than are told of it"
    )


# --- one test


def _judged(test: BehaviourTest, report: TestReport) -> TestVerdict:
    if report.ended is Ended.NOT_ATTEMPTED:
        return TestVerdict(test.name, test.required, Outcome.NOT_ATTEMPTED, (clip(report.reason),))
    unaskable = next(_unaskable(test, report), None)
    if unaskable is not None:
        return TestVerdict(test.name, test.required, Outcome.NOT_ATTEMPTED, (clip(unaskable, 400),))
    wrong = tuple(clip(line, 400) for line in _wrong(test, report))
    unseen = tuple(clip(line, 400) for line in _out_of_sight(test, report))
    if unseen and len(unseen) == len(wrong):  # each of these is one of those
        return TestVerdict(test.name, test.required, Outcome.NOT_ATTEMPTED, unseen[:MAX_LINES])
    wrong = wrong[:MAX_LINES]
    lacking = _lacking(test, report)
    if not wrong and not (lacking and _counts_on_it(test, report)):
        return TestVerdict(test.name, test.required, Outcome.PASSED)
    if lacking:  # what was not attached did not run: that is no fault of the object's
        return TestVerdict(test.name, test.required, Outcome.NOT_ATTEMPTED, (lacking, *wrong))
    return TestVerdict(test.name, test.required, Outcome.FAILED, wrong)


def _unaskable(test: BehaviourTest, report: TestReport) -> Iterator[str]:
    """What of the declaration cannot be had of this object or in this guest: no program ever saw the question."""
    if report.exec_errno:
        yield f"{clip(test.command[0], 60)}: cannot be run: {errno_name(report.exec_errno)}"
    for step, got in zip(test.steps, report.steps, strict=False):
        if got == ENODEV and step.asked.startswith("packet:"):
            yield f"{clip(step.asked, 60)}: the guest has no such interface"
        if got == ENOENT and step.errno == "" and step.asked.startswith("exec:"):
            yield f"{clip(step.asked, 60)}: the guest has no such file"
    if test.run is not None and report.run is not None and report.run.errno in _UNRUNNABLE:
        yield f"BPF_PROG_RUN of {clip(test.run.program, 64)}: {_UNRUNNABLE[report.run.errno]}"
    for check, reading in zip(test.checks, report.readings, strict=True):
        if reading.errno and not _absent(reading):
            yield f"{check.text}: {errno_name(reading.errno)}: {clip(reading.reason)}"
    for events, heard in zip(test.events, report.events, strict=True):
        if heard.errno:
            yield f"events of {clip(events.map, 64)}: {errno_name(heard.errno)}: {clip(heard.reason)}"


def _out_of_sight(test: BehaviourTest, report: TestReport) -> Iterator[str]:
    """What was expected and is not in the part that is kept of an output may be in the rest: nobody knows."""
    texts = [("trace", test.trace, report.trace)]
    if test.command:
        texts += [("stdout", test.stdout, report.stdout), ("stderr", test.stderr, report.stderr)]
    for what, wanted, got in texts:
        for pattern in wanted or ():
            if got is not None and got.cut and not occurs(pattern, got.text):
                yield f"{what}: {pattern!r} is not in the {len(got.text)} characters that are kept, and more was said"
    for check, reading in zip(test.checks, report.readings, strict=True):
        if reading.cut and any(_wrong_reading(check, reading)):
            yield f"{check.text}: the value is longer than what is kept of it"
    for events, heard in zip(test.events, report.events, strict=True):
        for part in events.contains if heard.cut else ():
            if not any(part in bytes.fromhex(data) for data in heard.first):
                yield f"events of {clip(events.map, 64)}: {_hex(part.hex())} is in none that is kept, and more came"


def _absent(got: Reading) -> bool:
    """The map could be asked, and has no such entry."""
    return got.errno == ENOENT and got.reason == NO_ENTRY


def _lacking(test: BehaviourTest, report: TestReport) -> str:
    """The first program that the test counts on, and that could not be attached here."""
    if not test.attaches:
        return ""
    told = {held.name for held in report.programs}
    absent = next((name for name in test.programs if name not in told), None)
    if absent is not None:
        return f"the object has no program '{clip(absent, 64)}'"
    for held in report.programs:
        wanted = held.name in test.programs if test.programs else held.reason != NOT_BY_DEFAULT
        if wanted and held.attach is not Attach.ATTACHED:
            return clip(f"program '{clip(held.name, 64)}' was not attached: {held.reason}")
    return "" if _is_any_attached(report) else "no program of the object was attached"


def _counts_on_it(test: BehaviourTest, report: TestReport) -> bool:
    """True where a test that is met says nothing for what it lacks: it names that program, or none was attached."""
    return bool(test.programs) or not _is_any_attached(report)


def _is_any_attached(report: TestReport) -> bool:
    return any(held.attach is Attach.ATTACHED for held in report.programs)


NOT_BY_DEFAULT = "not loaded by default"  # validator/behave.c says so of SEC("?…")


def _wrong(test: BehaviourTest, report: TestReport) -> Iterator[str]:
    """A line for each expectation that is not met, with what was expected and what was got."""
    if report.ended is Ended.TIMED_OUT:
        yield f"expected to end within {test.timeout_s:g} s, got: still running, and killed with all that it started"
    yield from _wrong_steps(test, report)
    if test.command and report.ended is Ended.DONE:
        yield from _wrong_exit(test, report)
    if test.command:
        yield from _wrong_text("stdout", test.stdout, report.stdout)
        yield from _wrong_text("stderr", test.stderr, report.stderr)
    if test.run is not None and report.run is not None:
        yield from _wrong_run(test.run, report.run)
    for check, reading in zip(test.checks, report.readings, strict=True):
        yield from _wrong_reading(check, reading)
    for events, heard in zip(test.events, report.events, strict=True):
        yield from _wrong_events(events, heard)
    if report.trace is not None:
        yield from _wrong_text("trace", test.trace, report.trace)


def _wrong_steps(test: BehaviourTest, report: TestReport) -> Iterator[str]:
    for step, got in zip(test.steps, report.steps, strict=False):
        name = errno_name(got)
        if step.errno != "any" and name != step.errno:
            yield f"{clip(step.asked, 60)}: expected {step.errno or 'success'}, got {name or 'success'}"
    if len(report.steps) < len(test.steps) and report.ended is Ended.DONE:
        yield f"{clip(test.steps[len(report.steps)].asked, 60)}: expected to be done, got: {_how(report)}"


def _how(report: TestReport) -> str:
    return f"killed by {_signal(report.signal)}" if report.signal else f"exit {report.exit}"


def _signal(number: int) -> str:
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"


def _wrong_exit(test: BehaviourTest, report: TestReport) -> Iterator[str]:
    wanted = f"killed by {test.exit}" if isinstance(test.exit, str) else f"exit {test.exit}"
    if _how(report) != wanted:
        said = f"; stderr: {_shown(report.stderr)}" if report.stderr.text else ""
        yield f"{clip(test.command[0], 60)}: expected {wanted}, got {_how(report)}{said}"


def _wrong_text(what: str, wanted: tuple[str, ...] | None, got: Log) -> Iterator[str]:
    if wanted == () and got.text:
        yield f"{what}: expected nothing, got {_shown(got)}"
    for pattern in wanted or ():
        if not occurs(pattern, got.text):
            yield f"{what}: expected {pattern!r}, got {_shown(got)}"


def _shown(log: Log) -> str:
    if not log.text:
        return "nothing"
    return repr(clip(log.text.strip(), SHOWN)) + (" (cut)" if log.cut else "")


def occurs(pattern: str, text: str) -> bool:
    """True if a text occurs; `*` in the pattern stands for any text, also none.

    The parts are looked for one behind the other, each at its first place: linear, whatever the pattern.
    """
    at = 0
    for part in pattern.split("*"):
        found = text.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return True


def _wrong_run(run: Run, got: RunReport) -> Iterator[str]:
    who = f"BPF_PROG_RUN of {clip(run.program, 64)}"
    if got.errno:
        yield f"{who}: expected to run, got {errno_name(got.errno)}"
        return
    if run.returns is not None and got.returned != run.returns:
        yield f"{who}: expected return {run.returns}, got {got.returned}"
    for what, wanted, data in (("output", run.output, got.output), ("context", run.context_out, got.context)):
        if wanted is not None and data != wanted.hex():
            yield f"{who}: expected {what} {_hex(wanted.hex())}, got {_hex(data)}"


def _hex(data: str) -> str:
    return f"hex:{data[:SHOWN]}{'…' if len(data) > SHOWN else ''} ({len(data) // 2} bytes)"


# --- maps


def _wrong_reading(check: Check, got: Reading) -> Iterator[str]:
    if check.operator in ("present", "absent"):
        found = "absent" if got.errno else "present"
        if found != check.operator:
            yield f"{check.text}: got {found}"
    elif got.errno:
        yield f"{check.text}: got {clip(got.reason)}"
    elif isinstance(check.operand, bytes):
        yield from _wrong_bytes(check, check.operand, got)
    elif check.operand is not None:
        number = _number(got)
        if number is None:
            yield f"{check.text}: expected a number of at most 8 bytes, got {_hex(got.values[0] if got.values else '')}"
        elif not _COMPARE[check.operator](number, check.operand):
            yield f"{check.text}: got {number}"


def _number(got: Reading) -> int | None:
    """A value as a number, summed over the processors of a per-CPU map."""
    if not got.values or any(not 0 < len(v) <= 16 for v in got.values):
        return None
    return sum(int.from_bytes(bytes.fromhex(v), "little", signed=got.signed) for v in got.values)


def _wrong_bytes(check: Check, wanted: bytes, got: Reading) -> Iterator[str]:
    """Text ends at its NUL: a value is padded."""
    values = [bytes.fromhex(v) for v in got.values]
    if check.operator == "contains":
        right = any(wanted in value for value in values)
    else:
        same = any(value == wanted or value.partition(b"\0")[0] == wanted for value in values)
        right = same if check.operator == "==" else not same
    if not right:
        yield f"{check.text}: got {', '.join(_hex(v) for v in got.values[:4])}"


# --- events


def _wrong_events(events: Events, got: Heard) -> Iterator[str]:
    who = f"events of {clip(events.map, 64)}"
    count = got.count + got.lost
    if count < events.at_least:
        yield f"{who}: expected {events.at_least} or more, got {count}"
    if events.at_most is not None and count > events.at_most:
        yield f"{who}: expected {events.at_most} or fewer, got {count}"
    first = [bytes.fromhex(data) for data in got.first]
    for part in events.contains:
        if not any(part in data for data in first):
            seen = ", ".join(_hex(data) for data in got.first[:3]) or "no event"
            yield f"{who}: expected one with {_hex(part.hex())}, got {seen}{' …' if got.cut else ''}"

"""The nouns of behaviour tests: what is declared, what a guest reports of it, what that comes to.

What is *asked* (what the guest does and brings back) is part of a probe's key.  What is *expected* is not: it is held
against the report by judging.py, so changing it needs no boot.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from bpfcompat.model import Attach, Log, Report


@dataclass(frozen=True, slots=True)
class Step:
    """One built-in stimulus in the guest's words (`sleep:10`), and the errno that it must come back with.

    `errno` is a name (`ECONNREFUSED`), "" when the step must succeed, or `any`.
    """

    asked: str
    errno: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One expectation of a map or variable: `asked` in the guest's words, `operator`, and a number, bytes or None.

    `text` is what was declared.  The operators are those of behave.OPERATORS.
    """

    text: str
    asked: str
    operator: str
    operand: int | bytes | None = None


@dataclass(frozen=True, slots=True)
class Events:
    """What must come out of a ring buffer or perf event array; `contains` are bytes, each in at least one event."""

    map: str
    at_least: int = 1
    at_most: int | None = None
    contains: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Run:
    """BPF_PROG_RUN of one program: its input and context, and what must come back (None: anything)."""

    program: str
    input: bytes | None = None
    context: bytes | None = None
    repeat: int = 1
    returns: int | None = None
    output: bytes | None = None
    context_out: bytes | None = None


@dataclass(frozen=True, slots=True)
class BehaviourTest:
    """One test as declared.

    `exit` is an exit code, or a signal's name.  `stdout`, `stderr` and `trace` are texts that must occur, `*` in them
    stands for any text; () asks that nothing was said, None asks nothing.  `programs` are those that are attached, ()
    for all.
    """

    name: str
    required: bool = True
    timeout_s: float = 10
    programs: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    command: tuple[str, ...] = ()
    exit: int | str = 0
    stdout: tuple[str, ...] | None = None
    stderr: tuple[str, ...] | None = None
    checks: tuple[Check, ...] = ()
    events: tuple[Events, ...] = ()
    trace: tuple[str, ...] | None = None
    run: Run | None = None

    @property
    def attaches(self) -> bool:
        """True where something must be attached: BPF_PROG_RUN alone needs nothing."""
        return bool(self.steps or self.command)


class Ended(StrEnum):
    """How a test came to its end in the guest."""

    DONE = "done"
    TIMED_OUT = "timed-out"
    NOT_ATTEMPTED = "not-attempted"


@dataclass(frozen=True, slots=True)
class HeldProgram:
    """One program while a test ran: attached or not, and why not."""

    name: str
    attach: Attach
    errno: int
    reason: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read of a map or variable: hex bytes in the guest's byte order, one for each processor of a per-CPU map.

    `signed` is what its type says.  With an errno there are no values, and `reason` says why.
    """

    errno: int
    reason: str
    signed: bool
    cut: bool
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Heard:
    """What came out of one buffer: how many events, how many were lost, and the first ones in hex."""

    errno: int
    reason: str
    count: int
    lost: int
    cut: bool
    first: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunReport:
    """What BPF_PROG_RUN gave: an errno, or the program's return value and the packet and context behind it, in hex."""

    errno: int
    returned: int
    output: str
    context: str


@dataclass(frozen=True, slots=True)
class TestReport:
    """What a guest reports of one test; `exit` is None where no command came to its end."""

    __test__ = False  # pytest: no class of tests

    name: str
    ended: Ended
    reason: str
    programs: tuple[HeldProgram, ...]
    steps: tuple[int, ...]
    exec_errno: int
    exit: int | None
    signal: int
    stdout: Log
    stderr: Log
    run: RunReport | None
    readings: tuple[Reading, ...]
    events: tuple[Heard, ...]
    trace: Log | None


class Outcome(StrEnum):
    """What a test comes to; one that was not attempted has passed as little as it has failed."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_ATTEMPTED = "not-attempted"


@dataclass(frozen=True, slots=True)
class TestVerdict:
    """One test's answer; `detail` has a line for each expectation that was not met, or why it was not attempted."""

    __test__ = False

    name: str
    required: bool
    outcome: Outcome
    detail: tuple[str, ...] = ()


def asked(test: BehaviourTest) -> Mapping[str, Any]:
    """What the guest is to do, as JSON values: the test's part of a probe's key."""
    run = test.run
    every = {
        "name": test.name,
        "timeout_ms": round(test.timeout_s * 1000),
        "programs": list(test.programs),
        "do": [step.asked for step in test.steps],
        "command": list(test.command),
        "read": [check.asked for check in test.checks],
        "events": [events.map for events in test.events],
        "trace": test.trace is not None,
        "run": _asked_run(run) if run else None,
    }
    return {name: value for name, value in every.items() if value}


def _asked_run(run: Run) -> Mapping[str, Any]:
    every = {
        "program": run.program,
        "input": None if run.input is None else run.input.hex(),
        "context": None if run.context is None else run.context.hex(),
        "repeat": run.repeat if run.repeat > 1 else None,
    }
    return {name: value for name, value in every.items() if value is not None}


def expected(test: BehaviourTest) -> Mapping[str, Any]:
    """What a test's report is held against, as JSON values: with `asked`, all of its declaration."""
    run = test.run
    every = {
        "required": test.required,
        "errno": [step.errno for step in test.steps],
        "exit": test.exit if test.command else None,
        "stdout": _listed(test.stdout),
        "stderr": _listed(test.stderr),
        "maps": [check.text for check in test.checks],
        "events": [_expected_events(events) for events in test.events],
        "trace": _listed(test.trace),
        "run": _expected_run(run) if run else None,
    }
    return {name: value for name, value in every.items() if value not in (None, [])}


def _listed(texts: tuple[str, ...] | None) -> Any:
    return "" if texts == () else texts and list(texts)


def _expected_events(events: Events) -> Mapping[str, Any]:
    most = {} if events.at_most is None else {"at_most": events.at_most}
    return {"at_least": events.at_least, "contains": [part.hex() for part in events.contains], **most}


def _expected_run(run: Run) -> Mapping[str, Any]:
    sent = {"returns": run.returns, "output": run.output, "context": run.context_out}
    return {n: v.hex() if isinstance(v, bytes) else v for n, v in sent.items() if v is not None}


def steady(report: Report) -> Report:
    """The report without what may differ between two guests that are asked the same: what the tests saw."""
    return replace(report, tests=tuple(_steady(test) for test in report.tests))


def _steady(test: TestReport) -> TestReport:
    """Output, values and events may hold process ids and times; how the test went may not differ."""
    return replace(
        test,
        stdout=Log(""),
        stderr=Log(""),
        trace=None,
        run=test.run and replace(test.run, output="", context=""),
        readings=tuple(replace(found, values=()) for found in test.readings),
        events=tuple(replace(heard, count=0, lost=0, cut=False, first=()) for heard in test.events),
    )

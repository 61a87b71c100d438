"""What became of the project's own loader, as a verdict.  Pure, like verdict.py, which calls it.

Its exit code decides, and nothing else says yes.  A loader that could not be started, that was ended by the time limit
or for want of memory has not answered: inconclusive.
"""

import re
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bpfcompat.causes import clip, errno_name, last_lines
from bpfcompat.model import Answer, CommandReport, Report, Start, Verdict

EXIT, NOT_STARTED = "loader-exit", "loader-not-started"
TIMED_OUT, OUT_OF_MEMORY = "loader-timed-out", "loader-out-of-memory"
SLUGS = (EXIT, NOT_STARTED, TIMED_OUT, OUT_OF_MEMORY)
# ld.so where a library is absent or too old (glibc: elf/rtld.c, elf/dl-version.c; musl: ldso/dynlink.c)
_NO_LIBRARY = re.compile(
    r"^.{0,300}(error while loading shared libraries: |: version `[^']{1,200}' not found|symbol lookup error: |"
    r"Error loading shared library |Error relocating )",
    re.M,
)
_SHELL_FAILED = (126, 127)  # POSIX: found and cannot be run, not found
_START = {
    Start.CWD: "its folder {cwd} cannot be entered",
    Start.PATH: "there is no program {program!r} in its root file system",
    Start.EXEC: "{program!r} is there and cannot be run: not executable, no program, another architecture, or its "
    "interpreter is not there",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Finding:
    answer: Answer
    cause: str
    words: str
    hint: str = ""
    errno: str = ""


def command_verdict(report: Report, told: CommandReport, asked: Mapping[str, Any]) -> Verdict:
    """The verdict; `asked` is the `command` of the probe's spec."""
    found, loader = _find(told, asked), asked["loader"]
    who = f"loader '{clip(str(loader['name']), 64)}'"
    release = clip(str(report.guest.get("release", "?")), 64)
    return Verdict(
        answer=found.answer,
        cause=found.cause,
        sentence=clip(f"{who}: {found.words} on this kernel ({release})", 600),
        evidence=_evidence(told) if found.cause else (),
        errno=found.errno,
        hint=found.hint,
        subject=clip(str(loader["name"]), 64),
        notes=tuple(_notes(told, asked)),
    )


def _find(told: CommandReport, asked: Mapping[str, Any]) -> _Finding:
    wanted = asked["expect_exit"]
    if told.start is not Start.STARTED:
        return _not_started(told, asked)
    if told.out_of_memory:
        return _Finding(
            Answer.INCONCLUSIVE, OUT_OF_MEMORY, "the guest's memory did not suffice", "raise [guest] memory_mb"
        )
    if told.timed_out:
        words = f"did not end within {asked['timeout_s']} s"
        hint = "raise command.timeout_s, or make the loader end by itself when it has loaded"
        return _Finding(Answer.INCONCLUSIVE, TIMED_OUT, words, hint)
    if told.exit == wanted:
        return _Finding(Answer.COMPATIBLE, "", f"exits with {told.exit}, as expected,")
    if told.exit is not None and _did_not_run(told, asked):
        words, hint = f"did not come to run (exit {told.exit})", "complete its root file system; the evidence says what"
        return _Finding(Answer.INCONCLUSIVE, NOT_STARTED, words, hint)
    words = f"exits with {told.exit}" if told.exit is not None else f"is ended by {_signal(told.signal)}"
    hint = "the evidence is the loader's own; docs/command.md says how to run it by hand"
    return _Finding(Answer.INCOMPATIBLE, EXIT, f"{words}, expected {wanted},", hint)


def _not_started(told: CommandReport, asked: Mapping[str, Any]) -> _Finding:
    program = clip(str(asked["argv"][0]), 100)
    words = _START[told.start].format(program=program, cwd=clip(str(asked["cwd"]), 100))
    code = errno_name(told.start_errno)
    hint = (
        "correct command.cwd" if told.start is Start.CWD else "correct command.argv, or complete its root file system"
    )
    return _Finding(Answer.INCONCLUSIVE, NOT_STARTED, f"not started: {words} ({code}),", hint, code)


def _did_not_run(told: CommandReport, asked: Mapping[str, Any]) -> bool:
    """True where a shell, or the dynamic linker, says that the program itself never ran."""
    by_shell = asked["argv"][:2] == ["/bin/sh", "-c"] and told.exit in _SHELL_FAILED
    return by_shell or (told.exit in (1, 127) and _NO_LIBRARY.search(told.stderr.text) is not None)


def _evidence(told: CommandReport) -> tuple[str, ...]:
    """The last lines of what it said, of its errors first."""
    for name, log in (("stderr", told.stderr), ("stdout", told.stdout)):
        lines = last_lines(log.text)
        if lines:
            return tuple(f"{name}: {line}" for line in lines)
    return ("it said nothing",)


def _notes(told: CommandReport, asked: Mapping[str, Any]) -> Iterator[str]:
    loader = asked["loader"]
    yield clip(f"asked by the loader '{loader['name']}' ({loader['digest']}), not by libbpf")
    if told.left:
        yield "it left processes running, which were ended with it"
    if any(log.cut for log in (told.stdout, told.stderr)):
        yield "what it said was too long and is cut"


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"

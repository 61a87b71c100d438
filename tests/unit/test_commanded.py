"""What became of the project's own loader, as a verdict: its exit decides, and silence is no answer."""

import json
from dataclasses import replace
from typing import Any

import pytest

from bpfcompat import wire
from bpfcompat.commanded import SLUGS
from bpfcompat.errors import StoreError
from bpfcompat.loaders import asked
from bpfcompat.model import Answer, AttachMode, CommandReport, CommandSpec, Log, Report, Start
from bpfcompat.verdict import CONTRADICTORY, classify, verdict_from_bytes, verdict_to_json

FINE = CommandReport(Start.STARTED, 0, 0, 0, False, False, 0, Log(""), Log(""))
GUEST = {"release": "6.1.0", "version": "#1", "machine": "x86_64", "btf": True, "config": True, "libbpf": "1.5.0",
         "lsm": None, "lockdown": None, "sysctls": {}, "unmounted": []}  # fmt: skip
ASKED = asked(CommandSpec(("./loader", "{object}"), timeout_s=7), "sha256:" + "a" * 64)
NO_LIBRARY = "./loader: error while loading shared libraries: libelf.so.1: cannot open shared object file\n"
TOO_OLD = "./loader: /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.38' not found (required by ./loader)\n"
BY_SHELL = {"argv": ["/bin/sh", "-c", "x"]}


def report(told: CommandReport | None = FINE, **changes: Any) -> Report:
    """A report of a loader that did as it should, but for these changes."""
    command = replace(told, **changes) if told else None
    return Report(GUEST, 0, Log(""), None, Log(""), command=command)


CASES: list[tuple[dict[str, Any], dict[str, Any], str, str, str]] = [
    # what is not as in FINE, what is asked differently, answer, cause, words
    ({}, {}, "compatible", "", "loader 'loader': exits with 0, as expected, on this kernel (6.1.0)"),
    ({"exit": 4}, {"expect_exit": 4}, "compatible", "", "exits with 4, as expected"),
    ({"exit": 0}, {"expect_exit": 4}, "incompatible", "loader-exit", "exits with 0, expected 4"),
    ({"exit": 1, "stderr": Log("no\nwhy")}, {}, "incompatible", "loader-exit", "exits with 1, expected 0"),
    ({"exit": 127}, {}, "incompatible", "loader-exit", "exits with 127"),
    ({"exit": None, "signal": 6}, {}, "incompatible", "loader-exit", "is ended by SIGABRT"),
    ({"exit": None, "signal": 64}, {}, "incompatible", "loader-exit", "is ended by SIGRTMAX"),
    ({"exit": None, "signal": 9, "timed_out": True}, {}, "inconclusive", "loader-timed-out", "did not end within 7 s"),
    ({"exit": None, "signal": 9, "out_of_memory": True}, {}, "inconclusive", "loader-out-of-memory", "memory"),
    ({"exit": 0, "out_of_memory": True}, {}, "inconclusive", "loader-out-of-memory", "memory"),
    ({"exit": 127, "stderr": Log(NO_LIBRARY)}, {}, "inconclusive", "loader-not-started", "did not come to run"),
    ({"exit": 1, "stderr": Log(TOO_OLD)}, {}, "inconclusive", "loader-not-started", "did not come to run"),
    ({"exit": 127, "stderr": Log(NO_LIBRARY)}, {"expect_exit": 127}, "compatible", "", "exits with 127"),
    ({"exit": 2, "stderr": Log(NO_LIBRARY)}, {}, "incompatible", "loader-exit", "exits with 2"),
    ({"exit": 126}, BY_SHELL, "inconclusive", "loader-not-started", "did not come to run (exit 126)"),
    ({"exit": 1}, BY_SHELL, "incompatible", "loader-exit", "exits with 1"),
    ({"start": Start.PATH, "start_errno": 2, "exit": None}, {}, "inconclusive", "loader-not-started", "no program"),
    ({"start": Start.EXEC, "start_errno": 2, "exit": None}, {}, "inconclusive", "loader-not-started", "interpreter"),
    ({"start": Start.EXEC, "start_errno": 8, "exit": None}, {}, "inconclusive", "loader-not-started", "(ENOEXEC)"),
    ({"start": Start.CWD, "start_errno": 20, "exit": None}, {}, "inconclusive", "loader-not-started", "(ENOTDIR)"),
]


@pytest.mark.parametrize(("told", "more", "answer", "cause", "words"), CASES)
def test_verdicts(told: dict[str, Any], more: dict[str, Any], answer: str, cause: str, words: str) -> None:
    """The exit code that was expected is yes, another one no, and everything else has not answered."""
    found = classify(report(**told), "no ELF at all", AttachMode.ATTACH, command={**ASKED, **more})
    assert (found.answer, found.cause) == (Answer(answer), cause)
    assert words in found.sentence
    assert bool(found.hint) is bool(found.evidence) is bool(cause)
    assert verdict_from_bytes(json.dumps(verdict_to_json(found)).encode()) == found


def test_who_spoke() -> None:
    """Every verdict names the loader and its digest, and says that it was not libbpf."""
    (note,) = classify(report(), "", AttachMode.ATTACH, command=ASKED).notes
    assert note == f"asked by the loader 'loader' (sha256:{'a' * 64}), not by libbpf"
    notes = classify(report(left=3, stdout=Log("x", True)), "", AttachMode.ATTACH, command=ASKED).notes
    assert [n[:20] for n in notes[1:]] == ["it left processes ru", "what it said was too"]


def test_evidence() -> None:
    """The last lines of stderr are the evidence, of stdout where it is silent; nothing in them can move a cursor."""
    loud = report(exit=1, stderr=Log("".join(f"line {n}\n" for n in range(9)) + "\x1b[2J\x07end"), stdout=Log("out"))
    found = classify(loud, "", AttachMode.ATTACH, command=ASKED)
    assert found.evidence == (*(f"stderr: line {n}" for n in range(4, 9)), "stderr:  [2J end")
    assert classify(report(exit=1, stdout=Log("out")), "", AttachMode.ATTACH, command=ASKED).evidence == (
        "stdout: out",
    )
    assert classify(report(exit=1), "", AttachMode.ATTACH, command=ASKED).evidence == ("it said nothing",)


@pytest.mark.parametrize(("told", "command"), [(report(), None), (report(None), ASKED)])
def test_another_loader(told: Report, command: Any) -> None:
    """A report of the loader that was not asked is believed by nobody."""
    found = classify(told, "", AttachMode.ATTACH, command=command)
    assert (found.answer, found.cause) == (Answer.INCONCLUSIVE, CONTRADICTORY)


def test_every_slug_is_shown() -> None:
    """Each cause of this module is led to by a case above."""
    assert {cause for *_, cause, _ in CASES} - {""} == set(SLUGS)


def test_stored() -> None:
    """A report of a command is stored and read back as it was, and what differs between guests is not compared."""
    told = report(exit=3, left=2, stdout=Log("pid 77"), stderr=Log("x", True))
    kept = json.loads(json.dumps(wire.report_to_json(told)))
    assert wire.report_from_json(kept) == told
    assert wire.comparable(told) == wire.comparable(report(exit=3, stdout=Log("pid 78")))
    assert wire.comparable(told) != wire.comparable(report(exit=4))
    del kept["command"]["left"]
    with pytest.raises(StoreError, match="command: expected"):
        wire.report_from_json(kept)

"""The validator's report: what real guests wrote, and everything a hostile one could."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfcompat import wire
from bpfcompat.digest import canonical
from bpfcompat.errors import GuestError, StoreError
from bpfcompat.model import Attach, AttachMode, Ending, Fate, Log

GOLDEN = Path(__file__).parent.parent / "golden" / "wire"
NONCE = "00112233445566778899aabbccddeeff"
REPORTS = sorted(GOLDEN.glob("*.report"))
GOOD = (GOLDEN / "nine-programs-5.10.report").read_bytes()

NO_LOG = {"text": "", "cut": False}
HELLO = {"kind": "hello", "release": "6.1.0", "version": "#1 SMP", "machine": "x86_64", "btf": True, "config": True,
         "libbpf": "1.7.0", "lsm": ["bpf"], "lockdown": "none", "sysctls": {"kernel.kptr_restrict": 0, "gone": None},
         "unmounted": []}  # fmt: skip
LISTED = {"name": "p", "section": "xdp", "type": "xdp", "autoload": True}
OPEN = {"kind": "open", "errno": 0, "log": NO_LOG, "programs": [LISTED],
        "maps": [{"name": "m", "type": "hash", "key_size": 4, "value_size": 8, "max_entries": 1}]}  # fmt: skip
LOAD = {"kind": "load", "errno": 0, "log": NO_LOG, "verifier": NO_LOG}
PROGRAM = {"kind": "program", **LISTED, "load_errno": 0, "verifier": NO_LOG, "attach": "not-attempted",
           "attach_errno": 0, "reason": "why", "libbpf": NO_LOG}  # fmt: skip
END = {"kind": "end", "frames": 4}
FRAMES = (HELLO, OPEN, LOAD, PROGRAM, END)


def frame(seq: int, body: bytes, nonce: str = NONCE) -> bytes:
    return b"BPFC1 %s %d %d %s\n%s\n" % (
        nonce.encode(), seq, len(body), hashlib.sha256(body).hexdigest().encode(), body,
    )  # fmt: skip


def written(*frames: Any) -> bytes:
    return b"".join(frame(seq, json.dumps(body, separators=(",", ":")).encode()) for seq, body in enumerate(frames))


def with_program(**changes: Any) -> bytes:
    return written(HELLO, OPEN, LOAD, {**PROGRAM, **changes}, END)


def refused(data: bytes, match: str = "report") -> None:
    with pytest.raises(GuestError, match=match) as caught:
        wire.parse(data, NONCE)
    assert caught.value.phase == "report"


@pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.stem)
def test_golden_reports(path: Path) -> None:
    """Reports of real guests read as they did when they were taken."""
    report = wire.parse(path.read_bytes(), NONCE)
    assert canonical(wire.report_to_json(report)) == path.with_suffix(".json").read_bytes()


@pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.stem)
def test_stored_form_is_lossless(path: Path) -> None:
    """A report that was stored and read again is the same report."""
    report = wire.parse(path.read_bytes(), NONCE)
    assert wire.report_from_bytes(canonical(wire.report_to_json(report))) == report


def test_a_report_in_our_words() -> None:
    """Each frame's fields end where the model says."""
    report = wire.parse(written(*FRAMES), NONCE)
    assert (report.open_errno, report.load_errno, report.guest["lsm"]) == (0, 0, ["bpf"])
    assert report.maps[0].value_size == 8
    assert report.programs[0].attach is Attach.NOT_ATTEMPTED
    assert report.programs[0].attach_reason == "why"


def test_an_object_that_does_not_open() -> None:
    """Without an open object there is nothing loaded: the errno of loading is None, not 0."""
    opened = {"kind": "open", "errno": 4001, "log": {"text": "not an ELF", "cut": False}}
    report = wire.parse(written(HELLO, opened, {"kind": "end", "frames": 2}), NONCE)
    assert (report.open_errno, report.open_log.text, report.load_errno) == (4001, "not an ELF", None)


def test_the_log_of_a_load_holds_both_voices() -> None:
    """libbpf's and the verifier's words are one log, cut if either is."""
    load = {**LOAD, "errno": 13, "log": {"text": "a\n", "cut": False}, "verifier": {"text": "b\n", "cut": True}}
    report = wire.parse(written(HELLO, OPEN, load, {**PROGRAM, "load_errno": 13}, END), NONCE)
    assert report.load_log == Log("a\nb\n", cut=True)


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("4: (18) r1 = 0xffff91928229f800", "4: (18) r1 = 0xADDRESS"),
        ("4: (18) r1 = 0xff21db3241b11000       ; R1_w=map_ptr(", "4: (18) r1 = 0xADDRESS       ; R1_w=map_ptr("),
        ("      4 | (18) r10 = 0xffffffff81234560", "      4 | (18) r10 = 0xADDRESS"),
        ("4: (18) r1 = 0xfffffffffffffff2", "4: (18) r1 = 0xfffffffffffffff2"),
        ("4: (18) r1 = 0x7fffffffffffffff", "4: (18) r1 = 0x7fffffffffffffff"),
        ("4: (b7) r1 = 0xff21db3241b11000", "4: (b7) r1 = 0xff21db3241b11000"),
    ],
)
def test_kernel_addresses_leave_the_logs(said: str, kept: str) -> None:
    """An address of this boot would make equal answers differ; constants stay."""
    report = wire.parse(with_program(verifier={"text": said, "cut": False}), NONCE)
    assert report.programs[0].log.text == kept


def test_completeness() -> None:
    """A report is complete when its last line is the end frame's, not before and not for a look-alike in a log."""
    data = written(*FRAMES)
    assert wire.is_complete(data)
    assert wire.is_complete(bytearray(data))
    assert not any(wire.is_complete(data[:size]) for size in range(len(data)))
    assert not wire.is_complete(written(HELLO, {**OPEN, "log": {"text": '\n{"kind":"end",\n', "cut": False}}))
    assert wire.is_complete(b"BPFC0 spec: no nonce\n")


def test_a_validator_that_gave_up() -> None:
    """Its reason is told, and there is no verdict."""
    refused(b"BPFC0 spec: no nonce\n", "gave up: spec: no nonce")
    refused(written(HELLO) + b"BPFC0 fork: no memory\n", "gave up: fork")


def test_a_process_that_died() -> None:
    """A probe that a signal ended gives no answer about its program."""
    died = {"kind": "died", "phase": "program", "index": 0, "signal": 11, "errno": 0}
    refused(written(HELLO, OPEN, LOAD, died, END), "for program 0 died: signal 11")
    refused(written(HELLO, {**died, "signal": 0, "errno": 12}, {"kind": "end", "frames": 2}), "died: errno 12")


@pytest.mark.parametrize("size", range(0, len(written(*FRAMES)), 7))
def test_cut_short(size: int) -> None:
    """No beginning of a report is a report."""
    refused(written(*FRAMES)[:size])


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_any_changed_byte_is_refused(at: int, change: int) -> None:
    """One byte is enough to lose the verdict."""
    refused(GOOD[:at] + bytes([GOOD[at] ^ change]) + GOOD[at + 1 :])


@given(st.binary(max_size=400))
def test_noise_is_refused(noise: bytes) -> None:
    """Whatever comes, the only answer is a GuestError."""
    refused(noise)
    refused(written(*FRAMES) + b"\n" + noise)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (written(*FRAMES).replace(NONCE.encode(), b"f" * 32), "another guest's nonce"),
        (written(HELLO, OPEN, LOAD, PROGRAM)[:-1] + b" \n", "cut short or too long"),
        (written(*FRAMES) + b"\n", "first line"),
        (written(*FRAMES) + frame(5, b"{}"), "after the end frame"),
        (frame(1, b"{}"), "expected frame 0, got frame 1"),
        (written(HELLO, OPEN, LOAD, PROGRAM), "the end"),
        (written(OPEN, HELLO), "kind 'hello'"),
        (written(HELLO, HELLO), "kind 'open', got 'hello'"),
        (written(HELLO, OPEN, PROGRAM, END), "kind 'load'"),
        (written(HELLO, OPEN, LOAD, {"kind": "end", "frames": 3}), "kind 'program', got 'end'"),
        (written(HELLO, OPEN, LOAD, PROGRAM, PROGRAM), "kind 'end'"),
        (written(HELLO, OPEN, LOAD, PROGRAM, {"kind": "end", "frames": 3}), "4 frames before it"),
        (written(HELLO, {"kind": "surprise"}), "kind 'open', got 'surprise'"),
        (frame(0, b"[]"), "no object"),
        (frame(0, b'{"kind":"hello","kind":"hello"}'), "twice"),
        (frame(0, b'{"kind":' + b"[" * 5000 + b"]" * 5000 + b"}"), "deep"),
        (frame(0, b'{"kind":"\xff"}'), "not acceptable JSON"),
    ],
)
def test_order_and_form(data: bytes, match: str) -> None:
    """Frames out of order, too few, too many or ill-formed are refused with the reason."""
    refused(data, match)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"load_errno": True}, "whole number"),
        ({"load_errno": -1}, "whole number"),
        ({"load_errno": 4096}, "whole number"),
        ({"load_errno": 1.5}, "integer"),
        ({"name": "q"}, "next program"),
        ({"autoload": 1}, "true or false"),
        ({"autoload": False}, "next program"),
        ({"verifier": "words"}, "expected cut, text"),
        ({"verifier": {"text": None, "cut": False}}, "expected text"),
        ({"attach": "maybe"}, "maybe"),
        ({"attach": "attached", "load_errno": 1, "reason": ""}, "although it was not loaded"),
        ({"attach": "attached", "attach_errno": 2}, "with errno 2"),
        ({"attach": "failed"}, "with errno 0"),
        ({"reason": ""}, "without a reason"),
        ({"extra": 1}, "expected"),
    ],
)
def test_fields(changes: dict[str, Any], match: str) -> None:
    """A field that is missing, of another type, out of range or at odds with another is refused."""
    refused(with_program(**changes), match)


def test_open_lists_go_with_success() -> None:
    """A failed open with programs, or a good one without, contradicts itself."""
    refused(written(HELLO, {**OPEN, "errno": 22}, LOAD, PROGRAM, END), "go with errno 0")
    bare = {"kind": "open", "errno": 0, "log": NO_LOG}
    refused(written(HELLO, bare, {"kind": "end", "frames": 2}), "go with errno 0")


def test_too_much() -> None:
    """A report beyond its bound is refused unread."""
    refused(b"x" * (wire.REPORT_MAX + 1), "at most")


@pytest.mark.parametrize("value", [None, [], {}, {"format": 1}, "report"])
def test_stored_nonsense(value: Any) -> None:
    """What is not a stored report is a fault of the store, not of the guest."""
    with pytest.raises(StoreError, match="report"):
        wire.report_from_json(value)
    with pytest.raises(StoreError, match="report"):
        wire.report_from_bytes(b"{" + json.dumps(value).encode())


def test_spec() -> None:
    """The spec is the text that wire.md shows."""
    seed = "5" * 64
    expected = f"nonce={NONCE}\nclock=1700000000000000000\nseed={seed}\nattach=load\nlog_max=4096\n".encode()
    assert wire.spec(NONCE, AttachMode.LOAD, 4096, 1_700_000_000_000_000_000, seed) == expected


# --- reports that broke off

DIED = {"kind": "died", "phase": "program", "index": 0, "signal": 9, "errno": 0}


@pytest.mark.parametrize(
    ("frames", "phase", "program", "told"),
    [
        ((HELLO,), "open", "", 0),
        ((HELLO, OPEN), "load", "", 0),
        ((HELLO, OPEN, LOAD), "program", "p", 0),
        ((HELLO, OPEN, LOAD, PROGRAM), "program", "", 1),
        ((HELLO, OPEN, LOAD, DIED, {**END, "frames": 4}), "program", "p", 0),
        ((HELLO, {**DIED, "phase": "open"}, {**END, "frames": 2}), "open", "", 0),
    ],
)
def test_partial(frames: tuple[Any, ...], phase: str, program: str, told: int) -> None:
    """A report that broke off tells what the guest had said, and what it was being asked then."""
    found = wire.parse_partial(written(*frames), NONCE)
    assert found is not None
    assert (found.phase, found.program, len(found.report.programs)) == (phase, program, told)
    assert found.report.guest["release"] == "6.1.0"


@pytest.mark.parametrize("cut", [1, 40, 200])
def test_partial_cut(cut: int) -> None:
    """The frame in which it broke off was not said."""
    whole, more = written(HELLO, OPEN), frame(2, json.dumps(LOAD).encode())
    found = wire.parse_partial(whole + more[:cut], NONCE)
    assert found is not None and found.phase == "load"


@pytest.mark.parametrize(
    "data",
    [b"", b"BPFC1", b"\n", written(*FRAMES), frame(0, b"[]"), frame(0, b"1"), frame(0, b'{"kind":[]}'),
     written(OPEN), written(HELLO, LOAD, LOAD), written(HELLO, OPEN, LOAD, END), written(DIED)],
)  # fmt: skip
def test_no_partial(data: bytes) -> None:
    """What is complete, empty, of another kind or out of order tells nothing of what was asked."""
    assert wire.parse_partial(data, NONCE) is None
    assert wire.parse_partial(written(HELLO), "f" * 32) is None


@given(st.integers(0, len(GOOD)))
def test_partial_anywhere(at: int) -> None:
    """A real report that breaks off at any byte tells as many programs as it had whole."""
    found = wire.parse_partial(GOOD[:at], NONCE)
    frames = GOOD[:at].count(b"\nBPFC1 ")
    assert found is None or len(found.report.programs) in (max(0, frames - 3), max(0, frames - 2))


@pytest.mark.parametrize("fate", Fate)
def test_stored_ending(fate: Fate) -> None:
    """A kernel's fate is stored with the report and read again; a report without one is written as it always was."""
    report = wire.parse(written(*FRAMES), NONCE)
    ended = replace(report, ending=Ending(fate, "program", "p", ("BUG: x", ""), 3))
    assert wire.report_from_bytes(canonical(wire.report_to_json(ended))) == ended
    assert "ending" not in wire.report_to_json(report)
    broken = {**wire.report_to_json(ended), "ending": {"fate": str(fate)}}
    with pytest.raises(StoreError, match="ending"):
        wire.report_from_json(broken)

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
GOOD = (GOLDEN / "many-5.10.report").read_bytes()

NO_LOG = {"text": "", "cut": False}
HELLO = {"kind": "hello", "release": "6.1.0", "version": "#1 SMP", "machine": "x86_64", "btf": True, "config": True,
         "libbpf": "1.7.0", "lsm": ["bpf"], "lockdown": "none", "sysctls": {"kernel.kptr_restrict": 0, "gone": None},
         "unmounted": []}  # fmt: skip
LISTED = {"name": "p", "section": "xdp", "type": "xdp", "autoload": True}
OPEN = {"kind": "open", "errno": 0, "log": NO_LOG, "programs": [LISTED],
        "maps": [{"name": "m", "type": "hash", "key_size": 4, "value_size": 8, "max_entries": 1}]}  # fmt: skip
LOAD = {"kind": "load", "errno": 0, "log": NO_LOG, "verifier": NO_LOG, "btf": None, "relocations": NO_LOG}
MAPS = {"kind": "maps", "created": [True]}
COUNTS = ("stack depth 0+16\nprocessed 42 insns (limit 1000000) max_states_per_insn 1 total_states 5 peak_states 3 "
          "mark_read 2\n")  # fmt: skip
PROGRAM = {"kind": "program", **LISTED, "load_errno": 0, "verifier": NO_LOG, "insns": 7, "line_info": 3,
           "counts": COUNTS, "cost": {"jited": 99, "verify_us": 17}, "relocations": NO_LOG, "attach": "not-attempted",
           "attach_errno": 0, "reason": "why", "how": "", "libbpf": NO_LOG}  # fmt: skip
MAP = {"kind": "map", "name": "m", "outcome": "failed", "errno": 22, "reason": "", "libbpf": NO_LOG}
END = {"kind": "end", "frames": 5}
FRAMES = (HELLO, OPEN, LOAD, MAPS, PROGRAM, END)


def frame(seq: int, body: bytes, nonce: str = NONCE) -> bytes:
    return b"BPFC1 %s %d %d %s\n%s\n" % (
        nonce.encode(), seq, len(body), hashlib.sha256(body).hexdigest().encode(), body,
    )  # fmt: skip


def written(*frames: Any) -> bytes:
    return b"".join(frame(seq, json.dumps(body, separators=(",", ":")).encode()) for seq, body in enumerate(frames))


def with_program(**changes: Any) -> bytes:
    return written(HELLO, OPEN, LOAD, MAPS, {**PROGRAM, **changes}, END)


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


@pytest.mark.parametrize("mode", AttachMode)
def test_the_guest_is_asked_one_of_two(mode: AttachMode) -> None:
    """That attaching is required is held against the report; the guest attaches, or does not."""
    asked = "load" if mode is AttachMode.LOAD else "attach"
    assert f"\nattach={asked}\n" in wire.spec(NONCE, mode, 4096, 0, "0" * 64).decode()


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
    report = wire.parse(written(HELLO, OPEN, load, MAPS, {**PROGRAM, "load_errno": 13}, END), NONCE)
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
    refused(written(HELLO, OPEN, LOAD, MAPS, died, END), "for program 0 died: signal 11")
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
        (written(HELLO, OPEN, LOAD, MAPS, PROGRAM)[:-1] + b" \n", "cut short or too long"),
        (written(*FRAMES) + b"\n", "first line"),
        (written(*FRAMES) + frame(6, b"{}"), "after the end frame"),
        (frame(1, b"{}"), "expected frame 0, got frame 1"),
        (written(HELLO, OPEN, LOAD, MAPS, PROGRAM), "the end"),
        (written(OPEN, HELLO), "kind 'hello'"),
        (written(HELLO, HELLO), "kind 'open', got 'hello'"),
        (written(HELLO, OPEN, PROGRAM, END), "kind 'load'"),
        (written(HELLO, OPEN, LOAD, MAPS, {"kind": "end", "frames": 4}), "kind 'program', got 'end'"),
        (written(HELLO, OPEN, LOAD, MAPS, PROGRAM, PROGRAM), "kind 'end'"),
        (written(HELLO, OPEN, LOAD, MAPS, PROGRAM, {"kind": "end", "frames": 4}), "5 frames before it"),
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
        ({"how": "link: xdp on lo"}, "not-attempted, and how: 'link: xdp on lo'"),
        ({"attach": "attached", "reason": ""}, "attached, and how: ''"),
        ({"attach": "failed", "attach_errno": 2}, "failed, and how: ''"),
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
    expected = f"nonce={NONCE}\nclock=1700000000000000000\nseed={seed}\nattach=load\n".encode()
    assert wire.spec(NONCE, AttachMode.LOAD, 1_700_000_000_000_000_000, seed) == expected


# --- a report that broke off

SECOND = {**LISTED, "name": "q"}
TWO = (
    HELLO,
    {**OPEN, "programs": [LISTED, SECOND]},
    LOAD,
    {**MAPS, "created": [False]},
    MAP,
    PROGRAM,
    {**PROGRAM, **SECOND},
    {"kind": "end", "frames": 7},
)
ASKED = {1: ("open", ""), 2: ("load", ""), 3: ("maps", ""), 4: ("map", ""), 5: ("program", "p"), 6: ("program", "q"),
         7: ("program", "")}  # fmt: skip
DIED = {"kind": "died", "phase": "program", "index": 1, "signal": 9, "errno": 0}


@pytest.mark.parametrize("count", ASKED)
def test_partial(count: int) -> None:
    """After each whole frame it is known what was being asked, and all that was said before is there."""
    found = wire.parse_partial(written(*TWO[:count]), NONCE)
    assert found is not None
    assert (found.phase, found.program) == ASKED[count]
    assert found.report.guest["release"] == "6.1.0"
    assert found.report.load_errno == (0 if count >= 3 else None)
    assert [p.name for p in found.report.programs] == ["p", "q"][: max(0, count - 5)]
    assert bool(found.report.maps) == (count >= 2)


def test_partial_at_every_byte() -> None:
    """Wherever a report is cut, the frames that are whole count, and only they."""
    whole = written(*TWO)
    ends = [len(written(*TWO[:count])) for count in range(len(TWO) + 1)]
    for size in range(len(whole)):
        count = max(n for n, end in enumerate(ends) if end <= size)
        found = wire.parse_partial(whole[:size], NONCE)
        assert (found and (found.phase, found.program)) == ASKED.get(count), size


@pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.stem)
def test_partial_of_real_reports(path: Path) -> None:
    """A real guest's report that is cut anywhere tells of a beginning of what the whole one says."""
    data = path.read_bytes()
    whole = wire.parse(data, NONCE)
    for size in {*range(0, len(data), max(1, len(data) // 300)), len(data) - 1}:
        found = wire.parse_partial(data[:size], NONCE)
        if found is None:
            assert data.count(b"\n", 0, size) < 2
            continue
        told = found.report.programs
        assert told == whole.programs[: len(told)]
        assert found.phase in ("program", "maps", "map") or not told
        if found.phase == "program" and len(told) < len(whole.programs):
            assert found.program == whole.programs[len(told)].name
        assert wire.report_from_bytes(canonical(wire.report_to_json(found.report))) == found.report


def test_partial_of_a_whole_report() -> None:
    """A complete report did not break off."""
    assert wire.parse_partial(written(*FRAMES), NONCE) is None
    assert wire.parse_partial(GOOD, NONCE) is None


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6])
def test_partial_of_a_process_that_died(count: int) -> None:
    """A validator that lost a process was asking then what came before that; what follows tells nothing."""
    for after in ([], [{"kind": "end", "frames": count + 1}], [PROGRAM, END]):
        found = wire.parse_partial(written(*TWO[:count], DIED, *after), NONCE)
        assert found is not None
        assert (found.phase, found.program) == ASKED[count]


def test_partial_of_nothing() -> None:
    """A guest that said nothing of an object, or died before it could, had none in hand."""
    assert wire.parse_partial(b"", NONCE) is None
    assert wire.parse_partial(b"BPFC0 spec: no nonce\n", NONCE) is None
    assert wire.parse_partial(written(DIED), NONCE) is None
    assert wire.parse_partial(written(*FRAMES).replace(NONCE.encode(), b"f" * 32), NONCE) is None


@pytest.mark.parametrize(
    "frames",
    [
        (OPEN,),
        (HELLO, HELLO),
        (HELLO, LOAD),
        (HELLO, OPEN, PROGRAM),
        (HELLO, OPEN, LOAD, MAPS, {**PROGRAM, "name": "other"}),
        ({**HELLO, "release": 6},),
        (HELLO, {**OPEN, "errno": -1}),
        ([],),
        (HELLO, []),
        (HELLO, None, OPEN),
        (HELLO, {"kind": ["died"]}),
        (HELLO, OPEN, LOAD, MAPS, PROGRAM, PROGRAM),
        (HELLO, {**OPEN, "errno": 22}),
        (HELLO, {"kind": "open", "errno": 0, "log": NO_LOG}),
        (HELLO, {"kind": "open", "errno": 22, "log": NO_LOG}, LOAD, PROGRAM),
    ],
)
def test_partial_not_in_our_words(frames: tuple[Any, ...]) -> None:
    """Frames that a validator would not have written are no beginning of a report."""
    assert wire.parse_partial(written(*frames), NONCE) is None


def test_partial_of_an_object_that_did_not_open() -> None:
    """After an open that failed only the end is missing, and the errno is kept."""
    opened = {"kind": "open", "errno": 22, "log": NO_LOG}
    found = wire.parse_partial(written(HELLO, opened), NONCE)
    assert found is not None
    assert (found.report.open_errno, found.report.load_errno, found.report.programs) == (22, None, ())


@given(st.binary(max_size=300), st.integers(0, 7))
def test_partial_of_noise(noise: bytes, count: int) -> None:
    """Noise behind whole frames changes nothing of what they say, and alone says nothing."""
    found = wire.parse_partial(written(*TWO[:count]) + b"?" + noise, NONCE)
    assert (found and (found.phase, found.program)) == ASKED.get(count)


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_partial_of_a_changed_byte(at: int, change: int) -> None:
    """A frame with one other byte is no frame; those before it count."""
    found = wire.parse_partial(GOOD[:at] + bytes([GOOD[at] ^ change]) + GOOD[at + 1 :], NONCE)
    assert found is None or found.report.programs == wire.parse(GOOD, NONCE).programs[: len(found.report.programs)]


# --- an ending


@pytest.mark.parametrize("fate", list(Fate))
def test_ending_is_stored(fate: Fate) -> None:
    """A kernel's fate is stored with the report, and read again as it was."""
    report = replace(wire.parse(GOOD, NONCE), ending=Ending(fate, "program", "p", ("BUG: x", "", "\u00e9"), 3))
    assert wire.report_from_bytes(canonical(wire.report_to_json(report))) == report


@pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.stem)
def test_reports_without_an_ending(path: Path) -> None:
    """A report of a kernel that lived is stored in the very bytes in which it was before there were endings."""
    stored = path.with_suffix(".json").read_bytes()
    report = wire.report_from_bytes(stored)
    assert report.ending is None
    assert canonical(wire.report_to_json(report)) == stored
    assert b'"ending"' not in stored


@pytest.mark.parametrize(
    "changes",
    [{"fate": "well"}, {"fate": 1}, {"runs": 0}, {"runs": 101}, {"runs": True}, {"console": "BUG"}, {"phase": None},
     {"console": ["x"] * 1001}, {"console": [1]}, {"extra": 1}],
)  # fmt: skip
def test_ending_nonsense(changes: dict[str, Any]) -> None:
    """An ending that is not one is a fault of the store."""
    ending = {"fate": "crash", "phase": "load", "program": "", "console": ["x"], "runs": 3}
    whole = wire.report_to_json(wire.parse(GOOD, NONCE))
    assert wire.report_from_json({**whole, "ending": ending}).ending is not None
    for wrong in ({**ending, **changes}, None, []):
        with pytest.raises(StoreError, match="ending"):
            wire.report_from_json({**whole, "ending": wrong})


# --- behaviour tests

READING = {"errno": 0, "reason": "", "signed": False, "cut": False, "values": ["0200"]}
HEARD = {"errno": 0, "reason": "", "count": 1, "lost": 0, "cut": False, "first": ["00ff"]}
TEST = {"kind": "test", "name": "t", "ended": "done", "reason": "",
        "programs": [{"name": "p", "attach": "attached", "errno": 0, "reason": ""}], "steps": [0, 111], "exec_errno": 0,
        "exit": 3, "signal": 0, "stdout": {"text": "out", "cut": True}, "stderr": NO_LOG,
        "run": {"errno": 0, "returned": 4294967295, "output": "aa", "context": ""}, "readings": [READING],
        "events": [HEARD], "trace": NO_LOG}  # fmt: skip


def with_tests(*tests: dict[str, Any]) -> bytes:
    return written(HELLO, OPEN, LOAD, MAPS, PROGRAM, *tests, {"kind": "end", "frames": 5 + len(tests)})


def test_tests() -> None:
    """A test's frame ends where the nouns say, and its stored form is the same."""
    report = wire.parse(with_tests(TEST, {**TEST, "name": "u", "exit": None, "run": None, "trace": None}), NONCE)
    first, second = report.tests
    assert (first.steps, first.exit, first.stdout) == ((0, 111), 3, Log("out", True))
    assert first.run is not None
    assert first.run.returned == 0xFFFFFFFF
    assert (first.readings[0].values, first.events[0].first) == (("0200",), ("00ff",))
    assert (second.name, second.exit, second.run, second.trace) == ("u", None, None, None)
    assert wire.report_from_bytes(canonical(wire.report_to_json(report))) == report
    assert "tests" not in wire.report_to_json(wire.parse(written(*FRAMES), NONCE))


@pytest.mark.parametrize(
    "changes",
    [
        {"ended": "passed"}, {"ended": "not-attempted"}, {"reason": "why"}, {"exit": 256}, {"exit": "0"},
        {"signal": 65}, {"steps": [0] * 65}, {"steps": [-1]}, {"more": 1}, {"stdout": "x"},
        {"programs": [{"name": "p"}]},
        {"readings": [{**READING, "values": ["0"]}]}, {"readings": [{**READING, "values": ["FF"]}]},
        {"readings": [{**READING, "values": ["00" * 1025]}]}, {"readings": [READING] * 65},
        {"events": [{**HEARD, "first": ["00" * 257]}]}, {"events": [{**HEARD, "count": 1 << 53}]},
        {"events": [HEARD] * 9}, {"run": {"errno": 0}},
        {"run": {"errno": 0, "returned": 1 << 32, "output": "", "context": ""}},
    ],
)  # fmt: skip
def test_tests_that_are_none(changes: dict[str, Any]) -> None:
    """What is not as wire.md says makes the whole report no answer."""
    refused(with_tests({**TEST, **changes}))


def test_too_many_tests() -> None:
    """No more tests than can be declared, and none of an object that did not open."""
    refused(with_tests(*[TEST] * (wire.TESTS_MAX + 1)))
    refused(written(HELLO, {"kind": "open", "errno": 22, "log": NO_LOG}, TEST, {"kind": "end", "frames": 3}))


def test_broken_off_in_a_test() -> None:
    """A report that broke off tells which test was under way; one of tests that nobody asked tells nothing."""
    frames = (HELLO, OPEN, LOAD, MAPS, PROGRAM)

    def at(*tests: dict[str, Any], asked: tuple[str, ...]) -> tuple[str, str, int] | None:
        found = wire.parse_partial(written(*frames, *tests), NONCE, asked)
        return found and (found.phase, found.program, len(found.report.tests))

    assert at(asked=("t", "u")) == ("test", "t", 0)
    assert at(TEST, asked=("t", "u")) == ("test", "u", 1)
    assert at(TEST, asked=("t",)) == ("program", "", 1)
    assert at(TEST, asked=("u",)) is None
    assert at(TEST, asked=()) is None


def test_spec_of_tests() -> None:
    """The lines of tests stand behind the rest of the spec, in their order."""
    lines = ["test=a b", "test_do=exec"]
    assert wire.spec(NONCE, AttachMode.LOAD, 1, "5" * 64, tests=lines).endswith(
        b"attach=load\ntest=a b\ntest_do=exec\n"
    )


SETTING = {"subject": "map", "name": "m", "key": "max_entries", "value": "8", "errno": 0}
TRIED = {"needs": "kfunc:f", "programs": "p,q", "held": True, "errno": 0}
VARIANT = {"group": "g", "chosen": 0, "tried": [TRIED]}
NOW = {**LISTED, "type": "sched_cls", "autoload": False}
DECLARED = {"kind": "declared", "settings": [SETTING], "variants": [VARIANT], "programs": [NOW],
            "maps": [{"name": "m", "type": "array", "key_size": 4, "value_size": 8, "max_entries": 8}]}  # fmt: skip
TYPED = {**PROGRAM, "type": "sched_cls"}


def declared_report(changes: dict[str, Any], program: dict[str, Any] = TYPED) -> bytes:
    return written(HELLO, OPEN, {**DECLARED, **changes}, LOAD, MAPS, program, {**END, "frames": 6})


def test_declared() -> None:
    """What declarations made of programs and maps stands for the object's own from there on."""
    report = wire.parse(declared_report({}), NONCE, declared=True)
    assert (report.programs[0].type, report.programs[0].autoload) == ("sched_cls", False)
    assert (report.maps[0].type, report.maps[0].max_entries) == ("array", 8)
    assert report.declared is not None
    assert str(report.declared.settings[0]) == "maps.m.max_entries = 8"
    assert report.declared.variants[0].tried[0].programs == ("p", "q")
    assert wire.report_from_bytes(canonical(wire.report_to_json(report))) == report


@pytest.mark.parametrize("asked", [True, False])
def test_declared_as_asked(asked: bool) -> None:
    """A report that speaks of declarations when nothing was declared, or is silent of them, is no report."""
    data = written(*FRAMES) if asked else declared_report({})
    with pytest.raises(GuestError, match="not what was asked"):
        wire.parse(data, NONCE, declared=asked)


@pytest.mark.parametrize(
    "changes",
    [
        {"programs": []},
        {"programs": [{**NOW, "name": "q"}]},
        {"programs": [{**NOW, "section": "tc"}]},
        {"programs": [NOW, NOW]},
        {"maps": []},
        {"maps": [{**DECLARED["maps"][0], "name": "n"}]},
        {"settings": [{**SETTING, "errno": -1}]},
        {"settings": [{**SETTING, "more": 1}]},
        {"settings": {}},
        {"variants": [{**VARIANT, "chosen": 1}]},
        {"variants": [{**VARIANT, "chosen": None}]},
        {"variants": [{**VARIANT, "chosen": 64}]},
        {"variants": [{**VARIANT, "tried": [TRIED, TRIED]}]},
        {"variants": [{**VARIANT, "chosen": None, "tried": [{**TRIED, "held": None, "errno": 5}]}]},
        {"more": 1},
    ],
)
def test_declared_otherwise(changes: dict[str, Any]) -> None:
    """A frame of declarations that does not belong to this object, or contradicts itself, is no report."""
    with pytest.raises(GuestError):
        wire.parse(declared_report(changes), NONCE, declared=True)


def test_declared_type_holds() -> None:
    """A program that then has another type than was declared is no report."""
    with pytest.raises(GuestError, match="next program"):
        wire.parse(declared_report({}, PROGRAM), NONCE, declared=True)


def test_declared_twice() -> None:
    """Declarations are told once."""
    data = written(HELLO, OPEN, DECLARED, DECLARED, LOAD, MAPS, TYPED, {**END, "frames": 7})
    with pytest.raises(GuestError, match="kind 'load'"):
        wire.parse(data, NONCE, declared=True)


def test_declared_of_nothing() -> None:
    """An object that did not open has nothing that could be declared."""
    shut = {"kind": "open", "errno": 22, "log": NO_LOG}
    with pytest.raises(GuestError):
        wire.parse(written(HELLO, shut, {**DECLARED, "programs": [], "maps": []}, {**END, "frames": 3}), NONCE)


def test_declared_and_lost() -> None:
    """A guest that is lost while the declared object is loaded was asked that, and its choices are kept."""
    partial = wire.parse_partial(written(HELLO, OPEN, DECLARED), NONCE)
    assert partial is not None and (partial.phase, partial.report.maps[0].type) == ("load", "array")
    later = wire.parse_partial(written(HELLO, OPEN, DECLARED, LOAD, MAPS), NONCE)
    assert later is not None and (later.phase, later.program) == ("program", "p")


def test_declared_lines() -> None:
    """The guest is told of declarations line by line, after everything else."""
    lines = wire.spec(NONCE, AttachMode.LOAD, 0, "0" * 64, ("map m pinning off", "kconfig CONFIG_A y"))
    assert lines.endswith(b"attach=load\ndeclare=map m pinning off\ndeclare=kconfig CONFIG_A y\n")


COMMAND = {"kind": "command", "start_errno": 0, "start": "", "exit": 3, "signal": 0, "timed_out": False,
           "out_of_memory": False, "left": 1, "stdout": NO_LOG, "stderr": {"text": "no\n", "cut": True}}  # fmt: skip


def commanded(**changes: Any) -> bytes:
    return written(HELLO, {**COMMAND, **changes}, {"kind": "end", "frames": 2})


def test_command() -> None:
    """The report of the project's own loader has one frame in place of all that libbpf would have been asked."""
    report = wire.parse(commanded(), NONCE)
    assert report.command is not None
    assert (report.command.exit, report.command.left, report.command.stderr) == (3, 1, Log("no\n", True))
    assert (report.load_errno, report.programs, report.maps) == (None, (), ())
    assert wire.report_from_json(json.loads(canonical(wire.report_to_json(report)))) == report


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"exit": 256}, "exit: expected a whole number"),
        ({"exit": None}, "an exit code or a signal"),
        ({"signal": 9}, "an exit code or a signal"),
        ({"start": "exec"}, "start .* with errno 0"),
        ({"start_errno": 2}, "start .* with errno 2"),
        ({"start": "exec", "start_errno": 2}, "not started, and yet it ended"),
        ({"start": "path", "start_errno": 2, "exit": None, "timed_out": True}, "not started, and yet it ended"),
        ({"start": "maybe", "start_errno": 2}, "start: "),
        ({"left": -1}, "left: expected"),
        ({"stdout": "x"}, "stdout: log"),
        ({"more": 1}, "command: expected"),
        ({"timed_out": 1}, "timed_out: expected true or false"),
    ],
)
def test_impossible_command(changes: dict[str, Any], words: str) -> None:
    """A command frame whose parts cannot be true together is none."""
    refused(commanded(**changes), words)


def test_command_and_libbpf() -> None:
    """A report is of one loader: nothing but the end follows a command, and nothing but the hello comes before it."""
    refused(written(HELLO, COMMAND, OPEN, {"kind": "end", "frames": 3}), "expected a frame of kind 'end'")
    refused(written(HELLO, OPEN, COMMAND, {"kind": "end", "frames": 3}), "expected a frame of kind 'load'")
    refused(written(HELLO, COMMAND, COMMAND, {"kind": "end", "frames": 3}), "expected a frame of kind 'end'")
    refused(written(COMMAND, {"kind": "end", "frames": 1}), "expected a frame of kind 'hello'")


@pytest.mark.parametrize(("whole", "alone"), [(True, False), (False, True), (False, False)])
def test_relocations_that_were_not_told(whole: bool, alone: bool) -> None:
    """A list of relocations that was cut, of the object or of a program, is known to be, and stays so in the store."""
    load = {**LOAD, "relocations": {**NO_LOG, "cut": whole}}
    program = {**PROGRAM, "relocations": {**NO_LOG, "cut": alone}}
    report = wire.parse(written(HELLO, OPEN, load, MAPS, program, END), NONCE)
    assert report.relocations_cut is (whole or alone)
    assert wire.report_from_bytes(canonical(wire.report_to_json(report))) == report


def test_more_relocations_than_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is over the bound is left out, and that is known."""
    words = (
        "prog 'p': relo #0: <byte_off> [2] struct a.b (0:0 @ offset 0)\n"
        "prog 'p': relo #0: patched insn #0 (LDX/ST/STX) off 0 -> 0\n"
    )
    load = {**LOAD, "relocations": {**NO_LOG, "text": words * 3}}
    for bound, cut in ((2, True), (3, False)):
        monkeypatch.setattr(wire, "RELOCATIONS_MAX", bound)
        report = wire.parse(written(HELLO, OPEN, load, MAPS, PROGRAM, END), NONCE)
        assert (len(report.relocations), report.relocations_cut) == (bound, cut)

"""One object asked by several guests: when it is worth it, and that their parts are the whole or nothing."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfcompat import shards, wire
from bpfcompat.errors import GuestError
from bpfcompat.seats import ONE, Worth
from tests.unit.test_elf import EXEC, EXIT, FUNC, Section, elf
from tests.unit.test_wire import END, HELLO, LOAD, MAPS, NONCE, OPEN, PROGRAM, written

Frames = list[dict[str, Any]]
GOLDEN = Path(__file__).parent.parent / "golden" / "wire"
LOCAL = 2  # STB_LOCAL, STT_FUNC
TEST = {"kind": "test", "name": "t"}


def object_of(**sections: int) -> bytes:
    """An object with so many programs in each section (`__` for `/`)."""
    made = [Section(name.replace("__", "/"), EXIT, EXEC) for name in sections]
    symbols = [(f"p{at}_{n}", FUNC, at + 1) for at, count in enumerate(sections.values()) for n in range(count)]
    return elf([*made, Section("padding", b"x" * shards.SMALL, 0)], symbols)


def whole(programs: int) -> Frames:
    """What one guest says of an object of this many programs."""
    listed = [{**OPEN["programs"][0], "name": f"p{n}"} for n in range(programs)]  # type: ignore[index]
    own = [{**PROGRAM, "name": f"p{n}"} for n in range(programs)]
    return [HELLO, {**OPEN, "programs": listed}, LOAD, MAPS, *own, TEST, {**END, "frames": programs + 5}]


def dealt(frames: Frames, count: int) -> list[Frames]:
    """What so many guests say that share it; those after the first need not tell of the whole object's load."""
    programs = [f for f in frames if f["kind"] == "program"]
    opened = [f for f in frames if f["kind"] in ("hello", "open", "declared")]
    head = [f for f in frames[:-1] if f["kind"] not in ("program", "test")]
    tail = [f for f in frames if f["kind"] == "test"]
    hands = [[*head, *programs[::count], *tail], *([*opened, *programs[n::count]] for n in range(1, count))]
    return [[*hand, {"kind": "end", "frames": len(hand)}] for hand in hands]


@pytest.mark.parametrize(
    ("sections", "attaches", "expected"),
    [
        ({"xdp": 29}, True, ONE),
        ({"xdp": 30}, True, Worth(2)),
        ({"xdp": 20, "kprobe__a": 40}, True, Worth(4)),
        ({"kprobe__a": 4000}, True, Worth(shards.MOST)),
        ({"fentry__a": 5}, True, ONE),
        ({"fentry__a": 6}, True, Worth(2, waits=True)),
        ({"?fentry.s__a": 60}, True, Worth(shards.MOST, waits=True)),
        ({"lsm__file_open": 3, "xdp": 15}, True, Worth(2)),
        ({"fexit__a": 22, "kprobe__a": 25}, True, Worth(9, waits=True)),
        ({"fentry__a": 29}, False, ONE),
        ({".text": 100, "xdp": 2}, True, ONE),
    ],
)
def test_worth(sections: dict[str, int], attaches: bool, expected: Worth) -> None:
    """Thirty programs are worth a second guest; fewer whose kernel waits for each of them, if they are attached."""
    assert shards.worth(object_of(**sections), attaches) == expected


def test_worth_of_what_is_no_program() -> None:
    """Static functions, small files and what is no object are not worth a second guest."""
    static = elf([Section("xdp", EXIT * 900, EXEC)], [(f"f{n}", LOCAL, 1) for n in range(100)])
    assert len(static) > shards.SMALL
    assert shards.worth(static, True) == ONE
    assert shards.worth(b"\x7fELF" + b"x" * shards.SMALL, True) == ONE
    assert shards.worth(object_of(xdp=60)[: shards.SMALL], True) == ONE


@given(st.integers(0, 20), st.integers(2, 8))
def test_joined(programs: int, count: int) -> None:
    """What any number of guests say between them is what one would have said, frame by frame."""
    frames = whole(programs)
    assert list(shards.joined(dealt(frames, count))) == frames


def test_the_load_may_be_told_by_each() -> None:
    """A guest that tells of the whole object's load must tell the same as the first."""
    parts = dealt(whole(4), 2)
    again = [*parts[1][:2], LOAD, *parts[1][2:-1], {**END, "frames": len(parts[1])}]
    assert list(shards.joined([parts[0], again])) == whole(4)
    again[2] = {**LOAD, "errno": 22}
    with pytest.raises(ValueError, match="different things"):
        list(shards.joined([parts[0], again]))


def drop(parts: list[Frames]) -> None:
    """One guest leaves a program out."""
    del parts[1][2]
    parts[1][-1]["frames"] -= 1


def uneven(parts: list[Frames]) -> None:
    """A program that should be the second guest's is the first one's too."""
    parts[0].insert(5, parts[1][2])
    parts[0][-1]["frames"] += 1


def of_another(parts: list[Frames]) -> None:
    """The second guest is another kernel."""
    parts[1][0]["release"] = "6.2.0"


def of_another_object(parts: list[Frames]) -> None:
    """The second guest opened something else."""
    parts[1][1]["errno"] = 2


def asked_too(parts: list[Frames]) -> None:
    """The second guest says of a test that only the first was asked."""
    parts[1].insert(-1, dict(TEST))
    parts[1][-1]["frames"] += 1


def died(parts: list[Frames]) -> None:
    """One of the second guest's processes died."""
    parts[1][2] = {"kind": "died"}


def endless(parts: list[Frames]) -> None:
    """The second guest has no last frame."""
    del parts[1][-1]


def miscounted(parts: list[Frames]) -> None:
    """The second guest's last frame has another count."""
    parts[1][-1]["frames"] += 1


def long(parts: list[Frames]) -> None:
    """One guest alone would have cut these logs."""
    for part in parts:
        part[-2]["verifier"] = {"deflated": "", "size": shards.LOGS_TOTAL // 2 + 1, "cut": False}


def empty(parts: list[Frames]) -> None:
    """The second guest said nothing."""
    parts[1].clear()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (drop, "the object's next program is"),
        (uneven, "the object's next program is"),
        (of_another, "say different things"),
        (of_another_object, "say different things"),
        (asked_too, "say different things"),
        (died, "did not come to its end"),
        (endless, "did not come to its end"),
        (miscounted, "did not come to its end"),
        (long, "verifier logs of more than"),
        (empty, "did not come to its end"),
    ],
)
def test_no_whole(change: Callable[[list[Frames]], None], said: str) -> None:
    """Parts that are not exactly one whole are refused, and so is what one guest would have told shorter."""
    frames = whole(8)
    del frames[-2]  # the test
    parts = [copy.deepcopy(part) for part in dealt([*frames[:-1], {**END, "frames": 12}], 2)]
    change(parts)
    with pytest.raises(GuestError, match=said):
        wire.parse_shards([(written(*part), NONCE) for part in parts])


def test_long_logs_of_one_program_are_told() -> None:
    """What one guest tells in full is told in full."""
    frames = whole(2)
    frames[4] = {**frames[4], "verifier": {"deflated": "", "size": shards.LOGS_TOTAL, "cut": False}}
    assert list(shards.joined(dealt(frames, 2))) == frames


def test_report_of_shards() -> None:
    """A report out of parts is the report of the whole, and each part must have its own guest's nonce."""
    frames = [f for f in whole(5) if f["kind"] != "test"]
    frames[-1] = {**END, "frames": 9}
    parts = [(written(*part), NONCE) for part in dealt(frames, 3)]
    assert wire.parse_shards(parts) == wire.parse(written(*frames), NONCE)
    with pytest.raises(GuestError, match="another guest's nonce"):
        wire.parse_shards([*parts[:2], (parts[2][0], "f" * 32)])
    with pytest.raises(GuestError, match="the object's next program is"):
        wire.parse_shards(parts[:2])
    with pytest.raises(GuestError, match="do not have all of its programs"):
        wire.parse_shards([parts[0], parts[2], parts[1]])
    with pytest.raises(GuestError, match="the object's next program is"):
        wire.parse(*parts[0])


def test_one_part_is_no_report() -> None:
    """The report of a guest that was asked for a part is not taken for one of the whole."""
    part = dealt([f for f in whole(4) if f["kind"] != "test"], 2)[0]
    with pytest.raises(GuestError, match="report"):
        wire.parse(written(*part), NONCE)


def test_spec() -> None:
    """A guest is told its shard only where there are several, and tests are the first one's."""
    one = wire.spec(NONCE, wire.AttachMode.LOAD, 1, "5" * 64, tests=("test=t",))
    first, second = (
        wire.spec(NONCE, wire.AttachMode.LOAD, 1, "5" * 64, tests=("test=t",), shard=(n, 2)) for n in (0, 1)
    )
    assert b"shard" not in one
    assert (b"\nshard=0/2\n" in first, b"\ntest=t\n" in first) == (True, True)
    assert (b"\nshard=1/2\n" in second, b"test" in second) == (True, False)

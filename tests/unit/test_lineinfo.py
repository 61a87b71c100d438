"""Source lines of instructions, and what becomes of line info that lies."""

import struct

import pytest

from bpfcompat.btfext import read_ext
from bpfcompat.btftypes import Types
from bpfcompat.errors import ObjectError
from bpfcompat.insns import read_code
from bpfcompat.lineinfo import Debug, place_of
from tests.compiling import PRELUDE, compiled

SOURCE = """
static NOINLINE u64 now(u64 since)
{
	return bpf_ktime_get_ns() - since;
}
SEC("tp/a/b") int first(void *ctx)
{
	return now(17) > 99;
}
"""
CALL_NOW, CALL_HELPER = "return now(17) > 99;", "return bpf_ktime_get_ns() - since;"


def debug(data: bytes) -> Debug:
    """An object's debugging information."""
    return Debug(read_code(data))


def part(data: bytes, number: int) -> int:
    """Where a part of .BTF.ext (0 func_info, 1 line_info, 2 core_relo) begins in the object."""
    section = read_code(data).elf.named(".BTF.ext")
    assert section is not None
    length, at = struct.unpack_from("<I", data, section.offset + 4), section.offset + 8 + 8 * number
    return int(section.offset + length[0] + struct.unpack_from("<I", data, at)[0])


def patched(data: bytes, at: int, *words: int) -> bytes:
    """The object with other words at one place."""
    return data[:at] + struct.pack(f"<{len(words)}I", *words) + data[at + 4 * len(words) :]


def test_place() -> None:
    """An instruction is counted as the verifier does, over all functions of a program."""
    found = debug(compiled(SOURCE))
    first = found.code.named("first")
    assert first is not None
    at = place_of(found, "first", next(r.insn for r in first.references))
    line = PRELUDE.count("\n") + SOURCE[: SOURCE.index(CALL_NOW)].count("\n") + 1
    assert at is not None
    assert (at.file.endswith("made.bpf.c"), at.line, at.text, at.function) == (True, line, CALL_NOW, "first")
    inner = place_of(found, "first", first.insns + 1)
    assert inner is not None
    assert (inner.text, inner.function, inner.line) == (CALL_HELPER, "now", line - 4)


def test_no_place() -> None:
    """No place for an instruction that is none, a program that is none, and an object without lines."""
    found = debug(compiled(SOURCE))
    assert place_of(found, "first", 4000) is place_of(found, "first", -1) is place_of(found, "nobody", 0) is None
    assert place_of(debug(compiled(SOURCE, "-g0")), "first", 0) is None


def test_pointing_outside() -> None:
    """Lines whose offset is outside every function, or whose names are outside the strings, give no place."""
    data = compiled(SOURCE)
    start = part(data, 1)
    first_record = start + 4 + 8
    assert place_of(debug(patched(data, first_record, 0xFFFFFF00, 0xFFFFFF, 0xFFFFFF, 1 << 10)), "first", 0) is None
    wrong = debug(patched(data, first_record, 0, 0xFFFFFF, 0xFFFFFF, 1 << 10))
    assert place_of(wrong, "first", 0) is None
    assert wrong.fault == ""


@pytest.mark.parametrize(
    ("number", "words", "said"),
    [
        (1, (7,), "line_info: records of 7 bytes"),
        (1, (16, 1, 0x7FFFFFFF), "line_info: 2147483647 records"),
        (0, (8, 1, 4000), "func_info: 4000 records"),
    ],
)
def test_damaged(number: int, words: tuple[int, ...], said: str) -> None:
    """A part that cannot be as the format says is named; then nothing of the section is believed."""
    data = compiled(SOURCE)
    damaged = debug(patched(data, part(data, number), *words))
    assert place_of(damaged, "first", 0) is None
    assert said in damaged.fault


def test_cut() -> None:
    """A section that ends early is an error with words, wherever it is cut."""
    found = debug(compiled(SOURCE))
    whole, types = found.code.elf.contents(found.code.elf.named(".BTF.ext")), found.types
    assert isinstance(types, Types)
    for end in range(len(whole)):
        with pytest.raises(ObjectError, match=r"^btf\.ext: "):
            read_ext(whole[:end], types)

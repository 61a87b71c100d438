"""An object's ELF: what is read from it, and that no bytes whatever make it misbehave."""

import random
import struct
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpfcompat.elf import MAX_SIZE, ObjectFacts, ProgramFacts, facts_or_fault, read_object
from bpfcompat.errors import ObjectError

PROGBITS, SYMTAB, STRTAB = 1, 2, 3
EXEC, NONE = 6, 3
FUNC, OBJECT, NOTYPE = 0x12, 0x11, 0x10
EXIT = bytes.fromhex("9500000000000000")
RETURN_0 = bytes.fromhex("b700000000000000") + EXIT
BPF_LOOP = bytes.fromhex("85000000b5000000")
SUBPROGRAM = bytes.fromhex("85100000ffffffff")
KFUNC = bytes.fromhex("85200000ffffffff")


@dataclass
class Section:
    name: str
    data: bytes = b""
    flags: int = NONE
    kind: int = PROGBITS


def elf(
    sections: list[Section], symbols: list[tuple[str, int, int]] | None = None, order: str = "<", size: int = 8
) -> bytes:
    """An ELF object of EM_BPF; `symbols` are (name, info, section number from 1, 0 for undefined), of this size."""
    names = b"\0" + b"".join(name.encode() + b"\0" for name, _, _ in symbols or [])
    entries, at = [b"\0" * 24], 1
    for name, info, index in symbols or []:
        entries.append(struct.pack(order + "IBBHQQ", at, info, 0, index, 0, size))
        at += len(name.encode()) + 1
    table = b"".join(entries)
    strings = len(sections) + 2
    full = [Section("", kind=0), *sections, Section(".symtab", table, 0, SYMTAB), Section(".strtab", names, 0, STRTAB)]
    full.append(Section(".shstrtab", b"", 0, STRTAB))
    shstr = b"".join(s.name.encode() + b"\0" for s in full)
    full[-1].data = shstr
    body, headers, offset, name_at = bytearray(), bytearray(), 64, 0
    for s in full:
        link, entry = (strings, 24) if s.kind == SYMTAB else (0, 0)
        headers += struct.pack(
            order + "IIQQQQIIQQ", name_at, s.kind, s.flags, 0, offset + len(body), len(s.data), link, 1, 8, entry
        )
        body += s.data
        name_at += len(s.name.encode()) + 1
    ident = b"\x7fELF\x02" + (b"\1" if order == "<" else b"\2") + b"\1" + b"\0" * 9
    head = struct.pack(
        order + "HHIQQQIHHHHHH", 1, 247, 1, 0, 0, 64 + len(body), 0, 64, 0, 0, 64, len(full), len(full) - 1
    )
    return bytes(ident + head + body + headers)


def sample(order: str = "<") -> bytes:
    """An object with a program, a subprogram, both kinds of maps, externs, a licence and BTF."""
    return elf(
        [
            Section("xdp", BPF_LOOP + SUBPROGRAM + KFUNC + EXIT if order == "<" else EXIT, EXEC),
            Section(".text", EXIT, EXEC),
            Section(".maps", b"\0" * 32),
            Section("maps/old", b"\0" * 20),
            Section("license", b"GPL\0"),
            Section(".BTF", b"\0"),
        ],
        [
            ("entry", FUNC, 1),
            ("helper", FUNC, 2),
            ("events", OBJECT, 3),
            ("old", OBJECT, 4),
            ("LICENSE", OBJECT, 5),
            ("bpf_task_from_pid", NOTYPE, 0),
        ],
        order,
    )


def test_facts() -> None:
    """Programs, maps, externs, called helpers, licence and BTF are read; a subprogram in .text is no program."""
    assert read_object(sample()) == ObjectFacts(
        byte_order="little",
        machine="EM_BPF",
        programs=(ProgramFacts("xdp", "entry"),),
        maps=("events",),
        legacy_maps=("old",),
        externs=("bpf_task_from_pid",),
        helpers=(181,),
        licence="GPL",
        has_btf=True,
    )


def test_big_endian() -> None:
    """An object for the other byte order is read all the same, and says so."""
    facts = read_object(sample(">"))
    assert (facts.byte_order, facts.programs) == ("big", (ProgramFacts("xdp", "entry"),))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "an empty file"),
        (b"This is a text", "begins with b'This is a text'"),
        (b"\x7fELF", "class none"),
        (b"\x7fELF\x01" + b"\0" * 60, "class 01"),
        (b"\x7fELF\x02\x01\x01" + b"\0" * 9, "damaged"),
        (sample()[:100], "damaged"),
        (sample().replace(struct.pack("<HHI", 1, 247, 1), struct.pack("<HHI", 1, 62, 1)), "EM_X86_64"),
        (sample().replace(struct.pack("<HHI", 1, 247, 1), struct.pack("<HHI", 2, 247, 1)), "ET_EXEC"),
    ],
)
def test_faults(data: bytes, said: str) -> None:
    """What is no object is an ObjectError that says what was expected and what came; facts_or_fault gives the words."""
    with pytest.raises(ObjectError, match="expected") as caught:
        read_object(data)
    assert said in caught.value.message
    assert facts_or_fault(data) == caught.value.message


def test_too_large() -> None:
    """More than 64 MiB are not looked at."""
    assert "at most 67108864 expected" in str(facts_or_fault(b"\x7fELF\x02" + b"\0" * MAX_SIZE))


def test_huge_sizes() -> None:
    """A section that claims 4 GB, and a symbol table that claims millions of entries, cost nothing."""
    data = bytearray(sample())
    headers = struct.unpack_from("<Q", data, 40)[0]
    for index in range(struct.unpack_from("<H", data, 60)[0]):
        struct.pack_into("<Q", data, headers + 64 * index + 32, 24 * 178956970)
    assert "symbols, at most 65536 expected" in str(facts_or_fault(bytes(data)))


def test_many_sections() -> None:
    """The number of sections is bounded."""
    assert "sections, at most 4096 expected" in str(facts_or_fault(elf([Section("s")] * 5000)))


def test_link_loop() -> None:
    """A symbol table whose strings are itself ends as a damaged object, not as a recursion."""
    data = bytearray(sample())
    headers = struct.unpack_from("<Q", data, 40)[0]
    struct.pack_into("<I", data, headers + 64 * 7 + 40, 7)
    assert "damaged" in str(facts_or_fault(bytes(data)))


def test_names_are_fit_to_print() -> None:
    """Control characters in names do not reach a terminal."""
    facts = read_object(elf([Section("xdp", EXIT, EXEC)], [("\x1b[2J", FUNC, 1)]))
    assert facts.programs == (ProgramFacts("xdp", "�[2J"),)


def test_flipped_bytes() -> None:
    """A thousand damaged copies of an object give facts or a fault, and never anything else."""
    dice = random.Random(4711)
    good = sample()
    for _ in range(1000):
        data = bytearray(good)
        for _ in range(dice.randint(1, 8)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        assert isinstance(facts_or_fault(bytes(data[: dice.randint(64, len(data))])), ObjectFacts | str)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes(tail: bytes) -> None:
    """Whatever follows an ELF's first bytes is facts or a fault."""
    assert isinstance(facts_or_fault(b"\x7fELF\x02\x01\x01" + b"\0" * 9 + tail), ObjectFacts | str)


def test_odd_names() -> None:
    """Names that could be read for words are known as they stand there: of symbols and sections, and broken types."""
    strings = b"\0int x = f('a');\0broken\ntype\0fine\0"
    kinds = b"\0\n\n\0"  # numbers, and no names
    btf = struct.pack("<HBB5I", 0xEB9F, 1, 0, 24, 0, len(kinds), len(kinds), len(strings)) + kinds + strings
    sections = [Section("two words", EXIT, EXEC), Section("xdp", EXIT, EXEC), Section(".BTF", btf, 0)]
    found = read_object(elf(sections, [("plain", FUNC, 1), ("x': y", FUNC, 2)]))
    assert set(found.odd) == {"two words", "x': y", "broken\ntype"}
    assert read_object(elf([Section("?tp/a/b", EXIT, EXEC)], [("plain", FUNC, 1)])).odd == ()
